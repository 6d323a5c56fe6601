# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases of Istio's charts: what the variables become, and what has to be released."""

from __future__ import annotations

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _charts, _eastwest
from ansible_collections.hybridmesh.istio.plugins.module_utils._charts import Release, Released
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

SPEC = {
    "profile": "minimal",
    "hub": "registry.example/istio",
    "meshConfig": {"accessLogFile": "/dev/stdout"},
    "values": {"global": {"meshID": "mesh1"}, "pilot": {"env": {"A": "b"}}},
}
RELEASE = Release("istiod", "istio-system", "istiod", {"a": 1})


def test_a_control_plane_is_two_releases_with_the_same_settings():
    base, istiod = _charts.control_plane(SPEC, "istio-system", "", "", True)
    assert (base.name, base.chart, base.values["defaultRevision"]) == ("istio-base", "base", "default")
    assert (istiod.name, istiod.chart) == ("istiod", "istiod")
    assert istiod.values == {
        "global": {"meshID": "mesh1", "istioNamespace": "istio-system", "hub": "registry.example/istio"},
        "pilot": {"env": {"A": "b"}},
        "meshConfig": {"accessLogFile": "/dev/stdout"},
    }
    assert SPEC["values"] == {"global": {"meshID": "mesh1"}, "pilot": {"env": {"A": "b"}}}


@pytest.mark.parametrize(("tagged", "tags"), [(True, ["default"]), (False, None)])
def test_a_revision_is_a_release_of_its_own(tagged, tags):
    base, istiod = _charts.control_plane({}, "istio-system", "1-31", "1-30", tagged)
    assert base.values["defaultRevision"] == "1-30"
    assert (istiod.name, istiod.values["revision"], istiod.values.get("revisionTags")) == ("istiod-1-31", "1-31", tags)


def test_a_profile_of_the_charts_is_passed_on():
    assert _charts.control_plane({"profile": "ambient"}, "i", "", "", True)[1].values["profile"] == "ambient"


def test_what_charts_do_not_know_is_refused():
    with pytest.raises(MeshError, match="the spec has components, unvalidatedValues"):
        _charts.control_plane({"components": {}, "unvalidatedValues": {}}, "istio-system", "", "", True)


def gateway_spec(**more):
    options = _eastwest.Options(source_ranges=["10.0.0.0/8"], internal="gcp", **more)
    return _eastwest.spec(options, {"mesh_id": "mesh1", "network": "network1", "cluster_name": "cluster1"})


def test_a_gateway_is_what_istioctl_would_make_of_it():
    (release,) = _charts.gateway(gateway_spec(cross_network=True), "1-31", "eastwest_gateway")
    assert (release.name, release.namespace, release.chart) == ("istio-eastwestgateway", "istio-system", "gateway")
    values = release.values
    assert values["labels"] == {
        "app": "istio-eastwestgateway",
        "istio": "eastwestgateway",
        "topology.istio.io/network": "network1",
    }
    assert values["service"]["annotations"] == {"networking.gke.io/load-balancer-type": "Internal"}
    assert values["service"]["loadBalancerSourceRanges"] == ["10.0.0.0/8"]
    assert [port["port"] for port in values["service"]["ports"]] == [15012, 15443]
    assert (values["replicaCount"], values["autoscaling"], values["revision"]) == (2, {"enabled": False}, "1-31")
    assert values["serviceAccount"] == {"name": "istio-eastwestgateway-service-account"}
    assert values["env"] == {"ISTIO_META_REQUESTED_NETWORK_VIEW": "network1"}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"hub": "registry.example/istio"}, "does not know: hub"),
        ({"spec": {"components": {"pilot": {"enabled": True}}}}, "pilot"),
        ({"spec": {"meshConfig": {}}}, "meshConfig"),
    ],
)
def test_a_gateway_s_settings_without_a_counterpart_are_refused(more, words):
    with pytest.raises(MeshError, match=words) as caught:
        _charts.gateway(gateway_spec(**more), "", "ingress_gateway")
    assert "(ingress_gateway_method)" in str(caught.value)


def test_an_object_belongs_to_its_release():
    item = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "istiod", "labels": {"app": "istiod"}}}
    own = _charts.owned(item, RELEASE)
    assert _charts.release_of(own) == "istio-system/istiod"
    assert own["metadata"]["labels"] == {"app": "istiod", "app.kubernetes.io/managed-by": "Helm"}
    assert _charts.release_of(item) == ""
    assert set(_charts.adopted(own, RELEASE)) == {"apiVersion", "kind", "metadata"}


@pytest.mark.parametrize(
    ("found", "values", "todo"),
    [
        (None, {}, "install"),
        (Released("failed", "istiod-1.31.0"), {"a": 1}, "again"),
        (Released("deployed", "istiod-1.30.3"), {"a": 1}, "upgrade"),
        (Released("deployed", "istiod-1.31.0"), {"a": 2}, "upgrade"),
        (Released("deployed", "istiod-1.31.0"), {"a": 1}, ""),
    ],
)
def test_what_has_to_be_released(found, values, todo):
    assert _charts.what_to_do(RELEASE, found, values, "1.31.0") == todo


def test_a_release_that_was_cut_off_is_told():
    with pytest.raises(MeshError, match="is pending-upgrade: a run of Helm works on it, or was cut off"):
        _charts.what_to_do(RELEASE, Released("pending-upgrade", "istiod-1.31.0"), {}, "1.31.0")


def test_the_version_of_a_release():
    assert Released("deployed", "istiod-1.31.0-lab").version("istiod") == "1.31.0-lab"
    assert Released("deployed", "other-1.31.0").version("istiod") == ""
