# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules demo_app and ingress_gateway against an API server made of a dictionary."""

from __future__ import annotations

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _install
from ansible_collections.hybridmesh.istio.plugins.modules import demo_app, ingress_gateway

from .test_cluster_side import Installed, run

APP = {"image": "envoy:1", "config": "static_resources: {}"}
MADE = [f"{kind} chapter10/envoydummy" for kind in ("ServiceAccount", "ConfigMap", "Deployment", "Service")]
DEPLOYMENT = "/apis/apps/v1/namespaces/chapter10/deployments/envoydummy"
NAMESPACE = "/api/v1/namespaces/chapter10"


@pytest.fixture(autouse=True)
def _ready(monkeypatch):
    """No controller starts Pods here."""
    monkeypatch.setattr(_install, "not_ready", lambda _live, _item: "")
    monkeypatch.setattr(demo_app.time, "sleep", lambda _seconds: None)


def test_it_is_made_once_and_goes(applying_mesh):
    would = run(demo_app, applying_mesh, check=True, **APP)
    assert would["report"] == [f"would create {what}" for what in ["Namespace chapter10", *MADE]]
    assert applying_mesh.changes() == []
    done = run(demo_app, applying_mesh, **APP)
    assert done["report"] == [f"created {what}" for what in ["Namespace chapter10", *MADE]]
    again = run(demo_app, applying_mesh, **APP)
    assert (again["changed"], again["report"], again["diff"]) == (False, [], [])
    gone = run(demo_app, applying_mesh, state="absent")
    assert sorted(gone["report"]) == sorted(f"removed {what}" for what in ["Namespace chapter10", *MADE])
    assert run(demo_app, applying_mesh, state="absent")["changed"] is False


def test_a_namespace_of_somebody_else_is_used_and_stays(applying_mesh):
    applying_mesh.objects[NAMESPACE] = {"metadata": {"name": "chapter10"}}
    assert run(demo_app, applying_mesh, **APP)["report"] == [f"created {what}" for what in MADE]
    assert len(run(demo_app, applying_mesh, state="absent")["report"]) == 4
    assert applying_mesh.objects[NAMESPACE] == {"metadata": {"name": "chapter10"}}


def test_a_namespace_with_somebody_elses_things_stays(applying_mesh):
    run(demo_app, applying_mesh, **APP)
    applying_mesh.put({"kind": "Service", "metadata": {"name": "theirs", "namespace": "chapter10", "labels": {}}})
    gone = run(demo_app, applying_mesh, state="absent")
    assert gone["notes"] == ["Namespace chapter10 stays, as it has Service theirs"]
    assert NAMESPACE in applying_mesh.objects


def test_objects_of_somebody_else_are_not_touched(applying_mesh):
    run(demo_app, applying_mesh, **APP)
    del applying_mesh.objects[DEPLOYMENT]["metadata"]["labels"]
    before = len(applying_mesh.changes())
    result = run(demo_app, applying_mesh, **{**APP, "image": "envoy:2"})
    assert "somebody else made it" in result["found"]
    assert len(applying_mesh.changes()) == before
    run(demo_app, applying_mesh, state="absent")
    assert DEPLOYMENT in applying_mesh.objects


def test_pods_without_a_sidecar_are_told(applying_mesh):
    run(demo_app, applying_mesh, **APP)
    pod = {"kind": "Pod", "metadata": {"name": "p", "namespace": "chapter10", "labels": {"app": "envoydummy"}}}
    pod["spec"] = {"containers": [{"name": "envoy"}]}
    applying_mesh.put(pod)
    result = run(demo_app, applying_mesh, **APP)
    assert "got no sidecar: p" in result["found"]
    assert "demo_app_revision" in result["next_step"]


def test_what_is_missing_is_said_before_anything_is_done(applying_mesh):
    assert "image is not given" in run(demo_app, applying_mesh, config="x")["found"]
    assert "port is 0" in run(demo_app, applying_mesh, port=0, **APP)["found"]
    assert applying_mesh.changes() == []


def test_ingress_on_an_empty_cluster(empty_cluster):
    result = run(ingress_gateway, empty_cluster, check=True)
    assert result["report"][0] == "would create Deployment istio-system/istio-ingressgateway"
    assert "there is no Istio in istio-system" in run(ingress_gateway, empty_cluster)["found"]
    assert run(ingress_gateway, empty_cluster, state="absent")["changed"] is False


SERVICE = {"kind": "Service", "metadata": {"name": "istio-ingressgateway", "namespace": "istio-system"}}


def test_an_ingress_of_somebody_else_is_read_only(applying_mesh):
    spec = {"selector": {"istio": "ingressgateway"}, "ports": [{"port": 80}], "externalIPs": ["10.1.1.1"]}
    applying_mesh.put({**SERVICE, "spec": spec})
    for state in ("present", "absent"):
        result = run(ingress_gateway, applying_mesh, state=state)
        assert (result["managed"], result["changed"]) == (False, False)
    assert applying_mesh.changes() == []


def test_an_ingress_in_use_is_not_removed(applying_mesh, monkeypatch):
    monkeypatch.setattr(ingress_gateway, "Installation", Installed)
    monkeypatch.setattr(ingress_gateway, "remove", lambda _installation, _check: [])
    user = {"kind": "Gateway", "metadata": {"name": "shop", "namespace": "shop"}}
    applying_mesh.put({**user, "spec": {"selector": {"istio": "ingressgateway"}}})
    assert "is used by Gateway shop/shop" in run(ingress_gateway, applying_mesh, state="absent")["found"]
    assert run(ingress_gateway, applying_mesh, check=True, state="absent")["used_by"] == ["shop/shop"]
