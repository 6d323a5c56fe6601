#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Services virtual machines serve, and how many of each there are."""

from __future__ import annotations

DOCUMENTATION = r"""
module: workload_capacity_info
short_description: Services of virtual machines, and who may be restarted together
version_added: 0.1.0
description:
  - Reads which Services select the WorkloadEntries of virtual machines, how many VMs of each serve now, and divides the VMs
    into waves, so that no Service loses more than O(share) of its VMs at a time.
  - Only Services are counted; a ServiceEntry with a workloadSelector is not.
  - Three requests for each namespace, however many VMs there are, and four more where a VM would be refused though another run
    has taken machines out.
author:
  - hybridmesh.istio contributors (@hybridmesh)
extends_documentation_fragment:
  - hybridmesh.istio.attributes
  - hybridmesh.istio.attributes.cluster
  - hybridmesh.istio.cluster
options:
  vms:
    description: The virtual machines.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What it is called in the answer.
        type: str
        required: true
      group:
        description: Its WorkloadGroup, as C(namespace/name).
        type: str
        required: true
      address:
        description: Its address in the mesh.
        type: str
  restart:
    description: Names of those that are to be restarted. By default all.
    type: list
    elements: str
  running:
    description:
      - Names of those whose sidecar runs. Where such a one has no entry, or one that is not as its group says, it is among
        those to be restarted, too, and RV(mend) tells why.
      - Where one has connected a moment ago and has not reported its health yet, this is waited for, as long as its group's probe may
        take. A report that does not come has been lost, and only a restart makes the sidecar repeat it.
    type: list
    elements: str
    default: []
  workload:
    description: A workload of the mesh as a client. Whether it has the machines as endpoints is told then.
    type: dict
    suboptions:
      namespace:
        description: Its namespace.
        type: str
        required: true
      deployment:
        description: Name of its Deployment.
        type: str
        required: true
      container:
        description: Not used; it is allowed so that the same dictionary serves other modules as well.
        type: str
  share:
    description: Share of a Service's VMs that may be out at a time, from 0 to 1. One VM always may, as long as no other is.
    type: float
    default: 0.34
  canaries:
    description: How many VMs make the first wave. V(0) treats the first wave as any other.
    type: int
    default: 0
  most:
    description: How many VMs make a wave at most. V(0) sets no limit.
    type: int
    default: 0
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Who may be restarted together
  hybridmesh.istio.workload_capacity_info:
    vms:
      - {name: vm1, group: shop/billing, address: 192.0.2.21}
      - {name: vm2, group: shop/billing, address: 192.0.2.22}
    share: 0.5
  delegate_to: localhost
"""

RETURN = r"""
vms:
  description:
    - By name, C(entry) (name or null), C(connected), C(healthy) (null without a probe), C(checked) (there is a probe),
      C(serving), C(drained) (by this collection), C(away) (drained, or noted as taken out), C(services), C(outdated), why the entry has to be made anew,
      C(mute), whether it holds no report of its health, though it should by now, and C(report_within), in how many seconds
      the first one is to be expected, or null.
  returned: always
  type: dict
seen:
  description: For each machine, whether the client has it as an endpoint. Null where no client could be asked.
  returned: always
  type: dict
services:
  description: By C(namespace/name), how many VMs there are (C(total)) and C(serving).
  returned: always
  type: dict
mend:
  description: Why those of O(running) have to be restarted that the mesh does not have as it should, by name.
  returned: always
  type: dict
waves:
  description: Names of the VMs to restart, those that may be restarted together in a list each.
  returned: always
  type: list
  elements: list
refused:
  description: Why a VM can't be restarted now, by name.
  returned: always
  type: dict
"""

import contextlib
import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import (
    _capacity,
    _clients,
    _cluster_module,
    _lock,
    _pod_reach,
    _share,
    _turn,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._exec import ExecError
from ansible_collections.hybridmesh.istio.plugins.module_utils._expectation import split_group
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import ApiError


def read(
    cluster: Cluster,
    vms: t.Sequence[t.Mapping[str, t.Any]],
    running: t.Collection[str],
    noted: t.Collection[_capacity.Key] = (),
) -> dict[str, t.Any]:
    """What `_capacity.survey` returns."""
    namespaces = sorted({vm["namespace"] for vm in vms})
    entries, services = _turn.entries_of(cluster, namespaces), _turn.services_of(cluster, namespaces)
    groups: dict[tuple[str, str], t.Any] = {}
    for vm in vms:
        key = (vm["namespace"], vm["group"])
        if key not in groups:
            groups[key] = cluster.get("{}/{}/workloadgroups/{}".format(_turn.API, *key))
    return _capacity.survey(vms, entries, services, groups, _turn.now_of(cluster), running, noted)


def settled(cluster: Cluster, vms: t.Sequence[t.Mapping[str, t.Any]], running: t.Collection[str]) -> dict[str, t.Any]:
    """What `read` returns, as soon as no running sidecar may still report its health for the first time."""
    while True:
        known = read(cluster, vms, running)
        left = _capacity.undecided(known, running)
        if not left:
            return known
        time.sleep(min(2.0, max(left.values()) + 0.1))


def taken_out(cluster: Cluster, vms: t.Sequence[t.Mapping[str, t.Any]]) -> set[_capacity.Key]:
    """Machines that other runs have taken out, and bring back."""
    found: set[_capacity.Key] = set()
    for namespace in sorted({vm["namespace"] for vm in vms}):
        with contextlib.suppress(ApiError):
            lease = cluster.get(_share.lease(namespace).path)
            found |= {note.key for note in _share.notes_from(_lock.notes_of(lease), _turn.now_of(cluster))}
    return found


def seen(
    cluster: Cluster, workload: t.Mapping[str, t.Any] | None, vms: t.Sequence[t.Mapping[str, t.Any]]
) -> dict[str, bool] | None:
    """Whether a client has the machines as endpoints; None where there is none to ask."""
    if not workload:
        return None
    namespace = workload["namespace"]
    try:
        pod = _pod_reach.find_pod(cluster, namespace, workload["deployment"])
        found = _clients.seen_by(cluster, namespace, pod, {vm["address"] for vm in vms})
    except (_pod_reach.NotTested, ExecError, ApiError):
        return None
    return {vm["name"]: vm["address"] in found for vm in vms}


def run(module: _cluster_module.Task, cluster: Cluster) -> dict[str, t.Any]:
    """Reads and divides."""
    params = module.params
    _capacity.judge_share(params["share"])
    vms = []
    for vm in params["vms"]:
        namespace, group = split_group(vm["group"])
        if not namespace:
            raise MeshError(f"the group of {vm['name']} is {group!r}", "namespace/name", "set mesh_workload_group so")
        vms.append(dict(vm, namespace=namespace, group=group))
    known = settled(cluster, vms, params["running"])
    mend = _capacity.to_mend(known, params["running"])
    names = [vm["name"] for vm in vms]
    asked = set(names if params["restart"] is None else params["restart"]) | set(mend)
    order = [name for name in names if name in asked]
    found, refused = _capacity.waves(order, known, params["share"], params["canaries"], params["most"])
    noted = taken_out(cluster, vms) if refused else None
    if noted:
        # One that starts anew has not yet reported its health.
        known = read(cluster, vms, params["running"], noted)
        found, refused = _capacity.waves(order, known, params["share"], params["canaries"], params["most"])
    known["seen"] = seen(cluster, params["workload"], vms)
    return dict(known, changed=False, mend=mend, waves=found, refused=refused)


OPTIONS: dict[str, t.Any] = {
    "vms": _cluster_module.VMS,
    "restart": {"type": "list", "elements": "str"},
    "running": {"type": "list", "elements": "str", "default": []},
    "workload": _cluster_module.WORKLOAD,
    "share": {"type": "float", "default": 0.34},
    "canaries": {"type": "int", "default": 0},
    "most": {"type": "int", "default": 0},
}


DEFINITION = _cluster_module.Definition(OPTIONS, run)


def main() -> None:
    """Runs the module."""
    _cluster_module.main(DEFINITION)


if __name__ == "__main__":
    main()
