# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From an empty project to infrastructure, through changes of it, and back: the real modules against the local server."""

from __future__ import annotations

import typing as t

import pytest

from .conftest import SCALED, VMS, Cloud
from .server.faults import failing


def test_made_kept_and_removed(cloud: Cloud) -> None:
    result = cloud.applied()
    assert {step["action"] for step in result["steps"]} == {"create"}
    assert result["cluster"]["endpoint"] == "10.88.0.10"
    assert result["gateway_address"]
    assert len(cloud.things("instances")) == 3
    assert "3 nodes e2-medium with 50 GB pd-balanced each - australia-southeast1-a" in result["cost"]

    gone = cloud.applied(state="absent")
    assert {step["action"] for step in gone["steps"]} == {"remove"}
    assert sorted(cloud.world.state.things) == []
    assert cloud.world.state.policy["bindings"] == []


# What is declared otherwise -> the fields that change, by kind, and the methods of the API that change them.
CHANGES: dict[str, tuple[dict[str, t.Any], set[str], list[str]]] = {
    "subnet grows": ({"subnet_range": "10.10.0.0/19"}, {"subnetwork"}, ["compute.subnetworks.expandIpCidrRange"]),
    "firewall narrows": (
        {"vms": [{**VMS, "ports": [8081]}, SCALED]},
        {"firewall"},
        ["compute.firewalls.update", "compute.firewalls.update"],
    ),
    "firewall rule goes": ({"iap": False}, {"firewall"}, ["compute.firewalls.delete"]),
    "firewall rule of its own, the highest priority": (
        {
            "firewall_rules": [
                {"name": "x", "reason": "y", "ports": ["1-2"], "source_ranges": ["10.0.0.0/8"], "priority": 0}
            ]
        },
        {"firewall"},
        ["compute.firewalls.insert"],
    ),
    "channel": (
        {"cluster": {"release_channel": "RAPID"}},
        {"cluster"},
        ["container.projects.locations.clusters.update"],
    ),
    "who reaches the API server, and workload identity": (
        {"cluster": {"authorized_ranges": ["192.0.2.0/24"], "workload_identity": False}},
        {"cluster", "node_pool"},
        [
            "container.projects.locations.clusters.update",
            "container.projects.locations.clusters.update",
            "container.projects.locations.clusters.nodePools.update",
        ],
    ),
    "number of nodes": (
        {"nodes": {"count": 5}},
        {"node_pool"},
        ["container.projects.locations.clusters.nodePools.setSize"],
    ),
    "nodes that come and go": (
        {"nodes": {"autoscale": {"min": 1, "max": 4}}},
        {"node_pool"},
        ["container.projects.locations.clusters.nodePools.setAutoscaling"],
    ),
    "type and labels of nodes": (
        {"nodes": {"machine_type": "e2-standard-4", "labels": {"a": "b"}}},
        {"node_pool"},
        ["container.projects.locations.clusters.nodePools.update"] * 2,
    ),
    "another node pool": (
        {"nodes": {"name": "other"}},
        {"node_pool"},
        [
            "container.projects.locations.clusters.nodePools.create",
            "container.projects.locations.clusters.nodePools.delete",
        ],
    ),
    "labels, tags and metadata of machines": (
        {"vms": [{**VMS, "labels": {"a": "b"}, "tags": ["more"], "metadata": {"k": "v"}}, SCALED]},
        {"instance"},
        ["compute.instances.setLabels", "compute.instances.setMetadata", "compute.instances.setTags"] * 2,
    ),
    "ssh keys": (
        {"ssh_keys": [], "vms": [VMS]},
        {"instance", "instance_template", "instance_group", "autoscaler", "firewall"},
        [],
    ),
    "type of machines": (
        {"vms": [{**VMS, "machine_type": "e2-medium"}, SCALED], "allow_stop": True},
        {"instance"},
        ["compute.instances.stop", "compute.instances.setMachineType", "compute.instances.start"] * 2,
    ),
    "disks of machines": ({"vms": [{**VMS, "disk_gb": 20}, SCALED]}, {"instance"}, ["compute.disks.resize"] * 2),
    "public addresses": (
        {"vms": [{**VMS, "public_address": True}, SCALED]},
        {"instance"},
        ["compute.instances.addAccessConfig"] * 2,
    ),
    "fewer machines": ({"vms": [{**VMS, "count": 1}, SCALED]}, {"instance"}, ["compute.instances.delete"]),
    "more machines": ({"vms": [{**VMS, "count": 3}, SCALED]}, {"instance"}, ["compute.instances.insert"]),
    "limits of machines that come and go": (
        {"vms": [VMS, {**SCALED, "autoscale": {"min": 2, "max": 5}}]},
        {"autoscaler"},
        ["compute.autoscalers.update"],
    ),
    "content of machines that come and go": (
        {"vms": [VMS, {**SCALED, "machine_type": "e2-medium"}]},
        {"instance_template", "instance_group"},
        ["compute.instanceTemplates.insert", "compute.instanceGroupManagers.patch", "compute.instanceTemplates.delete"],
    ),
    "machines that come and go, in all zones": (
        {"vms": [VMS, {**SCALED, "regional": True}]},
        {"instance_group", "autoscaler"},
        [
            "compute.regionInstanceGroupManagers.insert",
            "compute.regionAutoscalers.insert",
            "compute.autoscalers.delete",
            "compute.instanceGroupManagers.delete",
        ],
    ),
    "OS Login instead of ssh keys": (
        {"ssh_keys": [], "os_login": True},
        {"instance", "instance_template", "instance_group"},
        [
            *["compute.instances.setMetadata"] * 2,
            "compute.instanceTemplates.insert",
            "compute.instanceGroupManagers.patch",
            "compute.instanceTemplates.delete",
        ],
    ),
    "way out": ({"nat": False}, {"router"}, ["compute.routers.delete"]),
}


@pytest.mark.parametrize("case", CHANGES)
def test_changed_in_place(made: Cloud, case: str) -> None:
    changes, kinds, methods = CHANGES[case]
    made.world.requests.clear()
    result = made.run(check=True, **changes)
    assert not result.get("failed"), result["msg"]
    assert {step["kind"] for step in result["steps"]} == kinds
    assert made.world.mutations == []
    assert made.run(**changes)["steps"] == result["steps"]
    if methods:
        assert [request.method for request in made.world.mutations] == methods
    assert made.run(**changes)["diff"] == []


# What is declared otherwise -> the field that is named.
REFUSED: dict[str, tuple[dict[str, t.Any], list[str]]] = {
    "subnet elsewhere": ({"subnet_range": "10.11.0.0/20"}, ["can only grow", "10.11.0.0/20"]),
    "addresses of pods": ({"pod_range": "10.24.0.0/16"}, ["secondaryIpRanges", "pods"]),
    "nodes become public": ({"cluster": {"private_nodes": False}}, ["privateNodes", "can't be changed"]),
    "control plane elsewhere": ({"cluster": {"control_plane_range": "172.16.1.0/28"}}, ["controlPlaneRange"]),
    "disk shrinks": ({"vms": [{**VMS, "disk_gb": 5}, SCALED]}, ["diskSizeGb", "can only grow"]),
    "type without a stop": ({"vms": [{**VMS, "machine_type": "e2-medium"}, SCALED]}, ["gcp_infra_allow_stop"]),
    "kind of the gateway's address": ({"gateway_internal": False}, ["addressType"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name_before_anything_is_done(made: Cloud, case: str) -> None:
    changes, words = REFUSED[case]
    # Something else, which could be done, is not done either.
    result = made.run(iap=False, **changes)
    assert result.get("failed"), result
    assert made.world.mutations == []
    for word in [*words, "my-project"]:
        assert word in result["msg"]


def test_existing_network_is_used_and_left(cloud: Cloud) -> None:
    link = "https://www.googleapis.com/compute/v1/projects/my-project/"
    for path, body in {
        "global/networks/default": {"name": "default"},
        "regions/australia-southeast1/subnetworks/default": {
            "name": "default",
            "network": f"{link}global/networks/default",
            "ipCidrRange": "10.152.0.0/20",
            "region": f"{link}regions/australia-southeast1",
        },
    }.items():
        cloud.world.state.things[f"compute:projects/my-project/{path}"] = {**body, "selfLink": link + path}
    existing = {"network": "default", "subnet": "default", "subnet_range": "10.152.0.0/20"}
    before = sorted(cloud.world.state.things)
    result = cloud.applied(**existing)
    assert not {"network", "subnetwork"} & {step["kind"] for step in result["steps"]}
    cloud.applied(state="absent", **existing)
    assert sorted(cloud.world.state.things) == before
    missing = cloud.run(network="other", subnet="other")
    assert "there is no network other in project my-project" in missing["msg"]


def test_regional_and_public(cloud: Cloud) -> None:
    declared = {"cluster": {"regional": True, "private_nodes": False}, "vms": [], "gateway_internal": False}
    result = cloud.applied(**declared)
    assert "9 nodes e2-medium with 50 GB pd-balanced each - australia-southeast1" in result["cost"]
    assert "1 external address, reserved" in result["cost"]
    cloud.applied(state="absent")
    assert sorted(cloud.world.state.things) == []


@pytest.mark.parametrize("status", ["TERMINATED", "SUSPENDED"])
def test_machines_that_are_off_are_started(made: Cloud, status: str) -> None:
    made.thing("instances", "mesh1-app-1")["status"] = status
    result = made.applied()
    assert result["report"] == ["changed instance mesh1-app-1 (australia-southeast1-a) - running"]
    assert made.thing("instances", "mesh1-app-1")["status"] == "RUNNING"


def test_machines_that_come_and_go_in_all_zones(cloud: Cloud) -> None:
    group = {**SCALED, "regional": True, "autoscale": {"min": 0, "max": 3}}
    declared = {"cluster": None, "nat": False, "vms": [group]}
    result = cloud.applied(**declared)
    assert "0 to 3 VM e2-small with 10 GB pd-balanced each, autoscaled - australia-southeast1" in result["cost"]
    (manager,) = cloud.things("instanceGroupManagers")
    assert "/regions/australia-southeast1/" in manager
    more = {**group, "machine_type": "e2-medium", "autoscale": {"min": 3, "max": 4}}
    changed = cloud.applied(**{**declared, "vms": [more]})
    assert {(step["action"], step["kind"]) for step in changed["steps"]} == {
        ("create", "instance_template"),
        ("change", "instance_group"),
        ("change", "autoscaler"),
        ("remove", "instance_template"),
    }
    # An operation that fails late is told, too.
    cloud.applied(**{**declared, "vms": []})
    cloud.world.faults.add(
        "compute.regionInstanceGroupManagers.insert", error=failing("QUOTA_EXCEEDED", "Quota 'CPUS'")
    )
    assert "QUOTA_EXCEEDED" in cloud.run(**{**declared, "vms": [more]})["msg"]
    cloud.world.faults.clear()
    cloud.applied(**{**declared, "vms": [more]})
    zones = {path.split("/")[3] for path in cloud.things("instances")}
    assert zones == {f"australia-southeast1-{letter}" for letter in "abc"}
    cloud.applied(state="absent")
    assert sorted(cloud.world.state.things) == []


def test_what_others_made_stays(cloud: Cloud) -> None:
    assert not cloud.run(cluster=None, vms=[]).get("failed")
    # Another infrastructure, whose name begins the same.
    other = cloud.run(name="mesh1-b", cluster=None, vms=[])
    assert not other.get("failed"), other
    left = [path for path in cloud.world.state.things if path.endswith(("/mesh1-b", "/mesh1-b-nat"))]
    assert not cloud.run(state="absent").get("failed")
    assert sorted(cloud.world.state.things) == sorted(left)
    taken = cloud.run(name="mesh1", vms=[], cluster=None, nat=False)
    assert not taken.get("failed")
    cloud.thing("networks", "mesh1")["description"] = "somebody's"
    refused = cloud.run(vms=[], cluster=None, nat=False)
    assert "network mesh1 is in project my-project already" in refused["msg"]
    assert "choose another gcp_infra_name" in refused["msg"]
