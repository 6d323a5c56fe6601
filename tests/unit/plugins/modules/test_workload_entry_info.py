# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for WorkloadEntries: who is judged when, and when the wait is over."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _workload_entry as core
from ansible_collections.hybridmesh.istio.plugins.modules import workload_entry_info as module

GROUP = {"metadata": {}, "spec": {"probe": {"httpGet": {}}, "template": {"labels": {"app": "x"}}}}


def resource(address: str, healthy: str = "True", **spec: t.Any) -> dict[str, t.Any]:
    return {
        "metadata": {
            "name": f"g-{address}",
            "namespace": "ns",
            "annotations": {
                "istio.io/autoRegistrationGroup": "g",
                "istio.io/connectedAt": "2026-11-23T14:59:00Z",
                "proxy.istio.io/health-checks-enabled": "true",
            },
        },
        "spec": {"address": address, "labels": {"app": "x"}, **spec},
        "status": {"conditions": [{"type": "Healthy", "status": healthy}]},
    }


class Follower:
    """Plays changes."""

    def __init__(self, *changes: tuple[str, dict[str, t.Any]]) -> None:
        self.script, self.left = list(changes), 0

    def now(self) -> datetime.datetime:
        return datetime.datetime(2026, 11, 23, 15, 0, 0, tzinfo=datetime.UTC)

    def changes(self, deadline: float) -> t.Iterator[tuple[str, dict[str, t.Any]]]:
        self.left = len(self.script)
        for change in self.script:
            self.left -= 1
            yield change


def jury(*addresses: str) -> module.Jury:
    vms = [
        {"name": f"vm{number}", "namespace": "ns", "group": "g", "address": address}
        for number, address in enumerate(addresses, 1)
    ]
    return module.Jury([core.expectation_from(vm, GROUP) for vm in vms], 1800)


def reasons(found: module.Jury) -> list[str]:
    return [verdict["verdict"] for verdict in found.verdicts.values()]


def test_waits_until_all_are_well_and_not_longer():
    found = jury("10.0.0.1", "10.0.0.2")
    follower = Follower(
        ("RESET", {}),
        ("ADDED", resource("10.0.0.1")),
        ("ADDED", resource("10.0.0.99")),
        ("SYNCED", {}),
        ("ADDED", resource("10.0.0.2", "False")),
        ("MODIFIED", resource("10.0.0.2")),
        ("MODIFIED", resource("10.0.0.1", "False")),
    )
    module.follow(found, follower, 0)
    assert reasons(found) == ["ok", "ok"]
    assert follower.left == 1
    assert len(found.book) == 2


def test_does_not_wait_for_what_can_not_pass():
    found = jury("10.0.0.1")
    follower = Follower(
        ("RESET", {}), ("ADDED", resource("10.0.0.1", labels={})), ("SYNCED", {}), ("MODIFIED", resource("10.0.0.1"))
    )
    module.follow(found, follower, 0)
    assert reasons(found) == ["wrong_labels"]
    assert follower.left == 1


def test_what_was_gone_after_a_new_list_is_gone():
    found = jury("10.0.0.1", "10.0.0.2")
    follower = Follower(
        ("RESET", {}),
        ("ADDED", resource("10.0.0.1")),
        ("SYNCED", {}),
        ("RESET", {}),
        ("ADDED", resource("10.0.0.2")),
        ("SYNCED", {}),
    )
    module.follow(found, follower, 0)
    assert reasons(found) == ["not_registered", "ok"]


def test_a_deleted_entry_is_noticed():
    found = jury("10.0.0.1", "10.0.0.2")
    follower = Follower(
        ("RESET", {}), ("ADDED", resource("10.0.0.1")), ("SYNCED", {}), ("DELETED", resource("10.0.0.1"))
    )
    module.follow(found, follower, 0)
    assert reasons(found) == ["not_registered", "not_registered"]


def test_an_entry_expected_by_name_at_whatever_address():
    vm = {"name": "vm1", "namespace": "ns", "group": "g", "entry": "g-10.0.0.7"}
    found = module.Jury([core.expectation_from(vm, GROUP)], 1800)
    module.follow(found, Follower(("RESET", {}), ("SYNCED", {}), ("ADDED", resource("10.0.0.7"))), 0)
    assert reasons(found) == ["ok"]
    assert found.verdicts["vm1"]["address"] == "10.0.0.7"


def test_reasons_come_first_and_are_bounded():
    found = jury(*[f"10.0.0.{number}" for number in range(1, 31)])
    module.follow(found, Follower(("RESET", {}), ("ADDED", resource("10.0.0.1")), ("SYNCED", {})), 0)
    lines = module.message_of(list(found.verdicts.values())).splitlines()
    assert lines[0] == "29 of 30 virtual machines are not as expected."
    assert lines[1].startswith("vm2: not_registered. Found: no WorkloadEntry g-10.0.0.2 in namespace ns. Next step: ")
    assert lines[-1] == "... and 9 more, see failed_vms."


def test_one_namespace_is_asked_for_alone():
    assert module.entries_path(jury("10.0.0.1").expectations).endswith("/namespaces/ns/workloadentries")
    other = core.Expectation("vm9", "other", "g", "10.0.0.9")
    assert module.entries_path([*jury("10.0.0.1").expectations, other]).endswith("/v1/workloadentries")
