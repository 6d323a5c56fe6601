# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the options of the ingress gateway come down to."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _ingress
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._ingress import Options

from .test__eastwest import mesh


def test_it_belongs_to_istiods_mesh_and_is_selected_as_everywhere() -> None:
    spec = _ingress.spec(Options(), mesh(mesh_id="m", network="n", cluster_name="c"))
    assert spec["values"]["global"]["meshID"] == "m"
    assert spec["values"]["global"]["network"] == "n"
    assert spec["values"]["global"]["multiCluster"] == {"clusterName": "c"}
    (component,) = spec["components"]["ingressGateways"]
    assert component["label"] == {"app": "istio-ingressgateway", "istio": "ingressgateway"}
    own = spec["values"]["gateways"]["istio-ingressgateway"]
    assert own["type"] == "LoadBalancer"
    assert [(port["port"], port["targetPort"]) for port in own["ports"]] == [(80, 8080), (443, 8443)]


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("istio-ingressgateway", {}, {"istio": "ingressgateway"}),
        ("shop", {"team": "a"}, {"istio": "shop", "team": "a"}),
        ("shop", {"istio": "ingressgateway"}, {"istio": "ingressgateway"}),
    ],
)
def test_the_chart_always_has_a_label_istio(name: str, labels: dict[str, str], expected: dict[str, str]) -> None:
    assert _ingress.charts_labels(Options(name=name, labels=labels)) == expected


def test_ports_as_given() -> None:
    ports = _ingress.service_ports(Options(ports=[{"name": "tcp-db", "port": 5432}]))
    assert ports == [{"name": "tcp-db", "port": 5432, "targetPort": 5432, "protocol": "TCP"}]


@pytest.mark.parametrize(
    ("ports", "told"),
    [
        ([], "ports is empty"),
        ([{"name": "a", "port": 80}, {"name": "a", "port": 81}], "the name a"),
        ([{"name": "a", "port": 80}, {"name": "b", "port": 80}], "the port 80"),
    ],
)
def test_ports_that_can_not_be(ports: list[dict[str, t.Any]], told: str) -> None:
    with pytest.raises(MeshError, match=told):
        _ingress.check_options(Options(ports=ports))


def test_a_node_port_needs_no_address() -> None:
    _ingress.check_options(Options(service_type="NodePort"))
    with pytest.raises(MeshError, match="internal is set"):
        _ingress.check_options(Options(service_type="NodePort", internal="gcp"))


def test_gateways_of_two_namespaces_are_two_installations() -> None:
    assert _ingress.installation_name(Options(), "istio-system") == "istio-ingressgateway"
    assert _ingress.installation_name(Options(namespace="shop"), "istio-system") == "istio-ingressgateway.shop"


def gateway(name: str, **selector: str) -> dict[str, t.Any]:
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": {"selector": selector}}


def test_who_uses_it() -> None:
    gateways = [
        gateway("by-role", istio="ingressgateway"),
        gateway("by-name", app="istio-ingressgateway"),
        gateway("another", istio="eastwestgateway"),
        gateway("none"),
    ]
    used = _ingress.users(Options(), gateways)
    assert used == ["shop/by-name", "shop/by-role"]
    with pytest.raises(MeshError, match="is used by Gateway shop/by-name, shop/by-role"):
        _ingress.judge_removal(Options(), used)
    _ingress.judge_removal(Options(), [])
