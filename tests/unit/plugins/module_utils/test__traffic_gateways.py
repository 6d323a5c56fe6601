# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways in: what is refused about gateways."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _traffic_gateways
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_scene import Problem, Scene

MakeScene = t.Callable[..., Scene]
Live = t.Callable[..., dict[str, t.Any]]

BACKENDS = [{"backends": [{"service": "web.shop"}]}]


def gateway(**more: t.Any) -> dict[str, t.Any]:
    return {"name": "shop", "namespace": "shop", "servers": [{"port": 80, "hosts": ["mockshop.com"]}], **more}


def route(**more: t.Any) -> dict[str, t.Any]:
    return {
        "name": "web",
        "namespace": "shop",
        "hosts": ["mockshop.com"],
        "gateways": ["shop"],
        "rules": BACKENDS,
        **more,
    }


def problems(scene: Scene) -> list[Problem]:
    return [problem for check in _traffic_gateways.CHECKS for problem in check(scene)]


def told(scene: Scene) -> list[str]:
    return [problem.found for problem in problems(scene)]


def test_a_route_on_a_gateway(scene: MakeScene) -> None:
    assert told(scene({"gateways": [gateway()], "routes": [route()]})) == []


def test_a_gateway_that_is_nowhere(scene: MakeScene) -> None:
    found = problems(scene({"gateways": [gateway()], "routes": [route(gateways=["shopp", "mesh"])]}))
    assert [problem.found for problem in found] == [
        "route shop/web is on gateway shop/shopp, which is neither declared nor in the cluster"
    ]
    assert "(there are: shop/shop)" in found[0].next_step
    assert not found[0].pending
    elsewhere = problems(scene({"routes": [route(gateways=["later/gateway"])]}))
    assert elsewhere[0].pending


def test_a_gateway_of_somebody_else(scene: MakeScene, live: Live) -> None:
    spec = {"selector": {"istio": "ingressgateway"}, "servers": [{"port": {"number": 80}, "hosts": ["*"]}]}
    theirs = live("Gateway", "theirs", spec, namespace="istio-system")
    rules = {"routes": [route(gateways=["istio-system/theirs"])]}
    assert told(scene(rules, live=[theirs])) == []
    # Without Pods, theirs is of no more use than ours.
    assert (
        "gateway istio-system/theirs selects Pods with the labels istio=ingressgateway"
        in told(scene(rules, gateway_pods={}))[0]
    )
    # One that is about to be removed is as good as none.
    ours = live("Gateway", "theirs", spec, of="traffic", namespace="istio-system")
    assert "neither declared nor in the cluster" in told(scene(rules, live=[ours]))[0]


def test_a_gateway_without_pods(scene: MakeScene) -> None:
    rules = {"gateways": [gateway(selector={"istio": "ingress", "app": "x"})]}
    found = problems(scene(rules, gateway_labels=["eastwestgateway", "ingressgateway"]))
    assert [problem.found for problem in found] == [
        "gateway shop/shop selects Pods with the labels app=x, istio=ingress, and there is none in any namespace"
    ]
    assert "(of Pods, the label istio is: eastwestgateway, ingressgateway)" in found[0].next_step
    assert not found[0].pending
    # Where no gateway runs at all, one may be about to be installed.
    assert problems(scene(rules, gateway_labels=[]))[0].pending
    # Or it is said that one is.
    coming = scene(rules, gateway_labels=["eastwestgateway"])
    for labels, pending in (({"istio": "ingress"}, False), ({"istio": "ingress", "app": "x", "more": "y"}, True)):
        coming.coming = [labels]
        assert problems(coming)[0].pending is pending


@pytest.mark.parametrize("hosts", [["mockshop.com"], ["*.com"], ["*"], ["shop/mockshop.com"], ["./*"], ["*/*"]])
def test_hosts_that_a_gateway_serves(scene: MakeScene, hosts: list[str]) -> None:
    servers = [{"port": 80, "hosts": hosts}]
    assert told(scene({"gateways": [gateway(servers=servers)], "routes": [route()]})) == []


@pytest.mark.parametrize("hosts", [["other.com"], ["clients/mockshop.com"], ["*.mockshop.com"]])
def test_hosts_that_it_does_not(scene: MakeScene, hosts: list[str]) -> None:
    servers = [{"port": 80, "hosts": hosts}]
    found = told(scene({"gateways": [gateway(servers=servers)], "routes": [route()]}))
    assert found == ["route shop/web has the host mockshop.com, for which gateway shop/shop has no server"]


def test_several_gateways_share_the_hosts(scene: MakeScene) -> None:
    first = gateway()
    second = gateway(name="second", servers=[{"port": 80, "hosts": ["other.com"]}])
    both = {"hosts": ["mockshop.com", "other.com"], "gateways": ["shop", "second"]}
    assert told(scene({"gateways": [first, second], "routes": [route(**both)]})) == []
    found = told(scene({"gateways": [first, second], "routes": [route(gateways=["shop", "second"])]}))
    assert found == ["route shop/web is on gateway shop/second, which has a server for none of its hosts"]


def test_hosts_for_the_mesh_need_no_gateway(scene: MakeScene) -> None:
    rules = {"gateways": [gateway()], "routes": [route(services=["web.shop"], gateways=["shop", "mesh"])]}
    assert told(scene(rules)) == []
    rules["routes"] = [route(services=["web.shop"])]
    assert "the host web.shop.svc.cluster.local, for which gateway shop/shop has no server" in told(scene(rules))[0]


def tls(**more: t.Any) -> dict[str, t.Any]:
    server = {"port": 443, "protocol": "HTTPS", "hosts": ["mockshop.com"], "tls": {"secret": "cert", **more}}
    return {"gateways": [gateway(servers=[server])]}


CERT = ("istio-system", "cert")
AUTHORITY = ("istio-system", "cert-cacert")


@pytest.mark.parametrize("keys", [{"tls.crt", "tls.key"}, {"cert", "key"}, {"tls.crt", "tls.key", "ca.crt"}])
def test_certificates(scene: MakeScene, keys: set[str]) -> None:
    assert told(scene(tls(), secrets={CERT: keys})) == []


def test_no_certificate(scene: MakeScene) -> None:
    found = problems(scene(tls(), secrets={CERT: None}))
    assert [problem.found for problem in found] == [
        "gateway shop/shop takes its certificate from the Secret istio-system/cert, which is not there"
    ]
    assert "kubectl -n istio-system create secret tls cert" in found[0].next_step
    assert "has no certificate with its key" in told(scene(tls(), secrets={CERT: {"tls.crt"}}))[0]


def test_authority_for_clients(scene: MakeScene) -> None:
    pair = {"tls.crt", "tls.key"}
    assert told(scene(tls(mode="MUTUAL"), secrets={CERT: {*pair, "ca.crt"}})) == []
    assert told(scene(tls(mode="MUTUAL"), secrets={CERT: pair, AUTHORITY: {"cacert"}})) == []
    assert (
        "has no authority to check them by" in told(scene(tls(mode="MUTUAL"), secrets={CERT: pair, AUTHORITY: None}))[0]
    )


def test_what_may_not_be_read_is_not_judged(scene: MakeScene) -> None:
    assert told(scene(tls(mode="MUTUAL"), unreadable={CERT, AUTHORITY})) == []
    assert told(scene(tls(mode="MUTUAL"), secrets={CERT: {"tls.crt", "tls.key"}}, unreadable={AUTHORITY})) == []


@pytest.mark.parametrize("host", ["web.shop", "web.shop.svc"])
def test_a_service_under_a_name_that_istio_does_not_know(scene: MakeScene, host: str) -> None:
    found = problems(scene({"routes": [route(hosts=[host], gateways=["mesh"])]}))
    assert f"has the host {host}, and there is a Service shop/web" in found[0].found
    assert "services: [web.shop]" in found[0].next_step


def test_other_names_are_the_clients_affair(scene: MakeScene) -> None:
    hosts = ["mockshop.com", "web", "web.shop.svc.cluster.local"]
    assert told(scene({"routes": [route(hosts=hosts, gateways=["mesh"])]})) == []
    servers = [{"port": 80, "hosts": ["*"]}]
    assert told(scene({"gateways": [gateway(servers=servers)], "routes": [route(hosts=["web.shop"])]})) == []


def test_two_routes_for_one_host(scene: MakeScene) -> None:
    found = told(scene({"gateways": [gateway()], "routes": [route(), route(name="more")]}))
    assert found == ["route shop/web and route shop/more are all for the host mockshop.com on gateway shop/shop"]
    mesh = [route(gateways=None, services=["web.shop"]), route(gateways=None, hosts=["web"], name="more")]
    found = told(scene({"routes": mesh}))
    assert found == ["route shop/web and route shop/more are all for the host web.shop.svc.cluster.local in the mesh"]


def test_one_host_may_have_requests_and_connections(scene: MakeScene) -> None:
    both = [route(), route(name="secure", protocol="tls")]
    assert told(scene({"gateways": [gateway()], "routes": both})) == []


def test_a_route_of_somebody_else_for_one_host(scene: MakeScene, live: Live) -> None:
    rules = {"gateways": [gateway()], "routes": [route()]}
    spec = {"hosts": ["mockshop.com"], "gateways": ["shop"], "http": [{"route": []}]}
    assert (
        "and VirtualService shop/theirs are all for"
        in told(scene(rules, live=[live("VirtualService", "theirs", spec)]))[0]
    )
    for harmless in (
        live("VirtualService", "theirs", {**spec, "exportTo": ["."]}),
        live("VirtualService", "theirs", {**spec, "gateways": ["other/shop"]}),
        # Declared further, and about to be removed.
        live("VirtualService", "web", spec, of="traffic"),
        live("VirtualService", "old", spec, of="traffic"),
    ):
        assert told(scene(rules, live=[harmless])) == []
    # Two of others are theirs to sort out.
    others = [live("VirtualService", name, {**spec, "hosts": ["other.com"]}) for name in ("a", "b")]
    assert told(scene(rules, live=others)) == []
