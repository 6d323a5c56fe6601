# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what is read of the hosts' variables."""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.filter.proof_table import FilterModule
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _known


class Counting(dict):
    """Variables that count how often a name is read."""

    reads: t.ClassVar[list[str]] = []

    def get(self, name, default=None):
        self.reads.append(name)
        return super().get(name, default)


def test_each_host_has_its_own_and_what_its_batch_shares():
    first, second = {"by_vm": {"a": 1, "b": 2}}, {"by_vm": {"c": 3}}
    known = [{"own": "A", "all": first}, {"all": first}, {"own": "C", "all": second}, {}]
    assert _known.of_hosts("abcd", dict(zip("abcd", known, strict=True)), ["own"], "all") == {
        "own": ["A", None, "C", None],
        "all": [1, 2, 3, None],
    }


def test_what_is_shared_is_read_once_a_batch():
    shared = {"by_vm": dict.fromkeys(range(1000), 1)}
    Counting.reads.clear()
    _known.of_hosts(range(1000), {number: Counting(all=shared) for number in range(1000)}, [], "all")
    assert Counting.reads == ["all"]


def test_the_table_finds_a_row_of_an_earlier_batch():
    row = {
        "vm": "a",
        "state": "not_tested",
        "findings": [{"reason": "missing"}],
        "reasons": [],
        "address": None,
        "entry": None,
    }
    row.update(certificate=None, to_mesh=[], from_mesh=None)
    known = {
        "a": {"mesh_verify_proof": {"by_vm": {"a": row}}},
        "b": {"__vm_sidecar_info": {"unreachable": True, "msg": "gone"}},
    }
    proof = FilterModule().filters()["proof_table"](["a", "b"], known)
    assert {name: told["state"] for name, told in proof["by_vm"].items()} == {"a": "not_tested", "b": "unreachable"}
