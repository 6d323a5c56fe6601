# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in the sample application's way on a machine."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _demo_machine

UNIT = "hybridmesh-demo.service"


def told(replaces: tuple[str, ...] = (), check: bool = False, **more: t.Any) -> list[str]:
    facts: dict[str, t.Any] = {
        "systemd": True,
        "uid": 0,
        "envoy": {"path": "/usr/local/bin/envoy", "executable": True},
        "port": 10000,
        "holders": [],
        **more,
    }
    return [str(problem) for problem in _demo_machine.problems(facts, UNIT, replaces, check)]


def holder(unit: str) -> list[dict[str, t.Any]]:
    return [{"pid": 7, "command": "nginx", "unit": unit}]


def test_nothing_in_the_way() -> None:
    assert told() == []
    assert told(holders=holder(UNIT)) == []
    assert told(holders=holder("nginx.service"), replaces=("nginx.service",)) == []


def test_who_has_the_port() -> None:
    (problem,) = told(holders=holder("nginx.service"))
    assert "nginx (PID 7) of nginx.service listens on port 10000" in problem
    assert "demo_app_vm_replaces" in problem
    (problem,) = told(holders=[{"pid": None, "command": "", "unit": ""}], replaces=("nginx.service",))
    assert "a program that can't be named listens" in problem


@pytest.mark.parametrize(("check", "problems"), [(False, 1), (True, 0)])
def test_an_envoy_that_another_role_may_bring(check: bool, problems: int) -> None:
    found = told(envoy={"path": "/usr/local/bin/envoy", "executable": False}, check=check)
    assert len(found) == problems
    assert all("role vm_sidecar" in problem for problem in found)


def test_rights_and_systemd() -> None:
    found = told(uid=1000, systemd=False)
    assert ["user ID 1000" in " ".join(found), "not booted with systemd" in " ".join(found)] == [True, True]
