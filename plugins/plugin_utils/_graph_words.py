# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of a graph: figures, health, kinds, the same in the picture, the tables and the text. Pure. Private."""

from __future__ import annotations

from ansible_collections.hybridmesh.istio.plugins.plugin_utils._graph_nodes import HEALTH, Cast, Node
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._graph_stats import Edge

# Kind of a node -> what it is called.
KINDS = {
    "gateway": "gateway",
    "pods": "pods",
    "vm": "VM",
    "vms": "VMs",
    "service": "service",
    "external": "external host",
    "outside": "outside",
    "refused": "refused",
    "unseen": "not read",
}
# Shares of errors from which on something is worth a look, and wrong.
SOME_ERRORS, MANY_ERRORS = 0.001, 0.05


def number(value: float) -> str:
    """A figure with about three digits: 0.25, 7.5, 42, 1,234."""
    if 0 < value < 0.01:
        return "<0.01"
    if value >= 99.95:
        return f"{value:,.0f}"
    return (f"{value:.1f}" if value >= 0.95 or not value else f"{value:.2f}").removesuffix(".0")


def share(value: float) -> str:
    """A share as per cent; what is not nothing never looks like nothing, nor does what is not all look like all."""
    if value <= 0 or value >= 1:
        return f"{value:.0%}".replace("%", " %")
    percent = min(max(value * 100, 0.01), 99.9)
    words = f"{percent:.0f}" if 9.95 <= percent < 99 else f"{percent:.1f}" if percent >= 0.095 else f"{percent:.2f}"
    return words.removesuffix(".0") + " %"


def rate(edge: Edge) -> str:
    """How much goes over an edge, with its unit."""
    if edge.requests:
        return f"{number(edge.requests)}/s"
    if edge.connections:
        return f"{number(edge.connections)} conn/s"
    if edge.open and edge.protocol == "tcp":
        return f"{edge.open} open"
    return "idle" if edge.total else "no traffic"


def long_rate(edge: Edge) -> str:
    """The same, in whole words."""
    if edge.requests:
        return f"{number(edge.requests)} requests/s"
    if edge.connections:
        return f"{number(edge.connections)} connections/s"
    if edge.open and edge.protocol == "tcp":
        return f"{edge.open} open connection" + ("s" if edge.open > 1 else "")
    return "nothing now" if edge.total else "nothing yet"


def errors(edge: Edge) -> str:
    """The share of errors; '' where nothing was sent."""
    return "" if edge.error_share is None else share(edge.error_share)


def tone(edge: Edge) -> str:
    """good, warn, bad, or idle."""
    if not edge.active:
        return "idle"
    failing = edge.error_share or 0.0
    return "bad" if failing >= MANY_ERRORS else "warn" if failing >= SOME_ERRORS else "good"


def health(cast: Cast, node: Node) -> tuple[str, str]:
    """(words, tone) for a node. A service's is that of what is behind it."""
    members = list(node.members)
    if node.kind == "service":
        members = [member for name in cast.backends.get(node.id, []) for member in cast.nodes[name].members]
        if not members:
            return ("no proxies behind it", "dim")
    if not members:
        return {
            "external": ("not in the cluster", "dim"),
            "outside": ("not in the mesh", "dim"),
            "refused": ("not allowed", "warn"),
        }.get(node.kind, ("seen by whom they call", "dim"))
    if len(members) == 1:
        return HEALTH[members[0].health]
    bad = sum(HEALTH[member.health][1] == "bad" for member in members)
    if bad:
        words = f"{bad} of {len(members)} not well"
        return (f"none of {len(members)} is well", "bad") if bad == len(members) else (words, "warn")
    if all(member.health in ("unknown", "not_checked") for member in members):
        return HEALTH[members[0].health]
    return (f"all {len(members)} {'ready' if node.kind in ('pods', 'gateway') else 'well'}", "good")


def where(node: Node) -> str:
    """Where a node belongs, and its versions."""
    if node.kind == "unseen":
        return "no proxy told of them"
    return " · ".join(word for word in (node.namespace, *node.versions[:3]) if word)


def label(node: Node) -> str:
    """A node's kind, with how many there are where it stands for several."""
    count = len(node.members)
    if node.kind == "vms" or (node.kind == "pods" and count > 1):
        return f"{count} {KINDS[node.kind]}"
    return "pod" if node.kind == "pods" else KINDS[node.kind]


def reading(node: Node) -> str:
    """How many of a node's proxies were read, where that is not all; else ''."""
    count = len(node.members)
    if not count or node.read == count:
        return ""
    return "not read" if not node.read else f"{node.read} read"
