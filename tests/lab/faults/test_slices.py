# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three jobs at once, as AWX slices them: each knows one machine, all have the same cluster."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
import yaml

from ..conftest import Lab
from ..test_96_runner import Awx, Job, awx

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
