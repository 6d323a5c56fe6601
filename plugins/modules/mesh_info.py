#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_info
version_added: 0.1.0
short_description: What a cluster knows about its Istio mesh
author: hybridmesh.istio contributors (@hybridmesh)
description:
  - Reads how Istio is installed, how virtual machines reach it, and what ServiceAccounts may do.
  - To be run where the Kubernetes API is reached, usually on the controller (C(delegate_to=localhost)).
  - It judges nothing. A cluster without Istio is no failure.
options:
  istio_namespace:
    description: Namespace of istiod.
    type: str
    default: istio-system
  revision:
    description: Revision of istiod, or a tag for one. Without it, what the tag V(default) stands for, or the istiod
      without a revision.
    type: str
  ingress_service:
    description: Service of the gateway that VMs reach istiod through, as V(NAME) (in O(istio_namespace)) or
      V(NAME.NAMESPACE).
    type: str
    default: istio-eastwestgateway
  service_accounts:
    description: ServiceAccounts whose rights are to be told, each as V(NAMESPACE/NAME).
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - hybridmesh.istio.attributes
  - hybridmesh.istio.attributes.cluster
  - hybridmesh.istio.cluster
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: Nothing changes.
seealso:
  - module: hybridmesh.istio.workload_entry_info
  - plugin: hybridmesh.istio.sidecar_bootstrap
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Read the mesh
  hybridmesh.istio.mesh_info:
    service_accounts:
      - shop/payments
  delegate_to: localhost
  run_once: true
  become: false
  register: cluster
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"

- name: Stop where VMs would be cut off at once
  ansible.builtin.assert:
    that:
      - cluster.mesh.installed
      - cluster.mesh.entry_grace_period >= 60
      - cluster.mesh.gateway.exposed
"""

RETURN = r"""
mesh:
  description: Istio and its gateway. Where it is not installed, only RV(mesh.installed), RV(mesh.namespace),
    RV(mesh.pod_cidrs) and RV(mesh.server_time) are there.
  returned: always
  type: dict
  contains:
    installed:
      description: Whether istiod's configuration is in the cluster.
      type: bool
    managed:
      description: Whether the role C(control_plane) installed it.
      type: bool
    namespace:
      description: Its namespace.
      type: str
    revision:
      description: Its revision, empty where it has none.
      type: str
    version:
      description: Version of istiod's image; null where no Pod of istiod is there, or the image has no tag.
      type: str
      sample: 1.31.0
    mesh_id:
      description: ID of the mesh, empty where none was given.
      type: str
    cluster_name:
      description: Name that istiod knows the cluster by.
      type: str
      sample: cluster1
    network:
      description: The cluster's network, empty where none was given.
      type: str
    trust_domain:
      description: Trust domain of the mesh.
      type: str
      sample: cluster.local
    auto_registration:
      description: Whether istiod makes a WorkloadEntry for each VM that connects.
      type: bool
    health_checks:
      description: Whether istiod keeps account of the VMs' health.
      type: bool
    entry_grace_period:
      description: For how long a WorkloadEntry outlives its VM's connection, in seconds.
      type: float
      sample: 300.0
    istiod_pods:
      description: Addresses of istiod's Pods that are ready.
      type: list
      elements: str
    pod_cidrs:
      description: Ranges of the Pods' addresses, as far as Nodes record them; null where Nodes may not be listed.
      type: list
      elements: str
    server_time:
      description: The API server's clock, in seconds since 1970.
      type: float
    gateway:
      description: The gateway that VMs reach istiod through; null where it is not there.
      type: dict
      contains:
        namespace:
          description: Namespace of its Service.
          type: str
        name:
          description: Name of its Service.
          type: str
        managed:
          description: Whether the role C(eastwest_gateway) installed it.
          type: bool
        addresses:
          description: IP addresses or names at which it is reached from outside.
          type: list
          elements: str
        mesh_id:
          description: Mesh ID of its Pods; null where they don't tell.
          type: str
        cluster_name:
          description: Cluster name of its Pods; null where they don't tell.
          type: str
        network:
          description: Network of its Pods; null where they don't tell.
          type: str
        exposed:
          description: Whether it leads to istiod on port 15012.
          type: bool
        reason:
          description: Why it doesn't; empty where it does.
          type: str
        hosts:
          description: SNI names for which it leads to istiod.
          type: list
          elements: str
        pods:
          description: Addresses of its Pods that are ready.
          type: list
          elements: str
service_accounts:
  description: For each of O(service_accounts), by NAMESPACE/NAME.
  returned: always
  type: dict
  sample:
    shop/payments:
      exists: true
      rights: ["ClusterRoleBinding ops -> ClusterRole view"]
"""

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _cluster, _cluster_module
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._exposure import read_exposure
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import ApiError
from ansible_collections.hybridmesh.istio.plugins.module_utils._rights import rights_of_accounts

TOLD = (
    "namespace",
    "revision",
    "version",
    "mesh_id",
    "cluster_name",
    "network",
    "trust_domain",
    "auto_registration",
    "health_checks",
    "entry_grace_period",
    "istiod_pods",
)
TOLD_OF_GATEWAY = ("namespace", "name", "addresses", "mesh_id", "cluster_name", "network", "pods")


def mesh(cluster: Cluster, istio_namespace: str, revision: str | None, ingress_service: str) -> dict[str, t.Any]:
    """What is returned as `mesh`."""
    found = _cluster.read_mesh(cluster, istio_namespace, revision)
    result: dict[str, t.Any] = {"installed": found is not None, "namespace": istio_namespace}
    if found is not None:
        marks = _cluster.read_marks(cluster, istio_namespace)
        result.update({key: found[key] for key in TOLD})  # type: ignore[literal-required]
        result["managed"] = any(
            mark.get("role") == "control-plane" and (mark.get("revision") or "") == found["revision"] for mark in marks
        )
        result["gateway"] = gateway(cluster, found, ingress_service, marks)
    result["pod_cidrs"] = pod_cidrs(cluster)
    result["server_time"] = cluster.server_time
    return result


def gateway(
    cluster: Cluster, found: _cluster.Mesh, ingress_service: str, marks: list[dict[str, str]]
) -> dict[str, t.Any] | None:
    """What is returned as `mesh.gateway`."""
    name, _dot, namespace = ingress_service.partition(".")
    service = _cluster.read_gateway(cluster, namespace or found["namespace"], name)
    if service is None:
        return None
    if service["namespace"] != found["namespace"]:
        marks = _cluster.read_marks(cluster, service["namespace"])
    result: dict[str, t.Any] = {key: service[key] for key in TOLD_OF_GATEWAY}  # type: ignore[literal-required]
    # The mark is of an installation; the label says which installation a Service is of.
    owner = service["labels"].get("install.operator.istio.io/owning-resource")
    result["managed"] = any(mark.get("role") == "eastwest-gateway" and mark.get("name") == owner for mark in marks)
    result.update(read_exposure(cluster, found, service))
    return result


def pod_cidrs(cluster: Cluster) -> list[str] | None:
    """The Pods' ranges. Few users may list Nodes; that alone is no reason to fail."""
    try:
        return _cluster.read_pod_cidrs(cluster)
    except ApiError as error:
        if error.status == 403:
            return None
        raise


def service_accounts(cluster: Cluster, names: list[str]) -> dict[str, dict[str, t.Any]]:
    """What is returned as `service_accounts`."""
    accounts: list[tuple[str, str]] = []
    for text in names:
        namespace, _slash, name = text.partition("/")
        if not namespace or not name or "/" in name:
            raise MeshError(f"the ServiceAccount '{text}'", "NAMESPACE/NAME", "correct service_accounts")
        accounts.append((namespace, name))
    rights = rights_of_accounts(cluster, accounts)
    return {
        "/".join(account): {
            "exists": cluster.get("/api/v1/namespaces/{}/serviceaccounts/{}".format(*account)) is not None,
            "rights": rights[account],
        }
        for account in accounts
    }


def run(module: _cluster_module.Task, cluster: Cluster) -> dict[str, t.Any]:
    """Reads all of it."""
    params = module.params
    found = mesh(cluster, params["istio_namespace"], params["revision"] or None, params["ingress_service"])
    return {"changed": False, "mesh": found, "service_accounts": service_accounts(cluster, params["service_accounts"])}


OPTIONS: dict[str, t.Any] = {
    "istio_namespace": {"type": "str", "default": "istio-system"},
    "revision": {"type": "str"},
    "ingress_service": {"type": "str", "default": "istio-eastwestgateway"},
    "service_accounts": {"type": "list", "elements": "str", "default": []},
}
DEFINITION = _cluster_module.Definition(OPTIONS, run)


def main() -> None:
    """Runs the module."""
    _cluster_module.main(DEFINITION)


if __name__ == "__main__":
    main()
