# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which changes of WorkloadEntries become events, and how many."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._watch import RESET, SYNCED, Change
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._workload_events import (
    KINDS,
    Settings,
    Watcher,
    read_settings,
    seconds_left,
)
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._workloads import Wish


def vm(name: str, healthy: bool | None = True, connected: bool = True, group: str = "orders") -> dict[str, t.Any]:
    annotations = {"istio.io/connectedAt": "2026-01-01T00:00:00Z", "istio.io/autoRegistrationGroup": group}
    if not connected:
        annotations["istio.io/disconnectedAt"] = "2026-01-01T01:00:00Z"
    conditions = [] if healthy is None else [{"type": "Healthy", "status": str(healthy), "message": "refused"}]
    return {
        "metadata": {"name": name, "namespace": "shop", "annotations": annotations},
        "spec": {"address": "192.0.2.1"},
        "status": {"conditions": conditions},
    }


class Scene:
    """A watcher with a clock."""

    def __init__(self, **settings: t.Any) -> None:
        self.watcher = Watcher(Settings(**{"wish": Wish(), "settle": 10, "quiet": 100, "kinds": KINDS, **settings}))
        self.now = 0.0

    def listing(self, *vms: dict[str, t.Any]) -> None:
        for change in [Change(RESET, {}), *(Change("ADDED", item) for item in vms), Change(SYNCED, {})]:
            self.watcher.take(change, self.now)

    def change(self, resource: dict[str, t.Any], kind: str = "MODIFIED") -> None:
        self.watcher.take(Change(kind, resource), self.now)

    def after(self, seconds: float) -> list[tuple[str, str]]:
        """(host, kind) of the events of that time, a second each."""
        events = []
        for _second in range(int(seconds)):
            self.now += 1
            events += [(event.get("host", ""), event["kind"]) for event in self.watcher.due(self.now)]
        return events


def test_all_is_well() -> None:
    scene = Scene()
    scene.listing(vm("a"), vm("b", healthy=None))
    assert scene.after(60) == []


@pytest.mark.parametrize(
    ("resource", "kind"),
    [(vm("a", healthy=False), "unhealthy"), (vm("a", connected=False), "disconnected")],
)
def test_what_becomes_bad_is_told_once_and_its_end_too(resource: dict[str, t.Any], kind: str) -> None:
    scene = Scene()
    scene.listing(vm("a"))
    scene.change(resource)
    assert scene.after(9) == []
    scene.change(resource)
    assert scene.after(200) == [("a", kind)]
    scene.change(vm("a"))
    assert scene.after(200) == [("a", "recovered")]


def test_what_is_bad_at_the_start_is_told() -> None:
    scene = Scene()
    scene.listing(vm("a", healthy=False), vm("b"))
    assert scene.after(20) == [("a", "unhealthy")]


def test_what_passes_is_not_told() -> None:
    scene = Scene()
    scene.listing(vm("a"))
    for _time in range(20):
        scene.change(vm("a", healthy=False))
        assert scene.after(5) == []
        scene.change(vm("a"))
        assert scene.after(5) == []


def test_what_flaps_slowly_is_told_once_within_the_quiet_time() -> None:
    scene = Scene(kinds=["unhealthy"])
    scene.listing(vm("a"))
    events = []
    for _time in range(4):
        scene.change(vm("a", healthy=False))
        events += scene.after(12)
        scene.change(vm("a"))
        events += scene.after(12)
    assert events == [("a", "unhealthy")]
    scene.after(20)
    scene.change(vm("a", healthy=False))
    assert scene.after(20) == [("a", "unhealthy")]


def test_gone() -> None:
    scene = Scene()
    scene.listing(vm("a"))
    scene.change(vm("a", connected=False))
    assert scene.after(20) == [("a", "disconnected")]
    scene.change(vm("a", connected=False), "DELETED")
    assert scene.after(20) == [("a", "gone")]
    scene.change(vm("a"), "ADDED")
    assert scene.after(20) == []


def test_one_that_comes_back_at_once_was_not_gone() -> None:
    scene = Scene()
    scene.listing(vm("a"))
    scene.change(vm("a"), "DELETED")
    scene.after(5)
    scene.change(vm("a"), "ADDED")
    assert scene.after(30) == []


def test_what_happened_between_two_lists_is_told() -> None:
    scene = Scene()
    scene.listing(vm("a"), vm("b"), vm("c"))
    scene.listing(vm("a"), vm("b", healthy=False))
    assert sorted(scene.after(20)) == [("b", "unhealthy"), ("c", "gone")]


def test_a_list_that_broke_off_makes_nobody_gone() -> None:
    scene = Scene()
    scene.listing(vm("a"), vm("b"))
    scene.watcher.take(Change(RESET, {}), scene.now)
    scene.change(vm("a"), "ADDED")
    assert scene.after(30) == []
    scene.listing(vm("a"), vm("b"))
    assert scene.after(30) == []


def test_many_at_once_are_one_event() -> None:
    scene = Scene(most=3)
    names = [f"vm{number}" for number in range(4)]
    scene.listing(*(vm(name) for name in names))
    for name in names:
        scene.change(vm(name, connected=False))
    scene.now = 20
    (event,) = scene.watcher.due(scene.now)
    assert (event["kind"], event["of"], event["count"], event["hosts"]) == ("many", "disconnected", 4, names)
    assert event["groups"] == ["shop/orders"]
    for name in names[:3]:
        scene.change(vm(name))
    assert scene.after(20) == [(name, "recovered") for name in names[:3]]


def test_only_those_asked_for() -> None:
    scene = Scene(wish=Wish(groups=["shop/orders"]), kinds=["gone"])
    scene.listing(vm("a"), vm("b", group="other"), vm("c", group=""))
    for name in ("a", "b", "c"):
        scene.change(vm(name, group={"a": "orders", "b": "other", "c": ""}[name]), "DELETED")
    assert scene.after(20) == [("a", "gone")]
    scene.listing(vm("a", healthy=False))
    assert scene.after(20) == []


def test_certificates() -> None:
    scene = Scene(certificate_left=100)
    scene.listing(vm("a"), vm("b"), vm("c", connected=False))
    assert scene.watcher.addresses() == {("shop", "a"): "192.0.2.1", ("shop", "b"): "192.0.2.1"}
    scene.watcher.certificates({("shop", "a"): 99.5, ("shop", "b"): 3600, ("shop", "nobody"): 1})
    (event,) = scene.watcher.due(1)
    assert (event["host"], event["kind"], event["certificate_left"]) == ("a", "certificate", 99)
    scene.watcher.certificates({("shop", "a"): 90})
    assert scene.watcher.due(2) == []
    scene.watcher.certificates({("shop", "a"): -5})
    assert [event["certificate_left"] for event in scene.watcher.due(200) if event["kind"] == "certificate"] == [-5]


def test_nothing_is_remembered_for_ever() -> None:
    scene = Scene()
    for number in range(50):
        scene.change(vm(f"vm{number}"), "ADDED")
        scene.change(vm(f"vm{number}"), "DELETED")
        scene.after(11)
    scene.after(200)
    assert vars(scene.watcher)["_seen"] == {}
    assert vars(scene.watcher)["_last"] == {}


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ('istio_agent_cert_expiry_seconds{resource_name="default"} 83721.04', 83721.04),
        (
            '# HELP istio_agent_cert_expiry_seconds x\nistio_agent_cert_expiry_seconds{a="b"} -1.5e+02\nother 1\n',
            -150.0,
        ),
        ("istio_agent_cert_expiry_seconds 12", 12.0),
        ('istio_agent_cert_expiry_seconds{r="a"} 9\nistio_agent_cert_expiry_seconds{r="b"} 8', 8.0),
        ("istio_agent_cert_expiry_seconds_total 5", None),
        ("", None),
    ],
)
def test_seconds_left(metrics: str, expected: float | None) -> None:
    assert seconds_left(metrics) == expected


def test_settings() -> None:
    settings, numbers = read_settings({"settle": "5", "certificate_interval": 60, "namespaces": ["shop"]})
    assert (settings.settle, settings.quiet, settings.wish.namespaces) == (5, 600, ["shop"])
    assert numbers["certificate_interval"] == 60


@pytest.mark.parametrize(
    "arguments",
    [
        {"settle": -1},
        {"settle": "soon"},
        {"most": 0},
        {"quiet": "nan"},
        {"kinds": ["ill"]},
        {"kinds": "gone"},
        {"hostnames": ["fqdn"]},
        {"namespaces": [1]},
        {"workload_groups": ["a/b/c"]},
    ],
)
def test_settings_that_mean_nothing(arguments: dict[str, t.Any]) -> None:
    with pytest.raises(MeshError, match="Next step: "):
        read_settings(arguments)
