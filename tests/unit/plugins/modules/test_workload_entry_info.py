# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module says, and which collection it follows."""

from __future__ import annotations

import re
import typing as t

import yaml
from ansible_collections.hybridmesh.istio.plugins.module_utils._workload_entry import PASSING, REASONS
from ansible_collections.hybridmesh.istio.plugins.modules import workload_entry_info as module


def verdict(vm: str, reason: str) -> dict[str, t.Any]:
    return {"vm": vm, "verdict": reason, "ok": reason == "ok", "evidence": "seen", "next_step": "do"}


def test_reasons_come_first_and_are_bounded():
    lines = module.message_of([verdict(f"vm{i}", "ok" if i == 1 else "stale") for i in range(1, 31)]).splitlines()
    assert lines[0] == "29 of 30 virtual machines are not as expected."
    assert lines[1] == "vm2: stale. Found: seen. Next step: do."
    assert lines[-1] == "... and 9 more, see failed_vms."


def test_one_namespace_is_asked_for_alone():
    assert module.entries_path({"ns", ""}).endswith("/namespaces/ns/workloadentries")
    assert module.entries_path({"ns", "other"}).endswith("/v1/workloadentries")


def test_all_reasons_are_documented():
    documented = yaml.safe_load(module.RETURN)["verdicts"]["contains"]["verdict"]["description"]
    assert set(re.findall(r"V\((\w+)\)", " ".join(documented))) == {"ok", *REASONS}
    assert set(REASONS) > PASSING
