# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Short names, and how objects are called."""

from __future__ import annotations

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _traffic_names

DOMAIN = "cluster.local"


@pytest.mark.parametrize("text", ["web.shop", "web.shop.svc", "web.shop.svc.cluster.local", "web"])
def test_a_service_has_one_full_name(text: str) -> None:
    assert _traffic_names.service_host(text, "shop", DOMAIN) == "web.shop.svc.cluster.local"


@pytest.mark.parametrize(
    "text", ["", ".", "web..svc", "api.example.com", "web.shop.svc.other.local", "web.shop.svc.cluster"]
)
def test_what_is_no_service(text: str) -> None:
    assert _traffic_names.service_host(text, "shop", DOMAIN) is None


def test_a_short_service_needs_a_namespace() -> None:
    assert _traffic_names.service_host("web", "", DOMAIN) is None


def test_istio_completes_names_without_a_dot_alone() -> None:
    read = [_traffic_names.resolved(host, "shop", DOMAIN) for host in ("web", "web.shop", "*", "")]
    assert read == ["web.shop.svc.cluster.local", "web.shop", "*", ""]


def test_back_from_a_full_name() -> None:
    hosts = ("web.shop.svc.cluster.local", "*.shop.svc.cluster.local", "a.b.c.svc.cluster.local", "api.example.com")
    assert [_traffic_names.service_of(host, DOMAIN) for host in hosts] == [("shop", "web"), None, None, None]


def test_gateways_of_a_route() -> None:
    route = {"kind": "VirtualService", "metadata": {"name": "r", "namespace": "shop"}, "spec": {}}
    assert _traffic_names.gateways_of(route) == ["mesh"]
    route["spec"] = {"gateways": ["mesh", "own", "istio-system/other"]}
    assert _traffic_names.gateways_of(route) == ["mesh", "shop/own", "istio-system/other"]


def test_all_that_a_route_sends_to() -> None:
    def to(subset: str) -> dict[str, object]:
        return {"destination": {"host": "web", "subset": subset}}

    rule = {
        "route": [to("v1"), {"destination": {"host": "web"}}],
        "mirrors": [to("v2")],
        "mirror": to("v3")["destination"],
    }
    route = {"metadata": {"namespace": "shop"}, "spec": {"http": [rule], "tcp": [{"route": [to("v4")]}]}}
    used = _traffic_names.subsets_used(route, DOMAIN)
    assert used == {("web.shop.svc.cluster.local", f"v{number}") for number in (1, 2, 3, 4)}
