# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rates, errors and security of a graph, from what proxies counted."""

from __future__ import annotations

import pytest
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _graph_stats as core

INGRESS = "gateway/istio-system/istio-ingressgateway"
SERVICE, SERVICE_VM = "service/chapter10/envoydummy", "service/chapter10vm/envoydummy"
POD, VM1, VM2 = "pods/chapter10/envoydummy", "vm/chapter10vm/vm1", "vm/chapter10vm/vm2"
WORKBENCH = "pods/lab/workbench"
SHOP = "outbound|80||envoydummy.chapter10.svc.cluster.local"


def edge(graph, source, target):
    return graph.edges[source, target]


def test_rates_and_errors(scenes):
    graph = core.build(*scenes.small())
    assert edge(graph, INGRESS, SERVICE).requests == pytest.approx(20)
    assert edge(graph, INGRESS, SERVICE_VM).requests == pytest.approx(16)
    assert edge(graph, INGRESS, SERVICE_VM).error_share == pytest.approx(0.6 / 16)
    assert edge(graph, SERVICE_VM, VM2).requests == pytest.approx(3.4)
    assert edge(graph, SERVICE_VM, VM2).error_share == pytest.approx(0.8 / 3.4)
    assert edge(graph, SERVICE, POD).requests == pytest.approx(24)
    assert edge(graph, SERVICE, POD).ports == {80}
    assert edge(graph, SERVICE_VM, VM2).flags == {"10.88.0.22 failed outlier check"}
    assert (graph.proxies, graph.seconds) == (6, (5.0, 5.0))
    assert graph.cast.nodes[VM1].receives == pytest.approx(16.4)
    assert graph.cast.nodes[WORKBENCH].receives == 0


def test_security(scenes):
    graph = core.build(*scenes.small())
    assert edge(graph, INGRESS, SERVICE).security == "mtls"
    assert edge(graph, VM1, SERVICE).security == "plain"
    assert edge(graph, SERVICE, POD).security == "mixed"
    assert edge(graph, VM1, "outside/outside the mesh").security == "plain"
    # A gateway for machines passes on the TLS that is between them and istiod.
    assert edge(graph, "gateway/istio-system/istio-eastwestgateway", "service/istio-system/istiod").security == "passed"
    totals = graph.totals()
    assert totals["requests"] == pytest.approx(43.8)
    assert totals["errors"] == pytest.approx(0.8)
    assert totals["connections"] == pytest.approx(0.2)
    assert totals["mtls"] == pytest.approx(41.8 / 43.8)


@pytest.mark.parametrize(
    ("words", "security"),
    [
        ({}, "unknown"),
        ({"mtls": 1}, "mtls"),
        ({"mtls": 1, "plain": 0}, "mtls"),
        ({"mtls": 1, "unknown": 2}, "mixed"),
        ({"tls": 1, "plain": 2}, "plain"),
        ({"tls": 1, "unknown": 2}, "unknown"),
    ],
)
def test_the_least_safe_counts(words, security):
    assert core.Edge("a", "b", "calls", secured=words).security == security
    assert core.Edge("a", "b", "calls", secured_before=words).security == security


def test_without_traffic_services_lead_to_who_would_answer(scenes):
    graph = core.build(*scenes.small(traffic=False))
    assert edge(graph, SERVICE_VM, VM1).protocol == ""
    assert edge(graph, SERVICE_VM, VM1).error_share is None
    assert not edge(graph, SERVICE_VM, VM1).active
    assert graph.totals() == {"requests": 0, "errors": 0, "connections": 0, "mtls": None}
    # Connections of TCP that stay open are seen, though none is opened.
    istiod = edge(graph, "gateway/istio-system/istio-eastwestgateway", "service/istio-system/istiod")
    assert (istiod.active, istiod.rate, istiod.open, istiod.protocol) == (True, 0, 2, "tcp")


def with_cluster(scenes, cluster, endpoints, security="mtls"):
    """The workbench's edges, where its proxy has one cluster."""
    known, machines = scenes.small()
    known["samples"][3]["sample"] = scenes.sample({cluster: endpoints}, security)
    graph = core.build(known, machines)
    return graph, [found for (source, _target), found in graph.edges.items() if source == WORKBENCH]


@pytest.mark.parametrize(
    ("cluster", "target", "port", "security"),
    [
        ("outbound|8443|v1|envoydummy.chapter10.svc.cluster.local", SERVICE, {8443}, "tls"),
        ("outbound_.80_._.envoydummy.chapter10.svc.cluster.local", SERVICE, {80}, "passed"),
        ("outbound|443||api.example.com", "external/api.example.com", {443}, "tls"),
        ("outbound|80||other.elsewhere.svc.cluster.local", "service/elsewhere/other", {80}, "tls"),
        ("outbound|80||x.y.svc.other.domain", "external/x.y.svc.other.domain", {80}, "tls"),
        ("PassthroughCluster", "outside/outside the mesh", set(), "plain"),
        ("BlackHoleCluster", "refused/refused by policy", set(), "unknown"),
    ],
)
def test_where_clusters_lead(scenes, cluster, target, port, security):
    _graph, (found,) = with_cluster(scenes, cluster, {"203.0.113.9:1": scenes.http(2)}, "tls")
    assert (found.target, found.ports, found.security) == (target, port, security)


def test_another_domain(scenes):
    known, machines = scenes.small()
    name = "outbound|80||envoydummy.chapter10.svc.example.org"
    known["samples"][3]["sample"] = scenes.sample({name: {"10.89.0.11:1": scenes.http(2)}})
    assert (WORKBENCH, SERVICE) in core.build(known, machines, "example.org").edges


def test_tcp_counts_connections(scenes):
    endpoints = {"10.89.0.11:5432": scenes.tcp(2, refused=1), "10.89.0.12:5432": scenes.tcp(0)}
    _graph, (found,) = with_cluster(scenes, "outbound|5432||db.chapter10.svc.cluster.local", endpoints)
    assert (found.protocol, found.requests, found.connections) == ("tcp", 0, 2)
    assert found.error_share == pytest.approx(0.5)
    assert found.open == 6


def test_an_endpoint_of_http_that_only_refuses_is_one_of_http(scenes):
    refusing = {"total": {"rq_error": 10, "cx_total": 10, "cx_connect_fail": 10}, "grew": {"rq_error": 5}, "open": 0}
    _graph, (found,) = with_cluster(scenes, SHOP, {"10.89.0.11:80": scenes.http(1), "10.89.0.12:80": refusing})
    assert (found.protocol, found.requests, found.connections) == ("http", 2, 0)
    assert found.error_share == pytest.approx(0.5)


def test_callers_that_were_not_read(scenes):
    known, machines = scenes.unread()
    known["samples"][2]["sample"]["clusters"]["inbound|10000||"]["10.89.0.11:10000"] = scenes.http(30, 3)
    graph = core.build(known, machines)
    unseen = edge(graph, "unseen/callers not read", SERVICE)
    assert unseen.requests == pytest.approx(10)
    assert unseen.error_share == pytest.approx(0.1)
    assert unseen.security == "unknown"
    assert edge(graph, SERVICE, POD).requests == pytest.approx(30)
    assert edge(graph, SERVICE, POD).security == "mixed"


@pytest.mark.parametrize("received", [24.2, 29.0])
def test_a_small_difference_is_no_caller(scenes, received):
    known, machines = scenes.small()
    known["samples"][2]["sample"]["clusters"]["inbound|10000||"]["10.89.0.11:10000"] = scenes.http(received)
    assert not [source for source, _target in core.build(known, machines).edges if source.startswith("unseen")]


def test_unseen_callers_of_one_of_several_services_are_not_guessed(scenes):
    known, machines = scenes.small()
    known["services"].append(scenes.service("second", "chapter10", {"app": "envoydummy"}))
    known["samples"][2]["sample"]["clusters"]["inbound|10000||"]["10.89.0.11:10000"] = scenes.http(99)
    graph = core.build(known, machines)
    assert not [source for source, _target in graph.edges if source.startswith("unseen")]
    assert graph.cast.nodes[POD].receives == pytest.approx(99)


def test_the_same_twice(scenes):
    assert core.build(*scenes.big()) == core.build(*scenes.big())
