# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what is read of the hosts' variables."""

from __future__ import annotations

import typing as t
import weakref

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
    assert list(_known.of_hosts("abcd", dict(zip("abcd", known, strict=True)), ["own"], "all")) == [
        ("a", "A", 1),
        ("b", None, 2),
        ("c", "C", 3),
        ("d", None, None),
    ]


class Value:
    """One value of a host."""

    def __init__(self, host):
        self.host = host


class Made(dict):
    """Variables that are made when they are asked for, as Ansible's are, and how many of them there were at once."""

    def __init__(self):
        super().__init__()
        self.alive, self.most = weakref.WeakSet(), 0

    def __missing__(self, host):
        value = Value(host)
        self.alive.add(value)
        self.most = max(self.most, len(self.alive))
        return {"own": value}


def test_what_one_host_had_is_gone_when_the_next_but_one_is_looked_at():
    known = Made()
    hosts = [own.host for _host, own, _shared in _known.of_hosts(range(100), known, ["own"], "all")]
    assert hosts == list(range(100))
    assert known.most <= 2


def test_what_is_shared_is_read_once_a_batch():
    shared = {"by_vm": dict.fromkeys(range(1000), 1)}
    Counting.reads.clear()
    list(_known.of_hosts(range(1000), {number: Counting(all=shared) for number in range(1000)}, [], "all"))
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
