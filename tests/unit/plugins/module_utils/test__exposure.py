# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether istiod is to be reached through a gateway."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _cluster, _exposure

BASE = "/apis/networking.istio.io/v1/namespaces/istio-system"
GATEWAY = f"{BASE}/gateways/istiod-gateway"
ROUTE = f"{BASE}/virtualservices/istiod-vs"


def judge(cluster: t.Any) -> _exposure.Exposure:
    mesh = _cluster.read_mesh(cluster, "istio-system", None)
    gateway = _cluster.read_gateway(cluster, "istio-system", "istio-eastwestgateway")
    assert mesh is not None
    assert gateway is not None
    return _exposure.read_exposure(cluster, mesh, gateway)


def rule(cluster: t.Any) -> t.Any:
    return cluster.objects[ROUTE]["spec"]["tls"][0]


def test_exposed(fake_mesh: t.Any) -> None:
    assert judge(fake_mesh) == {"exposed": True, "hosts": ["istiod.istio-system.svc"], "reason": ""}


@pytest.mark.parametrize(
    ("host", "destination"),
    [
        ("*", "istiod.istio-system.svc.cluster.local"),
        ("*.istio-system.svc", "istiod.istio-system"),
        ("istiod.istio-system.svc", "istiod"),
        ("istiod.istio-system.svc", "istiod-1-31.istio-system.svc"),
    ],
)
def test_exposed_in_other_words(fake_mesh: t.Any, host: str, destination: str) -> None:
    rule(fake_mesh)["match"][0]["sniHosts"] = [host]
    rule(fake_mesh)["route"][0]["destination"]["host"] = destination
    fake_mesh.objects[GATEWAY]["spec"]["servers"][0]["hosts"] = ["istio-system/*"]
    assert judge(fake_mesh)["exposed"]


def test_exposed_by_http(fake_mesh: t.Any) -> None:
    """As with a certificate of the gateway's own."""
    spec = fake_mesh.objects[ROUTE]["spec"]
    found = spec.pop("tls")[0]
    spec["hosts"] = ["istiod.istio-system.svc"]
    spec["http"] = [{"match": [{"port": 15012}], "route": found["route"]}]
    assert judge(fake_mesh)["exposed"]


def test_exposed_while_no_pod_runs(fake_mesh: t.Any) -> None:
    del fake_mesh.objects["/api/v1/namespaces/istio-system/pods/gateway"]
    assert judge(fake_mesh)["exposed"]


def test_port_not_in_the_service(fake_mesh: t.Any) -> None:
    service = fake_mesh.objects["/api/v1/namespaces/istio-system/services/istio-eastwestgateway"]
    service["spec"]["ports"] = [{"port": 15443}]
    assert judge(fake_mesh)["reason"] == "the Service has no port 15012"


@pytest.mark.parametrize("change", ["absent", "other pods", "other port"])
def test_no_gateway_opens_the_port(fake_mesh: t.Any, change: str) -> None:
    spec = fake_mesh.objects[GATEWAY]["spec"]
    if change == "absent":
        del fake_mesh.objects[GATEWAY]
    elif change == "other pods":
        spec["selector"] = {"istio": "ingressgateway"}
    else:
        spec["servers"][0]["port"]["number"] = 15017
    assert judge(fake_mesh)["reason"] == "no Gateway opens port 15012 on it"


@pytest.mark.parametrize(
    "change", ["absent", "other port", "other service", "other namespace", "unbound", "closed host"]
)
def test_no_route(fake_mesh: t.Any, change: str) -> None:
    if change == "absent":
        del fake_mesh.objects[ROUTE]
    elif change == "other port":
        rule(fake_mesh)["match"][0]["port"] = 15017
    elif change == "other service":
        rule(fake_mesh)["route"][0]["destination"]["host"] = "shop.istio-system.svc.cluster.local"
    elif change == "other namespace":
        rule(fake_mesh)["route"][0]["destination"]["host"] = "istiod.other.svc.cluster.local"
    elif change == "unbound":
        fake_mesh.objects[ROUTE]["spec"]["gateways"] = ["mesh"]
    else:
        fake_mesh.objects[GATEWAY]["spec"]["servers"][0]["hosts"] = ["shop.example.com"]
    assert judge(fake_mesh) == {
        "exposed": False,
        "hosts": [],
        "reason": "no VirtualService leads from port 15012 to istiod",
    }


def test_another_sni(fake_mesh: t.Any) -> None:
    rule(fake_mesh)["match"][0]["sniHosts"] = ["istiod-canary.istio-system.svc"]
    found = judge(fake_mesh)
    assert not found["exposed"]
    assert found["reason"] == (
        "the VirtualService lets through istiod-canary.istio-system.svc, not istiod.istio-system.svc"
    )


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("*", "a.b", True),
        ("a.b", "a.b", True),
        ("*.b", "a.b", True),
        ("*.b", "b", False),
        ("*.b", "ab", False),
        ("a", "a.b", False),
    ],
)
def test_covers(pattern: str, host: str, expected: bool) -> None:
    assert _exposure.covers(pattern, host) is expected
