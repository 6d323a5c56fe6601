# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts on WorkloadEntries: one test for each reason, and the bookkeeping behind them."""

from __future__ import annotations

import datetime
import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _expectation
from ansible_collections.hybridmesh.istio.plugins.module_utils import _workload_entry as core

NOW = datetime.datetime(2026, 11, 23, 15, 0, 0, tzinfo=datetime.UTC)
GROUP = {
    "metadata": {"name": "envoydummy", "namespace": "chapter10vm"},
    "spec": {
        "metadata": {"labels": {"app": "envoydummy"}},
        "template": {
            "serviceAccount": "chapter10-sa",
            "network": "network1",
            "locality": "region/zone",
            "ports": {"http": 10000},
            "labels": {"app": "overridden", "version": "v2"},
        },
        "probe": {"httpGet": {"port": 10000}},
    },
}


def resource(**changes: t.Any) -> dict[str, t.Any]:
    """A WorkloadEntry as istiod makes it of GROUP, healthy and connected."""
    address = changes.pop("address", "10.88.0.21")
    network = changes.pop("network", "network1")
    annotations = {
        "istio.io/autoRegistrationGroup": "envoydummy",
        "istio.io/connectedAt": "2026-11-23T14:59:00.123456789Z",
        "istio.io/workloadController": "istiod-1",
        "proxy.istio.io/health-checks-enabled": "true",
    }
    annotations.update(changes.pop("annotations", {}))
    healthy = changes.pop("healthy", "True")
    condition = {"type": "Healthy", "status": healthy, "message": changes.pop("message", "")}
    return {
        "metadata": {
            "name": changes.pop("name", f"envoydummy-{address}-{network}"),
            "namespace": changes.pop("namespace", "chapter10vm"),
            "annotations": {key: value for key, value in annotations.items() if value is not None},
        },
        "spec": {
            "address": address,
            "network": network,
            "serviceAccount": "chapter10-sa",
            "locality": "region/zone",
            "ports": {"http": 10000},
            "labels": {"app": "envoydummy", "version": "v2", "extra": "fine"},
            **changes,
        },
        "status": {"conditions": [condition] if healthy else []},
    }


def expectation(**changes: t.Any) -> _expectation.Expectation:
    vm = {"name": "vm1", "namespace": "chapter10vm", "group": "envoydummy", "address": "10.88.0.21"}
    return _expectation.expectation_from({**vm, **changes}, GROUP)


def judge(
    *resources: dict[str, t.Any], expected: _expectation.Expectation | None = None, **options: t.Any
) -> dict[str, t.Any]:
    book = core.Book()
    for item in resources:
        book.put(core.entry_from(item))
    return core.judge(expected or expectation(), book, NOW, **options)


def test_fine():
    verdict = judge(resource())
    assert verdict["ok"]
    assert verdict["verdict"] == "ok"
    assert verdict["evidence"] == verdict["next_step"] == ""
    assert verdict["entry"] == "envoydummy-10.88.0.21-network1"
    assert verdict["health"] == "healthy"
    assert verdict["labels"]["version"] == "v2"
    assert not verdict["settled"]


@pytest.mark.parametrize(
    ("changes", "reason", "evidence"),
    [
        ({"annotations": {"istio.io/disconnectedAt": "2026-11-23T14:59:30Z"}}, "disconnected", "14:59:30"),
        ({"annotations": {"istio.io/connectedAt": None}}, "disconnected", "not connected"),
        ({"healthy": "False", "message": "statuscode: 500"}, "unhealthy", "statuscode: 500"),
        ({"healthy": "False"}, "unhealthy", "probe fails"),
        ({"healthy": None}, "unhealthy", "no probe result"),
        ({"annotations": {"istio.io/connectedAt": "2026-11-23T13:00:00.5Z"}}, "stale", "7200"),
        ({"labels": {"app": "other"}}, "wrong_labels", "app=other, expected app=envoydummy, version=v2"),
        ({"network": "network2"}, "wrong_network", "network2"),
        ({"serviceAccount": ""}, "wrong_service_account", "default"),
        ({"locality": ""}, "wrong_locality", "(none)"),
        ({"ports": {"http": 9}}, "wrong_ports", "http=9"),
        ({"annotations": {"istio.io/autoRegistrationGroup": "other"}}, "wrong_group", "other"),
    ],
)
def test_reasons(changes, reason, evidence):
    verdict = judge(resource(**changes))
    assert verdict["verdict"] == reason
    assert not verdict["ok"]
    assert evidence in verdict["evidence"]
    assert verdict["next_step"]
    assert verdict["settled"] == reason.startswith("wrong_")


def test_not_registered_is_worth_waiting_for():
    verdict = judge()
    assert verdict["verdict"] == "not_registered"
    assert "envoydummy-10.88.0.21-network1" in verdict["evidence"]
    assert not verdict["settled"]


def test_registered_in_another_namespace():
    verdict = judge(resource(namespace="elsewhere"))
    assert verdict["verdict"] == "wrong_group"
    assert "elsewhere/envoydummy-10.88.0.21-network1" in verdict["evidence"]


def test_issue_43950_34573_address_claimed_twice():
    verdict = judge(resource(), resource(name="other-10.88.0.21-network1"))
    assert verdict["verdict"] == "duplicate_address"
    assert "other-10.88.0.21-network1" in verdict["evidence"]


@pytest.mark.parametrize(
    "changes",
    [
        {"network": "network2", "name": "other-10.88.0.21-network2"},
        {"name": "other", "annotations": {"istio.io/disconnectedAt": "2026-11-23T14:59:30Z"}},
    ],
)
def test_same_address_elsewhere_or_gone_is_no_rival(changes):
    assert judge(resource(), resource(**changes))["ok"]


def test_two_machines_expected_at_one_address():
    expectations = [expectation(), expectation(name="vm2"), expectation(name="vm3", address="10.88.0.23")]
    twins = _expectation.twins_of(expectations)
    assert twins == {"vm1": ["vm2"], "vm2": ["vm1"]}
    assert judge(resource(), twins=twins["vm1"])["verdict"] == "duplicate_address"


def test_an_old_entry_of_another_name_does_not_hide_the_connected_one():
    old = resource(
        network="network0", annotations={"istio.io/disconnectedAt": "2026-11-23T14:59:30Z"}, name="envoydummy-old"
    )
    verdict = judge(old, resource(network="network2"))
    assert verdict["verdict"] == "wrong_network"
    assert verdict["entry"] == "envoydummy-10.88.0.21-network2"


def test_expected_absent():
    expected = expectation(state="absent")
    assert judge(expected=expected)["ok"]
    verdict = judge(resource(), expected=expected)
    assert verdict["verdict"] == "not_absent"
    assert "connected" in verdict["evidence"]


def test_no_group_and_no_address():
    vm = {"name": "vm1", "namespace": "x", "group": "y", "address": "10.0.0.1"}
    assert judge(expected=_expectation.expectation_from(vm, None))["verdict"] == "group_missing"
    assert judge(expected=_expectation.expectation_from({**vm, "address": None}, GROUP))["verdict"] == "no_address"


def test_staleness_can_be_left_out():
    old = resource(annotations={"istio.io/connectedAt": "2026-11-20T13:00:00Z"})
    assert judge(old, max_connection_age=0)["ok"]


def test_a_time_that_can_not_be_read_is_not_stale():
    assert judge(resource(annotations={"istio.io/connectedAt": "yesterday"}))["ok"]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("g", "10.0.0.1", "n"), "g-10.0.0.1-n"),
        (("g", "fd00::1"), "g-fd00--1"),
        (("x" * 260, "10.0.0.1"), "x" * 244 + "-10.0.0.1"),
    ],
)
def test_entry_name(arguments, name):
    assert core.entry_name(*arguments) == name


def test_book_follows_an_entry_that_changes_its_address():
    book = core.Book()
    assert book.put(core.entry_from(resource(name="a"))) == {"10.88.0.21"}
    moved = core.entry_from(resource(name="a", address="10.88.0.99"))
    assert book.put(moved) == {"10.88.0.21", "10.88.0.99"}
    assert book.at("10.88.0.21") == []
    assert book.at("10.88.0.99", "chapter10vm") == [moved]
    assert book.named("chapter10vm", "a") == moved
    assert book.drop(moved) == {"10.88.0.99"}
    assert book.drop(moved) == set()
    assert len(book) == 0


def test_group_without_anything():
    vm = {"name": "vm1", "namespace": "x", "group": "y", "address": "10.0.0.1"}
    expected = _expectation.expectation_from(vm, {"metadata": {}, "spec": {}})
    assert expected.service_account == "default"
    assert expected.network is None
    assert not expected.health
    book = core.Book()
    book.put(
        core.entry_from(
            {
                "metadata": {
                    "name": "y-10.0.0.1",
                    "namespace": "x",
                    "annotations": {"istio.io/connectedAt": "2026-11-23T14:59:00Z"},
                },
                "spec": {"address": "10.0.0.1"},
            }
        )
    )
    verdict = core.judge(expected, book, NOW)
    assert verdict["ok"]
    assert verdict["health"] == "not_checked"
