# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order declared traffic is applied."""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _manifest, _traffic_plan
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Change

Build = t.Callable[..., list[dict[str, t.Any]]]
Object = dict[str, t.Any]


def declared(*subsets: str, to: str) -> dict[str, t.Any]:
    return {
        "destinations": [{"service": "web.shop", "subsets": {name: {"version": name} for name in subsets}}],
        "routes": [
            {
                "name": "web",
                "namespace": "shop",
                "services": ["web.shop"],
                "rules": [{"backends": [{"service": "web.shop", "subset": to}]}],
            }
        ],
    }


def steps(new: list[Object], old: t.Sequence[Object] = ()) -> list[str]:
    """In short what is done to come from one state to another."""
    before = {_manifest.ref(item): item for item in old}
    changes = [_manifest.compare(before.get(_manifest.ref(item)), item, _manifest.ref(item)) for item in new]
    gone = [item for own, item in before.items() if own not in {_manifest.ref(item) for item in new}]
    return [told(step) for step in _traffic_plan.steps(new, changes, gone, "cluster.local")]


def told(step: _traffic_plan.Step) -> str:
    if step.item is None:
        return step.act
    names = "+".join(subset["name"] for subset in step.item["spec"].get("subsets") or [])
    return " ".join(word for word in (step.act, step.item["kind"], names if step.act == "apply" else "") if word)


def test_nothing_to_do(build: Build) -> None:
    made = build(declared("v1", to="v1"))
    assert steps(made, made) == []
    assert steps([], []) == []


def test_subsets_come_before_the_routes_that_use_them(build: Build) -> None:
    assert steps(build(declared("v1", to="v1"))) == ["apply DestinationRule v1", "pause", "apply VirtualService"]


def test_there_is_no_pause_for_subsets_that_nobody_uses_yet(build: Build) -> None:
    old = build(declared("v1", to="v1"))
    assert steps(build(declared("v1", "v2", to="v1")), old) == ["apply DestinationRule v1+v2"]


def test_a_subset_goes_after_the_routes_have_left_it(build: Build) -> None:
    assert steps(build(declared("v2", to="v2")), build(declared("v1", to="v1"))) == [
        "apply DestinationRule v2+v1",
        "pause",
        "apply VirtualService",
        "pause",
        "apply DestinationRule v2",
    ]


def test_a_subset_that_no_route_used_goes_at_once(build: Build) -> None:
    assert steps(build(declared("v1", to="v1")), build(declared("v1", "v2", to="v1"))) == ["apply DestinationRule v1"]


def test_removal_begins_at_the_ways_in(build: Build) -> None:
    rules = {
        **declared("v1", to="v1"),
        "gateways": [{"name": "g", "namespace": "shop", "servers": []}],
        "mtls": [{"namespace": "shop"}],
        "access": [{"name": "a", "namespace": "shop", "allow": []}],
        "sidecars": [{"namespace": "shop", "egress": ["./*"]}],
    }
    assert steps([], build(rules)) == [
        "delete VirtualService",
        "pause",
        "delete Gateway",
        "delete Sidecar",
        "delete AuthorizationPolicy",
        "delete PeerAuthentication",
        "delete DestinationRule",
    ]
    assert steps(build(rules)) == [
        "apply DestinationRule v1",
        "apply PeerAuthentication",
        "apply AuthorizationPolicy",
        "apply Sidecar",
        "apply Gateway",
        "pause",
        "apply VirtualService",
    ]


def test_a_route_of_another_name_leaves_no_gap(build: Build) -> None:
    renamed = declared("v1", to="v1")
    renamed["routes"][0]["name"] = "other"
    assert steps(build(renamed), build(declared("v1", to="v1"))) == ["apply VirtualService", "delete VirtualService"]


def test_what_is_declared_is_left_as_it_is(build: Build) -> None:
    new, old = build(declared("v2", to="v2")), build(declared("v1", to="v1"))
    _traffic_plan.steps(
        new, [Change(_manifest.ref(i), "update", o, i) for i, o in zip(new, old, strict=True)], [], "cluster.local"
    )
    assert new == build(declared("v2", to="v2"))
