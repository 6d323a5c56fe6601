# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture of a graph as SVG, for a page whose style knows its classes. Pure. Private to the collection."""

from __future__ import annotations

import html
import math
import typing as t

from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _graph_layout, _graph_stats, _graph_words, _tables
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._graph_nodes import Node
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._graph_stats import Edge, Graph

# Pixels, before the page scales the picture.
BOX, ROW, BETWEEN, MARGIN, HEAD = 258, 78, 216, 16, 44
WIDTH = 2 * MARGIN + 3 * BOX + 2 * BETWEEN
_THIN, _THICK = 1.8, 8.0
# More boxes in a column are no picture any more: the busiest are drawn, the tables have all.
MOST = 60
# Moving dashes on more lines than this would keep a browser busy.
_MOST_MOVING = 80

HEADS = ("Who calls", "Services", "Who answers")

# Icons on a grid of 20 by 20: lines, and what is filled.
_ICONS = {
    "gateway": '<path d="M11 3.5h5.5v13H11M3 10h9.5M9 6.2 12.8 10 9 13.8"/>',
    "pods": '<path d="M10 2.6 16.4 6v8L10 17.4 3.6 14V6zM3.8 6.1 10 9.5l6.2-3.4M10 9.5v7.7"/>',
    "vm": '<rect x="3" y="3.4" width="14" height="5.8" rx="1.6"/><rect x="3" y="10.8" width="14" height="5.8" rx="1.6"/>'
    '<path d="M6.2 6.3h.01M6.2 13.7h.01M10 6.3h4M10 13.7h4"/>',
    "service": '<circle cx="5" cy="10" r="2.3"/><circle cx="15" cy="4.8" r="2.3"/><circle cx="15" cy="15.2" r="2.3"/>'
    '<path d="m7.1 9 5.8-3.1M7.1 11l5.8 3.1"/>',
    "external": '<circle cx="10" cy="10" r="7"/><ellipse cx="10" cy="10" rx="3" ry="7"/><path d="M3 10h14"/>',
    "outside": '<path d="M6 15.5a3.5 3.5 0 0 1-.3-7 4.8 4.8 0 0 1 9.1 1.2 2.9 2.9 0 0 1-.3 5.8z"/>',
    "refused": '<circle cx="10" cy="10" r="7"/><path d="m5.2 5.2 9.6 9.6"/>',
    "unseen": '<circle cx="10" cy="10" r="7"/><path d="M7.8 8a2.2 2.2 0 1 1 3.4 1.9c-.8.5-1.2.9-1.2 1.9M10 14.2h.01"/>',
}
_ICONS["vms"] = _ICONS["vm"]
_BODY = '<rect x="1.8" y="5.4" width="8.4" height="6" rx="1.5"{}/>'
_SHUT, _AJAR = '<path d="M3.7 5.4V3.9a2.3 2.3 0 0 1 4.6 0v1.5"/>', '<path d="M3.7 5.4V3.5a2.3 2.3 0 0 1 4.4-.9"/>'
_FILLED = ' class="fill"'
# Locks on a grid of 12 by 12: shut and full only for mutual TLS, open where there is none.
_LOCKS = {
    "mtls": _BODY.format(_FILLED) + _SHUT,
    "tls": _BODY.format("") + _SHUT,
    "passed": _BODY.format("") + _SHUT + '<path d="M6 7.9v1.2"/>',
    "mixed": _BODY.format("") + '<rect x="1.8" y="8.4" width="8.4" height="3" rx="1.5" class="fill"/>' + _AJAR,
    "plain": _BODY.format("") + _AJAR,
    "unknown": '<path d="M3.9 4.2a2.1 2.1 0 1 1 3.2 1.8C6.3 6.5 6 6.9 6 7.8M6 10.2h.01"/>',
}


def escape(words: str) -> str:
    """Text for HTML and SVG."""
    return html.escape(words)


def icon(kind: str, x: float, y: float, size: float = 20) -> str:
    """The icon of a kind of node, with its upper left corner at x, y."""
    return f'<g class="icon" transform="translate({x:g} {y:g}) scale({size / 20:g})">{_ICONS[kind]}</g>'


def lock(security: str, x: float = 0, y: float = 0, size: float = 12) -> str:
    """The sign of a way to secure connections."""
    place = f'transform="translate({x:g} {y:g}) scale({size / 12:g})"'
    return f'<g class="lock {security}" {place}>{_LOCKS[security]}</g>'


def small(content: str, size: int, label: str = "") -> str:
    """An icon or a lock as a picture of its own, inside of text."""
    said = f'role="img" aria-label="{escape(label)}"' if label else 'aria-hidden="true"'
    return f'<svg class="inline" width="{size}" height="{size}" viewBox="0 0 {size} {size}" {said}>{content}</svg>'


class Picture(t.NamedTuple):
    """The SVG, and how many boxes each column leaves out."""

    svg: str
    omitted: int


def draw(graph: Graph) -> Picture:
    """The picture of a graph."""
    columns, edges, omitted = _choose(graph)
    keys = [[f"{number}:{node.id}" for node in column] for number, column in enumerate(columns)]
    nodes = {
        key: node for row, column in zip(keys, columns, strict=True) for key, node in zip(row, column, strict=True)
    }
    links = {_link(edge): edge for edge in edges}
    layout = _graph_layout.arrange(keys, dict.fromkeys(nodes, float(ROW)), links)
    top = HEAD + MARGIN
    height = top + max(layout.height, ROW) + MARGIN + 4
    label = f"{len(nodes)} boxes in three columns: who calls, services, who answers. The tables below say the same."
    parts = [
        f'<svg class="picture" viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(label)}">',
        *_heads(keys, height),
    ]
    ordered = sorted(links, key=lambda link: (links[link].rate, link))
    widest = max((edge.rate for edge in edges), default=0.0)
    moving = len(links) <= _MOST_MOVING
    curves = {link: _Curve.between(link, *layout.ends[link], top) for link in ordered}
    parts += [_line(graph, links[link], curves[link], widest, moving) for link in ordered]
    parts += [
        _box(graph, nodes[key], number, _left(number), top + layout.middles[key] - ROW / 2)
        for number, column in enumerate(layout.columns)
        for key in column
    ]
    # The busiest get their label first; one that has no room has its tooltip.
    taken: list[tuple[float, float, float, float]] = []
    parts += [_pill(graph, links[link], curves[link], taken) for link in reversed(ordered)]
    return Picture("\n".join([part for part in parts if part] + ["</svg>"]), omitted)


def _choose(graph: Graph) -> tuple[list[list[Node]], list[Edge], int]:
    """The nodes of each column, the edges between them, and how many nodes there is no room for."""
    nodes = graph.cast.nodes
    edges = sorted(graph.edges.values(), key=lambda edge: _graph_stats.sort_key(graph, edge))
    middle = _most([edge.target if edge.kind == "calls" else edge.source for edge in edges])
    calls = [edge for edge in edges if edge.kind == "calls" and edge.target in middle[0]]
    serves = [edge for edge in edges if edge.kind == "serves" and edge.source in middle[0]]
    linked = {identifier for edge in edges for identifier in (edge.source, edge.target)}
    # Gateways and clients that nobody calls are seen, too, while they are quiet.
    quiet = [node.id for node in nodes.values() if node.members and node.id not in linked]
    left = _most([edge.source for edge in calls] + sorted(quiet, key=_tables.natural))
    right = _most([edge.target for edge in serves])
    edges = [edge for edge in calls if edge.source in left[0]] + [edge for edge in serves if edge.target in right[0]]
    columns = [[nodes[name] for name in _in_order(graph, column[0])] for column in (left, middle, right)]
    return columns, edges, left[1] + middle[1] + right[1]


def _most(names: t.Iterable[str]) -> tuple[list[str], int]:
    """The first names, each once, and how many more there are."""
    unique = list(dict.fromkeys(names))
    return unique[:MOST], max(0, len(unique) - MOST)


def _in_order(graph: Graph, names: t.Iterable[str]) -> list[str]:
    """Gateways first, what is not known last, else by name."""
    rank = {"gateway": 0, "external": 2, "outside": 3, "refused": 3, "unseen": 3}
    nodes = graph.cast.nodes
    return sorted(
        names,
        key=lambda name: (rank.get(nodes[name].kind, 1), _tables.natural(nodes[name].namespace), _tables.natural(name)),
    )


def _link(edge: Edge) -> _graph_layout.Link:
    column = 0 if edge.kind == "calls" else 1
    return _graph_layout.Link(f"{column}:{edge.source}", f"{column + 1}:{edge.target}")


def _left(column: int) -> float:
    return MARGIN + column * (BOX + BETWEEN)


def _heads(keys: t.Sequence[t.Sequence[str]], height: float) -> list[str]:
    parts = []
    for number, (head, column) in enumerate(zip(HEADS, keys, strict=True)):
        x = _left(number)
        parts.append(
            f'<rect class="lane" x="{x - 10:g}" y="4" width="{BOX + 20}" height="{height - 8:g}" rx="14"/>'
            f'<text class="head" x="{x + 4:g}" y="32">{head}</text>'
            f'<text class="count" x="{x + BOX - 4:g}" y="32" text-anchor="end">{len(column) or "none"}</text>'
        )
    return parts


class _Curve(t.NamedTuple):
    """A line that leaves and arrives level."""

    x1: float
    y1: float
    x2: float
    y2: float

    @classmethod
    def between(cls, link: _graph_layout.Link, start: float, stop: float, top: float) -> _Curve:
        column = int(link.source[0])
        return cls(_left(column) + BOX, top + start, _left(column + 1) - 7, top + stop)

    def path(self) -> str:
        bend = (self.x2 - self.x1) * 0.5
        x1, y1, x2, y2 = self
        return f"M{x1:g} {y1:.1f}C{x1 + bend:g} {y1:.1f} {x2 - bend:g} {y2:.1f} {x2:g} {y2:.1f}"

    def at(self, share: float) -> tuple[float, float]:
        """A point on the way, from 0 to 1."""
        rest, bend = 1 - share, (self.x2 - self.x1) * 0.5
        near, middle, late, far = rest**3, 3 * rest**2 * share, 3 * rest * share**2, share**3
        x = near * self.x1 + middle * (self.x1 + bend) + late * (self.x2 - bend) + far * self.x2
        return x, (near + middle) * self.y1 + (late + far) * self.y2


def _line(graph: Graph, edge: Edge, curve: _Curve, widest: float, moving: bool) -> str:
    tone = _graph_words.tone(edge)
    # By the root: ten times the traffic is three times the width.
    width = _THIN + (_THICK - _THIN) * math.sqrt(edge.rate / widest) if widest and edge.rate else _THIN
    path, tip = curve.path(), max(5.0, width * 0.9)
    point = f"M{curve.x2 - 1:g} {curve.y2 - tip:.1f}l7 {tip:.1f}l-7 {tip:.1f}z"
    unknown = " dashed" if "unseen" in (graph.cast.nodes[edge.source].kind,) else ""
    parts = [
        f'<g class="edge {tone}{unknown}"><title>{escape(told(graph, edge))}</title>',
        f'<path class="line" d="{path}" stroke-width="{width:.1f}"/><path class="tip" d="{point}"/>',
    ]
    if moving and edge.rate:
        parts.append(f'<path class="flow" d="{path}" stroke-width="{max(1.0, width * 0.3):.1f}"/>')
    return "".join([*parts, "</g>"])


def told(graph: Graph, edge: Edge) -> str:
    """An edge in words, as its tooltip."""
    nodes = graph.cast.nodes
    lines = [f"{nodes[edge.source].name} → {nodes[edge.target].name}", _graph_words.long_rate(edge)]
    if edge.error_share is not None:
        lines.append(f"{_graph_words.errors(edge)} errors")
    if edge.total:
        lines.append(_graph_stats.SECURITY[edge.security])
        lines.append(f"{edge.total:,} since the proxies started, {edge.total_errors:,} of them failed")
    return "\n".join([*lines, *sorted(edge.flags)])


def _pill(graph: Graph, edge: Edge, curve: _Curve, taken: list[tuple[float, float, float, float]]) -> str:
    """The figures on a line, at the first place along it where nothing is yet."""
    if not edge.active:
        return ""
    words = _graph_words.rate(edge)
    of = of_service(graph, edge)
    words += f" · {of}" if of else ""
    failing = f"{_graph_words.errors(edge)} errors" if (edge.error_share or 0.0) >= _graph_words.SOME_ERRORS else ""
    wide, wide_more = _wide(words, 12.5), _wide(failing, 12.5)
    width = 37 + wide + (wide_more + 8 if failing else 0)
    # Never over a box, so that a wide one stays in the middle while its line goes on.
    first, last = curve.x1 + 5 + width / 2, curve.x2 - 5 - width / 2
    for share in (0.5, 0.44, 0.56, 0.38, 0.62, 0.32, 0.68, 0.26, 0.74, 0.2, 0.8):
        x, y = curve.at(share)
        x = min(max(x, first), last)
        box = (x - width / 2, y - 11.5, x + width / 2, y + 11.5)
        if not any(_overlap(box, other) for other in taken):
            break
    else:
        return ""
    taken.append(box)
    tone = _graph_words.tone(edge)
    parts = [
        f'<g class="pill {tone}"><title>{escape(told(graph, edge))}</title>',
        f'<rect x="{box[0]:.1f}" y="{box[1]:.1f}" width="{width:.1f}" height="23" rx="11.5"/>',
        lock(edge.security, round(box[0] + 9, 1), round(y - 6.5, 1)),
        f'<text x="{box[0] + 25:.1f}" y="{y + 4:.1f}">{escape(words)}',
    ]
    if failing:
        parts.append(f'<tspan class="fail" dx="7">{escape(failing)}</tspan>')
    return "".join([*parts, "</text></g>"])


def of_service(graph: Graph, edge: Edge) -> str:
    """The share that somebody answers of a service that several answer."""
    if edge.kind != "serves" or not edge.rate:
        return ""
    answers = [other.rate for other in graph.edges.values() if other.kind == "serves" and other.source == edge.source]
    return _graph_words.share(edge.rate / sum(answers)) if len(answers) > 1 else ""


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    room = 3
    return (
        one[0] < other[2] + room and other[0] < one[2] + room and one[1] < other[3] + room and other[1] < one[3] + room
    )


# Widths of letters in a common bold sans serif, in thousandths of its size; all others are 600.
_WIDTHS = {
    **dict.fromkeys(".,:;·'|!ijlI ", 290),
    **dict.fromkeys('ftr()[]/-"', 370),
    **dict.fromkeys("ABCDEFGHKLNOPQRSTUVXYZ&", 720),
    **dict.fromkeys("mMwW%…→@", 900),
}


def _wide(words: str, size: float) -> float:
    """About how wide a text is, with some room for fonts that are wider."""
    return sum(_WIDTHS.get(letter, 600) for letter in words) * size / 1000 * 1.06


def _cut(words: str, room: float, size: float) -> str:
    """A text that fits; the whole of it is in the tooltip."""
    if _wide(words, size) <= room:
        return words
    while words and _wide(words + "…", size) > room:
        words = words[:-1]
    return words.rstrip(" ·-.") + "…"


def _box(graph: Graph, node: Node, column: int, x: float, y: float) -> str:
    words, tone = _graph_words.health(graph.cast, node)
    label, where = _graph_words.label(node), _graph_words.where(node)
    unread, figure = _graph_words.reading(node), _figure(graph, node, column)
    title = "\n".join(part for part in (f"{label} {node.name}", where, words, unread, figure) if part)
    state = " · ".join(part for part in (words, unread) if part)
    # Text begins beside the icon, and the place after the badge.
    text, right = x + 54, x + BOX - 12
    badge = _wide(label, 11) + 14
    parts = [f'<g class="box {node.kind}"><title>{escape(title)}</title>']
    if node.kind == "vms" or (node.kind == "pods" and len(node.members) > 1):
        parts += [
            f'<rect class="back" x="{x + shift:g}" y="{y + shift:.1f}" width="{BOX - 2 * shift}" height="{ROW}" rx="12"/>'
            for shift in (6, 3)
        ]
    parts += [
        f'<rect class="card" x="{x:g}" y="{y:.1f}" width="{BOX}" height="{ROW}" rx="12"/>',
        f'<rect class="plate" x="{x + 10:g}" y="{y + 10:.1f}" width="34" height="34" rx="9"/>',
        icon(node.kind, x + 17, round(y + 17, 1)),
        _text("name", text, y + 23, _cut(node.name, right - text, 15)),
        f'<rect class="badge" x="{text:g}" y="{y + 30:.1f}" width="{badge:.1f}" height="17" rx="8.5"/>',
        _text("kind", text + badge / 2, y + 42.4, label, "middle"),
        _text("where", text + badge + 7, y + 42.6, _cut(where, right - text - badge - 7, 12)),
        f'<circle class="dot {tone}" cx="{x + 27:g}" cy="{y + 60.5:.1f}" r="4.5"/>',
        _text(f"health {tone}", text, y + 65, _cut(state, right - text - 8 - _wide(figure, 13), 12)),
        _text("figure", right, y + 65, figure, "end"),
    ]
    return "".join([*parts, "</g>"])


def _text(style: str, x: float, y: float, words: str, anchor: str = "start") -> str:
    return (
        f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>' if words else ""
    )


def _figure(graph: Graph, node: Node, column: int) -> str:
    """What goes through a box, as far as lines lead to or from it in its column."""
    kind = "serves" if column == 2 else "calls"
    mine = [
        edge
        for edge in graph.edges.values()
        if edge.kind == kind and node.id == (edge.source if column == 0 else edge.target)
    ]
    requests, connections = sum(edge.requests for edge in mine), sum(edge.connections for edge in mine)
    if requests:
        return f"{_graph_words.number(requests)}/s"
    return f"{_graph_words.number(connections)} conn/s" if connections else ""
