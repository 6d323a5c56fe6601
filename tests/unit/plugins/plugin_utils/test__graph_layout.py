# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The layout of a graph: nothing overlaps, few lines cross, the same input gives the same picture."""

from __future__ import annotations

import itertools

import hypothesis
import pytest
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _graph_layout as core
from hypothesis import strategies as st

Link = core.Link


def arrange(columns, links, height=70.0):
    return core.arrange(columns, {key: height for column in columns for key in column}, links)


def rows(layout, column):
    return [round(layout.middles[key]) for key in layout.columns[column]]


def test_nothing_at_all():
    layout = arrange([[], [], []], [])
    assert (layout.height, layout.columns, layout.ends) == (0, [[], [], []], {})


def test_a_single_line_is_straight():
    layout = arrange([["a"], ["b"]], [Link("a", "b")])
    assert layout.ends == {Link("a", "b"): (35, 35)}
    assert layout.height == 70


def test_boxes_are_put_so_that_lines_do_not_cross():
    links = [Link("a", "y"), Link("b", "x"), Link("c", "y")]
    layout = arrange([["a", "b", "c"], ["x", "y"]], links)
    assert core._crossings(layout.columns, links) == 0


def test_one_in_the_middle_of_its_neighbours():
    layout = arrange([["a"], ["x", "y", "z"]], [Link("a", name) for name in "xyz"])
    assert layout.middles["a"] == pytest.approx(layout.middles["y"])
    # Its lines leave in the order in which they arrive.
    starts = [layout.ends[Link("a", name)][0] for name in layout.columns[1]]
    assert starts == sorted(starts)
    assert len(set(starts)) == 3


def test_boxes_without_lines_come_last():
    layout = arrange([["idle", "a"], ["x"]], [Link("a", "x")])
    assert layout.columns[0] == ["a", "idle"]
    assert rows(layout, 0) == [35, 35 + 70 + core.GAP]


def test_many_lines_stay_within_their_box():
    names = [f"x{number}" for number in range(40)]
    layout = arrange([["a"], names], [Link("a", name) for name in names])
    starts = [start for start, _stop in layout.ends.values()]
    assert max(starts) - min(starts) <= 70
    assert all(abs(start - layout.middles["a"]) <= 35 for start in starts)


@st.composite
def graphs(draw):
    columns = [[f"{number}{row}" for row in range(draw(st.integers(0, 8)))] for number in range(3)]
    pairs = [(a, b) for left, right in itertools.pairwise(columns) for a in left for b in right]
    links = draw(st.lists(st.sampled_from(pairs), max_size=40)) if pairs else []
    return columns, [Link(*pair) for pair in links]


@hypothesis.settings(deadline=None)
@hypothesis.given(graphs())
def test_properties(graph):
    columns, links = graph
    layout = arrange(columns, links)
    assert layout == arrange(columns, links)
    assert [sorted(column) for column in layout.columns] == [sorted(column) for column in columns]
    assert core._crossings(layout.columns, sorted(set(links))) <= core._crossings(columns, sorted(set(links)))
    for column in layout.columns:
        places = [layout.middles[key] for key in column]
        assert all(below - above >= 70 + core.GAP - 0.001 for above, below in itertools.pairwise(places))
        assert all(34.999 <= place <= layout.height - 34.999 for place in places)
    assert set(layout.ends) == set(links)
    for link, (start, stop) in layout.ends.items():
        assert abs(start - layout.middles[link.source]) <= 35
        assert abs(stop - layout.middles[link.target]) <= 35
