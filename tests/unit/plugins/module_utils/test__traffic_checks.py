# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects of a declaration that do not fit together, or not into the cluster."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _traffic_checks
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_scene import Scene, some, together

MakeScene = t.Callable[..., Scene]
Live = t.Callable[..., dict[str, t.Any]]


def route(*rules: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    return {"routes": [{"name": "web", "namespace": "shop", "services": ["web.shop"], "rules": list(rules), **more}]}


def weighted(*weights: int | None) -> dict[str, t.Any]:
    return {"backends": [{"service": "web.shop", **({} if w is None else {"weight": w})} for w in weights]}


def told(scene: Scene) -> list[str]:
    return [problem.found for problem in _traffic_checks.problems(scene)]


@pytest.mark.parametrize("weights", [(None,), (100,), (50, 50), (0, 100), (33, 33, 34)])
def test_weights_that_make_100(scene: MakeScene, weights: tuple[int | None, ...]) -> None:
    assert told(scene(route(weighted(*weights)))) == []


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ((50, 40), "the weights of its backends are 50 + 40, which makes 90"),
        ((50, 60), "50 + 60, which makes 110"),
        ((None, None), "none + none, which makes 0"),
        ((100, None), "100 + none, which makes 100"),
        ((150, -50), "150 + -50, which makes 100"),
        ((99,), "99, which makes 99"),
    ],
)
def test_weights_that_do_not(scene: MakeScene, weights: tuple[int | None, ...], words: str) -> None:
    first = {"match": [{"path": "/"}], **weighted(None)}
    found = told(scene(route(first, {"name": "canary", **weighted(*weights)})))
    assert len(found) == 1
    assert found[0].startswith("route shop/web, rule 2 (canary): ")
    assert words in found[0]


def test_weights_of_connections(scene: MakeScene) -> None:
    assert "50 + 40" in told(scene(route(weighted(50, 40), protocol="tcp")))[0]


def test_a_rule_that_is_never_reached(scene: MakeScene) -> None:
    found = told(scene(route(weighted(None), weighted(None), weighted(None))))
    assert found == ["route shop/web, rule 1 matches every request, and rules come after it"]


def test_a_namespace_that_is_not_there(scene: MakeScene) -> None:
    rules = {"mtls": [{"namespace": "nowhere"}], "sidecars": [{"namespace": "nowhere", "egress": ["./*"]}]}
    problems = _traffic_checks.problems(scene(rules))
    assert [problem.found for problem in problems] == [
        "there is no namespace nowhere for mtls nowhere/default, sidecar nowhere/default"
    ]
    assert problems[0].pending


def test_one_name_twice(scene: MakeScene) -> None:
    rules = {"mtls": [{"namespace": "shop"}, {"namespace": "shop", "mode": "DISABLE"}]}
    assert told(scene(rules)) == ["mtls shop/default is declared more than once"]


def test_a_namespace_has_one_mode(scene: MakeScene, live: Live) -> None:
    rules = {"mtls": [{"namespace": "shop"}, {"namespace": "shop", "name": "more"}]}
    assert len(told(scene(rules))) == 2
    theirs = live("PeerAuthentication", "theirs", {"mtls": {"mode": "DISABLE"}})
    found = told(scene({"mtls": [{"namespace": "shop"}]}, live=[theirs]))
    assert found == ["mtls shop/default is for all of the namespace shop, and so is PeerAuthentication shop/theirs"]
    selected = live("PeerAuthentication", "theirs", {"selector": {"matchLabels": {"app": "db"}}})
    assert told(scene({"mtls": [{"namespace": "shop"}]}, live=[selected])) == []
    # What goes is no rival.
    ours = live("PeerAuthentication", "ours", {"mtls": {"mode": "DISABLE"}}, of="traffic")
    assert told(scene({"mtls": [{"namespace": "shop"}]}, live=[ours])) == []


def test_a_namespace_has_one_sidecar(scene: MakeScene) -> None:
    whole = {"namespace": "shop", "egress": ["./*"]}
    assert len(told(scene({"sidecars": [whole, {**whole, "name": "more"}]}))) == 2
    assert told(scene({"sidecars": [whole, {**whole, "name": "more", "selector": {"app": "web"}}]})) == []


def test_a_host_has_one_destination(scene: MakeScene, live: Live) -> None:
    twice = {"destinations": [{"service": "web.shop"}, {"service": "web.shop", "name": "more"}]}
    assert told(scene(twice)) == [
        "destination shop/web and destination shop/more are for the same host, web.shop.svc.cluster.local"
    ]
    theirs = live("DestinationRule", "theirs", {"host": "web"})
    assert (
        "DestinationRule shop/theirs are for the same host"
        in told(scene({"destinations": [{"service": "web.shop"}]}, live=[theirs]))[0]
    )
    # One for clients of another namespace is another matter.
    there = live("DestinationRule", "theirs", {"host": "web.shop.svc.cluster.local"}, namespace="clients")
    assert told(scene({"destinations": [{"service": "web.shop"}]}, live=[there])) == []


def test_one_problem_stays_itself_and_several_are_numbered() -> None:
    one, two = MeshError("a", "b", "c"), MeshError("d", "e", "f")
    assert together([one]) is one
    assert (
        str(together([one, two])) == "Found: 2 problems: (1) a; (2) d. Expected: (1) b; (2) e. Next step: (1) c; (2) f."
    )


def test_long_lists_are_cut() -> None:
    assert some([]) == ""
    assert some(["b", "a", "a"]) == " (there are: a, b)"
    assert some(map(str, range(10)), "it has") == " (it has: 0, 1, 2, 3, 4, 5, 6, 7 and 2 more)"
