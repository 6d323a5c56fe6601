# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a declaration of traffic stands for."""

from __future__ import annotations

import typing as t
from pathlib import Path

import yaml
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_objects import (
    Context,
    identity,
    names_identities,
)

ROOT = Path(__file__).parents[4]
Build = t.Callable[..., list[dict[str, t.Any]]]


def spec_of(made: list[dict[str, t.Any]]) -> t.Any:
    """The only object's spec."""
    assert len(made) == 1
    return made[0]["spec"]


def example() -> t.Any:
    """The role's example."""
    play = yaml.safe_load((ROOT / "roles/traffic/meta/example.yml").read_text(encoding="utf-8"))
    return play[0]["roles"][0]["vars"]["traffic_rules"]


def test_the_example_comes_in_the_order_in_which_it_is_made(build: Build) -> None:
    made = build(example(), name="shop")
    assert [(item["kind"], item["metadata"]["namespace"], item["metadata"]["name"]) for item in made] == [
        ("DestinationRule", "chapter10vm", "envoydummy"),
        ("PeerAuthentication", "chapter10vm", "default"),
        ("AuthorizationPolicy", "chapter10", "callers"),
        ("Gateway", "chapter10", "mockshop"),
        ("VirtualService", "chapter10", "mockshop"),
        ("VirtualService", "chapter10vm", "envoydummy"),
    ]
    assert {item["apiVersion"] for item in made} == {"networking.istio.io/v1", "security.istio.io/v1"}
    for item in made:
        assert item["metadata"]["labels"] == {
            "app.kubernetes.io/managed-by": "hybridmesh.istio",
            "hybridmesh.istio/traffic": "shop",
        }
    assert made[4]["spec"] == {
        "hosts": ["mockshop.com"],
        "gateways": ["chapter10/mockshop"],
        "http": [
            {
                "route": [
                    {
                        "destination": {"host": f"envoydummy.{space}.svc.cluster.local", "port": {"number": 80}},
                        "weight": 50,
                    }
                    for space in ("chapter10", "chapter10vm")
                ],
                "timeout": "10s",
                "retries": {"attempts": 2, "retryOn": "connect-failure,reset"},
            }
        ],
    }
    vm = "envoydummy.chapter10vm.svc.cluster.local"
    assert made[5]["spec"] == {
        "hosts": [vm],
        "http": [
            {
                "match": [{"headers": {"x-version": {"exact": "v3"}}}],
                "route": [{"destination": {"host": vm, "subset": "v3"}}],
            },
            {"route": [{"destination": {"host": vm, "subset": "v2"}}]},
        ],
    }


def test_nothing_stands_for_nothing(build: Build) -> None:
    assert build({}) == []


def route(**more: t.Any) -> dict[str, t.Any]:
    return {"routes": [{"name": "r", "namespace": "shop", "hosts": ["a.com"], **more}]}


def test_everything_of_a_rule(build: Build) -> None:
    rule = {
        "name": "canary",
        "match": [
            {
                "path_prefix": "/api",
                "method": "GET",
                "headers": {"a": 1, "b": True, "c": {"prefix": "x"}, "d": {"present": True}},
                "query": {"q": {"regex": "x.*"}},
                "port": 80,
                "source_labels": {"version": 2},
                "source_namespace": "web",
            },
            {"path": "/exact"},
        ],
        "backends": [{"service": "web"}],
        "timeout": 0.25,
        "retries": {"attempts": 3, "per_try_timeout": 2},
        "mirrors": [{"host": "api.example.com", "percent": 12.5}, {"service": "web", "subset": "v2"}],
        "rewrite": {"path": "/", "host": "b.com"},
        "spec": {"fault": {"abort": {"httpStatus": 500}}, "retries": {"retryOn": "5xx"}},
    }
    assert spec_of(build(route(rules=[rule])))["http"] == [
        {
            "name": "canary",
            "match": [
                {
                    "port": 80,
                    "sourceNamespace": "web",
                    "uri": {"prefix": "/api"},
                    "method": {"exact": "GET"},
                    "headers": {"a": {"exact": "1"}, "b": {"exact": "true"}, "c": {"prefix": "x"}, "d": {}},
                    "queryParams": {"q": {"regex": "x.*"}},
                    "sourceLabels": {"version": "2"},
                },
                {"uri": {"exact": "/exact"}},
            ],
            "route": [{"destination": {"host": "web.shop.svc.cluster.local"}}],
            "timeout": "250ms",
            "retries": {"attempts": 3, "perTryTimeout": "2s", "retryOn": "5xx"},
            "mirrors": [
                {"destination": {"host": "api.example.com"}, "percentage": {"value": 12.5}},
                {"destination": {"host": "web.shop.svc.cluster.local", "subset": "v2"}, "percentage": {"value": 100}},
            ],
            "rewrite": {"uri": "/", "authority": "b.com"},
            "fault": {"abort": {"httpStatus": 500}},
        }
    ]


def test_no_retries_is_no_lack_of_retries(build: Build) -> None:
    rules = [{"backends": [{"service": "web"}], "retries": {"attempts": 0}}]
    assert spec_of(build(route(rules=rules)))["http"][0]["retries"] == {"attempts": 0}


def test_tls_is_told_by_the_routes_own_hosts(build: Build) -> None:
    rules = [
        {"match": [{"sni": ["b.com"], "port": 443}], "backends": [{"service": "web"}]},
        {"backends": [{"service": "db"}]},
    ]
    made = spec_of(build(route(protocol="tls", rules=rules)))
    assert [rule["match"] for rule in made["tls"]] == [
        [{"port": 443, "sniHosts": ["b.com"]}],
        [{"sniHosts": ["a.com"]}],
    ]


def test_tcp_by_port(build: Build) -> None:
    rules = [
        {"match": [{"port": 5432}], "backends": [{"service": "db", "weight": 40}, {"service": "db2", "weight": 60}]}
    ]
    made = spec_of(build(route(protocol="tcp", rules=rules)))
    assert made["tcp"][0]["match"] == [{"port": 5432}]
    assert [target["weight"] for target in made["tcp"][0]["route"]] == [40, 60]


def test_gateways_of_a_route_are_named_in_full(build: Build) -> None:
    made = spec_of(build(route(gateways=["own", "istio-system/other", "mesh"])))
    assert made["gateways"] == ["shop/own", "istio-system/other", "mesh"]
    assert "gateways" not in spec_of(build(route(gateways=["mesh"])))


def test_the_clusters_domain(build: Build) -> None:
    made = build({"destinations": [{"service": "web.shop"}]}, domain="corp.example")
    assert spec_of(made) == {"host": "web.shop.svc.corp.example"}


def test_servers_of_a_gateway(build: Build) -> None:
    servers = [
        {"port": 80, "hosts": ["*"], "tls": {"redirect": True}},
        {"port": 443, "protocol": "HTTPS", "hosts": ["a.com"], "tls": {"secret": "a", "min_version": "TLSV1_3"}},
        {"port": 443, "protocol": "HTTPS", "hosts": ["b.com"], "tls": {"secret": "b", "mode": "MUTUAL"}},
        {"port": 9443, "protocol": "TLS", "hosts": ["c.com"], "tls": {"mode": "PASSTHROUGH"}, "name": "mine"},
    ]
    made = spec_of(build({"gateways": [{"name": "g", "namespace": "shop", "servers": servers}]}))
    assert made["selector"] == {"istio": "ingressgateway"}
    assert [server["port"]["name"] for server in made["servers"]] == ["http-80", "https-443", "https-443-2", "mine"]
    assert [server["tls"] for server in made["servers"]] == [
        {"httpsRedirect": True},
        {"credentialName": "a", "minProtocolVersion": "TLSV1_3", "mode": "SIMPLE"},
        {"credentialName": "b", "mode": "MUTUAL"},
        {"mode": "PASSTHROUGH"},
    ]


def test_everything_of_a_destination(build: Build) -> None:
    entry = {
        "service": "web.shop",
        "subsets": {"v2": {"version": 2}},
        "tls": {"mode": "SIMPLE", "sni": "a.com", "subject_alt_names": ["a.com"]},
        "load_balancing": "RANDOM",
        "connections": {"max": 10, "connect_timeout": 1.5, "max_pending": 1, "max_requests": 2, "idle_timeout": 60},
        "outliers": {"errors": 3, "interval": 1, "ejection_time": 20, "max_percent": 50},
    }
    assert spec_of(build({"destinations": [entry]})) == {
        "host": "web.shop.svc.cluster.local",
        "subsets": [{"name": "v2", "labels": {"version": "2"}}],
        "trafficPolicy": {
            "tls": {"mode": "SIMPLE", "sni": "a.com", "subjectAltNames": ["a.com"]},
            "loadBalancer": {"simple": "RANDOM"},
            "connectionPool": {
                "tcp": {"maxConnections": 10, "connectTimeout": "1500ms"},
                "http": {"http1MaxPendingRequests": 1, "http2MaxRequests": 2, "idleTimeout": "60s"},
            },
            "outlierDetection": {
                "consecutive5xxErrors": 3,
                "interval": "1s",
                "baseEjectionTime": "20s",
                "maxEjectionPercent": 50,
            },
        },
    }


def test_names_of_destinations(build: Build) -> None:
    entries = [
        {"service": "web.shop"},
        {"host": "*.example.com", "namespace": "shop"},
        {"service": "web.shop", "name": "mine", "namespace": "clients"},
    ]
    made = [item["metadata"] for item in build({"destinations": entries})]
    assert [(item["namespace"], item["name"]) for item in made] == [
        ("shop", "web"),
        ("shop", "any-example-com"),
        ("clients", "mine"),
    ]


def test_policies(build: Build) -> None:
    rules = {
        "mtls": [
            {"namespace": "shop"},
            {"name": "p", "namespace": "shop", "selector": {"app": 1}, "ports": {8080: "PERMISSIVE"}},
        ],
        "sidecars": [{"namespace": "shop", "egress": ["./*"], "outbound": "REGISTRY_ONLY", "selector": {"app": "web"}}],
    }
    made = build(rules)
    assert [item["spec"] for item in made] == [
        {"mtls": {"mode": "STRICT"}},
        {
            "mtls": {"mode": "STRICT"},
            "selector": {"matchLabels": {"app": "1"}},
            "portLevelMtls": {"8080": {"mode": "PERMISSIVE"}},
        },
        {
            "workloadSelector": {"labels": {"app": "web"}},
            "egress": [{"hosts": ["./*"]}],
            "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
        },
    ]


def access(**more: t.Any) -> dict[str, t.Any]:
    return {"access": [{"name": "a", "namespace": "shop", **more}]}


def test_a_machines_identity_and_no_other(build: Build) -> None:
    rule = {
        "identities": ["vms/billing"],
        "methods": ["GET"],
        "paths": ["/api/*"],
        "ports": [8080],
        "namespaces": ["vms"],
    }
    made = build(access(selector={"app": "web"}, allow=[rule]), trust_domain="corp.example")
    assert spec_of(made) == {
        "action": "ALLOW",
        "selector": {"matchLabels": {"app": "web"}},
        "rules": [
            {
                "from": [{"source": {"principals": ["corp.example/ns/vms/sa/billing"], "namespaces": ["vms"]}}],
                "to": [{"operation": {"methods": ["GET"], "paths": ["/api/*"], "ports": ["8080"]}}],
            }
        ],
    }


def test_nobody_and_everybody(build: Build) -> None:
    assert spec_of(build(access(allow=[]))) == {"action": "ALLOW"}
    assert spec_of(build(access(allow=[{}]))) == {"action": "ALLOW", "rules": [{}]}
    assert spec_of(build(access(deny=[{"namespaces": ["x"]}])))["action"] == "DENY"


def test_identities() -> None:
    context = Context(trust_domain="td")
    given = ["a/b", "a/*", "*", "spiffe://other/ns/a/sa/b", "other/ns/a/sa/b"]
    assert [identity(text, context) for text in given] == [
        "td/ns/a/sa/b",
        "td/ns/a/sa/*",
        "*",
        "other/ns/a/sa/b",
        "other/ns/a/sa/b",
    ]


def test_the_trust_domain_is_only_needed_for_identities() -> None:
    assert names_identities(access(deny=[{"identities": ["a/b"]}]))
    assert not names_identities({**access(allow=[{"namespaces": ["a"]}]), "routes": []})


def test_what_istio_knows_and_these_keys_do_not(build: Build) -> None:
    entry = {
        "service": "web.shop",
        "load_balancing": "RANDOM",
        "spec": {"exportTo": ["."], "trafficPolicy": {"tunnel": {}}},
    }
    assert spec_of(build({"destinations": [entry]})) == {
        "host": "web.shop.svc.cluster.local",
        "exportTo": ["."],
        "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}, "tunnel": {}},
    }
