#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shuts a virtual machine that is gone or stolen out of the mesh."""

from __future__ import annotations

DOCUMENTATION = r"""
module: workload_lost
short_description: Shuts a virtual machine that is gone or stolen out of the mesh
version_added: 0.1.0
description:
  - Deletes the WorkloadEntry of a machine, and denies its identity in the whole mesh by an AuthorizationPolicy in the namespace of
    istiod. Says in RV(left_open) what that does not shut.
  - All machines of a group have one identity. Where others use it, it is refused to deny it, unless they may be shut out, too.
author:
  - hybridmesh.istio contributors (@hybridmesh)
extends_documentation_fragment:
  - hybridmesh.istio.attributes
  - hybridmesh.istio.attributes.cluster
  - hybridmesh.istio.cluster
options:
  state:
    description: V(present) shuts it out; V(absent) takes the policy away, for a machine that was found again.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: The machine's name.
    type: str
    required: true
  group:
    description: Its WorkloadGroup, as C(namespace/name).
    type: str
    required: true
  address:
    description: Its address in the mesh.
    type: str
    required: true
  deny:
    description:
      - What is denied. V(identity), wherever it comes from; V(address), the identity at this address alone, so that other machines
        of the group go on; V(none), nothing.
    type: str
    choices: [identity, address, none]
    default: identity
  accept_others:
    description: Whether other machines with the same identity may be shut out, too.
    type: bool
    default: false
  istio_namespace:
    description: Namespace of istiod, which is taken for the mesh's root namespace.
    type: str
    default: istio-system
  revision:
    description: Revision of istiod, or a tag for one. By default what the tag V(default) stands for.
    type: str
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
seealso:
  - module: hybridmesh.istio.workload_drain
"""

EXAMPLES = r"""
- name: A stolen machine, whose group has others
  hybridmesh.istio.workload_lost:
    name: vm3
    group: shop/billing
    address: 192.0.2.23
    deny: address
  delegate_to: localhost
"""

RETURN = r"""
identity:
  description: The machine's identity.
  returned: always
  type: str
others:
  description: Names of other WorkloadEntries with the same identity.
  returned: always
  type: list
  elements: str
left_open:
  description: What whoever has the machine can still do, in words.
  returned: always
  type: list
  elements: str
report:
  description: What was changed, or would be.
  returned: always
  type: list
  elements: str
"""

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import (
    _cluster,
    _cluster_module,
    _lost,
    _manifest,
    _workload_entry,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._apply import Applier
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._expectation import split_group
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Change
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import ApiError

API = "/apis/networking.istio.io/v1/namespaces"


def delete_entry(cluster: Cluster, entry: _workload_entry.Entry) -> None:
    """Deletes an entry; one that went away meanwhile is as good."""
    try:
        cluster.request("DELETE", f"{API}/{entry.namespace}/workloadentries/{entry.name}")
    except ApiError as error:
        if error.status != 404:
            raise


def refuse_others(params: t.Mapping[str, t.Any], identity: str, others: list[str]) -> None:
    """Refuses to shut out machines that nobody spoke of."""
    if params["state"] == "present" and params["deny"] == "identity" and others and not params["accept_others"]:
        raise MeshError(
            f"{identity} is also the identity of {', '.join(others)}",
            "only the lost machine is shut out",
            "deny its address alone (deny: address), move the others to a group with another ServiceAccount, or accept that they "
            "are shut out (accept_others: true)",
        )


def run(module: _cluster_module.Task, cluster: Cluster) -> dict[str, t.Any]:
    """Shuts it out, or lets it in again."""
    params = module.params
    namespace, name = split_group(params["group"])
    group = _cluster.read_group(cluster, namespace, name) or {}
    mesh = _cluster.read_mesh(cluster, params["istio_namespace"], params["revision"] or None)
    if mesh is None:
        raise MeshError("there is no istiod", "Istio in the cluster", "see istio_namespace and revision")
    account = ((group.get("spec") or {}).get("template") or {}).get("serviceAccount") or "default"
    entries = [_workload_entry.entry_from(item) for item in cluster.list_all(f"{API}/{namespace}/workloadentries")]
    own = [entry for entry in entries if (entry.group, entry.address) == (name, params["address"])]
    others = [entry.name for entry in entries if (entry.service_account or "default") == account and entry not in own]
    identity = _lost.principal(mesh["trust_domain"], namespace, account)
    refuse_others(params, identity, others)
    address = params["address"] if params["deny"] == "address" else None
    item = _lost.policy(params["name"], identity, address, params["istio_namespace"])
    applier = Applier(cluster)
    changes: list[Change] = []
    if params["state"] == "absent" or params["deny"] == "none":
        live = applier.get(_manifest.ref(item))
        if live is not None:
            changes.append(Change(_manifest.ref(item), "delete", _manifest.normalised(live), None))
    else:
        changes.append(applier.preview(item))
    gone = own if params["state"] == "present" else []
    if not module.check_mode:
        for change in changes:
            if change.action == "delete":
                applier.delete(change.ref)
            elif change.action != "none":
                applier.apply(item)
        # After the policy: until then it may well connect anew.
        for entry in gone:
            delete_entry(cluster, entry)
    would = "would delete" if module.check_mode else "deleted"
    result: dict[str, t.Any] = {
        "changed": bool(gone) or any(change.action != "none" for change in changes),
        "identity": identity,
        "others": others,
        "left_open": _lost.left_open(identity, params["deny"], params["address"])
        if params["state"] == "present"
        else [],
        "report": _manifest.summary(changes, module.check_mode)
        + [f"{would} WorkloadEntry {entry.namespace}/{entry.name}" for entry in gone],
    }
    if module._diff:
        result["diff"] = _manifest.diff(changes)
    return result


OPTIONS: dict[str, t.Any] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "name": {"type": "str", "required": True},
    "group": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "deny": {"type": "str", "choices": ["identity", "address", "none"], "default": "identity"},
    "accept_others": {"type": "bool", "default": False},
    "istio_namespace": {"type": "str", "default": "istio-system"},
    "revision": {"type": "str"},
}


DEFINITION = _cluster_module.Definition(OPTIONS, run)


def main() -> None:
    """Runs the module."""
    _cluster_module.main(DEFINITION)


if __name__ == "__main__":
    main()
