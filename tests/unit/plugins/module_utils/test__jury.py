# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for WorkloadEntries: who is judged when, and when the wait is over."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._expectation import expectation_from
from ansible_collections.hybridmesh.istio.plugins.module_utils._jury import Jury, follow

GROUP = {"metadata": {}, "spec": {"probe": {"httpGet": {}}, "template": {"labels": {"app": "x"}}}}


def resource(address: str, healthy: str = "True", **spec: t.Any) -> dict[str, t.Any]:
    return {
        "metadata": {
            "name": f"g-{address}",
            "namespace": "ns",
            "annotations": {
                "istio.io/autoRegistrationGroup": "g",
                "istio.io/connectedAt": "2026-11-23T14:59:00Z",
                "istio.io/workloadController": "istiod-1",
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


def jury(*addresses: str) -> Jury:
    vms = [
        {"name": f"vm{number}", "namespace": "ns", "group": "g", "address": address}
        for number, address in enumerate(addresses, 1)
    ]
    return Jury([expectation_from(vm, GROUP) for vm in vms], {}, 1800, tuple)


def run(found: Jury, follower: t.Any, deadline: float, enough: t.Callable[[], bool] = lambda: True) -> int:
    """Follows to the end; returns how often anything was judged."""
    return len(list(follow(found, follower, deadline, enough)))


def reasons(found: Jury) -> list[str]:
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
    run(found, follower, 0)
    assert reasons(found) == ["ok", "ok"]
    assert follower.left == 1
    assert len(found.book) == 2


def test_does_not_wait_for_what_can_not_pass():
    found = jury("10.0.0.1")
    follower = Follower(
        ("RESET", {}), ("ADDED", resource("10.0.0.1", labels={})), ("SYNCED", {}), ("MODIFIED", resource("10.0.0.1"))
    )
    run(found, follower, 0)
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
    run(found, follower, 0)
    assert reasons(found) == ["not_registered", "ok"]


def test_a_deleted_entry_is_noticed():
    found = jury("10.0.0.1", "10.0.0.2")
    follower = Follower(
        ("RESET", {}), ("ADDED", resource("10.0.0.1")), ("SYNCED", {}), ("DELETED", resource("10.0.0.1"))
    )
    run(found, follower, 0)
    assert reasons(found) == ["not_registered", "not_registered"]


def test_an_entry_expected_by_name_at_whatever_address():
    vm = {"name": "vm1", "namespace": "ns", "group": "g", "entry": "g-10.0.0.7"}
    found = Jury([expectation_from(vm, GROUP)], {}, 1800, tuple)
    run(found, Follower(("RESET", {}), ("SYNCED", {}), ("ADDED", resource("10.0.0.7"))), 0)
    assert reasons(found) == ["ok"]
    assert found.verdicts["vm1"]["address"] == "10.0.0.7"


def whole(**group: t.Any) -> Jury:
    """A jury over each entry of group ns/g."""
    sample = {"name": "ns/g", "namespace": "ns", "group": "g", "entry": "*"}
    return Jury([], {("ns", "g"): expectation_from(sample, {**GROUP, **group})}, 1800, tuple)


def test_each_entry_of_a_group():
    found = whole()
    other = resource("10.0.0.3")
    other["metadata"]["annotations"]["istio.io/autoRegistrationGroup"] = "other"
    follower = Follower(
        ("RESET", {}),
        ("ADDED", resource("10.0.0.1")),
        ("ADDED", other),
        ("SYNCED", {}),
        ("ADDED", resource("10.0.0.2", "False")),
        ("MODIFIED", resource("10.0.0.2")),
        ("DELETED", resource("10.0.0.1")),
        ("ADDED", resource("10.0.0.4")),
    )
    run(found, follower, 0, lambda: len(found.verdicts) > 2)
    assert {vm: verdict["verdict"] for vm, verdict in found.verdicts.items()} == {
        "ns/g-10.0.0.2": "ok",
        "ns/g-10.0.0.4": "ok",
    }


def test_a_group_is_listed_anew():
    found = whole()
    follower = Follower(
        ("RESET", {}), ("ADDED", resource("10.0.0.1", "False")), ("SYNCED", {}), ("RESET", {}), ("SYNCED", {})
    )
    run(found, follower, 0)
    assert found.verdicts == {}


def test_istiods_are_asked_for_when_one_is_unknown_and_not_too_often():
    answers = [["istiod-0"], ["istiod-0"], ["istiod-1"]]
    asked = []

    def istiods() -> list[str]:
        asked.append(1)
        return answers[min(len(asked), len(answers)) - 1]

    vm = {"name": "vm1", "namespace": "ns", "group": "g", "address": "10.0.0.1"}
    found = Jury([expectation_from(vm, GROUP)], {}, 1800, istiods)
    start = datetime.datetime(2026, 11, 23, 15, 0, 0, tzinfo=datetime.UTC)
    found.take("ADDED", resource("10.0.0.1"))
    found.judge_all(start)
    assert reasons(found) == ["stale"]
    assert "belongs to istiod-1, an istiod that is gone" in found.verdicts["vm1"]["evidence"]
    found.judge_all(start + datetime.timedelta(seconds=1))
    assert len(asked) == 1
    found.judge_all(start + datetime.timedelta(seconds=3))
    assert reasons(found) == ["stale"]
    found.judge_all(start + datetime.timedelta(seconds=6))
    assert reasons(found) == ["ok"]
    assert len(asked) == 3
