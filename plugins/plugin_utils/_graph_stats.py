# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who talks to whom, how much, how well and how safely, from what proxies counted. Pure. Private to the collection."""

from __future__ import annotations

import collections.abc
import dataclasses
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _graph_sample, _probe
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _graph_nodes, _tables
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._graph_nodes import Cast, Member, Node

Mapping = collections.abc.Mapping

# How a connection is secured -> the words for it.
SECURITY = {
    "mtls": "mutual TLS",
    "tls": "TLS, identity not verified",
    "passed": "the caller's own TLS, passed on",
    "mixed": "partly mutual TLS",
    "plain": "no TLS",
    "unknown": "unknown",
}

# What one proxy counts and another does not, at slightly different seconds: less than this is no finding.
_UNSEEN_RATE, _UNSEEN_SHARE = 0.5, 0.25


@dataclasses.dataclass
class Edge:
    """Traffic from one node to another, in the seconds in which the proxies were read.

    Attributes:
        source, target: IDs of nodes.
        kind: `calls` (a workload calls a service) or `serves` (a service is answered by a workload).
        requests, errors: HTTP requests a second, and those of them that were answered with a status from 500 on, or not
            at all. Each try counts, also where Envoy tries again.
        connections, refused: TCP connections opened a second, and those that could not be. Only where no HTTP is spoken.
        open: connections open at the end.
        total, total_errors: requests (or connections) since the proxies started, and how many of them failed.
        http: whether HTTP was ever seen.
        secured: word of SECURITY -> what was sent that way a second (since the start, where nothing is sent now).
        ports: the service's ports.
        flags: what Envoy has against single endpoints, as `address flags`.
    """

    source: str
    target: str
    kind: str
    requests: float = 0.0
    errors: float = 0.0
    connections: float = 0.0
    refused: float = 0.0
    open: int = 0
    total: int = 0
    total_errors: int = 0
    http: bool = False
    secured: dict[str, float] = dataclasses.field(default_factory=dict)
    secured_before: dict[str, float] = dataclasses.field(default_factory=dict)
    ports: set[int] = dataclasses.field(default_factory=set)
    flags: set[str] = dataclasses.field(default_factory=set)

    @property
    def rate(self) -> float:
        """Requests a second, or connections where no HTTP is spoken."""
        return self.requests or self.connections

    @property
    def protocol(self) -> str:
        """`http`, `tcp`, or '' where nothing was ever sent."""
        return "http" if self.http else "tcp" if self.total or self.open else ""

    @property
    def error_share(self) -> float | None:
        """From 0 to 1; None where nothing was sent."""
        if self.requests:
            return self.errors / self.requests
        return min(1.0, self.refused / self.connections) if self.connections else None

    @property
    def security(self) -> str:
        """A key of SECURITY."""
        words = [word for word, weight in (self.secured or self.secured_before).items() if weight]
        if len(words) > 1 and "mtls" in words:
            return "mixed"
        # Of several others the one that is the least safe.
        return next((word for word in ("plain", "unknown", "tls", "passed", "mtls") if word in words), "unknown")

    @property
    def active(self) -> bool:
        """Whether anything was sent, or is connected. (For HTTP, Envoy keeps connections open that nobody uses.)"""
        return bool(self.rate or (self.open and not self.http))


@dataclasses.dataclass
class Graph:
    """All of it.

    Attributes:
        cast: the nodes.
        edges: by (source, target).
        seconds: the shortest and the longest time between a proxy's two readings; None where none was read.
        proxies: how many proxies were read.
    """

    cast: Cast
    edges: dict[tuple[str, str], Edge] = dataclasses.field(default_factory=dict)
    seconds: tuple[float, float] | None = None
    proxies: int = 0

    def edge(self, source: str, target: str, kind: str) -> Edge:
        """The edge between two nodes, made where it is not there yet."""
        return self.edges.setdefault((source, target), Edge(source, target, kind))

    def calls(self) -> list[Edge]:
        """The edges from workloads to services."""
        return [edge for edge in self.edges.values() if edge.kind == "calls"]

    def totals(self) -> dict[str, t.Any]:
        """`requests`, `errors`, `connections` a second, and `mtls`, the share of what services got over mutual TLS.

        Left out of that share is what nobody told of, and TLS that is passed on.
        """
        calls = self.calls()
        weights: dict[str, float] = {}
        for edge in calls:
            if self.cast.nodes[edge.target].kind != "service":
                continue
            for word, weight in edge.secured.items():
                weights[word] = weights.get(word, 0.0) + weight
        known = sum(weight for word, weight in weights.items() if word in ("mtls", "tls", "plain"))
        return {
            "requests": sum(edge.requests for edge in calls),
            "errors": sum(edge.errors for edge in calls),
            "connections": sum(edge.connections for edge in calls),
            "mtls": weights.get("mtls", 0.0) / known if known else None,
        }


def build(
    known: Mapping[str, t.Any], machines: t.Sequence[Mapping[str, t.Any]], domain: str = "cluster.local"
) -> Graph:
    """The graph.

    Args:
        known, machines: as for `_graph_nodes.build`.
        domain: the cluster's DNS domain.
    """
    cast = _graph_nodes.build(known, machines)
    graph = Graph(cast)
    # Services are there with what is behind them, also while nobody calls.
    for service, nodes in cast.backends.items():
        for node in nodes:
            graph.edge(service, node, "serves")
    samples: list[tuple[tuple[str, Member], Mapping[str, t.Any]]] = []
    for item in known["samples"]:
        if item["sample"]:
            samples.append((cast.pods[item["namespace"], item["pod"]], item["sample"]))
    for machine in machines:
        result = _graph_nodes.result_of(machine)
        if result.get("sample"):
            samples.append((cast.hosts[machine["name"]], result["sample"]))
    handed: dict[str, float] = {}
    for (node, member), sample in samples:
        member.receives = member.fails = 0.0
        for cluster, endpoints in sample["clusters"].items():
            http = any(_answered(stats["total"]) for stats in endpoints.values())
            for endpoint, stats in endpoints.items():
                flow = _Flow.of(stats, sample["seconds"], http)
                if _graph_sample.is_inbound(cluster):
                    member.receives += flow.requests
                    member.fails += flow.errors
                else:
                    word = (sample.get("security") or {}).get(cluster, {}).get(endpoint, "unknown")
                    _count(graph, node, cluster, endpoint, flow, word, domain, handed)
    if samples:
        times = [sample["seconds"] for _whose, sample in samples]
        graph.seconds, graph.proxies = (min(times), max(times)), len(samples)
    _add_unseen(graph, handed)
    return graph


def _answered(counters: Mapping[str, int]) -> int:
    """The HTTP requests that came to an end. Of TCP, Envoy counts none, also not of those that could not connect."""
    return int(counters.get("rq_success", 0)) + int(counters.get("rq_error", 0))


class _Flow(t.NamedTuple):
    """What one proxy and one endpoint of its have to do with each other, a second."""

    requests: float
    errors: float
    connections: float
    refused: float
    open: int
    total: int
    total_errors: int
    http: bool
    health: str

    @classmethod
    def of(cls, stats: Mapping[str, t.Any], seconds: float, http: bool) -> _Flow:
        grew, total = stats["grew"], stats["total"]
        per = 1.0 / max(seconds, 0.001)
        return cls(
            requests=_answered(grew) * per if http else 0.0,
            errors=grew.get("rq_error", 0) * per if http else 0.0,
            connections=0.0 if http else grew.get("cx_total", 0) * per,
            refused=0.0 if http else grew.get("cx_connect_fail", 0) * per,
            open=stats.get("open", 0),
            total=_answered(total) if http else total.get("cx_total", 0),
            total_errors=total.get("rq_error", 0) if http else total.get("cx_connect_fail", 0),
            http=http,
            health=stats.get("health", "healthy"),
        )


def _count(
    graph: Graph,
    caller: str,
    cluster: str,
    endpoint: str,
    flow: _Flow,
    word: str,
    domain: str,
    handed: dict[str, float],
) -> None:
    """Adds a flow to the edge to its service, and to the one from there to whoever answers."""
    service, port, passed = _service_of(graph.cast, cluster, domain)
    if passed:
        word = "passed"
    elif service.kind == "outside" and word == "unknown":
        word = "plain"
    address = _probe.endpoint_address(endpoint)
    edges = [graph.edge(caller, service.id, "calls")]
    answering = graph.cast.by_address.get(address)
    if answering and service.kind != "outside":
        edges.append(graph.edge(service.id, answering[0], "serves"))
        handed[address] = handed.get(address, 0.0) + flow.requests
    for edge in edges:
        edge.requests += flow.requests
        edge.errors += flow.errors
        edge.connections += flow.connections
        edge.refused += flow.refused
        edge.open += flow.open
        edge.total += flow.total
        edge.total_errors += flow.total_errors
        edge.http = edge.http or flow.http
        if flow.requests or flow.connections:
            edge.secured[word] = edge.secured.get(word, 0.0) + flow.requests + flow.connections
        edge.secured_before[word] = edge.secured_before.get(word, 0.0) + flow.total
        if port:
            edge.ports.add(port)
        if flow.health != "healthy":
            edge.flags.add(f"{address} {flow.health.strip('/').replace('_', ' ')}")


def _service_of(cast: Cast, cluster: str, domain: str) -> tuple[Node, int, bool]:
    """The node that an outbound cluster stands for, its port, and whether TLS is passed on as it came."""
    if cluster == "PassthroughCluster":
        return cast.node("outside", "outside the mesh"), 0, False
    if cluster == "BlackHoleCluster":
        return cast.node("refused", "refused by policy"), 0, False
    # A gateway that passes on TLS by its SNI writes `outbound_.80_.subset_.host`.
    passed = cluster.startswith("outbound_.")
    parts = cluster.split("_." if passed else "|", 3)
    host = parts[3] if len(parts) == 4 else cluster
    port = int(parts[1]) if len(parts) == 4 and parts[1].isdigit() else 0
    name, _dot, rest = host.partition(".")
    namespace, _dot, suffix = rest.partition(".")
    if suffix == f"svc.{domain}":
        # istiod's own TLS, which gateways for virtual machines pass on.
        return cast.node("service", name, namespace), port, passed or (name.startswith("istiod") and port == 15012)
    return cast.node("external", host), port, passed


def _add_unseen(graph: Graph, handed: Mapping[str, float]) -> None:
    """Callers that no proxy told of: what members were handed, without what was seen to be sent to them.

    Drawn only where it is clear which service they call.
    """
    cast = graph.cast
    services: dict[str, list[str]] = {}
    for service, nodes in cast.backends.items():
        for node in nodes:
            services.setdefault(node, []).append(service)
    for answering in list(cast.nodes.values()):
        rate = errors = 0.0
        for member in answering.members:
            more = (member.receives or 0.0) - handed.get(member.address, 0.0)
            if more >= max(_UNSEEN_RATE, _UNSEEN_SHARE * (member.receives or 0.0)):
                rate += more
                errors += (member.fails or 0.0) * more / (member.receives or 1.0)
        mine = services.get(answering.id, [])
        if not rate or len(mine) != 1:
            continue
        for source, target, kind in (
            (cast.node("unseen", "callers not read").id, mine[0], "calls"),
            (mine[0], answering.id, "serves"),
        ):
            edge = graph.edge(source, target, kind)
            edge.requests += rate
            edge.errors += errors
            edge.http = True
            edge.secured["unknown"] = edge.secured.get("unknown", 0.0) + rate


def sort_key(graph: Graph, edge: Edge) -> tuple[t.Any, ...]:
    """Busiest first, then by name."""
    names = (graph.cast.nodes[edge.source].name, graph.cast.nodes[edge.target].name)
    return (-edge.rate, -edge.total, *(_tables.natural(name) for name in names))
