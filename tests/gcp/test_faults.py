# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong with Google, and what is said of it; and runs that are cut off, and gone on with."""

from __future__ import annotations

import os
import signal
import time
import typing as t

import pytest

from .conftest import DECLARED, SCALED, VMS, Cloud
from .server import faults
from .server.answers import taken

# Little, so that much can go wrong with it.
SMALL: dict[str, t.Any] = {"cluster": None, "nat": False, "vms": []}
MACHINE = {**SMALL, "vms": [{**VMS, "count": 1}]}


def test_patience(cloud: Cloud) -> None:
    cloud.world.faults.add("compute.networks.list", refusal=faults.busy(503, None), times=2)
    cloud.world.faults.add("compute.networks.insert", refusal=faults.busy(), times=1)
    cloud.world.faults.add("compute.routers.insert", refusal=faults.busy(after=2), times=1)
    result = cloud.run(cluster=None, vms=[])
    assert not result.get("failed"), result["msg"]
    # Each was asked once more, and Retry-After was heeded: without it, it would have been less than a second.
    times: dict[str, list[float]] = {}
    for request in cloud.world.requests:
        times.setdefault(request.method, []).append(request.at)
    assert len(times["compute.networks.insert"]) == 2
    first, second = times["compute.routers.insert"]
    assert second - first >= 2


def test_patience_ends(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_api.PATIENCE", 2.0)
    cloud.world.faults.add("compute.networks.list", refusal=faults.busy(429, 1))
    said = cloud.run(**SMALL)["msg"]
    assert "an API that has time for a request" in said
    assert 1 < len(cloud.world.requests) < 5


# Which method fails, how, with what declared -> what is said.
TOLD: dict[str, tuple[str, dict[str, t.Any], dict[str, t.Any], list[str]]] = {
    "an API that is not enabled": (
        "compute.networks.list",
        {"refusal": faults.disabled("Compute Engine API", "my-project")},
        SMALL,
        ["gcloud services enable compute.googleapis.com --project my-project"],
    ),
    "a right to read that is missing": (
        "container.projects.locations.clusters.list",
        {"refusal": faults.forbidden("container.clusters.list", "my-project")},
        SMALL,
        ["the right container.clusters.list in project my-project", "--role roles/container.admin"],
    ),
    "a right to make that is missing": (
        "compute.networks.insert",
        {"refusal": faults.forbidden("compute.networks.create", "my-project")},
        SMALL,
        [
            "the right compute.networks.create",
            "gcloud projects add-iam-policy-binding my-project",
            "roles/compute.admin",
        ],
    ),
    "a quota, at once": (
        "compute.instances.insert",
        {"refusal": faults.quota("CPUS")},
        MACHINE,
        ["Quota 'CPUS' exceeded", "enough quota in project my-project", "gcloud beta quotas"],
    ),
    "a quota, late": (
        "compute.instances.insert",
        {"error": faults.failing("QUOTA_EXCEEDED", "Quota 'CPUS' exceeded. Limit: 8.0")},
        MACHINE,
        ["QUOTA_EXCEEDED", "enough quota in project my-project"],
    ),
    "a zone without capacity": (
        "compute.instances.insert",
        {"error": faults.failing("ZONE_RESOURCE_POOL_EXHAUSTED", "The zone does not have enough resources available")},
        MACHINE,
        ["instance mesh1-app-1", "another gcp_infra_zone or machine_type", "machine-types list --project my-project"],
    ),
    "a cluster that fails late": (
        "container.projects.locations.clusters.create",
        {"error": faults.failing("", "All cluster resources were brought up, but not the nodes")},
        {"cluster": {}, "vms": []},
        ["creating cluster cluster1", "brought up, but not the nodes"],
    ),
    "a name that is taken meanwhile": (
        "compute.networks.insert",
        {"refusal": taken("projects/my-project/global/networks/mesh1")},
        SMALL,
        ["already exists", "choose another gcp_infra_name"],
    ),
    "something that disappears": (
        "compute.networks.insert",
        {"vanish": True},
        SMALL,
        ["creating network mesh1", "failed", "run this again"],
    ),
    "something that disappears, which no module made": (
        "compute.routers.insert",
        {"vanish": True},
        {**SMALL, "nat": True},
        ["creating router mesh1-nat", "it is not there afterwards"],
    ),
    "a right to act as a service account": (
        "compute.subnetworks.insert",
        {"refusal": faults.forbidden("iam.serviceAccounts.actAs", "my-project")},
        SMALL,
        ["roles/iam.serviceAccountUser"],
    ),
}


@pytest.mark.parametrize("case", TOLD)
def test_told_with_what_to_do(cloud: Cloud, case: str) -> None:
    method, fault, declared, words = TOLD[case]
    cloud.world.faults.add(method, **fault)
    result = cloud.run(**declared)
    assert result.get("failed"), result
    for word in [*words, "my-project"]:
        assert word in result["msg"]
    # And once it is mended, the next run goes on from there.
    cloud.world.faults.clear()
    assert not cloud.run(**declared).get("failed")


def test_project_that_is_not_there(cloud: Cloud) -> None:
    result = cloud.run(**SMALL, project="nobodys-project")
    assert "check gcp_infra_project" in result["msg"], result


def test_cut_off_after_each_request_and_gone_on_with(cloud: Cloud) -> None:
    declared: dict[str, t.Any] = {"vms": [{**VMS, "count": 1}, SCALED], "cluster": {}}
    machine = {"machine_type": "e2-medium", "labels": {"a": "b"}, "tags": ["t"], "metadata": {"k": "v"}, "disk_gb": 20}
    changed = {
        "vms": [{**VMS, **machine, "count": 1}, {**SCALED, "autoscale": {"min": 2, "max": 5}}],
        "allow_stop": True,
        "cluster": {"release_channel": "RAPID", "authorized_ranges": ["192.0.2.0/24"]},
        "nodes": {"count": 5, "machine_type": "e2-standard-4"},
        "subnet_range": "10.10.0.0/19",
        "metrics_ports": [15021],
    }
    stages: tuple[tuple[str, str, dict[str, t.Any]], ...] = (
        ("present", "(insert|create|setIamPolicy)", declared),
        ("present", "(update|patch|resize|stop|start|expand.*|set.*)", changed),
        ("absent", "(delete|setIamPolicy)", changed),
    )
    for state, what, declared in stages:
        # What was asked for is done each time, but nobody is told. What can be looked up is no reason to stop; the rest is
        # gone on with by the next run.
        cloud.world.faults.clear()
        fault = cloud.world.faults.add(rf".*\.{what}", drop=True, times=1000)
        runs = 1
        while cloud.run(state=state, **declared).get("failed"):
            runs += 1
            assert runs < 50
        assert 1000 - fault.times > 10
        cloud.world.faults.clear()
        assert cloud.run(state=state, **declared)["diff"] == []
        # No machine is left as it was in the middle of a change.
        assert {cloud.world.state.things[path]["status"] for path in cloud.things("instances")} <= {"RUNNING"}
    assert sorted(cloud.world.state.things) == []


def test_killed_and_gone_on_with(cloud: Cloud) -> None:
    cloud.world.settings.duration = 1.0
    process = cloud.start(with_cluster=False, nat=False, vms=[])
    deadline = time.monotonic() + 300
    while not any(request.method == "compute.networks.insert" for request in cloud.world.mutations):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    cloud.world.settings.duration = 0.0
    cloud.world.settled()
    assert not cloud.run(**SMALL).get("failed")
    assert cloud.run(**SMALL)["diff"] == []
    left = [
        path.name
        for path in cloud.folder.iterdir()
        if path.name not in ("ca.pem", "server.pem", "service-account.json", "variables.json")
    ]
    assert left == []


def test_declarations_that_cannot_be_right(cloud: Cloud) -> None:
    cases: list[tuple[dict[str, t.Any], str]] = [
        ({"name": "Mesh_1"}, "gcp_infra_name 'Mesh_1'"),
        ({"pod_range": "10.10.0.0/16"}, "overlap"),
        ({"subnet": "mine"}, "without its network"),
        ({"vms": [{**VMS, "workload_group": "app"}]}, "namespace/name"),
        ({"vms": [VMS, VMS]}, "declared twice"),
        ({"auth_kind": "password"}, "auth_kind password"),
        ({"vms": [{"name": "app"}]}, "missing required arguments"),
    ]
    for changes, words in cases:
        result = cloud.run(**changes)
        assert words in result.get("msg", ""), (changes, result)
    assert cloud.world.requests == []
    assert DECLARED
