# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A shift against an API server made of a dictionary, and proxies that count what a test says."""

from __future__ import annotations

import copy
import itertools
import types
import typing as t

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.hybridmesh.istio.plugins.module_utils import _cluster_module, _shift_proxies
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import refused
from ansible_collections.hybridmesh.istio.plugins.module_utils._shift_figures import Reading
from ansible_collections.hybridmesh.istio.plugins.modules import traffic_shift, traffic_shift_info

PATH = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices/web"
OURS = {"app.kubernetes.io/managed-by": "hybridmesh.istio", "hybridmesh.istio/traffic": "traffic"}
HOSTS = ["web.shop.svc.cluster.local", "web.shopvm.svc.cluster.local"]
BACKENDS = [{"service": "web.shopvm"}]


def route(*weights: int, labels: dict[str, str] | None = None) -> dict[str, t.Any]:
    targets = [{"destination": {"host": host}, "weight": weight} for host, weight in zip(HOSTS, weights, strict=False)]
    mirror = {
        "match": [{"uri": {"exact": "/x"}}],
        "route": [dict(targets[0], weight=100)],
        "mirrors": [{"destination": {"host": HOSTS[1]}}],
    }
    return {
        "kind": "VirtualService",
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "labels": OURS if labels is None else labels,
            "resourceVersion": "1",
        },
        "spec": {"hosts": ["web"], "http": [mirror, {"route": targets}]},
    }


class Cluster:
    """The cluster of a test, in which changes need the version that they were made of."""

    def __init__(self, applying: t.Any) -> None:
        self.applying = applying
        self.versions = itertools.count(2)
        self.before_patch: t.Callable[[], None] = lambda: None

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self.applying, name)

    def weights(self) -> list[int]:
        return [target["weight"] for target in self.applying.objects[PATH]["spec"]["http"][1]["route"]]

    def request(
        self, method: str, path: str, query: t.Any = None, body: t.Any = None, content: str = "", **more: t.Any
    ) -> t.Any:
        if method != "PATCH":
            return self.applying.request(method, path, query, body, content, **more)
        self.before_patch()
        live = copy.deepcopy(self.applying.objects[path])
        if content == "application/json-patch+json":
            version = body[0]["value"]
            for change in body[1:]:
                *_spec, number, _route, place, _weight = change["path"].split("/")
                live["spec"]["http"][int(number)]["route"][int(place)]["weight"] = change["value"]
        else:
            version = body["metadata"]["resourceVersion"]
            live["spec"] = copy.deepcopy(body["spec"])
        if version != live["metadata"]["resourceVersion"]:
            raise refused(method, path, 409, b'{"reason": "Conflict", "message": "the object has been modified"}')
        live["metadata"]["resourceVersion"] = str(next(self.versions))
        self.applying.objects[path] = live
        return copy.deepcopy(live)


def reading(*counts: tuple[int, int], healthy: t.Sequence[int | None] = (1, 1), times: t.Any = None) -> Reading:
    """What a proxy has counted so far: (answered, failed) of each backend."""
    return Reading(
        [{"a": answered} for answered, _failed in counts],
        [{"a": failed} for _answered, failed in counts],
        list(healthy),
        times or [None, None],
        bool(times),
    )


class Shift:
    """One test's cluster, clock and proxies."""

    def __init__(self, applying: t.Any, patch: pytest.MonkeyPatch) -> None:
        self.cluster = Cluster(applying)
        self.patch = patch
        self.now = 0.0
        # One for each reading; the last one stays.
        self.readings: list[dict[str, Reading]] = [{"a": reading((0, 0), (0, 0))}]
        self.unread: dict[str, str] = {}
        patch.setattr(_cluster_module, "Cluster", lambda _params: self.cluster)
        # The module's own sleep and those of its parts are one.
        patch.setattr(traffic_shift.time, "sleep", self.sleep)
        patch.setattr(traffic_shift.time, "monotonic", lambda: self.now)
        patch.setattr(_shift_proxies.Proxies, "_found", lambda _self, _route, _namespaces: [])
        patch.setattr(_shift_proxies.Proxies, "read", lambda _self: self.read())

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def read(self) -> tuple[dict[str, Reading], dict[str, str]]:
        found = self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]
        return found, self.unread

    def put(self, *weights: int, labels: dict[str, str] | None = None) -> None:
        self.cluster.put(route(*weights, labels=labels))

    def run(self, module: t.Any, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        result = ArgumentSpecValidator(module.DEFINITION.argument_spec).validate({"route": "shop/web", **options})
        assert result.error_messages == []
        task = types.SimpleNamespace(params=result.validated_parameters, check_mode=check, _diff=True)
        return _cluster_module.result_of(module.DEFINITION, task)

    def plan(self, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        return self.run(traffic_shift_info, check, **{"backends": BACKENDS, "rule": "2", **options})

    def step(self, *weights: int, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        return self.run(
            traffic_shift, check, **{"weights": list(weights), "rule": 2, "settle": 1, "requests": 50, **options}
        )

    def goes(self, *readings: Reading) -> None:
        self.readings = [{"a": one} for one in readings]


@pytest.fixture
def shift(applying_mesh: t.Any, monkeypatch: pytest.MonkeyPatch) -> Shift:
    made = Shift(applying_mesh, monkeypatch)
    made.put(100, 0)
    return made


def test_the_plan(shift: Shift) -> None:
    found = shift.plan(steps=[50])
    assert (found["changed"], found["rule"], found["before"], found["proxies"]) == (False, 2, [100, 0], ["a"])
    assert [(step["expected"], step["weights"]) for step in found["steps"]] == [
        ([100, 0], [50, 50]),
        ([50, 50], [0, 100]),
    ]
    assert found["report"][1] == "step 1 of 2: 50 % web.shop, 50 % web.shopvm"
    assert "  - {service: web.shopvm, weight: 100}" in found["declare"]


def declared(*weights: int) -> dict[str, t.Any]:
    targets = [
        {"service": name, "weight": weight} for name, weight in zip(("web.shop", "web.shopvm"), weights, strict=True)
    ]
    mirror = {
        "match": [{"path": "/x"}],
        "backends": [{"service": "web.shop", "weight": 100}],
        "mirrors": [{"service": "web.shopvm"}],
    }
    return {
        "routes": [{"name": "web", "namespace": "shop", "hosts": ["web"], "rules": [mirror, {"backends": targets}]}]
    }


def test_the_declared_weights_are_where_it_goes_to(shift: Shift) -> None:
    live = route(100, 0)
    live["spec"]["http"][0]["mirrors"][0]["percentage"] = {"value": 100}
    shift.cluster.put(live)
    found = shift.plan(backends=None, rule=None, rules=declared(20, 80), steps=[50])
    assert [step["weights"] for step in found["steps"]] == [[50, 50], [20, 80]]
    assert found["declare"] is None
    found = shift.plan(backends=None, rule=None, rules=declared(100, 0))
    assert (found["steps"], found["report"]) == ([], ["the weights are as declared"])


def test_nothing_to_do_and_a_declaration_that_did_not_follow(shift: Shift) -> None:
    shift.put(0, 100)
    found = shift.plan()
    assert (found["steps"], found["declare"]) == ([], None)
    assert found["report"] == ["nothing to do: route shop/web, rule 2 has 0 % web.shop, 100 % web.shopvm"]
    assert "weight: 100" in shift.plan(rules=declared(100, 0))["declare"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"route": "web"}, "the route is given as 'web'"),
        ({"route": "shop/wob"}, "there is no route shop/wob (there are: shop/web)"),
        ({"rule": "1"}, "rule 1 has one backend"),
        ({"backends": None}, "nothing says which weights shop/web is to have"),
        (
            {"backends": None, "rules": {"routes": [{"name": "other", "namespace": "shop"}]}},
            "nothing says which weights",
        ),
        ({"steps": [50, 20]}, "the steps are 50, 20"),
    ],
)
def test_plans_that_are_refused(shift: Shift, options: dict[str, t.Any], told: str) -> None:
    result = shift.plan(**options)
    assert result["failed"]
    assert told in result["found"]


def test_somebody_elses_route_takes_leave(shift: Shift) -> None:
    shift.put(100, 0, labels={})
    for result in (shift.plan(), shift.step(50, 50)):
        assert "was not made by the role traffic" in result["found"]
    assert shift.plan(foreign=True)["steps"]
    shift.goes(reading((0, 0), (0, 0)), reading((50, 0), (50, 0)))
    assert shift.step(50, 50, foreign=True, span=1)["weights"] == [50, 50]


@pytest.mark.parametrize(
    ("healthy", "told"), [((1, 0), "know no healthy endpoint of web.shopvm"), ((1, None), "knows web.shopvm")]
)
def test_a_version_that_can_not_be_sent_to_is_refused(shift: Shift, healthy: tuple[int, int | None], told: str) -> None:
    shift.goes(reading((0, 0), (0, 0), healthy=healthy))
    assert told in shift.plan()["found"]


def test_proxies_that_can_not_be_read_are_refused(shift: Shift) -> None:
    shift.readings, shift.unread = [{}], {"shop/a": "it is gone"}
    assert "can be read: it is gone" in shift.plan()["found"]


def test_a_limit_for_what_is_not_counted_is_refused(shift: Shift) -> None:
    shift.goes(reading((10, 0), (0, 0)))
    assert "no proxy counts latencies" in shift.plan(max_latency=100)["found"]
    assert any("latency is not judged" in line for line in shift.plan()["report"])
    # Before the first request nobody knows.
    shift.goes(reading((0, 0), (0, 0)))
    assert "failed" not in shift.plan(max_latency=100)


def test_in_check_mode_without_istio(shift: Shift) -> None:
    shift.cluster.unknown.add("networking.istio.io/v1")
    assert shift.plan(check=True)["report"] == ["not there yet: Istio, and with it the route"]
    assert shift.plan()["failed"]


def test_a_good_step(shift: Shift) -> None:
    before = copy.deepcopy(shift.cluster.objects[PATH]["spec"]["http"][0])
    shift.goes(reading((1000, 9), (0, 0)), reading((1030, 9), (10, 0)), reading((1060, 9), (20, 0)))
    result = shift.step(70, 30, expected=[100, 0], span=5, requests=20)
    assert (result["changed"], result["weights"], result["seconds"]) == (True, [70, 30], 6.0)
    assert (result["gained"]["requests"], result["others"]["requests"], result["others"]["errors"]) == (20, 60, 0)
    assert result["report"][0] == "70 % web.shop, 30 % web.shopvm"
    assert result["diff"]["after"] == "70 % web.shop, 30 % web.shopvm\n"
    assert shift.cluster.objects[PATH]["spec"]["http"][0] == before
    again = shift.step(70, 30, expected=[100, 0])
    assert (again["changed"], again["weights"]) == (False, [70, 30])


def test_a_step_in_check_mode(shift: Shift) -> None:
    result = shift.step(20, 80, check=True, expected=[70, 30])
    assert (result["changed"], shift.cluster.weights()) == (True, [100, 0])
    assert (result["diff"]["before"], result["diff"]["after"]) == (
        "70 % web.shop, 30 % web.shopvm\n",
        "20 % web.shop, 80 % web.shopvm\n",
    )


def test_it_goes_back_as_soon_as_it_fails(shift: Shift) -> None:
    shift.put(70, 30)
    shift.goes(reading((0, 0), (0, 0)), reading((50, 0), (50, 5)))
    result = shift.step(20, 80, restore=[100, 0], span=600)
    assert shift.cluster.weights() == result["weights"] == [100, 0]
    assert result["reasons"] == ["5 of 50 requests failed, so 90.00 % succeeded; at least 99 % must"]
    assert "the shift failed at 20 % web.shop, 80 % web.shopvm: 5 of 50" in result["found"]
    assert "the weights are as before again (100 % web.shop, 0 % web.shopvm)" in result["msg"]
    assert shift.now < 10


def test_latency_is_compared_with_that_of_an_earlier_step(shift: Shift) -> None:
    inf = float("inf")
    slow = [{1.0: 0, inf: 0}, {1000.0: 0, 2000.0: 60, inf: 60}]
    shift.goes(reading((0, 0), (0, 0)), reading((0, 0), (60, 0), times=slow))
    reference = {"requests": 60, "errors": 0, "times": {"1.0": 0, "5.0": 60, "inf": 60}}
    result = shift.step(0, 100, span=1, max_latency_factor=3.0, reference=reference)
    assert "p99 is 1990 ms, and 5.0 ms of the version before" in result["reasons"][0]
    assert shift.cluster.weights() == [100, 0]


def test_too_few_requests(shift: Shift) -> None:
    shift.goes(reading((0, 0), (0, 0)), reading((9, 0), (3, 0)))
    result = shift.step(50, 50, span=5, timeout=20)
    assert result["reasons"] == ["3 requests in 21 s, of 50 that are needed to judge it"]
    assert shift.cluster.weights() == [100, 0]
    shift.goes(reading((0, 0), (0, 0)), reading((9, 0), (3, 0)))
    result = shift.step(50, 50, span=5, timeout=20, few="pass")
    assert (result["weights"], result["gained"]["requests"]) == ([50, 50], 3)


def test_endpoints_that_go_during_a_step(shift: Shift) -> None:
    shift.goes(reading((0, 0), (0, 0)), reading((9, 0), (3, 0), healthy=(1, 0)))
    assert "know no healthy endpoint of web.shopvm" in shift.step(50, 50)["reasons"][0]
    assert shift.cluster.weights() == [100, 0]


def test_proxies_that_do_not_answer_any_more(shift: Shift) -> None:
    shift.readings, shift.unread = [{}], {"shop/a": "it is gone"}
    result = shift.step(50, 50)
    assert "can be read any more: it is gone" in result["reasons"][0]
    assert shift.cluster.weights() == [100, 0]


def test_an_api_server_that_is_away_for_a_moment(shift: Shift) -> None:
    answers = iter([refused("GET", PATH, 503, b"{}"), None])
    last = reading((0, 0), (0, 0)), reading((60, 0), (60, 0))
    readings = iter([*last, *[last[1]] * 9])

    def read() -> tuple[dict[str, Reading], dict[str, str]]:
        error = next(answers, None)
        if error is not None:
            raise error
        return {"a": next(readings)}, {}

    shift.patch.setattr(shift, "read", read)
    assert shift.step(50, 50, span=5)["weights"] == [50, 50]


def test_it_goes_back_once_the_api_server_answers_again(shift: Shift) -> None:
    away = iter([True, True])

    def patched() -> None:
        if shift.cluster.weights() == [50, 50] and next(away, False):
            raise refused("PATCH", PATH, 503, b"{}")

    shift.cluster.before_patch = patched
    shift.goes(reading((0, 0), (0, 0)), reading((9, 0), (50, 50)))
    assert "the weights are as before again" in shift.step(50, 50)["found"]
    assert shift.cluster.weights() == [100, 0]


def test_a_defect_of_ours_leaves_nothing_unwatched(shift: Shift) -> None:
    shift.patch.setattr(shift, "read", lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        shift.step(50, 50)
    assert shift.cluster.weights() == [100, 0]


def test_somebody_elses_change_stays(shift: Shift) -> None:
    def read() -> tuple[dict[str, Reading], dict[str, str]]:
        shift.put(10, 90)
        return {"a": reading((0, 0), (50, 50))}, {}

    shift.patch.setattr(shift, "read", read)
    result = shift.step(50, 50)
    assert "somebody else changed route shop/web at the same time" in result["found"]
    assert shift.cluster.weights() == [10, 90]


def test_a_change_between_reading_and_setting(shift: Shift) -> None:
    shift.cluster.before_patch = lambda: shift.cluster.objects[PATH]["metadata"].update(resourceVersion="99")
    assert "somebody else changed" in shift.step(50, 50)["found"]
    assert "the weights are [100, 0], and were [90, 10] a moment ago" in shift.step(50, 50, expected=[90, 10])["found"]
    assert shift.cluster.weights() == [100, 0]


def test_weights_that_can_not_be_put_back_are_told(shift: Shift) -> None:
    def gone() -> None:
        if shift.cluster.weights() == [50, 50]:
            raise MeshError("the API server is gone", "it", "see it")

    shift.cluster.before_patch = gone
    shift.goes(reading((0, 0), (0, 0)), reading((9, 0), (50, 50)))
    result = shift.step(50, 50)
    assert result["changed"]
    assert "could NOT be put back to 100 % web.shop, 0 % web.shopvm: the API server is gone" in result["found"]
    assert "kubectl -n shop edit virtualservice web" in result["next_step"]


@pytest.mark.parametrize(
    ("weights", "rule", "told"),
    [((50, 40), 2, "the weights are 50, 40"), ((100,), 2, "100"), ((50, 50), 3, "no rule 3")],
)
def test_steps_that_are_refused(shift: Shift, weights: tuple[int, ...], rule: int, told: str) -> None:
    result = shift.step(*weights, rule=rule)
    assert told in result["found"]
    assert shift.cluster.weights() == [100, 0]
