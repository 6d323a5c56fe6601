# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the boxes of a graph in columns go, and how the lines between them run. Pure. Private to the collection.

The same input gives the same picture: nothing here is random. Boxes are ordered so that few lines cross (each box goes
to the mean place of its neighbours, a few times over), then each is put as near to its neighbours' middle as its
column allows. Lengths are in pixels, y grows downwards.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import typing as t

_SWEEPS = 6
_ROUNDS, _PULL = 40, 6.0
# Room between two boxes of a column, and between the ends of two lines at the same side of a box.
GAP = 18.0
_STEP = 16.0
# Lines keep away from the corners of a box.
_CORNER = 12.0


class Link(t.NamedTuple):
    """A line from a box to one of the next column."""

    source: str
    target: str


@dataclasses.dataclass
class Layout:
    """Where everything is.

    Attributes:
        columns: the boxes' keys from top to bottom, column by column.
        middles: a box's key -> the y of its middle.
        ends: a link -> the y at its source and at its target.
        height: of the whole.
    """

    columns: list[list[str]]
    middles: dict[str, float]
    ends: dict[Link, tuple[float, float]]
    height: float


def arrange(columns: t.Sequence[t.Sequence[str]], heights: t.Mapping[str, float], links: t.Iterable[Link]) -> Layout:
    """Places boxes and lines.

    Args:
        columns: the boxes' keys, column by column, in the order that decides where lines don't. Keys are unique.
        heights: of each box.
        links: from a box to one of the next column.
    """
    unique = sorted(set(links))
    near: dict[str, list[str]] = {key: [] for column in columns for key in column}
    for link in unique:
        near[link.source].append(link.target)
        near[link.target].append(link.source)
    order = _order([list(column) for column in columns], near, unique)
    middles = _place(order, heights, near)
    top = min((middles[key] - heights[key] / 2 for column in order for key in column), default=0.0)
    middles = {key: middle - top for key, middle in middles.items()}
    height = max((middles[key] + heights[key] / 2 for key in middles), default=0.0)
    return Layout(order, middles, _ends(unique, near, middles, heights), height)


def _order(columns: list[list[str]], near: t.Mapping[str, list[str]], links: t.Sequence[Link]) -> list[list[str]]:
    """The order of each column with the fewest crossings seen."""
    best, fewest = columns, _crossings(columns, links)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        columns = [list(column) for column in columns]
        numbers = range(len(columns)) if sweep % 2 else range(len(columns) - 1, -1, -1)
        for number in numbers:
            rank = {
                key: place / max(1, len(column) - 1)
                for other, column in enumerate(columns)
                if other != number
                for place, key in enumerate(column)
            }
            # What has no neighbours goes to the end. Sorting is stable: equals stay as they are.
            wanted = {key: _mean([rank[other] for other in near[key]], 2.0) for key in columns[number]}
            columns[number].sort(key=wanted.__getitem__)
        count = _crossings(columns, links)
        if count < fewest:
            best, fewest = columns, count
    # Also where nothing crosses, boxes without lines come last.
    return [sorted(column, key=lambda key: not near[key]) for column in best]


def _mean(values: t.Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _crossings(columns: t.Sequence[t.Sequence[str]], links: t.Sequence[Link]) -> int:
    """How many pairs of lines cross."""
    place = {key: (number, row) for number, column in enumerate(columns) for row, key in enumerate(column)}
    count = 0
    for number in range(len(columns) - 1):
        ends = sorted(
            (place[link.source][1], place[link.target][1]) for link in links if place[link.source][0] == number
        )
        seen: list[int] = []
        for _source, target in ends:
            count += len(seen) - bisect.bisect_right(seen, target)
            bisect.insort(seen, target)
    return count


def _place(
    columns: t.Sequence[t.Sequence[str]], heights: t.Mapping[str, float], near: t.Mapping[str, list[str]]
) -> dict[str, float]:
    middles: dict[str, float] = {}
    for column in columns:
        y = 0.0
        for key in column:
            middles[key] = y + heights[key] / 2
            y += heights[key] + GAP
    # The fullest column is what the others go by.
    fullest = max(range(len(columns)), key=lambda number: middles[columns[number][-1]] if columns[number] else 0.0)
    others = sorted(range(len(columns)), key=lambda number: abs(number - fullest))[1:]
    # Everything falls upwards a little in each round, so that no gaps stay open where nothing asks for them. At the end the
    # others go to where the boxes of the fullest are, without falling: so lines are straight.
    for pull in (*[_PULL] * _ROUNDS, 0.0):
        for number in (fullest, *others) if pull else others:
            keys = columns[number]
            wanted = [_mean([middles[other] for other in near[key]], 0.0) - pull for key in keys]
            # A box without lines only fills up.
            weights = [1.0 if near[key] else 0.001 for key in keys]
            middles.update(zip(keys, _settle(wanted, weights, [heights[key] for key in keys]), strict=True))
    return middles


def _settle(wanted: t.Sequence[float], weights: t.Sequence[float], heights: t.Sequence[float]) -> list[float]:
    """The places nearest to the wanted ones (by least squares) at which boxes keep their order and do not overlap.

    None is above the top, which is 0.
    """
    offsets = [heights[0] / 2] if heights else []
    for above, below in itertools.pairwise(heights):
        offsets.append(offsets[-1] + (above + below) / 2 + GAP)
    # Without the room that the boxes need, their places only must not decrease: neighbours that would are pooled.
    pools: list[tuple[float, float, int]] = []
    for target, weight, offset in zip(wanted, weights, offsets, strict=True):
        value, mass, count = target - offset, weight, 1
        while pools and pools[-1][0] > value:
            other, other_mass, other_count = pools.pop()
            value = (value * mass + other * other_mass) / (mass + other_mass)
            mass, count = mass + other_mass, count + other_count
        pools.append((value, mass, count))
    settled = [value for value, _mass, count in pools for _number in range(count)]
    return [max(value, 0.0) + offset for value, offset in zip(settled, offsets, strict=True)]


def _ends(
    links: t.Sequence[Link],
    near: t.Mapping[str, list[str]],
    middles: t.Mapping[str, float],
    heights: t.Mapping[str, float],
) -> dict[Link, tuple[float, float]]:
    """Lines leave and reach a box one below the other, in the order of their other ends."""
    starts: dict[Link, float] = {}
    stops: dict[Link, float] = {}
    for key in near:
        for side, found, other in (
            (starts, [link for link in links if link.source == key], 1),
            (stops, [link for link in links if link.target == key], 0),
        ):
            places = {link: (middles[link[other]], link[other]) for link in found}
            found.sort(key=places.__getitem__)
            room = max(0.0, heights[key] - 2 * _CORNER)
            step = min(_STEP, room / max(1, len(found) - 1))
            for number, link in enumerate(found):
                side[link] = middles[key] + (number - (len(found) - 1) / 2) * step
    return {link: (starts[link], stops[link]) for link in links}
