#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: workload_entry_info
version_added: 0.1.0
short_description: What virtual machines registered in the mesh, and why it is not right
author: hybridmesh.istio contributors (@hybridmesh)
description:
  - Reads the WorkloadEntries of virtual machines, compares each with its WorkloadGroup, and gives a verdict with a
    stable reason, the evidence and the next step.
  - With O(timeout) it waits until all are right. It lists once and then watches, over one connection for any number of
    virtual machines, and goes on after a restart of the API server or a compacted watch.
  - Runs where the Kubernetes API is reached, usually the controller. Changes nothing.
options:
  group:
    description:
      - WorkloadGroup, as C(namespace/name), or C(name) with O(namespace), of all virtual machines that name none.
      - Alone, without O(hosts), O(addresses), O(entries) and O(vms), it means each entry that istiod made for the group.
        Their names in the answer are C(namespace/entry).
    type: str
  namespace:
    description: Namespace of the groups that are given by name only.
    type: str
  count:
    description: How many entries there must be at least, where O(group) alone is given.
    type: int
  hosts:
    description:
      - The virtual machines, as a mapping of their names to their addresses in the mesh, or to what O(vms) has for each.
      - An address of null gives the verdict V(no_address).
    type: dict
  addresses:
    description: Addresses of virtual machines of O(group); these are their names in the answer, too.
    type: list
    elements: str
  entries:
    description: Names of WorkloadEntries of O(group), whatever their address; their names in the answer, too.
    type: list
    elements: str
  state:
    description: Whether the entries are expected to be there.
    type: str
    choices: [present, absent]
    default: present
  vms:
    description: The virtual machines, each with what is expected of it.
    type: list
    elements: dict
    suboptions:
      name:
        description: What the virtual machine is called in the answer, as its inventory name.
        type: str
        required: true
      group:
        description: Its WorkloadGroup. Null means O(group).
        type: str
      address:
        description: Its address in the mesh. Null, together with no O(vms[].entry), gives the verdict V(no_address).
        type: str
      entry:
        description: The entry's name, where it is not the one that istiod makes of group, address and network.
        type: str
      state:
        description: Whether the entry is expected to be there. Null means O(state).
        type: str
        choices: [present, absent]
      labels:
        description: Labels that the entry must have at least. Null means those of the WorkloadGroup.
        type: dict
      network:
        description: The entry's network. Null means that of the WorkloadGroup, if it has one.
        type: str
      service_account:
        description: The entry's service account. Null means that of the WorkloadGroup.
        type: str
      locality:
        description: The entry's locality. Null means that of the WorkloadGroup, if it has one.
        type: str
      ports:
        description: The entry's ports by name. Null means those of the WorkloadGroup, if it has any.
        type: dict
      health:
        description: Whether the entry must be reported healthy. Null means yes where the WorkloadGroup has a probe.
        type: bool
  check_istiod:
    description:
      - Whether an entry whose istiod is gone is V(stale). Its sidecar is about to connect to another istiod, or can't.
      - To know this, C(pods) in O(istio_namespace) are listed. Where there is none (istiod runs in another cluster),
        nothing is said.
    type: bool
    default: true
  istio_namespace:
    description: Namespace of istiod.
    type: str
    default: istio-system
  timeout:
    description:
      - Seconds to wait until every entry is right. V(0) looks once.
      - The wait ends early where the remaining faults can't pass by themselves, as V(wrong_labels).
    type: int
    default: 0
  max_connection_age:
    description:
      - Seconds after which istiod ends a proxy's connection (its C(--keepaliveMaxServerConnectionAge)). An entry whose
        connection is older than one and a half times that is V(stale). V(0) leaves this unjudged.
    type: int
    default: 1800
  fail_on_mismatch:
    description: Whether the module fails where a verdict is not V(ok). Otherwise it only reports.
    type: bool
    default: true
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
seealso:
  - module: hybridmesh.istio.mesh_probe
  - module: hybridmesh.istio.workload_probe
"""

EXAMPLES = r"""
- name: Wait until both virtual machines are registered and healthy
  hybridmesh.istio.workload_entry_info:
    group: chapter10vm/envoydummy
    hosts:
      vm1: 10.88.0.21
      vm2: 10.88.0.22
    timeout: 60
  delegate_to: localhost

- name: Is every entry of the group right, and are there two at least?
  hybridmesh.istio.workload_entry_info:
    group: chapter10vm/envoydummy
    count: 2
  delegate_to: localhost

- name: Ask about labels and locality, and go on whatever the answer is
  hybridmesh.istio.workload_entry_info:
    vms:
      - name: vm1
        group: chapter10vm/envoydummy
        address: 10.88.0.21
        labels:
          version: v2
        locality: ""
    fail_on_mismatch: false
  register: entries
  delegate_to: localhost

- name: Say what is wrong with each
  ansible.builtin.debug:
    msg: "{{ item.vm }} {{ item.verdict }}: {{ item.evidence }}"
  loop: "{{ entries.verdicts | rejectattr('ok') }}"

- name: See that an offboarded virtual machine's entry is gone
  hybridmesh.istio.workload_entry_info:
    namespace: chapter10vm
    vms:
      - name: vm3
        group: envoydummy
        address: 10.88.0.23
        state: absent
    timeout: 30
  delegate_to: localhost
"""

RETURN = r"""
verdicts:
  description: A verdict for each virtual machine, in the order asked.
  returned: always, unless the API could not be read
  type: list
  elements: dict
  contains:
    vm:
      description: The virtual machine's name, as asked.
      type: str
      sample: vm1
    ok:
      description: Whether everything is as expected.
      type: bool
    verdict:
      description:
        - V(ok), or the first reason against it, in the order of what has to be mended first.
        - V(not_registered), there is no entry; V(not_absent), there is one that should be gone.
        - V(disconnected), the sidecar is not connected to istiod; V(stale), it only seems to be.
        - V(unhealthy), its probe fails, or has said nothing yet.
        - V(wrong_labels), V(wrong_network), V(wrong_service_account), V(wrong_locality), V(wrong_ports),
          V(wrong_address) and V(wrong_group), the entry differs from what is expected there.
        - V(duplicate_address), another virtual machine has the same address.
        - V(group_missing), there is no such WorkloadGroup; V(no_address), nobody said where the machine is.
      type: str
      sample: unhealthy
    evidence:
      description: What was seen, empty where all is well.
      type: str
      sample: "its probe fails: HTTP probe failed with statuscode: 500"
    next_step:
      description: What to do now, empty where all is well.
      type: str
    entry:
      description: Name of the WorkloadEntry, null where there is none.
      type: str
      sample: envoydummy-10.88.0.21-network1
    namespace:
      description: Namespace of the group.
      type: str
      sample: chapter10vm
    group:
      description: Name of the WorkloadGroup.
      type: str
      sample: envoydummy
    address:
      description: The address expected, or the entry's.
      type: str
      sample: 10.88.0.21
    network:
      description: The entry's network.
      type: str
      sample: network1
    service_account:
      description: The entry's service account.
      type: str
      sample: chapter10-sa
    locality:
      description: The entry's locality.
      type: str
      sample: ""
    labels:
      description: The entry's labels.
      type: dict
      sample: {app: envoydummy, version: v2}
    health:
      description: V(healthy), V(unhealthy), or V(not_checked) where the virtual machine reports no probe.
      type: str
      sample: healthy
    connected_at:
      description: Since when the sidecar has been connected to istiod.
      type: str
      sample: "2026-11-23T15:00:00.123456789Z"
    settled:
      description: Whether the fault stays until somebody changes something.
      type: bool
by_verdict:
  description: The names of the virtual machines by verdict.
  returned: always, unless the API could not be read
  type: dict
  sample: {ok: [vm1], unhealthy: [vm2]}
failed_vms:
  description: Names of the virtual machines whose verdict is not V(ok).
  returned: always, unless the API could not be read
  type: list
  elements: str
  sample: [vm2]
waited:
  description: Seconds spent waiting.
  returned: always, unless the API could not be read
  type: float
  sample: 2.4
requests:
  description: Requests sent to the API server.
  returned: always, unless the API could not be read
  type: int
  sample: 3
"""

import gc
import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _cluster_module
from ansible_collections.hybridmesh.istio.plugins.module_utils._cluster import istiod_names
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._expectation import (
    OF_A_VM,
    expectation_from,
    split_group,
    vms_of,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._jury import Jury, follow
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import ApiError
from ansible_collections.hybridmesh.istio.plugins.module_utils._watch import Follower

API = "/apis/networking.istio.io/v1"


def read_groups(cluster, names):
    """The WorkloadGroups of these names, by (namespace, name); None for those that do not exist."""
    return {
        key: cluster.get("{}/namespaces/{}/workloadgroups/{}".format(API, *key)) if key[0] and key[1] else None
        for key in names
    }


def entries_path(namespaces):
    """The collection to follow: one namespace's, or all where the VMs are of several."""
    found = sorted(filter(None, namespaces))
    return f"{API}/namespaces/{found[0]}/workloadentries" if len(found) == 1 else f"{API}/workloadentries"


def message_of(verdicts):
    """Reasons first, the failing ones only, at most twenty."""
    failed = [verdict for verdict in verdicts if not verdict["ok"]]
    lines = ["{vm}: {verdict}. Found: {evidence}. Next step: {next_step}.".format(**verdict) for verdict in failed[:20]]
    if len(failed) > 20:
        lines.append(f"... and {len(failed) - 20} more, see failed_vms.")
    return f"{len(failed)} of {len(verdicts)} virtual machines are not as expected.\n" + "\n".join(lines)


def whole_group(params):
    """The (namespace, name) of the group of which each entry is meant; None where VMs are named."""
    if any(params[option] is not None for option in ("vms", "hosts", "addresses", "entries")):
        return None
    if not params["group"]:
        raise MeshError(
            "neither group nor hosts, vms, addresses or entries", "what to look at", "set one of these options"
        )
    return split_group(params["group"], params["namespace"])


def run(module: _cluster_module.Task, cluster: Cluster) -> dict[str, t.Any]:
    """Follows the entries until all is as expected, or time is up."""
    # Thousands of entries are hundreds of thousands of objects without a cycle among them. Looking for cycles would take
    # a fifth of the module's time; memory is given back all the same.
    gc.disable()
    params = module.params
    vms, whole = vms_of(params), whole_group(params)
    needed = {(vm["namespace"], vm["group"]) for vm in vms if vm["state"] == "present"} | {whole} - {None}
    groups = read_groups(cluster, sorted(needed))
    expectations = [expectation_from(vm, groups.get((vm["namespace"], vm["group"]))) for vm in vms]
    of_whole = {}
    if whole:
        sample = {"name": "{}/{}".format(*whole), "namespace": whole[0], "group": whole[1], "entry": "*"}
        expected = expectation_from(dict(sample, state=params["state"]), groups[whole])
        if expected.impossible:
            expectations.append(expected)
        of_whole[whole] = expected
    asked = []

    def istiods():
        if not params["check_istiod"]:
            return ()
        asked.append(1)
        try:
            return istiod_names(cluster, params["istio_namespace"])
        except ApiError as error:
            if error.status == 403:
                error.next_step += "; or set check_istiod to false"
            raise

    def enough():
        return not whole or len(jury.verdicts) >= (params["count"] or 0)

    jury = Jury(expectations, of_whole, params["max_connection_age"], istiods)
    follower = Follower(cluster, entries_path({expected.namespace for expected in [*expectations, *of_whole.values()]}))
    started = time.monotonic()
    if expectations and all(expected.impossible for expected in expectations):
        jury.judge(expectations, follower.now())
    else:
        for _judged in follow(jury, follower, started + params["timeout"], enough):
            pass
    verdicts = list(jury.verdicts.values()) if whole else [jury.verdicts[vm["name"]] for vm in vms]
    by_verdict: dict[str, list[str]] = {}
    for verdict in verdicts:
        by_verdict.setdefault(verdict["verdict"], []).append(verdict["vm"])
    result = {
        "changed": False,
        "verdicts": verdicts,
        "by_verdict": by_verdict,
        "failed_vms": [verdict["vm"] for verdict in verdicts if not verdict["ok"]],
        "waited": round(time.monotonic() - started, 3),
        "requests": follower.requests + len(groups) + len(asked),
    }
    if params["fail_on_mismatch"] and result["failed_vms"]:
        return dict(result, failed=True, msg=message_of(verdicts))
    if params["fail_on_mismatch"] and whole and not enough():
        return dict(result, failed=True, msg=too_few(params, whole, len(verdicts)))
    return result


def too_few(params, whole, found):
    error = MeshError(
        "{} of {} virtual machines of WorkloadGroup {}/{} are registered".format(found, params["count"], *whole),
        "all of them",
        "see which of them are missing, and /var/log/istio/istio.log there",
    )
    return str(error)


OPTIONS: dict[str, t.Any] = {
    "vms": {
        "type": "list",
        "elements": "dict",
        "options": dict({"name": {"type": "str", "required": True}}, **OF_A_VM),
    },
    "hosts": {"type": "dict"},
    "addresses": {"type": "list", "elements": "str"},
    "entries": {"type": "list", "elements": "str"},
    "group": {"type": "str"},
    "namespace": {"type": "str"},
    "count": {"type": "int"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "check_istiod": {"type": "bool", "default": True},
    "istio_namespace": {"type": "str", "default": "istio-system"},
    "timeout": {"type": "int", "default": 0},
    "max_connection_age": {"type": "int", "default": 1800},
    "fail_on_mismatch": {"type": "bool", "default": True},
}
WHOLE_OR_NAMED = [("count", option) for option in ("vms", "hosts", "addresses", "entries")]
DEFINITION = _cluster_module.Definition(OPTIONS, run, WHOLE_OR_NAMED)


def main() -> None:
    """Runs the module."""
    _cluster_module.main(DEFINITION)


if __name__ == "__main__":
    main()
