# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.filter import run_summary
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _summary

WORK = {"work": True, "running": False}


def test_a_summary() -> None:
    found = _summary.summary(
        [
            _summary.Outcome("vm1", "joined", ends=1795712500.0),
            _summary.Outcome("vm2", "failed", "no disk"),
            _summary.Outcome("vm3", "joined"),
        ],
        ("joined", "changed"),
    )
    assert found == {
        "vms": 3,
        "counts": {"joined": 2, "failed": 1},
        "failed": {"vm2": "no disk"},
        "expires": {"vm1": "2026-11-26T17:01:40Z"},
        "joined": ["vm1", "vm3"],
        "changed": [],
    }


@pytest.mark.parametrize(
    ("known", "alive", "check_mode", "state", "reason"),
    [
        ({"info": {"unreachable": True, "msg": "no route"}}, False, False, "unreachable", "no route"),
        ({"failure": "Preflight: no disk"}, False, False, "failed", "Preflight: no disk"),
        ({}, True, False, "not_reached", ""),
        ({}, False, False, "failed", "see its message in the run's output"),
        ({"plan": {"work": False}}, True, False, "unchanged", ""),
        ({"plan": WORK, "done": True}, True, False, "joined", ""),
        ({"plan": WORK, "done": True}, True, True, "would_be_joined", ""),
        ({"plan": dict(WORK, running=True), "done": True}, True, False, "changed", ""),
        ({"plan": WORK, "done": False}, True, False, "not_reached", ""),
    ],
)
def test_onboarded(known: dict[str, t.Any], alive: bool, check_mode: bool, state: str, reason: str) -> None:
    assert _summary.onboarded("vm1", known, alive, check_mode) == _summary.Outcome("vm1", state, reason)


@pytest.mark.parametrize(
    ("known", "alive", "check_mode", "state"),
    [
        ({"info": {"unreachable": True}}, False, False, "unreachable"),
        ({"removed": {"failed": True, "msg": "busy"}}, False, False, "failed"),
        ({}, True, False, "not_reached"),
        ({"removed": {"changed": False}}, True, False, "unchanged"),
        ({"removed": {"changed": True}}, True, False, "removed"),
        ({"removed": {"changed": True}}, True, True, "would_be_removed"),
    ],
)
def test_removed(known: dict[str, t.Any], alive: bool, check_mode: bool, state: str) -> None:
    assert _summary.removed("vm1", known, alive, check_mode).state == state


def test_the_filter() -> None:
    known = {"vm1": {"__vm_sidecar_plans": {"by_vm": {"vm1": WORK}}, "__vm_sidecar_done": True}, "vm2": {}}
    summarize = run_summary.FilterModule().filters()["run_summary"]
    found = summarize(["vm1", "vm2"], known, alive=["vm1"])
    assert found["joined"] == ["vm1"]
    assert list(found["failed"]) == ["vm2"]
    assert summarize(["vm1", "vm2"], known, job="remove")["counts"] == {"not_reached": 2}
