# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each reason of workload_entry_info, produced with entries that istiod made; and what a wait survives."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._watch import Follower
from ansible_collections.hybridmesh.istio.plugins.module_utils._workload_entry import REASONS
from conftest import ADDRESSES, Lab

GROUP = "chapter10vm/envoydummy"
ENTRY = "envoydummy-10.88.0.21-network1"
NOBODY = "10.88.0.99"
HOSTS = {vm: ADDRESSES[vm] for vm in ("vm1", "vm2")}
OTHER_GROUP = """\
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: other, namespace: chapter10vm}
spec: {template: {serviceAccount: chapter10-sa, network: network1}}
"""

# Reason -> what is asked for; the entries are right, the expectation is another one.
EXPECTED_OTHERWISE: dict[str, dict[str, t.Any]] = {
    "not_registered": {"addresses": [NOBODY]},
    "wrong_address": {"hosts": {"vm1": {"entry": ENTRY, "address": NOBODY}}},
    "duplicate_address": {"hosts": {"vm1": ADDRESSES["vm1"], "its-double": ADDRESSES["vm1"]}},
    "group_missing": {"hosts": {"vm1": {"address": ADDRESSES["vm1"], "group": "chapter10vm/none"}}},
    "no_address": {"hosts": {"vm1": None}},
    "not_absent": {"hosts": {"vm1": ADDRESSES["vm1"]}, "state": "absent"},
    "stale": {"hosts": {"vm1": ADDRESSES["vm1"]}, "max_connection_age": 1},
    "wrong_group": {"hosts": {"vm1": {"address": ADDRESSES["vm1"], "group": "chapter10vm/other"}}},
}
# Reason -> what is changed in the WorkloadGroup after its machines have registered.
GROUP_CHANGED: dict[str, dict[str, t.Any]] = {
    "wrong_labels": {"metadata": {"labels": {"version": "v3"}}},
    "wrong_network": {"template": {"network": "network2"}},
    "wrong_service_account": {"template": {"serviceAccount": "other-sa"}},
    "wrong_locality": {"template": {"locality": "eu/eu-west"}},
    "wrong_ports": {"template": {"ports": {"http": 10001}}},
}
# Made by a test of their own, on the machine or in the cluster.
ON_THE_MACHINE = {"disconnected", "unhealthy"}


def ask(lab: Lab, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
    return lab.module("workload_entry_info", check=check, **{"group": GROUP, **options})


def settled(lab: Lab) -> None:
    """Waits until all is well again."""
    ask(lab, check=True, hosts=HOSTS, timeout=180)


def becomes(lab: Lab, vm: str, reason: str, **options: t.Any) -> dict[str, t.Any]:
    """Asks until the machine's verdict is this one; returns it."""
    verdict: dict[str, t.Any] = {}
    for _attempt in range(60):
        verdict = ask(lab, hosts={vm: ADDRESSES[vm]}, fail_on_mismatch=False, **options)["verdicts"][0]
        if verdict["verdict"] == reason:
            return verdict
        time.sleep(1)
    raise AssertionError(f"{vm} is not {reason}, but {verdict}")


@contextlib.contextmanager
def at_the_same_time(run: t.Callable[[], None]) -> t.Iterator[list[BaseException]]:
    """Runs something beside the test; its exception, if any, is in the list at the end."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            run()
        except BaseException as error:
            failed.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield failed
    finally:
        worker.join()


def test_every_reason_is_produced() -> None:
    assert {*EXPECTED_OTHERWISE, *GROUP_CHANGED, *ON_THE_MACHINE} == set(REASONS)


def test_all_is_well(mesh: Lab) -> None:
    settled(mesh)
    by_hosts = ask(mesh, check=True, hosts=HOSTS)
    assert by_hosts["by_verdict"] == {"ok": ["vm1", "vm2"]}
    assert by_hosts["failed_vms"] == []
    assert ask(mesh, check=True, addresses=[*HOSTS.values()])["by_verdict"] == {"ok": [*HOSTS.values()]}
    assert ask(mesh, check=True, entries=[ENTRY])["verdicts"][0]["address"] == ADDRESSES["vm1"]
    whole = ask(mesh, check=True, count=2)
    assert sorted(whole["by_verdict"]["ok"])[0] == f"chapter10vm/{ENTRY}"
    assert ask(mesh, check=True, hosts={"gone": NOBODY}, state="absent")["by_verdict"] == {"ok": ["gone"]}
    # The group, one LIST, the istiods.
    assert by_hosts["requests"] == 3


def test_fewer_entries_than_expected(mesh: Lab) -> None:
    answer = ask(mesh, count=3, timeout=1)
    assert answer["failed"]
    assert "2 of 3 virtual machines of WorkloadGroup chapter10vm/envoydummy are registered" in answer["msg"]


@pytest.mark.parametrize("reason", EXPECTED_OTHERWISE)
def test_expected_otherwise(mesh: Lab, reason: str) -> None:
    mesh.apply(OTHER_GROUP)
    try:
        answer = ask(mesh, **EXPECTED_OTHERWISE[reason])
    finally:
        mesh.kubectl("delete", "workloadgroup", "-n", "chapter10vm", "other")
    assert answer["failed"]
    verdict = answer["verdicts"][0]
    assert verdict["verdict"] == reason
    assert verdict["evidence"]
    assert verdict["next_step"]
    # What is wrong comes first, and it is no dump.
    assert answer["msg"].splitlines()[1].startswith(f"{verdict['vm']}: {reason}. Found: {verdict['evidence']}.")
    assert len(answer["msg"]) < 1500


@pytest.mark.parametrize("reason", GROUP_CHANGED)
def test_group_changed_after_registration(mesh: Lab, reason: str) -> None:
    group = json.loads(mesh.kubectl("get", "workloadgroup", "-n", "chapter10vm", "envoydummy", "-o", "json"))
    patch = json.dumps({"spec": GROUP_CHANGED[reason]})
    mesh.kubectl("patch", "workloadgroup", "-n", "chapter10vm", "envoydummy", "--type", "merge", "-p", patch)
    try:
        answer = ask(mesh, hosts=HOSTS)
    finally:
        restore = [{"op": "replace", "path": "/spec", "value": group["spec"]}]
        mesh.kubectl(
            "patch", "workloadgroup", "-n", "chapter10vm", "envoydummy", "--type", "json", "-p", json.dumps(restore)
        )
    assert answer["by_verdict"] == {reason: ["vm1", "vm2"]}
    assert "expected" in answer["verdicts"][0]["evidence"]


def test_unhealthy_and_back(mesh: Lab) -> None:
    mesh.ssh("vm2", "systemctl stop lab-app")
    try:
        verdict = becomes(mesh, "vm2", "unhealthy")
    finally:
        mesh.ssh("vm2", "systemctl start lab-app")
    assert "probe fails" in verdict["evidence"]
    settled(mesh)


def test_disconnected_and_back(mesh: Lab) -> None:
    mesh.ssh("vm2", "systemctl stop istio")
    try:
        verdict = becomes(mesh, "vm2", "disconnected")
        assert "not connected since" in verdict["evidence"]
        assert ask(mesh, count=2)["by_verdict"]["disconnected"] == ["chapter10vm/envoydummy-10.88.0.22-network1"]
    finally:
        mesh.ssh("vm2", "systemctl start istio")
    settled(mesh)


def test_stale_when_its_istiod_is_gone(mesh: Lab) -> None:
    """The sidecar is held, so that it can't connect to the new istiod; the entry says that all is well."""
    mesh.ssh("vm2", "pkill -STOP -x pilot-agent")
    try:
        mesh.kubectl("delete", "pod", "-n", "istio-system", "-l", "app=istiod", "--grace-period=0", "--force")
        mesh.kubectl("rollout", "status", "-n", "istio-system", "deployment/istiod", "--timeout=120s")
        verdict = becomes(mesh, "vm2", "stale")
        assert "an istiod that is gone" in verdict["evidence"]
        left_alone = ask(mesh, hosts={"vm2": ADDRESSES["vm2"]}, check_istiod=False)
        assert left_alone["by_verdict"] == {"ok": ["vm2"]}
    finally:
        mesh.ssh("vm2", "pkill -CONT -x pilot-agent")
    settled(mesh)


def test_a_wait_survives_a_restart_of_the_api_server(mesh: Lab) -> None:
    mesh.ssh("vm2", "systemctl stop lab-app")
    try:
        becomes(mesh, "vm2", "unhealthy")

        def meanwhile() -> None:
            # The module has begun to wait by then, on a busy machine as well.
            time.sleep(8)
            mesh.ssh("cluster1", "systemctl restart kube-apiserver")
            time.sleep(3)
            mesh.ssh("vm2", "systemctl start lab-app")

        with at_the_same_time(meanwhile) as failed:
            answer = ask(mesh, hosts=HOSTS, timeout=180)
        assert not failed
        assert answer["by_verdict"] == {"ok": ["vm1", "vm2"]}, answer
        # It did wait, across the restart.
        assert answer["waited"] > 5
    finally:
        mesh.ssh("vm2", "systemctl start lab-app")


class Late(Cluster):
    """A connection whose first WATCH asks for what the API server has long forgotten."""

    late = 1

    def open(self, method: str, path: str, query: t.Any = None, *arguments: t.Any, **options: t.Any) -> t.Any:
        if query and "watch" in query and self.late:
            self.late -= 1
            query = {**query, "resourceVersion": "1"}
        return super().open(method, path, query, *arguments, **options)


def test_a_compacted_watch_is_listed_anew(mesh: Lab) -> None:
    cluster = Late({})
    follower = Follower(cluster, "/apis/networking.istio.io/v1/namespaces/chapter10vm/workloadentries")
    kinds = [change.kind for change in follower.changes(time.monotonic() + 3)]
    assert cluster.late == 0
    assert kinds.count("SYNCED") == follower.lists == 2
    assert kinds[0] == "RESET"


THROTTLE = """\
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {name: lab-nothing}
spec: {type: Limited, limited: {nominalConcurrencyShares: 0, lendablePercent: 0, borrowingLimitPercent: 0, limitResponse: {type: Reject}}}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {name: lab-throttled}
spec:
  matchingPrecedence: 50
  priorityLevelConfiguration: {name: lab-nothing}
  rules:
    - subjects: [{kind: User, user: {name: lab-throttled}}]
      resourceRules: [{verbs: ['*'], apiGroups: ['*'], resources: ['*'], namespaces: ['*'], clusterScope: true}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: lab-throttled}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: lab-throttled}]
"""


def test_throttling_is_waited_out(mesh: Lab) -> None:
    """Priority and fairness answers 429 to each request of this user, until that is lifted."""
    mesh.apply(THROTTLE)
    try:
        for _attempt in range(30):
            refused = mesh.kubectl("get", "pods", "--as", "lab-throttled", "--request-timeout=5s", check=False)
            if not refused:
                break
            time.sleep(1)

        def meanwhile() -> None:
            time.sleep(6)
            mesh.kubectl("delete", "flowschema", "lab-throttled")

        with at_the_same_time(meanwhile) as failed:
            answer = ask(mesh, hosts=HOSTS, impersonate_user="lab-throttled")
        assert not failed
        assert answer["by_verdict"] == {"ok": ["vm1", "vm2"]}, answer
    finally:
        mesh.kubectl("delete", "-f", "-", "--ignore-not-found", stdin=THROTTLE)


PLAY = """\
- hosts: localhost
  gather_facts: false
  tasks:
    - name: Ask until both are well
      hybridmesh.istio.workload_entry_info:
        group: chapter10vm/envoydummy
        hosts: {vm1: 10.88.0.21, vm2: 10.88.0.22}
        fail_on_mismatch: false
      register: entries
      until: entries.failed_vms | length == 0
      retries: 30
      delay: 2
    - name: What people assert
      ansible.builtin.assert:
        that:
          - entries.by_verdict.ok == ['vm1', 'vm2']
          - entries.verdicts | map(attribute='labels.version') | unique == ['v2']
          - entries.verdicts | selectattr('health', 'ne', 'healthy') | length == 0
          - (entries.verdicts | items2dict(key_name='vm', value_name='address')).vm1 == '10.88.0.21'
          - not entries is changed
"""


def test_the_answer_in_a_playbook(mesh: Lab) -> None:
    playbook = mesh.folder / "entries.yml"
    playbook.write_text(PLAY)
    run = mesh.playbook(str(playbook))
    assert run.code == 0, run.output
    assert run.changed == 0
