# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a proxy did in some seconds, from its Envoy's admin interface. Pure. Private to the collection.

The counters are those of `/clusters`: each Envoy keeps them for each of its endpoints, whatever it is configured to
keep. Those of `/stats` that say the same (`cluster.outbound|80||host;.upstream_rq_total`) are left out by Istio's own
bootstrap unless somebody asks for them.
"""

from __future__ import annotations

import re
import typing as t
import urllib.parse

from ansible_collections.hybridmesh.istio.plugins.module_utils import _probe

# cluster -> endpoint (`ip:port`) -> counter -> value; `health` is text.
Reading = t.Dict[str, t.Dict[str, t.Dict[str, t.Any]]]
# `seconds`; `clusters`: cluster -> endpoint -> {total, grew, open, health}; `security`: cluster -> endpoint -> word.
Sample = t.Dict[str, t.Any]

# HTTP: each try ends as rq_success (a status below 500) or rq_error (a status from 500 on, or no answer).
# TCP: neither is counted, so connections are what there is.
COUNTERS = ("cx_connect_fail", "cx_total", "rq_error", "rq_success", "rq_total")
OPEN = "cx_active"
_WANTED = frozenset((*COUNTERS, OPEN, "health_flags"))

# Clusters that stand for traffic of workloads; an Envoy has others for itself (xds-grpc, agent, prometheus_stats).
_TRAFFIC = ("outbound|", "outbound_.", "inbound|", "inbound_.")
INBOUND_OTHER = "InboundPassthroughCluster"
# So many names go into one request for their configuration, so that its URL stays within Envoy's limits.
_AT_ONCE = 40


def is_inbound(cluster: str) -> bool:
    """Whether a cluster stands for what a proxy hands to its own workload."""
    return cluster.startswith("inbound") or cluster == INBOUND_OTHER


def parse(text: str) -> Reading:
    """The counters in `/clusters`, as text: a quarter of the JSON's size. What is 0 is left out."""
    reading: Reading = {}
    for line in text.splitlines():
        head, _colons, value = line.rpartition("::")
        where, _colons, stat = head.rpartition("::")
        # Most of a large mesh's lines say nothing: no traffic, nothing wrong.
        if stat not in _WANTED or value in ("", "0", "healthy"):
            continue
        cluster, colons, endpoint = where.partition("::")
        # Names as they are in stats end with the mark that Istio puts there.
        cluster = cluster.rstrip(";")
        if not colons or not (cluster.startswith(_TRAFFIC) or cluster in (*_probe.OUTSIDE, INBOUND_OTHER)):
            continue
        stats = reading.setdefault(cluster, {}).setdefault(endpoint, {})
        if stat == "health_flags":
            stats["health"] = value
        elif value.isdigit():
            stats[stat] = int(value)
    return reading


def sample(before: Reading, after: Reading, seconds: float) -> Sample:
    """What happened between two readings, for the endpoints that ever had traffic.

    A counter that is smaller than before began anew (Envoy restarted), and counts from zero.
    """
    clusters: dict[str, dict[str, t.Any]] = {}
    for cluster, endpoints in after.items():
        for endpoint, stats in endpoints.items():
            total = {name: stats[name] for name in COUNTERS if stats.get(name)}
            if not total:
                continue
            old = before.get(cluster, {}).get(endpoint, {})
            grew = {}
            for name, now in total.items():
                was = old.get(name, 0)
                delta = now - was if now >= was else now
                if delta:
                    grew[name] = delta
            found = {"total": total, "grew": grew, "open": stats.get(OPEN, 0), "health": stats.get("health", "healthy")}
            clusters.setdefault(cluster, {})[endpoint] = found
    return {"seconds": round(seconds, 3), "clusters": clusters, "security": {}}


def dump_paths(found: Sample) -> list[tuple[str, str]]:
    """The admin paths of the configuration of a sample's outbound clusters, and of their endpoints', in pairs."""
    names = sorted(name for name in found["clusters"] if not is_inbound(name) and name not in _probe.OUTSIDE)
    pairs = []
    for start in range(0, len(names), _AT_ONCE):
        wanted = "|".join(re.escape(name) for name in names[start : start + _AT_ONCE])
        query = urllib.parse.quote(wanted, safe="")
        pairs.append(
            (
                f"config_dump?resource=dynamic_active_clusters&name_regex={query}",
                f"config_dump?include_eds&resource=dynamic_endpoint_configs&name_regex={query}",
            )
        )
    return pairs


def add_security(found: Sample, cluster_dump: t.Mapping[str, t.Any], endpoint_dump: t.Mapping[str, t.Any]) -> None:
    """Puts into a sample how Envoy talks to each endpoint: `mtls`, `tls` (it verifies no identity), or `plain`.

    Args:
        found: the sample.
        cluster_dump, endpoint_dump: the answers to one pair of `dump_paths`.
    """
    endpoints: dict[str, list[t.Any]] = {}
    for item in endpoint_dump.get("configs") or []:
        endpoints.setdefault((item.get("endpoint_config") or {}).get("cluster_name") or "", []).append(item)
    for item in cluster_dump.get("configs") or []:
        name = (item.get("cluster") or {}).get("name") or ""
        if name not in found["clusters"]:
            continue
        transports = _probe.transports({"configs": [item]}, {"configs": endpoints.get(name, [])})
        # Addresses that Envoy took from the connection (headless Services) have no configuration of their own.
        rest = [endpoint for endpoint in found["clusters"][name] if endpoint not in transports]
        if rest:
            transports.update(_probe.transports({"configs": [item]}, _bare(rest)))
        found["security"][name] = {
            endpoint: _word(transports[endpoint]) for endpoint in found["clusters"][name] if endpoint in transports
        }


def _bare(endpoints: t.Iterable[str]) -> dict[str, t.Any]:
    """A dump of endpoints of which nothing is known but the address."""
    found = []
    for endpoint in endpoints:
        host, _colon, port = endpoint.rpartition(":")
        if port.isdigit():
            address = {"address": host.strip("[]"), "port_value": int(port)}
            found.append({"endpoint": {"address": {"socket_address": address}}})
    return {"configs": [{"endpoint_config": {"endpoints": [{"lb_endpoints": found}]}}]}


def _word(transport: _probe.Transport) -> str:
    if not transport.tls:
        return "plain"
    return "mtls" if any(name.startswith("spiffe://") for name in transport.identities) else "tls"
