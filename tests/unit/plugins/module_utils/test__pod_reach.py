# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of asking from a pod."""

from __future__ import annotations

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _pod_reach


class Api:
    """A cluster with one Deployment and some pods."""

    def __init__(self, pods, deployment=True):
        self.pods = pods
        self.deployment = {"spec": {"selector": {"matchLabels": {"b": "2", "a": "1"}}}} if deployment else None
        self.query = None

    def get(self, path):
        assert path == "/apis/apps/v1/namespaces/lab/deployments/workbench"
        return self.deployment

    def request(self, method, path, query):
        assert (method, path) == ("GET", "/api/v1/namespaces/lab/pods")
        self.query = query
        return {"items": self.pods}


def pod(name, containers=("app", "istio-proxy"), phase="Running", init=(), **metadata):
    return {
        "metadata": dict(metadata, name=name),
        "status": {"phase": phase},
        "spec": {
            "containers": [{"name": item} for item in containers],
            "initContainers": [{"name": item} for item in init],
        },
    }


def test_the_first_running_pod_with_a_sidecar():
    api = Api([pod("c"), pod("b"), pod("a", ["app"]), pod("a2", phase="Pending"), pod("a3", deletionTimestamp="now")])
    assert _pod_reach.find_pod(api, "lab", "workbench") == "b"
    assert api.query == {"labelSelector": "a=1,b=2"}


def test_native_sidecars_count():
    assert _pod_reach.find_pod(Api([pod("a", ["app"], init=["istio-proxy"])]), "lab", "workbench") == "a"


@pytest.mark.parametrize("api", [Api([]), Api([pod("a", ["app"])]), Api([], deployment=False)])
def test_nothing_to_test_from(api):
    with pytest.raises(_pod_reach.NotTested, match="Deployment lab/workbench"):
        _pod_reach.find_pod(api, "lab", "workbench")


def test_answers_keep_their_order_and_failures_their_words(monkeypatch):
    class Session:
        def __init__(self, cluster, namespace, name, container, command, timeout):
            self.command = command
            assert container == "istio-proxy"

        def read_all(self, timeout):
            if "--url=http://10.0.0.2:1/" in self.command:
                raise _pod_reach.ExecError("Last error: i/o timeout", "e", "n")
            return "ready"

        def close(self):
            pass

    monkeypatch.setattr(_pod_reach, "Session", Session)
    answers = _pod_reach.try_targets(None, "lab", "p", ["10.0.0.2:1", "10.0.0.1:1"], 3)
    assert [(answer["target"], answer["rc"]) for answer in answers] == [("10.0.0.2:1", 1), ("10.0.0.1:1", 0)]
    assert "i/o timeout" in answers[0]["output"]


def test_ipv6_addresses_are_bracketed():
    assert "--url=http://[fd00::1]:80/" in _pod_reach.wait_command("fd00::1:80", 3)
