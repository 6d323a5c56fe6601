# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pods there are, which are read, and what comes of reading them."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _graph_pods as core
from ansible_collections.hybridmesh.istio.plugins.module_utils._exec import ExecError

APP = "outbound|80||app.shop.svc.cluster.local"


def resource(**more: t.Any) -> dict[str, t.Any]:
    proxy = {
        "name": "istio-proxy",
        "image": "registry.example:5000/istio/proxyv2:1.31.0@sha256:abc",
        "args": ["proxy", "sidecar", "--domain", "x"],
        "env": [{"name": "ISTIO_META_MESH_ID", "value": "mesh1"}, {"name": "POD_NAME", "valueFrom": {}}],
    }
    return {
        "metadata": {
            "name": "app-5f7c9d-abcde",
            "namespace": "shop",
            "labels": {"app": "app", "pod-template-hash": "5f7c9d"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "app-5f7c9d", "controller": True}],
            **more,
        },
        "spec": {"containers": [{"name": "app"}], "initContainers": [proxy]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
    }


def test_a_pod_of_the_mesh():
    assert core.pod_from(resource()) == {
        "name": "app-5f7c9d-abcde",
        "namespace": "shop",
        "workload": "app",
        "kind": "pod",
        "address": "10.0.0.1",
        "labels": {"app": "app", "pod-template-hash": "5f7c9d"},
        "running": True,
        "ready": True,
        "proxy_version": "1.31.0",
        "mesh": {"id": "mesh1", "cluster": ""},
    }


@pytest.mark.parametrize("word", ["router", "waypoint"])
def test_gateways(word):
    pod = resource()
    pod["spec"]["initContainers"][0]["args"][1] = word
    assert core.pod_from(pod)["kind"] == "gateway"


def test_pods_that_are_none_of_the_mesh():
    pod = resource()
    pod["spec"]["initContainers"] = []
    assert core.pod_from(pod) is None
    assert core.pod_from(resource(deletionTimestamp="now")) is None
    pod = resource()
    pod["status"]["phase"] = "Succeeded"
    assert core.pod_from(pod) is None


@pytest.mark.parametrize(
    ("owners", "name"),
    [
        ([], "app-5f7c9d-abcde"),
        ([{"kind": "StatefulSet", "name": "store", "controller": True}], "store"),
        ([{"kind": "ReplicaSet", "name": "by-hand", "controller": True}], "by-hand"),
        ([{"kind": "Note", "name": "x"}], "app-5f7c9d-abcde"),
    ],
)
def test_whose_pod_it_is(owners, name):
    assert core.pod_from(resource(ownerReferences=owners))["workload"] == name


def test_services():
    found = {
        "metadata": {"name": "app", "namespace": "shop"},
        "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}},
    }
    assert core.service_from(found) == {
        "name": "app",
        "namespace": "shop",
        "type": "ClusterIP",
        "selector": {"a": "b"},
        "ports": [{"port": 80, "name": "", "target": 80}],
    }
    assert core.service_from({"metadata": found["metadata"], "spec": {"type": "ExternalName"}})["selector"] == {}


def pod(name: str, workload: str = "app", ready: bool = True, running: bool = True) -> dict[str, t.Any]:
    return {"namespace": "shop", "name": name, "workload": workload, "ready": ready, "running": running}


def test_some_of_each_workload_are_read():
    pods = [pod("a", ready=False), pod("b"), pod("c"), pod("d"), pod("e", "other"), pod("f", "late", running=False)]
    assert [item["name"] for item in core.choose(pods, 2)] == ["b", "c", "e"]
    assert [item["name"] for item in core.choose(pods, 0)] == ["a", "b", "c", "d", "e"]


class Proxies:
    """Pods whose Envoys have 10 requests more each time, and one that can't be asked."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.commands: list[list[str]] = []
        self.config: str = "{}"

    def session(self, _cluster: t.Any, _namespace: str, name: str, container: str, command: list[str], _timeout: float):
        assert container == "istio-proxy"
        assert command[:2] == ["pilot-agent", "request"]
        self.commands.append(command)
        proxies = self

        class Session:
            def read_all(self, _timeout: float) -> str:
                if name == "broken":
                    raise ExecError("a command failed in it", "e", "n")
                if command[-1] != "clusters":
                    return proxies.config
                proxies.counts[name] = proxies.counts.get(name, 0) + 10
                return f"{APP}::10.0.0.1:80::rq_success::{proxies.counts[name]}\n"

            def close(self) -> None:
                pass

        return Session()


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> Proxies:
    found = Proxies()
    monkeypatch.setattr(core, "Session", found.session)
    return found


def read(*names: str, seconds: float = 60, interval: float = 0.05) -> list[dict[str, t.Any]]:
    return core.Reader(None, 15001, seconds).read([pod(name) for name in names], interval)


def test_all_are_read_twice(proxies):
    proxies.config = json.dumps({"configs": [{"cluster": {"name": APP}}]})
    good, broken = read("good", "broken")
    assert (good["namespace"], good["pod"], good["unread"]) == ("shop", "good", None)
    assert good["sample"]["clusters"][APP]["10.0.0.1:80"]["grew"] == {"rq_success": 10}
    assert 0 < good["sample"]["seconds"] < 5
    assert good["sample"]["security"] == {APP: {"10.0.0.1:80": "plain"}}
    assert (broken["sample"], broken["unread"]) == (None, "a command failed in it")
    assert proxies.commands[0] == ["pilot-agent", "request", "--debug-port=15001", "GET", "clusters"]
    assert len([command for command in proxies.commands if command[-1] == "clusters"]) == 3


def test_a_configuration_that_is_no_json_leaves_the_rest(proxies):
    proxies.config = "no"
    (good,) = read("good")
    assert good["sample"]["security"] == {}
    assert good["unread"].startswith("Envoy does not tell its configuration")


def test_when_the_time_is_up(proxies):
    (late,) = read("good", seconds=0)
    assert late["sample"] is None
    assert late["unread"] == "it was not its turn within 0 s"
    assert proxies.commands == []


def test_no_pods(proxies):
    assert read() == []
