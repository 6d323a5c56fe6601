#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes virtual machines out of their Services, back in, or out of the mesh."""

from __future__ import annotations

DOCUMENTATION = r"""
module: workload_drain
short_description: Takes virtual machines out of the mesh's load balancing
version_added: 0.1.0
description:
  - O(state=drained) sets the condition Healthy of the machines' WorkloadEntries to False, upon which istiod takes the
    endpoints from all clients. It lasts until the sidecar connects anew and reports its health, or O(state=restored).
  - istiod heeds the condition only where the group has a probe. Without one the entry is deleted instead; istiod makes it
    anew when the sidecar connects again, at the latest when istiod ends its connection (30 minutes by default). Labels and
    annotations that somebody added to that entry by hand are lost.
  - With O(share), O(state=drained) waits until no Service has more of its machines out than that, whoever took them out. Runs that
    ask for a share at the same time are let in one after the other, by the Lease C(hybridmesh-istio-drain) in the namespace of
    the machines' group. It is held for as long as it takes to look and to drain. Afterwards nobody holds it, and it notes who
    was taken out.
  - O(state=restored) lifts drains of this module's, those which an aborted run left behind included.
  - O(state=absent) deletes the entries of machines whose sidecar was stopped.
author:
  - hybridmesh.istio contributors (@hybridmesh)
extends_documentation_fragment:
  - hybridmesh.istio.attributes
  - hybridmesh.istio.attributes.cluster
  - hybridmesh.istio.cluster
options:
  state:
    description: What to bring about.
    type: str
    choices: [drained, restored, absent]
    default: drained
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
  renew:
    description: Names of those whose entry is deleted in any case, since it has to be made anew.
    type: list
    elements: str
    default: []
  share:
    description:
      - Share of a Service's machines that may be out at a time, from 0 to 1. One always may, as long as no other is out.
      - O(vms) are drained together or not at all. Those of them that serve nothing already take nothing.
      - Without it they are drained at once, whoever else is out.
    type: float
  share_timeout:
    description: Seconds to wait for O(share). Then the module fails, names what is out, and has drained nothing.
    type: int
    default: 1800
  not_counted:
    description: Further machines, which do not count as out, since they were before the run began that is about them.
    type: list
    elements: dict
    default: []
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
  away:
    description:
      - Seconds for which a machine that was taken out counts as out even where it has no WorkloadEntry, until it has one again. With
        O(share) alone.
    type: int
    default: 600
  workload:
    description: A workload of the mesh as the client whose endpoints are watched.
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
  timeout:
    description: Seconds to wait until the client no longer has the endpoints.
    type: int
    default: 15
  settle:
    description: Seconds to wait where there is no O(workload) to watch.
    type: float
    default: 3.0
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
seealso:
  - module: hybridmesh.istio.workload_capacity_info
"""

EXAMPLES = r"""
- name: Take a machine out before it is worked on
  hybridmesh.istio.workload_drain:
    vms:
      - {name: vm1, group: shop/billing, address: 192.0.2.21}
    workload: {namespace: shop, deployment: web}
  delegate_to: localhost

- name: And back in
  hybridmesh.istio.workload_drain:
    state: restored
    vms:
      - {name: vm1, group: shop/billing, address: 192.0.2.21}
  delegate_to: localhost
"""

RETURN = r"""
vms:
  description: By name, what was done, V(drained), V(deleted), V(restored) or V(nothing).
  returned: always
  type: dict
still_seen:
  description: Names of those that the watched client still had when the time was up.
  returned: always
  type: list
  elements: str
watched:
  description: The client's pod as C(namespace/name), null where none was watched.
  returned: always
  type: str
untouched:
  description: Whether the module failed before it drained any, so that all of them serve as before.
  returned: with O(share)
  type: bool
share_waited:
  description: Seconds until they could.
  returned: with O(share)
  type: float
waited:
  description: Seconds until the endpoints were gone.
  returned: always
  type: float
"""

import concurrent.futures
import datetime
import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import (
    _capacity,
    _clients,
    _cluster_module,
    _pod_reach,
    _turn,
    _workload_entry,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._exec import ExecError
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import ApiError

_THREADS = 8


def intention(state: str, entry: _workload_entry.Entry, renew: bool) -> str:
    """What has to be done to an entry."""
    if state == "absent" or (state == "drained" and renew):
        return "deleted"
    if state == "restored":
        return "restored" if _capacity.is_drained(entry) else "nothing"
    if not entry.health_checked:
        return "deleted"
    return "drained" if entry.healthy is True else "nothing"


def condition(healthy: bool) -> dict[str, t.Any]:
    """The condition that istiod reads, as a merge patch of the status."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    said = {"type": "Healthy", "status": str(healthy), "lastProbeTime": now, "lastTransitionTime": now}
    if not healthy:
        said["message"] = f"{_capacity.DRAINED} at {now}; lifted when the sidecar starts anew, or by the next run"
    return {"status": {"conditions": [said]}}


def act(cluster: Cluster, entry: _workload_entry.Entry, what: str) -> None:
    """Does it. An entry that went away meanwhile is as good as deleted."""
    path = f"{_turn.API}/{entry.namespace}/workloadentries/{entry.name}"
    try:
        if what == "deleted":
            cluster.request("DELETE", path)
        elif what in ("drained", "restored"):
            body = condition(what == "restored")
            cluster.request("PATCH", path + "/status", body=body, content_type="application/merge-patch+json")
    except ApiError as error:
        if error.status != 404:
            raise


def wait_until_gone(
    cluster: Cluster, params: t.Mapping[str, t.Any], addresses: t.Mapping[str, str]
) -> tuple[str | None, list[str], float]:
    """Waits until a client has none of the addresses; (pod, names still seen, seconds)."""
    started = time.monotonic()
    workload = params["workload"]
    try:
        if not workload:
            raise _pod_reach.NotTested("no client was named")
        pod = _pod_reach.find_pod(cluster, workload["namespace"], workload["deployment"])
        while True:
            left = _clients.seen_by(cluster, workload["namespace"], pod, addresses)
            if not left or time.monotonic() - started > params["timeout"]:
                break
            time.sleep(0.3)
    except (_pod_reach.NotTested, ExecError, ApiError):
        # Without a client to watch, or the right to, time has to do.
        time.sleep(params["settle"])
        return None, [], round(time.monotonic() - started, 3)
    watched = f"{workload['namespace']}/{pod}"
    return watched, sorted(addresses[address] for address in left), round(time.monotonic() - started, 3)


def plan(params: t.Mapping[str, t.Any], pairs: _turn.Pairs) -> dict[str, str]:
    """What has to be done, by machine."""
    done = {vm["name"]: "nothing" for vm in params["vms"]}
    for vm, entry in pairs:
        what = intention(params["state"], entry, vm["name"] in params["renew"])
        if what != "nothing":
            done[vm["name"]] = what
    return done


def act_on_all(cluster: Cluster, pairs: _turn.Pairs, done: t.Mapping[str, str]) -> None:
    """Does it to all of them."""
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(lambda pair: act(cluster, pair[1], done[pair[0]["name"]]), pairs))


def drain_within_share(module: _cluster_module.Task, cluster: Cluster, result: dict[str, t.Any]) -> _turn.Pairs:
    """Drains; the machines and their entries as they were before. Where the time was up, the result is a failure."""

    def drain(pairs: _turn.Pairs) -> dict[str, str]:
        done = plan(module.params, pairs)
        act_on_all(cluster, pairs, done)
        return done

    turn = _turn.Turn(module.params, cluster, drain)
    done, error = None, None
    try:
        done, result["share_waited"] = turn.wait()
    except MeshError as caught:
        if turn.begun:
            raise
        error = caught
    if done is not None:
        result.update(changed=any(what != "nothing" for what in done.values()), vms=done)
        return turn.pairs()
    error = error or _turn.too_late(turn)
    told = {"found": error.found, "expected": error.expected, "next_step": error.next_step}
    result.update(told, failed=True, untouched=True, msg=str(error))
    return []


def run(module: _cluster_module.Task, cluster: Cluster) -> dict[str, t.Any]:
    """Brings the state about."""
    params = module.params
    share = params["share"]
    if share is not None:
        _capacity.judge_share(share)
    namespaces = sorted({key[0] for key in _turn.keys_of(params["vms"])})
    pairs = _turn.paired(_turn.entries_of(cluster, namespaces), params["vms"])
    done = plan(params, pairs)
    changed = any(what != "nothing" for what in done.values())
    result: dict[str, t.Any] = {"changed": changed, "vms": done, "still_seen": [], "watched": None, "waited": 0.0}
    if share is not None:
        result.update(untouched=False, share_waited=0.0)
    if module.check_mode or not changed:
        return result
    if params["state"] == "drained" and share is not None:
        result.update(changed=False, vms=dict.fromkeys(done, "nothing"))
        pairs = drain_within_share(module, cluster, result)
    else:
        act_on_all(cluster, pairs, done)
    if params["state"] == "drained" and result["changed"]:
        addresses = {entry.address: vm["name"] for vm, entry in pairs if result["vms"][vm["name"]] != "nothing"}
        result["watched"], result["still_seen"], result["waited"] = wait_until_gone(cluster, params, addresses)
    return result


OPTIONS: dict[str, t.Any] = {
    "state": {"type": "str", "choices": ["drained", "restored", "absent"], "default": "drained"},
    "vms": _cluster_module.VMS,
    "renew": {"type": "list", "elements": "str", "default": []},
    "share": {"type": "float"},
    "share_timeout": {"type": "int", "default": 1800},
    "not_counted": {**_cluster_module.VMS, "required": False, "default": []},
    "away": {"type": "int", "default": 600},
    "workload": _cluster_module.WORKLOAD,
    "timeout": {"type": "int", "default": 15},
    "settle": {"type": "float", "default": 3.0},
}


DEFINITION = _cluster_module.Definition(OPTIONS, run)


def main() -> None:
    """Runs the module."""
    _cluster_module.main(DEFINITION)


if __name__ == "__main__":
    main()
