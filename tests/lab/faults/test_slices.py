# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three jobs at once, as AWX slices them: each knows one machine, all have the same cluster."""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import time
import typing as t

import pytest
import yaml

from ..conftest import ADDRESSES, Lab
from ..test_96_runner import Awx, Job, awx
from ..traffic import from_pod

__all__ = ["awx"]

VMS = ("vm1", "vm2", "vm3")
GROUP = ("workloadgroup", "envoydummy", "-n", "chapter10vm")


@pytest.fixture(scope="module")
def three(awx: Awx) -> t.Iterator[Awx]:
    with awx.lab.machines(3):
        yield awx


def at_once(awx: Awx, name: str, playbook: str, **variables: t.Any) -> list[Job]:
    """One slice for each machine, all started together."""
    started = {vm: awx.start(f"{name}-{vm}", playbook, [vm], **variables) for vm in VMS}
    jobs = [awx.finish(f"{name}-{vm}", process) for vm, process in started.items()]
    for job in jobs:
        assert job.status == "successful", job.output
    return jobs


def hosts_of(job: Job) -> set[str]:
    """Every host that an event of the job names."""
    return {event["event_data"]["host"] for event in job.events if event.get("event_data", {}).get("host")}


def identity(lab: Lab, *what: str) -> tuple[str, int]:
    """An object's uid, which a second creation would change, and its generation, which each change of its spec raises."""
    metadata = json.loads(lab.kubectl("get", *what, "-o", "json"))["metadata"]
    return metadata["uid"], metadata.get("generation", 0)


def test_three_slices_onboard_into_a_group_that_none_of_them_finds(three: Awx) -> None:
    three.lab.reset(*VMS)
    three.lab.kubectl("delete", "namespace", "chapter10vm", "--ignore-not-found")
    gateway = ("deployment", "istio-eastwestgateway", "-n", "istio-system")
    before = identity(three.lab, *gateway)

    jobs = at_once(three, "first", "site.yml")

    for vm, job in zip(VMS, jobs, strict=True):
        assert hosts_of(job) == {vm}
        assert job.statistics["mesh_report_onboard"]["joined"] == [vm]
        assert job.statistics["mesh_report_verify"]["counts"] == {"ok": 1}
    # Made once, and changed by none that came later.
    assert identity(three.lab, *GROUP)[1] == 1
    assert identity(three.lab, *gateway) == before
    listed = yaml.safe_load(three.lab.kubectl("get", "workloadentries", "-n", "chapter10vm", "-o", "yaml"))["items"]
    assert len(listed) == len(VMS)


def test_a_second_round_changes_nothing(three: Awx) -> None:
    group = identity(three.lab, *GROUP)

    jobs = at_once(three, "second", "site.yml")

    assert [job.changed for job in jobs] == [0, 0, 0]
    assert identity(three.lab, *GROUP) == group


def test_the_proof_of_all_runs_after_the_slices(three: Awx) -> None:
    job = three.run("proof", "playbooks/verify.yml", VMS)
    assert job.status == "successful", job.output
    assert job.statistics["mesh_report_verify"]["counts"] == {"ok": 3}
    assert pathlib.Path(job.folder, "artifacts/job/rc").read_text() == "0"


def test_three_slices_renew(three: Awx) -> None:
    for job in at_once(three, "renew", "playbooks/renew.yml", vm_sidecar_renew_all=True):
        assert job.statistics["mesh_report_renew"]["counts"] == {"renewed": 1}


class Watcher:
    """Follows the entries, so that it misses no change however short.

    Attributes:
        looks: after each change, the addresses that serve. Known at the end.
    """

    def __init__(self, lab: Lab) -> None:
        self.looks: list[frozenset[str]] = []
        what = ["get", "workloadentries", "-n", "chapter10vm", "-o", "json", "--watch", "--output-watch-events"]
        self._command = ["kubectl", *what]
        self._before = len(json.loads(lab.kubectl(*what[:6]))["items"])

    def __enter__(self) -> Watcher:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        time.sleep(1)
        return self

    def __exit__(self, *_error: t.Any) -> None:
        assert self._process.poll() is None
        self._process.terminate()
        text, _errors = self._process.communicate(timeout=60)
        serving: dict[str, bool] = {}
        decoder, at, events = json.JSONDecoder(), 0, 0
        while rest := text[at:].lstrip():
            event, end = decoder.raw_decode(rest)
            at = len(text) - len(rest) + end
            entry, events = event["object"], events + 1
            serving[entry["spec"]["address"]] = event["type"] != "DELETED" and self._serves(entry)
            # It begins with those that are there.
            if events >= self._before:
                self.looks.append(frozenset(address for address, serves in serving.items() if serves))

    @staticmethod
    def _serves(entry: dict[str, t.Any]) -> bool:
        """Whether clients have it as an endpoint, as istiod sees it: there is a report of its health, and a good one."""
        said = {item["type"]: item["status"] for item in (entry.get("status") or {}).get("conditions") or []}
        return said.get("Healthy") == "True"

    def out(self, vms: t.Sequence[str]) -> tuple[int, int]:
        """How many were out at a time at most, and how many ever were."""
        missing = [{vm for vm in vms if ADDRESSES[vm] not in look} for look in self.looks]
        return max(map(len, missing)), len(set().union(*missing))


def all_healthy(lab: Lab) -> None:
    lab.kubectl("rollout", "status", "-n", "lab", "deployment/workbench", "--timeout=120s")
    deadline = time.monotonic() + 90
    while True:
        with Watcher(lab) as watcher:
            pass
        if watcher.looks and watcher.out(VMS)[0] == 0:
            return
        assert time.monotonic() < deadline, watcher.looks[-1:]


def test_three_slices_that_restart_never_take_more_than_the_share_together(three: Awx) -> None:
    """Each knows one machine of the Service, and would take it out at once: a third of three is one."""
    all_healthy(three.lab)
    with from_pod() as traffic, Watcher(three.lab) as watcher:
        at_once(three, "restart", "playbooks/upgrade.yml", vm_sidecar_environment={"SECRET_TTL": "12h"})
    traffic.told("three slices restart the machines of one Service at the same time")
    most, ever = watcher.out(VMS)
    print(f"of three machines {ever} were out, {most} at a time, by {len(watcher.looks)} changes")
    assert (most, ever) == (1, 3)
    assert traffic.failed == 0, traffic.statuses


@contextlib.contextmanager
def drained(lab: Lab, vm: str) -> t.Iterator[None]:
    """One that somebody has taken out, and does not bring back."""
    options: dict[str, t.Any] = {"vms": [{"name": vm, "group": "chapter10vm/envoydummy", "address": ADDRESSES[vm]}]}
    lab.module("workload_drain", **options)
    try:
        yield
    finally:
        lab.module("workload_drain", state="restored", **options)


def test_who_waits_in_vain_drains_nothing_and_restarts_nothing(three: Awx) -> None:
    all_healthy(three.lab)
    process = "systemctl show -p MainPID --value istio; cat /etc/hybridmesh/sidecar.env"
    before = three.lab.ssh("vm1", process)
    with drained(three.lab, "vm3"), Watcher(three.lab) as watcher:
        job = three.run(
            "in-vain",
            "playbooks/onboard.yml",
            ["vm1", "vm2"],
            vm_sidecar_environment={"SECRET_TTL": "11h"},
            vm_sidecar_restart_share_timeout=6,
        )
    assert job.status == "failed", job.output
    reasons = job.statistics["mesh_report_onboard"]["failed"]
    assert f"envoydummy-{ADDRESSES['vm3']}-network1 (drained by a run)" in reasons["vm1"], reasons
    assert "1 of the 3 VMs of Service chapter10vm/envoydummy" in reasons["vm1"]
    assert "It was waited for 6 s, and nothing was drained of vm1" in reasons["vm1"]
    assert "vm_sidecar_restart_share_timeout" in reasons["vm1"]
    assert "was not restarted" in reasons["vm1"]
    assert "vm1 failed before it" in reasons["vm2"]
    assert watcher.out(["vm1", "vm2"]) == (0, 0)
    assert three.lab.ssh("vm1", process) == before


def test_a_job_waits_for_a_machine_that_is_brought_back(three: Awx) -> None:
    all_healthy(three.lab)
    with contextlib.ExitStack() as kept:
        kept.enter_context(drained(three.lab, "vm3"))
        options = {"vm_sidecar_environment": {"SECRET_TTL": "10h"}}
        waits: subprocess.Popen[str] = three.start("waits", "playbooks/onboard.yml", ["vm1"], **options)
        time.sleep(30)
        assert waits.poll() is None
        kept.close()
        job = three.finish("waits", waits)
    assert job.status == "successful", job.output
    assert "s for its turn, since others of its Services were out" in job.output
    all_healthy(three.lab)
