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
  vms:
    description: The virtual machines whose entries are wanted.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What the virtual machine is called in the answer, as its inventory name.
        type: str
        required: true
      group:
        description: Its WorkloadGroup, as C(namespace/name), or C(name) with O(namespace).
        type: str
        required: true
      address:
        description: Its address in the mesh. Null, together with no O(vms[].entry), gives the verdict V(no_address).
        type: str
      entry:
        description: The entry's name, where it is not the one that istiod makes of group, address and network.
        type: str
      state:
        description: Whether the entry is expected to be there.
        type: str
        choices: [present, absent]
        default: present
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
  namespace:
    description: Namespace of the groups that are given by name only.
    type: str
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
    vms:
      - name: vm1
        group: chapter10vm/envoydummy
        address: 10.88.0.21
      - name: vm2
        group: chapter10vm/envoydummy
        address: 10.88.0.22
    timeout: 60
  delegate_to: localhost

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
        - V(ok), V(not_registered), V(disconnected), V(unhealthy), V(stale), V(wrong_labels), V(wrong_network),
          V(wrong_service_account), V(wrong_locality), V(wrong_ports), V(wrong_address), V(wrong_group),
          V(duplicate_address), V(group_missing), V(no_address), or V(not_absent).
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

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hybridmesh.istio.plugins.module_utils import _workload_entry as core
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import (
    Cluster,
    connection_argument_spec,
    hide_secrets,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._watch import RESET, SYNCED, Follower

API = "/apis/networking.istio.io/v1"


def read_groups(cluster, vms):
    """The WorkloadGroups of the VMs, by (namespace, name); None for those that do not exist."""
    groups = {}
    for vm in vms:
        key = (vm["namespace"], vm["group"])
        if key not in groups and vm["state"] == "present":
            groups[key] = (
                cluster.get("{}/namespaces/{}/workloadgroups/{}".format(API, *key)) if key[0] and key[1] else None
            )
    return groups


def entries_path(expectations):
    """The collection to follow: one namespace's, or all where the VMs are of several."""
    namespaces = sorted({expected.namespace for expected in expectations if expected.namespace})
    if len(namespaces) == 1:
        return f"{API}/namespaces/{namespaces[0]}/workloadentries"
    return f"{API}/workloadentries"


class Jury:
    """The verdicts so far; judges again only those that a change concerns."""

    def __init__(self, expectations, max_connection_age):
        self.expectations = expectations
        self.max_connection_age = max_connection_age
        self.book = core.Book()
        self.verdicts = {}
        self._twins = core.twins_of(expectations)
        self._by_address: dict[str, t.Any] = {}
        for expected in expectations:
            self._by_address.setdefault(expected.address, []).append(expected)
        # Expected by name, wherever their address may be.
        self._by_name = {expected.name: expected for expected in expectations if expected.name}

    def judge(self, expectations, now):
        for expected in expectations:
            self.verdicts[expected.vm] = core.judge(
                expected, self.book, now, self.max_connection_age, self._twins.get(expected.vm, ())
            )

    def concerned(self, addresses, name):
        found = [expected for address in addresses for expected in self._by_address.get(address, ())]
        return [*found, self._by_name[name]] if name in self._by_name else found

    def wanted(self, resource):
        """Whether an entry can matter; the others are not kept."""
        address = (resource.get("spec") or {}).get("address") or ""
        return address in self._by_address or (resource.get("metadata") or {}).get("name") in self._by_name

    def finished(self):
        """Whether nothing is left to wait for."""
        return all(verdict["ok"] or verdict["settled"] for verdict in self.verdicts.values())


def follow(jury, follower, deadline):
    """Judges all, and again whatever changes, until all is said or the deadline is there."""
    listing = True
    for kind, resource in follower.changes(deadline):
        if kind == RESET:
            listing = True
            jury.book.clear()
            continue
        if kind == SYNCED:
            listing = False
            jury.judge(jury.expectations, follower.now())
        elif kind == "DELETED" or jury.wanted(resource):
            entry = core.entry_from(resource)
            touched = jury.book.drop(entry) if kind == "DELETED" else jury.book.put(entry)
            if not listing:
                jury.judge(jury.concerned(touched, entry.name), follower.now())
        if not listing and jury.finished():
            return


def message_of(verdicts):
    """Reasons first, the failing ones only, at most twenty."""
    failed = [verdict for verdict in verdicts if not verdict["ok"]]
    lines = ["{vm}: {verdict}. Found: {evidence}. Next step: {next_step}.".format(**verdict) for verdict in failed[:20]]
    if len(failed) > 20:
        lines.append(f"... and {len(failed) - 20} more, see failed_vms.")
    return f"{len(failed)} of {len(verdicts)} virtual machines are not as expected.\n" + "\n".join(lines)


def run(module):
    params = module.params
    vms = []
    for vm in params["vms"]:
        namespace, group = core.split_group(vm["group"], params["namespace"])
        vms.append(dict(vm, namespace=namespace, group=group))
    cluster = Cluster(params)
    groups = read_groups(cluster, vms)
    expectations = [core.expectation_from(vm, groups.get((vm["namespace"], vm["group"]))) for vm in vms]
    jury = Jury(expectations, params["max_connection_age"])
    follower = Follower(cluster, entries_path(expectations))
    started = time.monotonic()
    if all(expected.impossible for expected in expectations):
        jury.judge(expectations, follower.now())
    else:
        follow(jury, follower, started + params["timeout"])
    verdicts = [jury.verdicts[vm["name"]] for vm in vms]
    result = {
        "changed": False,
        "verdicts": verdicts,
        "failed_vms": [verdict["vm"] for verdict in verdicts if not verdict["ok"]],
        "waited": round(time.monotonic() - started, 3),
        "requests": follower.requests + len(groups),
    }
    if result["failed_vms"] and params["fail_on_mismatch"]:
        module.fail_json(msg=message_of(verdicts), **result)
    module.exit_json(**result)


def main():
    module = AnsibleModule(
        argument_spec=dict(
            connection_argument_spec(),
            vms={
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "group": {"type": "str", "required": True},
                    "address": {"type": "str"},
                    "entry": {"type": "str"},
                    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
                    "labels": {"type": "dict"},
                    "network": {"type": "str"},
                    "service_account": {"type": "str"},
                    "locality": {"type": "str"},
                    "ports": {"type": "dict"},
                    "health": {"type": "bool"},
                },
            },
            namespace={"type": "str"},
            timeout={"type": "int", "default": 0},
            max_connection_age={"type": "int", "default": 1800},
            fail_on_mismatch={"type": "bool", "default": True},
        ),
        supports_check_mode=True,
    )
    hide_secrets(module)
    try:
        run(module)
    except MeshError as error:
        module.fail_json(msg=str(error), found=error.found, expected=error.expected, next_step=error.next_step)


if __name__ == "__main__":
    main()
