# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Eight machines, one of which does not answer. The lab has as many for this file alone."""

from __future__ import annotations

import json
import typing as t

import pytest
import yaml

from ..conftest import ADDRESSES, Lab

DEAD = "vm1"
OTHERS = [f"vm{number}" for number in range(2, 9)]


@pytest.fixture(scope="module")
def eight(lab: Lab) -> t.Iterator[Lab]:
    with lab.machines(8):
        yield lab


def test_one_of_eight_machines_is_unreachable(eight: Lab, tmp_path: t.Any) -> None:
    dead = tmp_path / "dead.yml"
    dead.write_text(yaml.safe_dump({"mesh_vms": {"hosts": {DEAD: {"ansible_host": "10.88.0.199"}}}}))
    eight.reset(*OTHERS)
    run = eight.playbook("site.yml", "-i", "inventories/lab", "-i", str(dead))
    assert run.code != 0
    assert [run.recap[vm]["failed"] for vm in OTHERS] == [0] * 7, run.output
    assert f"{DEAD} UNREACHABLE" in run.words
    assert "8 VMs - 7 ok, 1 UNREACHABLE" in run.words, run.output
    entries = json.loads(eight.kubectl("get", "workloadentry", "-n", "chapter10vm", "-o", "json"))["items"]
    conditions = {
        entry["spec"]["address"]: {item["type"]: item["status"] for item in entry["status"]["conditions"]}
        for entry in entries
    }
    assert [conditions[ADDRESSES[vm]].get("Healthy") for vm in OTHERS] == ["True"] * 7
