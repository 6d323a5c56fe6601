# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Server-side apply, and what it would do."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _apply
from ansible_collections.hybridmesh.istio.plugins.module_utils._apply import Applier
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Ref
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import refused


def service(name: str = "s", port: int = 80, **labels: str) -> dict[str, t.Any]:
    metadata: dict[str, t.Any] = {"name": name, "namespace": "shop"}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": port}]}}


GROUP = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "WorkloadGroup",
    "metadata": {"name": "g", "namespace": "shop"},
    "spec": {},
}


def test_preview_of_something_new_changes_nothing(empty_cluster):
    empty_cluster.put(service("other"))
    change = Applier(empty_cluster).preview(service())
    assert (change.action, change.before) == ("create", None)
    assert empty_cluster.changes() == []


def test_preview_in_a_namespace_that_is_not_there_yet(empty_cluster):
    change = Applier(empty_cluster).preview(service())
    assert (change.action, change.after["spec"]) == ("create", {"ports": [{"port": 80}]})


def test_preview_of_a_kind_that_is_not_there_yet(empty_cluster):
    empty_cluster.unknown = {"networking.istio.io/v1"}
    assert Applier(empty_cluster).preview(GROUP).action == "create"


def test_preview_of_what_is_there(empty_cluster):
    empty_cluster.put(service(), service("t"))
    changes = Applier(empty_cluster).preview_all([service(port=80), service("t", port=81)])
    assert [change.action for change in changes] == ["none", "update"]
    assert empty_cluster.changes() == []


def test_apply_finds_kinds_that_came_later(empty_cluster):
    empty_cluster.put(service())
    empty_cluster.unknown = {"networking.istio.io/v1"}
    applier = Applier(empty_cluster)
    assert applier.find("networking.istio.io/v1", "WorkloadGroup") == []
    with pytest.raises(MeshError, match="does not know the kind WorkloadGroup"):
        applier.apply(GROUP)
    empty_cluster.unknown = set()
    applier.apply(GROUP)
    assert applier.get(Ref("networking.istio.io/v1", "WorkloadGroup", "shop", "g")) == GROUP


def test_find_by_label(empty_cluster):
    empty_cluster.put(service("a", app="x"), service("b", app="y"), service("c", app="x"))
    found = Applier(empty_cluster).find("v1", "Service", "app=x")
    assert [item["metadata"]["name"] for item in found] == ["a", "c"]
    assert found[0]["kind"] == "Service"


def test_delete(empty_cluster):
    empty_cluster.put(service())
    applier = Applier(empty_cluster)
    applier.delete(Ref("v1", "Service", "shop", "s"))
    assert applier.get(Ref("v1", "Service", "shop", "s")) is None
    applier.delete(Ref("example.com/v1", "Unknown", "shop", "s"))


def answering(cluster, monkeypatch, *errors):
    """Lets the next requests to apply fail."""
    queue, real = list(errors), cluster.request

    def request(method, path, *rest, **more):
        if method == "PATCH" and queue:
            status, message = queue.pop(0)
            raise refused(method, path, status, b'{"message": "%s"}' % message)
        return real(method, path, *rest, **more)

    monkeypatch.setattr(cluster, "request", request)
    monkeypatch.setattr(_apply.time, "sleep", lambda _seconds: None)


def test_a_webhook_that_restarts_is_waited_for(empty_cluster, monkeypatch):
    empty_cluster.put(service("other"))
    answering(empty_cluster, monkeypatch, *[(500, b"failed calling webhook x: connection refused")] * 2)
    Applier(empty_cluster).apply(service())
    assert len(empty_cluster.changes()) == 1


def test_other_refusals_are_not_tried_again(empty_cluster, monkeypatch):
    empty_cluster.put(service("other"))
    answering(empty_cluster, monkeypatch, (422, b"spec.ports: Required value"))
    with pytest.raises(MeshError, match="Required value"):
        Applier(empty_cluster).apply(service())


def test_conflicts_name_the_object_and_the_reason(empty_cluster, monkeypatch):
    empty_cluster.put(service("other"))
    answering(empty_cluster, monkeypatch, (409, b"conflict with kubectl: .spec.type"))
    with pytest.raises(MeshError, match=r"Service shop/s has fields .* conflict with kubectl"):
        Applier(empty_cluster).apply(service(), force=False)


def test_in_parallel_keeps_the_order():
    assert _apply.in_parallel(lambda number: number * 2, list(range(40))) == list(range(0, 80, 2))
