#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: graph_info
version_added: 0.1.0
short_description: Services, pods and virtual machines of a mesh, and what its proxies in the cluster do
author: hybridmesh.istio contributors (@hybridmesh)
description:
  - Lists the Services, the pods with a proxy of the mesh and the WorkloadEntries, then reads the counters of the pods' Envoys
    twice, O(interval) seconds apart, and how they talk to those endpoints that had traffic.
  - Asks Envoy's admin interface, through the agent in each proxy's container. Needs neither Prometheus nor Kiali.
  - Sends no requests to workloads and changes nothing. A proxy that can't be read is no failure, but told in RV(samples).
  - Runs where the Kubernetes API is reached, usually the controller.
options:
  namespaces:
    description: Namespaces to look at. Empty means all, for which the user must be allowed to list in the whole cluster.
    type: list
    elements: str
    default: []
  interval:
    description: Seconds between the two readings of a proxy.
    type: float
    default: 5
  pods_per_workload:
    description: Pods to read of each workload at most, those that are ready first. V(0) reads all.
    type: int
    default: 3
  timeout:
    description: Seconds for reading all proxies. Those whose turn does not come are told as not read.
    type: int
    default: 120
  admin_port:
    description: Port of Envoy's admin interface on the pods' loopback address.
    type: int
    default: 15000
extends_documentation_fragment:
  - hybridmesh.istio.attributes
  - hybridmesh.istio.attributes.cluster
  - hybridmesh.istio.cluster
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
requirements:
  - websocket-client (Python library), which the kubernetes library brings
seealso:
  - module: hybridmesh.istio.graph_sample_info
  - plugin: hybridmesh.istio.mesh_graph
    plugin_type: filter
"""

EXAMPLES = r"""
- name: See who talks to whom in two namespaces
  hybridmesh.istio.graph_info:
    namespaces: [chapter10, chapter10vm]
    interval: 10
  delegate_to: localhost
  register: graph
"""

RETURN = r"""
mesh:
  description: C(id) and C(cluster) as the proxies are told, null where there are no pods.
  returned: always
  type: dict
  sample: {id: mesh1, cluster: cluster1}
services:
  description: C(name), C(namespace), C(type), C(selector) and C(ports) of each Service.
  returned: always
  type: list
  elements: dict
pods:
  description:
    - C(name), C(namespace), C(workload), C(kind) (V(pod) or V(gateway)), C(address), C(labels), C(running), C(ready) and
      C(proxy_version) of each pod with a proxy.
  returned: always
  type: list
  elements: dict
workload_entries:
  description:
    - C(name), C(namespace), C(group), C(address), C(labels), C(connected) and C(health) (V(healthy), V(unhealthy) or
      V(not_checked)) of each WorkloadEntry.
  returned: always
  type: list
  elements: dict
samples:
  description:
    - One for each pod that was chosen, with C(namespace), C(pod), C(sample) (as of M(hybridmesh.istio.graph_sample_info))
      and C(unread), why there is no sample or no security in it.
  returned: always
  type: list
  elements: dict
"""

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _cluster_module, _graph_pods, _workload_entry
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster

Mapping = t.Mapping[str, t.Any]
Result = t.Dict[str, t.Any]

ENTRIES = ("/apis/networking.istio.io/v1", "workloadentries")
SERVICES = ("/api/v1", "services")
PODS = ("/api/v1", "pods")


def collect(
    cluster: Cluster,
    kind: tuple[str, str],
    namespaces: t.Iterable[str],
    convert: t.Callable[[Mapping], Result | None],
) -> list[Result]:
    """What `convert` makes of all objects of a kind, without those it makes None of."""
    api, plural = kind
    paths = [f"{api}/namespaces/{name}/{plural}" for name in sorted(set(namespaces))] or [f"{api}/{plural}"]
    found = (convert(item) for path in paths for item in cluster.list_all(path))
    return [item for item in found if item is not None]


def entry_from(resource: Mapping) -> Result:
    """What a graph needs of a WorkloadEntry."""
    entry = _workload_entry.entry_from(resource)
    names = ("name", "namespace", "group", "address", "connected", "health")
    return dict({name: getattr(entry, name) for name in names}, labels=dict(entry.labels))


def run(module: _cluster_module.Task, cluster: Cluster) -> Result:
    """Lists, chooses and reads."""
    params = module.params
    namespaces = params["namespaces"]
    services = collect(cluster, SERVICES, namespaces, _graph_pods.service_from)
    pods = collect(cluster, PODS, namespaces, _graph_pods.pod_from)
    entries = collect(cluster, ENTRIES, namespaces, entry_from)
    meshes = [pod.pop("mesh") for pod in pods]
    reader = _graph_pods.Reader(cluster, params["admin_port"], params["timeout"])
    samples = reader.read(_graph_pods.choose(pods, params["pods_per_workload"]), params["interval"])
    return {
        "changed": False,
        "mesh": next((mesh for mesh in meshes if mesh["id"]), None),
        "services": services,
        "pods": pods,
        "workload_entries": entries,
        "samples": samples,
    }


OPTIONS: dict[str, t.Any] = {
    "namespaces": {"type": "list", "elements": "str", "default": []},
    "interval": {"type": "float", "default": 5},
    "pods_per_workload": {"type": "int", "default": 3},
    "timeout": {"type": "int", "default": 120},
    "admin_port": {"type": "int", "default": 15000},
}
DEFINITION = _cluster_module.Definition(OPTIONS, run)


def main() -> None:
    """Runs the module."""
    _cluster_module.main(DEFINITION)


if __name__ == "__main__":
    main()
