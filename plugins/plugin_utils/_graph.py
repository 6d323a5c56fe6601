# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The graph of a mesh, as a page, as data and as text. Pure. Private to the collection."""

from __future__ import annotations

import collections.abc
import dataclasses
import typing as t

from ansible_collections.hybridmesh.istio.plugins.plugin_utils import (
    _graph_page,
    _graph_stats,
    _graph_words,
    _tables,
)
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._graph_nodes import Node
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._graph_stats import Edge, Graph

Mapping = collections.abc.Mapping

# A run's output holds no more lines than this; the page has all.
_MOST_LINES = 60
_COLUMNS = ("FROM", "TO", "NOW", "ERRORS", "SECURED")


def report(
    known: Mapping[str, t.Any], machines: t.Sequence[Mapping[str, t.Any]], now: float, domain: str = "cluster.local"
) -> dict[str, t.Any]:
    """Everything that the filter mesh_graph returns.

    Args:
        known: what the module graph_info returned.
        machines: `name`, `address` (or null) and `result` of each virtual machine, as `_graph_nodes.build` has them.
        now: seconds since the epoch.
        domain: the cluster's DNS domain.
    """
    graph = _graph_stats.build(known, machines, domain)
    edges = sorted(graph.edges.values(), key=lambda edge: _graph_stats.sort_key(graph, edge))
    return {
        "html": _graph_page.page(graph, known.get("mesh"), now),
        "nodes": [_node(graph, node) for node in sorted(graph.cast.nodes.values(), key=lambda node: node.id)],
        "edges": [_edge(edge) for edge in edges],
        "totals": graph.totals(),
        "lines": _lines(graph, edges),
        "unread": [{"proxy": proxy, "why": why} for proxy, why in graph.cast.unread],
    }


def _node(graph: Graph, node: Node) -> dict[str, t.Any]:
    words, tone = _graph_words.health(graph.cast, node)
    return {
        "id": node.id,
        "kind": node.kind,
        "name": node.name,
        "namespace": node.namespace,
        "group": node.group,
        "health": words,
        "well": tone not in ("warn", "bad"),
        "members": [dataclasses.asdict(member) for member in node.members],
    }


def _edge(edge: Edge) -> dict[str, t.Any]:
    return {
        "source": edge.source,
        "target": edge.target,
        "kind": edge.kind,
        "protocol": edge.protocol,
        "requests": round(edge.requests, 3),
        "connections": round(edge.connections, 3),
        "open": edge.open,
        "error_share": None if edge.error_share is None else round(edge.error_share, 5),
        "security": edge.security,
        "ports": sorted(edge.ports),
        "total": edge.total,
        "total_errors": edge.total_errors,
        "flags": sorted(edge.flags),
    }


def _lines(graph: Graph, edges: t.Sequence[Edge]) -> list[str]:
    def name(identifier: str) -> str:
        node = graph.cast.nodes[identifier]
        said = f"{node.name}.{node.namespace}" if node.namespace else node.name
        return said.replace(" ", "_")

    used = [edge for kind in ("calls", "serves") for edge in edges if edge.kind == kind and edge.active]
    rows = [
        [
            name(edge.source),
            name(edge.target),
            _graph_words.rate(edge).replace(" ", "_"),
            _graph_words.errors(edge).replace(" ", "") or "-",
            edge.security,
        ]
        for edge in used[:_MOST_LINES]
    ]
    lines = _tables.columns([list(_COLUMNS), *rows]) if rows else []
    if len(used) > _MOST_LINES:
        lines.append(f"and {len(used) - _MOST_LINES} more, see the page")
    totals, unread = graph.totals(), graph.cast.unread
    summary = [
        f"{graph.proxies} {'proxy' if graph.proxies == 1 else 'proxies'} read",
        f"{_graph_words.number(totals['requests'])} requests/s",
    ]
    if totals["requests"]:
        summary.append(f"{_graph_words.share(totals['errors'] / totals['requests'])} errors")
    if totals["mtls"] is not None:
        summary.append(f"{_graph_words.share(totals['mtls'])} mutual TLS")
    lines.append(", ".join(summary))
    lines += [_tables.plain(f"not read - {proxy} - {why}") for proxy, why in unread[:_MOST_LINES]]
    return lines
