# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What graph_info asks of the API, and what it makes of it."""

from __future__ import annotations

import types
import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.modules import graph_info as module

PROXY = {"name": "istio-proxy", "image": "proxyv2:1.31.0", "env": [{"name": "ISTIO_META_MESH_ID", "value": "mesh1"}]}
ENTRY = {
    "metadata": {
        "name": "billing-10.0.0.9",
        "namespace": "shop",
        "annotations": {"istio.io/autoRegistrationGroup": "billing", "istio.io/connectedAt": "2026-01-01T00:00:00Z"},
    },
    "spec": {"address": "10.0.0.9", "labels": {"app": "billing"}},
    "status": {"conditions": [{"type": "Healthy", "status": "True"}]},
}


def pod(name: str) -> dict[str, t.Any]:
    return {
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"containers": [{"name": "app"}, PROXY] if name != "outsider" else [{"name": "app"}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1"},
    }


class Api:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def list_all(self, path: str) -> list[dict[str, t.Any]]:
        self.asked.append(path)
        if "/other/" in path:
            return []
        kind = path.rpartition("/")[2]
        service = {"metadata": {"name": "billing", "namespace": "shop"}, "spec": {"selector": {"app": "billing"}}}
        return {"services": [service], "pods": [pod("one"), pod("outsider")], "workloadentries": [ENTRY]}[kind]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., tuple[dict[str, t.Any], Api]]:
    class Reader:
        def __init__(self, _cluster: t.Any, admin_port: int, seconds: float) -> None:
            assert (admin_port, seconds) == (15000, 120)

        def read(self, pods: list[t.Any], interval: float) -> list[dict[str, t.Any]]:
            return [{"pod": pod["name"], "interval": interval} for pod in pods]

    def make(*namespaces: str) -> tuple[dict[str, t.Any], Api]:
        api = Api()
        params = {
            "namespaces": namespaces,
            "interval": 5.0,
            "pods_per_workload": 3,
            "timeout": 120,
            "admin_port": 15000,
        }
        return module.run(types.SimpleNamespace(params=params), api), api

    monkeypatch.setattr(module._graph_pods, "Reader", Reader)
    return make


def test_three_lists_for_the_whole_cluster(run):
    found, api = run()
    assert api.asked == ["/api/v1/services", "/api/v1/pods", "/apis/networking.istio.io/v1/workloadentries"]
    assert found["changed"] is False
    assert found["mesh"] == {"id": "mesh1", "cluster": ""}
    assert [item["name"] for item in found["pods"]] == ["one"]
    assert [item["name"] for item in found["services"]] == ["billing"]
    assert found["samples"] == [{"pod": "one", "interval": 5.0}]
    assert found["workload_entries"] == [
        {
            "name": "billing-10.0.0.9",
            "namespace": "shop",
            "group": "billing",
            "address": "10.0.0.9",
            "connected": True,
            "health": "healthy",
            "labels": {"app": "billing"},
        }
    ]


def test_only_the_namespaces_that_are_named(run):
    _found, api = run("shop", "other", "shop")
    assert len(api.asked) == 6
    assert all("/namespaces/other/" in path or "/namespaces/shop/" in path for path in api.asked)


def test_a_mesh_without_pods(run):
    found, _api = run("other")
    assert (found["mesh"], found["pods"], found["samples"]) == (None, [], [])
