# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A graph of the mesh as a page: the picture, and tables that say the same in words. Pure. Private to the collection."""

from __future__ import annotations

import collections.abc
import datetime
import typing as t

from ansible_collections.hybridmesh.istio.plugins.plugin_utils import (
    _graph_stats,
    _graph_style,
    _graph_svg,
    _graph_words,
    _html,
    _tables,
)
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._graph_nodes import HEALTH, Member, Node
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._graph_stats import Edge, Graph
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._graph_svg import escape, lock, small

Mapping = collections.abc.Mapping

# More rows than this are folded away at first.
_MOST_ROWS = 40


def page(graph: Graph, mesh: Mapping[str, t.Any] | None, now: float) -> str:
    """The whole page.

    Args:
        graph: what was found.
        mesh: `id` and `cluster`, where they are known.
        now: seconds since the epoch.
    """
    picture = _graph_svg.draw(graph)
    name = str((mesh or {}).get("id") or "")
    parts = [f'<p class="lead">{escape(_lead(graph, mesh, now))}</p>', _tiles(graph), *_notices(graph, picture.omitted)]
    parts.append(f'<figure><div class="scroll">{picture.svg}</div>{_legend()}</figure>')
    parts += _traffic(graph) + _workloads(graph) + _unread(graph)
    parts.append(_footer())
    return _html.page(f"Service mesh {name}" if name else "Service mesh", parts, _graph_style.STYLE)


def _lead(graph: Graph, mesh: Mapping[str, t.Any] | None, now: float) -> str:
    moment = datetime.datetime.fromtimestamp(now, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    words = [f"Who talks to whom, {moment}"]
    if (mesh or {}).get("cluster"):
        words.append("cluster {}".format((mesh or {})["cluster"]))
    if graph.seconds:
        shortest, longest = (_graph_words.number(round(value, 1)) for value in graph.seconds)
        span = shortest if shortest == longest else f"{shortest} to {longest}"
        words.append(f"{graph.proxies} {_plural('prox', graph.proxies, 'y', 'ies')} read for {span} s each")
    return " · ".join(words)


def _plural(word: str, count: int, one: str = "", many: str = "s") -> str:
    return word + (one if count == 1 else many)


def _tiles(graph: Graph) -> str:
    """The figures that somebody in a hurry reads."""
    totals, nodes = graph.totals(), graph.cast.nodes.values()
    tiles = [("Requests", f"{_graph_words.number(totals['requests'])}/s", "", "sent by those who call")]
    if totals["requests"]:
        failing = totals["errors"] / totals["requests"]
        tone = (
            "bad" if failing >= _graph_words.MANY_ERRORS else "warn" if failing >= _graph_words.SOME_ERRORS else "good"
        )
        tiles.append(("Errors", _graph_words.share(failing), tone, f"{_graph_words.number(totals['errors'])} a second"))
    else:
        tiles.append(("Errors", "none", "", "nothing was sent"))
    if totals["mtls"] is None:
        tiles.append(("Mutual TLS", "none", "", "no service was called"))
    else:
        tone = "good" if totals["mtls"] >= 1 else "bad" if totals["mtls"] < 0.5 else "warn"
        tiles.append(("Mutual TLS", _graph_words.share(totals["mtls"]), tone, "of what services got"))
    for what, kinds in (("Pods", ("pods", "gateway")), ("Virtual machines", ("vm", "vms"))):
        members = [member for node in nodes if node.kind in kinds for member in node.members]
        bad = sum(HEALTH[member.health][1] == "bad" for member in members)
        note = f"{bad} not well" if bad else "all well" if members else "none in this mesh"
        tiles.append((what, str(len(members)), "bad" if bad else "", note))
    services = sum(node.kind == "service" for node in nodes)
    busy = len({edge.target for edge in graph.calls() if edge.rate and graph.cast.nodes[edge.target].kind == "service"})
    tiles.append(("Services", str(services), "", f"{busy} called now"))
    cells = "".join(
        f'<div class="tile"><dt>{escape(head)}</dt><dd class="{tone}">{escape(figure)}</dd>'
        f'<dd class="note">{escape(note)}</dd></div>'
        for head, figure, tone, note in tiles
    )
    return f'<dl class="tiles">{cells}</dl>'


def _notices(graph: Graph, omitted: int) -> list[str]:
    words = []
    unread = len(graph.cast.unread)
    if unread:
        what = f"{unread} {_plural('prox', unread, 'y was', 'ies were')} not read, or not wholly"
        words.append(f"{what}: their own calls are missing here. See the list below.")
    if not any(edge.rate for edge in graph.edges.values()):
        words.append(
            "No traffic was seen while the proxies were read. Dashed lines lead to who would answer for a service."
        )
    sampled = sum(node.sampled for node in graph.cast.nodes.values())
    if sampled:
        words.append(
            f"Of {sampled} {_plural('workload', sampled)} not all pods were read: their figures are of those read."
        )
    if omitted:
        words.append(f"The picture leaves out {omitted} {_plural('box', omitted, '', 'es')} with little or no traffic.")
    return [f'<div class="notice">{"<br>".join(escape(word) for word in words)}</div>'] if words else []


def _legend() -> str:
    def line(tone: str) -> str:
        return small(f'<g class="edge {tone}"><path class="line" d="M1 6h30" stroke-width="4"/></g>', 32).replace(
            'height="32" viewBox="0 0 32 32"', 'height="12" viewBox="0 0 32 12"'
        )

    some, many = (_graph_words.share(value) for value in (_graph_words.SOME_ERRORS, _graph_words.MANY_ERRORS))
    items = [
        line("good") + "no errors (wider: more traffic)",
        line("warn") + f"errors from {some} on",
        line("bad") + f"errors from {many} on",
        line("idle") + "no traffic now",
        *(small(lock(word), 12) + words for word, words in _graph_stats.SECURITY.items() if word != "unknown"),
    ]
    return "<figcaption>" + "".join(f"<span>{item}</span>" for item in items) + "</figcaption>"


class _Cell(t.NamedTuple):
    """A cell of a table; `markup` is trusted, and was escaped where it was made."""

    markup: str
    style: str = ""


def _cell(words: str, style: str = "") -> _Cell:
    return _Cell(escape(words), style)


def _panel(heads: t.Sequence[str], rows: t.Sequence[t.Sequence[_Cell]]) -> str:
    """A table; heads that begin with > are of figures."""
    head = "".join(
        f'<th scope="col"{" class=num" if name.startswith(">") else ""}>{escape(name.lstrip(">"))}</th>'
        for name in heads
    )
    body = "".join(
        "<tr>" + "".join(f'<td class="{cell.style}">{cell.markup}</td>' for cell in row) + "</tr>\n" for row in rows
    )
    return f'<div class="panel"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>'


def _folded(panel: str, count: int) -> str:
    if count <= _MOST_ROWS:
        return panel
    return f"<details><summary>Show all {count}</summary>{panel}</details>"


def _heading(words: str, note: str = "") -> str:
    return f"<h2>{escape(words)}" + (f"<small>{escape(note)}</small>" if note else "") + "</h2>"


def _traffic(graph: Graph) -> list[str]:
    """The two tables of lines."""
    edges = sorted(graph.edges.values(), key=lambda edge: _graph_stats.sort_key(graph, edge))
    parts = []
    for kind, title, heads in (
        ("calls", "Who calls", ("Caller", "Service", "Ports")),
        ("serves", "Who answers", ("Service", "Workload", "Share")),
    ):
        mine = [edge for edge in edges if edge.kind == kind]
        parts.append(_heading(title, "busiest first" if mine else ""))
        if not mine:
            parts.append(_html.text("Nothing was seen, and no service has anything of the mesh behind it."))
            continue
        most = max(edge.rate for edge in mine)
        rows = [_row(graph, edge, most) for edge in mine]
        if not any(edge.flags for edge in mine):
            rows = [row[:-1] for row in rows]
        columns = [*heads, ">Now", ">Errors", "Secured by", ">Since start", "Remarks"]
        parts.append(_folded(_panel(columns[: len(rows[0])], rows), len(rows)))
    return parts


def _row(graph: Graph, edge: Edge, most: float) -> list[_Cell]:
    nodes = graph.cast.nodes
    meter = (
        f'<span class="meter"><i style="width:{100 * edge.rate / most:.0f}%"></i></span>' if edge.rate and most else ""
    )
    third = (
        ", ".join(str(port) for port in sorted(edge.ports))
        if edge.kind == "calls"
        else _graph_svg.of_service(graph, edge)
    )
    tone = _graph_words.tone(edge)
    said = f" ({edge.total_errors:,} failed)" if edge.total_errors else ""
    known = bool(edge.total or edge.active)
    security = small(lock(edge.security), 12) + " " + escape(_graph_stats.SECURITY[edge.security]) if known else ""
    return [
        _name(nodes[edge.source]),
        _name(nodes[edge.target]),
        _cell(third, "short"),
        _Cell(f'{meter}<span class="amount">{escape(_graph_words.long_rate(edge))}</span>', "num"),
        _cell(_graph_words.errors(edge), f"num {tone}" if tone in ("warn", "bad") else "num"),
        _Cell(security),
        _cell(f"{edge.total:,}{said}" if edge.total else "", "num"),
        _cell("; ".join(sorted(edge.flags))),
    ]


def _name(node: Node) -> _Cell:
    where = f" <small>{escape(node.namespace)}</small>" if node.namespace else ""
    return _Cell(f"<b>{escape(node.name)}</b>{where}")


def _workloads(graph: Graph) -> list[str]:
    """The tables of gateways and pods, and of machines; one for each group that the picture shows as one box."""
    nodes = sorted(
        (node for node in graph.cast.nodes.values() if node.members),
        key=lambda node: (not node.namespace, _tables.natural(node.namespace), _tables.natural(node.name)),
    )
    parts = []
    for title, kinds in (("Pods", ("gateway", "pods")), ("Virtual machines", ("vm",))):
        rows = [_member(node, member) for node in nodes if node.kind in kinds for member in node.members]
        if rows:
            parts += [_heading(title, str(len(rows))), _folded(_panel(_COLUMNS, rows), len(rows))]
    for node in nodes:
        if node.kind == "vms":
            rows = [_member(node, member) for member in node.members]
            words, tone = _graph_words.health(graph.cast, node)
            summary = (
                f'<summary><span class="dot-{tone}"></span>Virtual machines of group '
                f"<b>{escape(node.name)}</b> in {escape(node.namespace)}: {escape(words)}</summary>"
            )
            parts.append(f"<details>{summary}{_panel(_COLUMNS, rows)}</details>")
    return parts


_COLUMNS = ("Name", "Kind", "Workload", "Health", "Version", "Proxy", "Address", ">Receives", "Read")


def _member(node: Node, member: Member) -> list[_Cell]:
    words, tone = HEALTH[member.health]
    kind = {"gateway": "gateway", "pods": "pod"}.get(node.kind, "VM")
    received = "" if member.receives is None or node.kind == "gateway" else f"{_graph_words.number(member.receives)}/s"
    if received and member.fails:
        received += f", {_graph_words.number(member.fails)}/s failed"
    where = node.group if kind == "VM" else node.name
    return [
        _Cell(f"<b>{escape(member.name)}</b>"),
        _Cell(f'<span class="tag {node.kind}">{escape(kind)}</span>'),
        _Cell(f"{escape(where)} <small>{escape(member.namespace)}</small>"),
        _Cell(f'<span class="dot-{tone}"></span>{escape(words)}', "bad" if tone == "bad" else ""),
        _cell(member.version),
        _cell(member.proxy_version),
        _cell(member.address),
        _cell(received, "num"),
        _cell("yes" if not member.unread else f"no: {member.unread}"),
    ]


def _unread(graph: Graph) -> list[str]:
    if not graph.cast.unread:
        return []
    rows = [[_Cell(f"<b>{escape(whose)}</b>"), _cell(why)] for whose, why in graph.cast.unread]
    return [_heading("Not read", str(len(rows))), _folded(_panel(("Proxy", "Why"), rows), len(rows))]


def _footer() -> str:
    notes = (
        "Read from the counters that each proxy's Envoy keeps for each of its endpoints, by the one who sends. Each try"
        " counts, also where Envoy tries again.",
        "Errors are answers with a status from 500 on, and requests without an answer; of TCP, connections that could not"
        " be made.",
        "A workload that both calls and answers is in both columns. Health of pods is Kubernetes', of machines that of"
        " their WorkloadEntry.",
    )
    return "<footer><ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul></footer>"
