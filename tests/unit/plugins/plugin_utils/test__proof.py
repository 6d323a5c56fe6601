# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof's table: every host is in it, and it looks right in every output format."""

from __future__ import annotations

import json
import typing as t

import pytest
import yaml
from ansible_collections.hybridmesh.istio.plugins.filter.proof_table import FilterModule as TableFilter
from ansible_collections.hybridmesh.istio.plugins.filter.proof_vms import FilterModule as VmsFilter


def hostvars(hosts: list[str], **lists: t.Any) -> dict[str, dict[str, t.Any]]:
    """Variables as the roles leave them, from a list for each."""
    return {
        host: {name: values[number] for name, values in lists.items() if values} for number, host in enumerate(hosts)
    }


def proof_table(hosts, probes, earlier=(), failures=(), contacts=(), **more):
    known = hostvars(
        hosts,
        __mesh_verify_probe=probes,
        __vm_sidecar_failure=failures,
        __vm_sidecar_info=contacts,
        mesh_verify_proof=[{"by_vm": {row["vm"]: row}} if row else None for row in earlier],
    )
    return TableFilter().filters()["proof_table"](hosts, known, **more)


def proof_vms(hosts, probes, **more):
    return VmsFilter().filters()["proof_vms"](hosts, hostvars(hosts, __mesh_verify_probe=probes), **more)


IDENTITY = "spiffe://cluster.local/ns/chapter10vm/sa/chapter10-sa"


def probe(**changes: t.Any) -> dict[str, t.Any]:
    sidecar = {"verdict": "ok", "address": "10.88.0.21", "namespace": "chapter10vm", "group": "envoydummy"}
    certificate = {"verdict": "ok", "identity": IDENTITY, "remaining_seconds": 86000, "evidence": "", "next_step": ""}
    return {
        "sidecar": {**sidecar, **changes.pop("sidecar", {})},
        "certificate": {**certificate, **changes.pop("certificate", {})},
        "targets": changes.pop("targets", [{"url": "http://w.lab/", "verdict": "ok"}]),
        "workload_group": "chapter10vm/envoydummy",
        **changes,
    }


def verdict(vm: str = "vm1", reason: str = "ok", **more: t.Any) -> dict[str, t.Any]:
    bad = reason != "ok"
    return {
        "vm": vm,
        "verdict": reason,
        "ok": not bad,
        "evidence": "something: odd #1" if bad else "",
        "next_step": "do: this" if bad else "",
        "namespace": "chapter10vm",
        "service_account": "chapter10-sa",
        "health": "healthy",
        **more,
    }


NOT_RUNNING = {"verdict": "not_running", "evidence": "no answer", "next_step": "start it", "address": None}


def test_all_is_well():
    proof = proof_table(["vm1"], [probe()], entries=[verdict()], pods=[verdict()], from_pod=True)
    assert proof["failed"] == []
    assert proof["by_vm"]["vm1"]["state"] == "ok"
    assert proof["by_vm"]["vm1"]["reasons"] == []
    assert proof["lines"] == [
        "VM   PROOF  ADDRESS     ENTRY  HEALTH   CERTIFICATE  TO_MESH  FROM_MESH",
        "vm1  ok     10.88.0.21  ok     healthy  ok,23h53m    ok       ok",
        "1 VM - 1 ok",
    ]


def test_what_was_not_asked_for_is_not_tested():
    row = proof_table(["vm1"], [probe(targets=[])], entries=[verdict()])["by_vm"]["vm1"]
    assert row["state"] == "ok"
    assert row["from_mesh"] == {"verdict": "not_tested", "evidence": "mesh_verify_from is not set"}
    line = proof_table(["vm1"], [probe(targets=[])], entries=[verdict()])["lines"][1]
    assert line.split()[-2:] == ["not_tested", "not_tested"]


@pytest.mark.parametrize(
    ("arguments", "part", "reason"),
    [
        ({"entries": [verdict(reason="unhealthy")]}, "entry", "unhealthy"),
        ({"probe": probe(certificate=verdict(reason="expired"))}, "certificate", "expired"),
        ({"probe": probe(targets=[verdict(reason="plaintext", url="http://x/")])}, "request to http://x/", "plaintext"),
        ({"pods": [verdict(reason="not_reached")]}, "request from the pod", "not_reached"),
        ({"probe": probe(certificate={"identity": "spiffe://x/ns/a/sa/b"})}, "certificate", "wrong_identity"),
        ({"probe": probe(sidecar=NOT_RUNNING), "entries": [verdict(reason="no_address")]}, "sidecar", "not_running"),
    ],
)
def test_one_fault_fails_the_machine_and_is_told(arguments, part, reason):
    proof = proof_table(
        ["vm1"],
        [arguments.get("probe", probe())],
        entries=arguments.get("entries", [verdict()]),
        pods=arguments.get("pods", [verdict()]),
        from_pod=True,
    )
    assert proof["failed"] == ["vm1"]
    row = proof["by_vm"]["vm1"]
    assert [(finding["part"], finding["reason"]) for finding in row["findings"]] == [(part, reason)]
    assert row["reasons"][0].startswith(f"vm1: {part}: {reason}. Found: ")
    assert "FAILED" in proof["lines"][1]
    assert any(line.startswith(f"vm1 - {part} - {reason}") for line in proof["lines"])


def everybody() -> dict[str, t.Any]:
    """One host of every kind."""
    hosts = ["vm10", "vm2", "lost", "lost-before", "broken", "told", "dropped", "later", "elsewhere", "earlier", "vm1"]
    unreachable = {"unreachable": True, "msg": "Task failed: ssh: no route #1"}
    row = proof_table(["earlier"], [probe()], entries=[verdict("earlier")])["by_vm"]["earlier"]
    alive = [host for host in hosts if host not in ("lost-before", "broken", "told", "dropped", "elsewhere")]
    return proof_table(
        hosts,
        [probe(), probe(), unreachable, "", {"failed": True, "msg": "no Python"}, "", "", "", "", "", probe()],
        entries=[verdict("vm10"), verdict("vm2", "unhealthy"), verdict("vm1")],
        pods=[verdict("vm10"), verdict("vm1")],
        earlier=["" if host != "earlier" else row for host in hosts],
        failures=[{"found": "wrong checksum", "next_step": "fix it"} if host == "told" else "" for host in hosts],
        contacts=[unreachable if host == "lost-before" else "" for host in hosts],
        targeted=[host for host in hosts if host != "elsewhere"],
        alive=alive,
        from_pod=True,
    )


def test_every_host_is_listed_with_its_state():
    proof = everybody()
    assert {row["vm"]: row["state"] for row in proof["by_vm"].values()} == {
        "vm1": "ok",
        "vm2": "failed",
        "vm10": "ok",
        "lost": "unreachable",
        "lost-before": "unreachable",
        "broken": "failed",
        "told": "failed",
        "dropped": "failed",
        "later": "not_reached",
        "elsewhere": "not_reached",
        "earlier": "ok",
    }
    assert [row["vm"] for row in proof["by_vm"].values()][-3:] == ["vm1", "vm2", "vm10"]
    assert proof["counts"] == {"ok": 3, "failed": 4, "unreachable": 2, "not_reached": 2, "not_tested": 0}
    assert proof["failed"] == ["broken", "dropped", "told", "vm2", "lost", "lost-before"]
    rows = proof["by_vm"]
    assert rows["told"]["reasons"] == ["told: machine: failed_before. Found: wrong checksum. Next step: fix it."]
    assert "no Python" in rows["broken"]["reasons"][0]
    assert rows["later"]["findings"][0]["evidence"] == "its batch comes later"
    assert rows["elsewhere"]["findings"][0]["evidence"] == "not part of this run"
    assert rows["vm2"]["from_mesh"]["evidence"] == "the WorkloadEntry is not right"


def test_a_machine_lost_since_it_was_proven_is_not_called_well():
    row = proof_table(["vm1"], [probe()], entries=[verdict()])["by_vm"]["vm1"]
    proof = proof_table(["vm1"], [{"unreachable": True, "msg": "gone"}], earlier=[row])
    assert proof["by_vm"]["vm1"]["state"] == "unreachable"


def test_the_table_is_aligned_in_yaml_and_json():
    lines = everybody()["lines"]
    assert all(": " not in line and " #" not in line and line == line.strip() for line in lines)
    dumped = yaml.dump({"msg": lines}, width=30).splitlines()
    # Not quoted, and the table's rows not folded, however narrow the output is.
    assert [f"- {line}" for line in lines[:12]] == dumped[1:13]
    json.dumps(everybody())
    starts = [line.index("  ") for line in (lines[0], lines[1])]
    assert starts[0] < starts[1] <= lines[0].index("PROOF")


def test_check_mode_on_what_is_not_there_yet():
    missing = [verdict("vm1", "no_address"), verdict("vm2", "wrong_network")]
    arguments: dict[str, t.Any] = {"entries": missing, "check_mode": True}
    proof = proof_table(["vm1", "vm2"], [probe(sidecar=NOT_RUNNING), probe()], **arguments)
    assert proof["by_vm"]["vm1"]["state"] == "not_tested"
    assert proof["by_vm"]["vm1"]["reasons"] == []
    assert proof["by_vm"]["vm2"]["state"] == "failed"
    assert "vm1 - not_running - this run would make that first" in proof["lines"]


def test_several_targets_in_one_cell():
    ok, bad = {"url": "a", "verdict": "ok"}, verdict(reason="plaintext", url="b")
    assert " 2/2,ok " in proof_table(["vm1"], [probe(targets=[ok, ok])], entries=[verdict()])["lines"][1]
    assert " 1/2,plaintext " in proof_table(["vm1"], [probe(targets=[ok, bad])], entries=[verdict()])["lines"][1]


def test_long_certificates_are_told_in_days():
    proof = proof_table(["vm1"], [probe(certificate={"remaining_seconds": 90 * 86400})], entries=[verdict()])
    assert " ok,90d " in proof["lines"][1]


def test_no_machines():
    assert proof_table([], [])["lines"][-1] == "0 VMs - nothing to prove"


def test_what_the_api_is_asked_about():
    hosts = ["vm1", "vm2", "vm3", "vm4"]
    probes = [
        probe(),
        probe(workload_group="bare", sidecar={"address": ""}),
        {"unreachable": True},
        probe(workload_group=None),
    ]
    assert proof_vms(hosts, probes) == [
        {"name": "vm1", "group": "chapter10vm/envoydummy", "address": "10.88.0.21"},
        {"name": "vm2", "group": "chapter10vm/bare", "address": None},
        {"name": "vm4", "group": "chapter10vm/envoydummy", "address": "10.88.0.21"},
    ]
    assert proof_vms(hosts, probes, namespace="other")[1]["group"] == "other/bare"
    entries = [verdict("vm1"), verdict("vm2", "unhealthy")]
    assert [vm["name"] for vm in proof_vms(hosts, probes, entries=entries)] == ["vm1"]
