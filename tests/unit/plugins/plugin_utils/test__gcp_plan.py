# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what is wanted and found to steps, in an order in which they can be taken, and to what is refused."""

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import (
    _gcp_changes,
    _gcp_cost,
    _gcp_kinds,
    _gcp_plan,
    _gcp_views,
    _gcp_wanted,
)
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_resource import Key, Resource, short

from .gcp_declared import APP, WEB, declaration


def there(declared: dict[str, t.Any]) -> dict[Key, Resource]:
    """What the API would answer once a declaration is there, as far as it is compared."""
    return {resource.key: copy.deepcopy(resource) for resource in _gcp_wanted.wanted(declared)}


def planned(declared: dict[str, t.Any], found: dict[Key, Resource], **options: t.Any) -> _gcp_plan.Plan:
    wanted = _gcp_wanted.wanted(declared) if declared["state"] == "present" else []
    return _gcp_plan.plan(_gcp_wanted.target(declared), wanted, found, list(found.values()), **options)


def test_nothing_there_is_made_each_after_what_it_names() -> None:
    declared = declaration(nat=True)
    steps = planned(declared, {}).steps
    assert {step.action for step in steps} == {"create"}
    seen: set[str] = set()
    for step in steps:
        body = step.wanted.body if step.wanted else {}
        for field in ("network", "subnetwork", "instanceTemplate"):
            if body.get(field):
                assert short(body[field]) in seen, step.key
        seen.add(step.key.name)
    assert [step.key.kind for step in steps if step.along] == ["node_pool"]


def test_all_there_is_no_step_and_absent_is_the_way_back() -> None:
    declared = declaration()
    found = there(declared)
    assert planned(declared, found).steps == []
    gone = planned(declaration(state="absent"), found).steps
    kinds = [step.key.kind for step in gone]
    assert kinds == sorted(kinds, key=_gcp_kinds.ORDER.index, reverse=True)
    assert {step.key for step in gone} == set(found)
    assert [step.key.kind for step in gone if step.along] == ["node_pool"]


def test_what_is_declared_no_more_goes_after_all_else() -> None:
    found = there(declaration())
    steps = planned(declaration(vms=[{**APP, "count": 1}, {**WEB, "machine_type": "e2-medium"}]), found).steps
    assert [(step.action, step.key.kind) for step in steps] == [
        ("create", "instance_template"),
        ("change", "instance_group"),
        ("remove", "instance"),
        ("remove", "instance_template"),
    ]


def test_somebody_elses_is_never_touched() -> None:
    found = there(declaration())
    key = next(key for key in found if key.kind == "network")
    found[key].body["description"] = "mine"
    plan = planned(declaration(), found)
    assert [step.key for step in plan.steps if step.key == key] == []
    assert "was not made by the infrastructure mesh1" in str(plan.refused[0])
    # Nor where everything goes: only what is known to be ours is given.
    ours = [item for item in found.values() if item.key != key]
    gone = _gcp_plan.plan(_gcp_wanted.target(declaration()), [], found, ours).steps
    assert key not in {step.key for step in gone}


def test_every_field_that_is_compared_is_changed_or_refused_by_name() -> None:
    """No difference is passed over in silence."""
    found = there(
        declaration(cluster={"authorized_ranges": ["192.0.2.0/24"]}, nodes={"autoscale": {"min": 1, "max": 2}})
    )
    seen: dict[str, set[str]] = {"changed": set(), "refused": set()}
    for resource in found.values():
        kind = resource.key.kind
        for field in _gcp_views.view(resource):
            scene = _gcp_changes.Scene(
                _gcp_wanted.target(declaration()), resource, _there(resource), (field,), allow_stop=True
            )
            outcome = _outcome(scene)
            assert outcome or field == "nodes", f"{kind}.{field}: neither changed nor refused"
            seen["refused" if isinstance(outcome, str) else "changed"].add(f"{kind}.{field}")
    assert {"firewall.sourceRanges", "firewall.targetTags", "firewall.allowed", "instance.metadata"} <= seen["changed"]
    assert {"cluster.privateNodes", "address.addressType", "network.autoCreateSubnetworks"} <= seen["refused"]


def _outcome(scene: _gcp_changes.Scene) -> list[_gcp_changes.Call] | str:
    """The calls that change a field, or the words by which it is refused."""
    try:
        return _gcp_changes.changes(scene)
    except _gcp_changes.Refused as error:
        return str(error) if scene.fields[0] in str(error) else ""


def _there(resource: Resource) -> Resource:
    """As it would be found, with what only the API knows."""
    found = copy.deepcopy(resource)
    if resource.key.kind == "instance":
        found.body.update(status="RUNNING", labelFingerprint="l")
        found.body["disks"][0].update(source="x/disks/d", diskSizeGb="10")
        found.body["networkInterfaces"][0]["accessConfigs"] = [{"name": "External NAT"}]
    return found


def test_narrower_firewall_is_a_change() -> None:
    found = there(declaration(firewall_rules=[_rule(["10.0.0.0/8", "192.0.2.0/24"])]))
    plan = planned(declaration(firewall_rules=[_rule(["10.0.0.0/8"])]), found)
    (step,) = plan.steps
    assert (step.action, step.fields, step.calls[0].verb) == ("change", ("sourceRanges",), "PUT")
    (shown,) = _gcp_plan.diff(plan.steps)
    assert "192.0.2.0/24" in shown["before"]
    assert "192.0.2.0/24" not in shown["after"]


def _rule(ranges: list[str]) -> dict[str, t.Any]:
    return {"name": "x", "reason": "y", "ports": ["1"], "source_ranges": ranges}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "3 nodes e2-medium with 50 GB pd-balanced each - australia-southeast1-a"),
        ({}, "2 VM e2-small with 10 GB pd-balanced - australia-southeast1-a"),
        ({}, "1 to 3 VM e2-small with 10 GB pd-balanced each, autoscaled - australia-southeast1-a"),
        ({}, "1 Cloud NAT gateway (hours, data, an address)"),
        ({}, "1 GKE cluster, zonal - cluster1, australia-southeast1-a"),
        ({"cluster": {"regional": True}}, "1 GKE cluster, regional - cluster1, australia-southeast1"),
        (
            {"nodes": {"autoscale": {"min": 1, "max": 5}}},
            "1 to 5 nodes e2-medium with 50 GB pd-balanced each - australia-southeast1-a",
        ),
        ({"gateway_internal": False}, "1 external address, reserved"),
        ({"vms": [{**APP, "public_address": True}]}, "2 external addresses of VMs"),
    ],
)
def test_cost(changes: dict[str, t.Any], line: str) -> None:
    assert line in _gcp_cost.lines(_gcp_wanted.wanted(declaration(**changes)))


def test_every_resource_is_in_the_list_of_costs() -> None:
    wanted = _gcp_wanted.wanted(declaration())
    free = {part.split(" ", 1)[1] for part in _gcp_cost.lines(wanted)[-1].partition(" - ")[2].split(", ")}
    charged = {"cluster", "node pool", "instance", "instance group", "router"}
    assert free | charged == {resource.key.kind.replace("_", " ") for resource in wanted}
    assert not free & charged


def test_a_cluster_and_its_nodes_are_changed_each_by_itself() -> None:
    found = there(declaration())
    plan = planned(declaration(cluster={"release_channel": "RAPID"}, nodes={"count": 5}), found)
    assert [(step.action, step.key.kind, step.along) for step in plan.steps] == [
        ("change", "cluster", False),
        ("change", "node_pool", False),
    ]
