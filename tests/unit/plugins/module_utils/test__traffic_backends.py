# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where declared routes send to: what is refused."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _traffic_backends
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_scene import Problem, Scene

MakeScene = t.Callable[..., Scene]
Live = t.Callable[..., dict[str, t.Any]]


def to(*backends: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    rule = {"backends": list(backends), **more.pop("rule", {})}
    return {"routes": [{"name": "web", "namespace": "shop", "hosts": ["a.com"], "rules": [rule], **more}]}


def problems(scene: Scene) -> list[Problem]:
    return [problem for check in _traffic_backends.CHECKS for problem in check(scene)]


def told(scene: Scene) -> list[str]:
    return [problem.found for problem in problems(scene)]


@pytest.mark.parametrize(
    "backend",
    [
        {"service": "web.shop"},
        {"service": "web", "port": 80},
        {"service": "db.shop", "port": 9187},
        {"service": "db.shop"},
        {"host": "api.example.com", "port": 443},
        {"host": "web.shop.svc.cluster.local"},
    ],
)
def test_backends_that_are_there(scene: MakeScene, backend: dict[str, t.Any]) -> None:
    assert told(scene(to(backend))) == []


def test_a_service_that_is_not_there(scene: MakeScene) -> None:
    found = problems(scene(to({"service": "wbe.shop"})))
    assert [problem.found for problem in found] == [
        "route shop/web, rule 1 sends to the Service shop/wbe, which is not in the cluster"
    ]
    assert "(in shop are: db, web)" in found[0].next_step
    assert not found[0].pending
    assert problems(scene(to({"service": "web.later"})))[0].pending


def test_a_host_that_no_service_entry_has(scene: MakeScene) -> None:
    found = problems(scene(to({"host": "apis.example.com"})))
    assert found[0].found.endswith("sends to apis.example.com, which no ServiceEntry has")
    assert "(ServiceEntries have: api.example.com)" in found[0].next_step


def test_ports(scene: MakeScene) -> None:
    found = told(scene(to({"service": "web.shop", "port": 8080})))
    assert found == [
        "route shop/web, rule 1 sends to port 8080 of Service shop/web, which has no such port (it has: 80)"
    ]
    assert "port 80 of ServiceEntry shop/api" in told(scene(to({"host": "api.example.com", "port": 80})))[0]
    several = told(scene(to({"service": "db.shop"}, gateways=["g"])))
    assert several == [
        "route shop/web, rule 1 sends to Service shop/db and does not say to which port (it has: 5432, 9187)"
    ]


def test_a_service_without_ports_is_not_judged_by_them(scene: MakeScene) -> None:
    services = {("shop", "web"): {"spec": {"type": "ExternalName"}}}
    assert told(scene(to({"service": "web.shop", "port": 1}), services=services)) == []


def test_mirrors_are_backends(scene: MakeScene) -> None:
    mirrors = {"mirrors": [{"service": "nothing.shop"}]}
    assert "the Service shop/nothing" in told(scene(to({"service": "web.shop"}, rule=mirrors)))[0]


def test_one_lack_is_told_once(scene: MakeScene) -> None:
    assert (
        len(told(scene(to({"service": "nothing.shop", "weight": 50}, {"service": "nothing.shop", "weight": 50})))) == 1
    )


def subsets(*names: str) -> list[dict[str, t.Any]]:
    return [{"service": "web.shop", "subsets": {name: {"version": name} for name in names}}]


def test_subsets_that_are_declared(scene: MakeScene, live: Live) -> None:
    rules = to({"service": "web.shop", "subset": "v2"})
    assert told(scene({**rules, "destinations": subsets("v1", "v2")})) == []
    theirs = live("DestinationRule", "theirs", {"host": "*.shop.svc.cluster.local", "subsets": [{"name": "v2"}]})
    assert told(scene(rules, live=[theirs])) == []


def test_subsets_that_are_not(scene: MakeScene, live: Live) -> None:
    rules = {**to({"service": "web.shop", "subset": "v3"}), "destinations": subsets("v1", "v2")}
    found = problems(scene(rules))
    assert [problem.found for problem in found] == [
        "route shop/web, rule 1 sends to the subset v3 of web.shop.svc.cluster.local, which no destination declares"
    ]
    assert "(there are: v1, v2)" in found[0].next_step
    # One that is no longer declared is about to go.
    old = live("DestinationRule", "web", {"host": "web", "subsets": [{"name": "v3"}]}, of="traffic")
    assert "the subset v3" in told(scene(rules, live=[old]))[0]


def test_destinations_for_nothing(scene: MakeScene) -> None:
    found = told(scene({"destinations": [{"service": "nothing.shop"}]}))
    assert found == ["destination shop/nothing is for the Service shop/nothing, which is not in the cluster"]
    assert told(scene({"destinations": [{"host": "*.later.example.com", "namespace": "shop"}]})) == []


@pytest.mark.parametrize("destinations", [[], subsets("v1")])
def test_a_subset_that_somebody_elses_route_needs_stays(
    scene: MakeScene, live: Live, destinations: list[dict[str, t.Any]]
) -> None:
    ours = live("DestinationRule", "web", {"host": "web", "subsets": [{"name": "v1"}, {"name": "v2"}]}, of="traffic")
    rule = {"route": [{"destination": {"host": "web", "subset": "v2"}}]}
    theirs = live("VirtualService", "theirs", {"hosts": ["b.com"], "http": [rule]})
    found = told(scene({"destinations": destinations}, live=[ours, theirs]))
    assert len(found) == 1
    assert (
        "the subset v2 of web.shop.svc.cluster.local is no longer declared, and VirtualService shop/theirs" in found[0]
    )
    assert told(scene({"destinations": subsets("v1", "v2")}, live=[ours, theirs])) == []
