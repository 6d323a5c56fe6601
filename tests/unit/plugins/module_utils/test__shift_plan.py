# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From one set of weights to another."""

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _shift_plan as plan
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._shift_plan import Backend
from hypothesis import given
from hypothesis import strategies as some

DOMAIN = "cluster.local"
WEB, MACHINES = "web.shop.svc.cluster.local", "web.shopvm.svc.cluster.local"


def to(host: str, weight: int | None = None, subset: str = "", port: int | None = None) -> dict[str, t.Any]:
    destination: dict[str, t.Any] = {"host": host}
    if subset:
        destination["subset"] = subset
    if port:
        destination["port"] = {"number": port}
    return {"destination": destination, **({} if weight is None else {"weight": weight})}


def route(*rules: dict[str, t.Any], **spec: t.Any) -> dict[str, t.Any]:
    return {
        "kind": "VirtualService",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"hosts": ["web"], "http": list(rules), **spec},
    }


def both(first: int = 100, second: int = 0, **more: t.Any) -> dict[str, t.Any]:
    return {"route": [to("web", first), to(MACHINES, second, "v2")], **more}


HEADER = {"match": [{"headers": {"x": {"exact": "y"}}}], "route": [to(WEB)]}


def test_two_backends_step_by_step() -> None:
    assert plan.steps([100, 0], [0, 100], [10, 25, 50, 100]) == [[90, 10], [75, 25], [50, 50], [0, 100]]
    assert plan.steps([0, 100], [100, 0], [50]) == [[50, 50], [100, 0]]


def test_the_final_weights_are_always_the_last_step() -> None:
    assert plan.steps([100, 0], [0, 100], []) == [[0, 100]]
    assert plan.steps([100, 0], [70, 30], [10, 25, 50, 100]) == [[90, 10], [75, 25], [70, 30]]


def test_a_shift_that_was_cut_off_goes_on_from_where_it_is() -> None:
    assert plan.steps([75, 25], [0, 100], [10, 25, 50, 100]) == [[50, 50], [0, 100]]
    assert plan.steps([0, 100], [0, 100], [10, 25, 50, 100]) == []


def test_of_several_that_lose_each_loses_its_part() -> None:
    assert plan.steps([60, 30, 10], [0, 0, 100], [40]) == [[40, 20, 40], [0, 0, 100]]
    # Those that neither gain nor lose keep what they have.
    assert plan.steps([50, 50, 0], [0, 50, 50], [20]) == [[30, 50, 20], [0, 50, 50]]


weights = some.lists(some.integers(0, 100), min_size=1, max_size=4).map(
    lambda cuts: [high - low for low, high in zip([0, *sorted(cuts)], [*sorted(cuts), 100], strict=True)]
)


@given(weights, some.data())
def test_every_step_makes_100_and_none_goes_back(before: list[int], data: some.DataObject) -> None:
    after = data.draw(some.permutations(before))
    percents = sorted(data.draw(some.sets(some.integers(1, 100))))
    last = before
    for step in plan.steps(before, after, percents):
        assert sum(step) == 100
        assert min(step) >= 0
        for place, (was, will) in enumerate(zip(before, after, strict=True)):
            assert min(was, will) <= step[place] <= max(was, will)
        last = step
    assert last == after


@pytest.mark.parametrize("percents", [[0, 50], [50, 101], [50, 50], [50, 20]])
def test_steps_rise(percents: list[int]) -> None:
    with pytest.raises(MeshError, match="the steps are"):
        plan.steps([100, 0], [0, 100], percents)


def test_the_rule_that_can_be_meant() -> None:
    assert plan.choose_rule(route(HEADER, both()), None) == 2
    assert plan.choose_rule(route(both(name="canary"), both()), "canary") == 1
    assert plan.choose_rule(route(both(name="canary"), both()), "2") == 2


@pytest.mark.parametrize(
    ("rules", "wanted", "told"),
    [
        ([HEADER], None, "no rule of route shop/web has more than one backend"),
        ([both(name="a"), both()], None, r"2 rules of route shop/web have more than one backend \(they are: 2, a\)"),
        ([both(name="a"), both()], "b", r"no rule b \(it has: 2, a\)"),
        ([], None, "no rules about HTTP"),
    ],
)
def test_no_rule_that_can_be_meant(rules: list[dict[str, t.Any]], wanted: str | None, told: str) -> None:
    with pytest.raises(MeshError, match=told):
        plan.choose_rule(route(*rules, tcp=[both()]), wanted)


def test_what_can_be_shifted() -> None:
    plan.check_rule(route(both(40, 60)), 1)
    for rule, told in (
        (HEADER, "has one backend"),
        ({"redirect": {}}, "has no backends"),
        (both(40, 50), r"are 40 \+ 50, which makes 90"),
    ):
        with pytest.raises(MeshError, match=told):
            plan.check_rule(route(rule), 1)


def target(rule: dict[str, t.Any], *asked: dict[str, t.Any]) -> list[int]:
    return plan.target_of(route(rule), 1, asked, DOMAIN, "traffic_shift_backends")


def test_who_gets_the_requests_in_the_end() -> None:
    assert target(both(), {"service": "web.shopvm"}) == [0, 100]
    assert target(both(), {"service": "web"}) == [100, 0]
    assert target(both(), {"host": MACHINES, "subset": "v2", "weight": 30}, {"service": "web", "weight": 70}) == [
        70,
        30,
    ]
    subsets = {"route": [to(WEB, 100, "v1", 80), to(WEB, 0, "v2", 80)]}
    assert target(subsets, {"service": "web.shop", "subset": "v2", "port": 80}) == [0, 100]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ([{"service": "wob.shopvm"}], r"wob.shopvm is not among its backends \(it has: web.shop, web.shopvm v2\)"),
        ([{"service": "web.shopvm", "subset": "v3"}], "web.shopvm v3 is not among its backends"),
        ([{"service": "web.shopvm", "port": 81}], "web.shopvm:81 is not among its backends"),
        ([{"service": "web", "weight": 50}, {"service": "web.shop", "weight": 50}], "web.shop is named twice"),
        ([{"service": "web", "weight": 50}], r"the weights to shift to are 50 \+ 0, which makes 50"),
        ([{"service": "web", "weight": 150}, {"service": "web.shopvm", "weight": -50}], "which makes 100"),
        ([{"service": "web"}, {"service": "web.shopvm"}], "which makes 0"),
    ],
)
def test_who_can_not_get_them(asked: list[dict[str, t.Any]], told: str) -> None:
    with pytest.raises(MeshError, match=told):
        target(both(), *asked)


def test_two_backends_that_are_not_told_apart() -> None:
    rule = {"route": [to(WEB, 100, "v1"), to(WEB, 0, "v2")]}
    with pytest.raises(MeshError, match=r"web\.shop is more than one of its backends"):
        target(rule, {"service": "web.shop"})


def test_the_weights_that_are_declared() -> None:
    assert plan.declared(route(HEADER, both()), route(HEADER, both(20, 80)), None) == (2, [20, 80])
    assert plan.declared(route(HEADER, both()), route(HEADER, both()), None) is None
    with pytest.raises(MeshError, match="in more than weights"):
        plan.declared(route(HEADER, both()), route(HEADER, both(20, 80, timeout="5s")), None)
    with pytest.raises(MeshError, match="weights of 2 rules"):
        plan.declared(route(both(), both()), route(both(20, 80), both(0, 100)), None)
    assert plan.declared(route(both(), both()), route(both(20, 80), both(0, 100)), "2") == (2, [0, 100])


def test_nothing_but_weights_changes() -> None:
    live = route(HEADER, both(mirrors=[to(WEB)], timeout="5s"))
    before = copy.deepcopy(live)
    changed = plan.with_weights(live, 2, [30, 70])
    assert live == before
    assert plan.weights_of(changed["spec"]["http"][1]) == [30, 70]
    assert plan.with_weights(changed, 2, [100, 0]) == before


def test_what_backends_are_called() -> None:
    backends = [Backend(WEB, "", None), Backend(MACHINES, "v2", 80), Backend("api.example.com", "", 443)]
    assert (
        plan.words(backends, [50, 30, 20], DOMAIN) == "50 % web.shop, 30 % web.shopvm:80 v2, 20 % api.example.com:443"
    )
