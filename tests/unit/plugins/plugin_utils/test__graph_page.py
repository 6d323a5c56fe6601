# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a graph: it stands for itself, escapes, says everything in words, and its picture holds together."""

from __future__ import annotations

import html.parser
import re

import pytest
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _graph_page, _graph_stats, _graph_svg

NOW = 1700000000.0
EMPTY = {"mesh": None, "services": [], "pods": [], "workload_entries": [], "samples": []}
VOID = {"meta", "br"}


class Reader(html.parser.HTMLParser):
    """Collects tags, attributes and text, and sees that what is opened is closed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def read(scene, mesh=None):
    page = _graph_page.page(_graph_stats.build(*scene), mesh or scene[0]["mesh"], NOW)
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return page, reader, " ".join(" ".join(reader.text).split())


@pytest.mark.parametrize("name", ["small", "unread", "big"])
def test_it_stands_for_itself(scenes, name):
    page, reader, _text = read(getattr(scenes, name)())
    tags = {tag for tag, _attributes in reader.tags}
    assert not {"script", "link", "img", "iframe", "a", "image", "use", "foreignobject"} & tags
    assert not re.search(r"(src|href)=|url\(|@import|\son\w+=", page)
    # An ID twice would be a mistake; there are none.
    assert not [attributes for _tag, attributes in reader.tags if "id" in attributes]


def test_everything_is_escaped(scenes):
    known, machines = scenes.small()
    bad = "<script>alert('1')</script>&\""
    known["mesh"] = {"id": bad, "cluster": bad}
    known["services"][0]["name"] = known["pods"][3]["workload"] = known["pods"][3]["proxy_version"] = bad
    known["samples"][3] = scenes.read("lab", "workbench-6d5f7-x2k4q", None, bad)
    machines[0]["name"] = bad
    machines[1]["result"] = {"unreachable": True, "msg": bad}
    page, reader, text = read((known, machines))
    assert "script" not in {tag for tag, _attributes in reader.tags}
    assert "<script" not in page
    assert bad in text


def test_the_figures_are_said_in_words(scenes):
    _page, _reader, text = read(scenes.small())
    for words in (
        "Service mesh mesh1",
        "2023-11-14 22:13:20 UTC · cluster cluster1 · 6 proxies read for 5 s each",
        "Requests 43.8/s",
        "Errors 1.8 %",
        "Mutual TLS 95 %",
        "Virtual machines 2 1 not well",
        "istio-ingressgateway istio-system envoydummy chapter10vm 80 16 requests/s 3.8 % mutual TLS",
        "vm1 chapter10vm envoydummy chapter10 80 2 requests/s 0 % no TLS",
        "10.88.0.22 failed outlier check",
        "unhealthy",
    ):
        assert words in text
    assert "Not read" not in text


def test_a_mesh_at_rest_and_no_mesh(scenes):
    _page, _reader, text = read(scenes.small(traffic=False))
    assert "No traffic was seen while the proxies were read." in text
    assert "Mutual TLS none" in text
    _page, _reader, text = read((EMPTY, []))
    assert "Service mesh Who talks to whom" in text
    assert "Nothing was seen" in text


def test_what_was_not_read_is_listed(scenes):
    _page, _reader, text = read(scenes.unread())
    assert "4 proxies were not read, or not wholly" in text
    assert "machine vm1 the machine can't be reached: ssh: connect to host" in text
    assert "pod lab/workbench-6d5f7-x2k4q the API server refused" in text


def test_machines_of_a_group_have_a_table_to_open(scenes):
    page, _reader, text = read(scenes.big())
    assert page.count("<details>") >= 10
    assert "Virtual machines of group search in legacy: 2 of 20 not well" in text
    assert "Of 10 workloads not all pods were read" in text
    assert "archive20" in text


def boxes(svg):
    found = re.findall(r'<rect class="card" x="([\d.]+)" y="([\d.]+)" width="(\d+)" height="(\d+)"', svg)
    return [tuple(float(value) for value in box) for box in found]


def overlaps(one, other):
    return (
        one[0] < other[0] + other[2]
        and other[0] < one[0] + one[2]
        and one[1] < other[1] + other[3]
        and other[1] < one[1] + one[3]
    )


@pytest.mark.parametrize("name", ["small", "big"])
def test_nothing_in_the_picture_overlaps(scenes, name):
    graph = _graph_stats.build(*getattr(scenes, name)())
    svg = _graph_svg.draw(graph).svg
    height = float(re.search(r'viewBox="0 0 \d+ ([\d.]+)"', svg).group(1))
    cards = boxes(svg)
    pills = [
        tuple(float(value) for value in box)
        for box in re.findall(
            r'</title><rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="(\d+)" rx="11.5"/>', svg
        )
    ]
    assert pills
    everything = cards + pills
    assert not [(a, b) for number, a in enumerate(everything) for b in everything[:number] if overlaps(a, b)]
    assert all(x >= 0 and x + w <= _graph_svg.WIDTH and y >= 0 and y + h <= height for x, y, w, h in everything)


def test_widths_and_tones_follow_the_traffic(scenes):
    svg = _graph_svg.draw(_graph_stats.build(*scenes.small())).svg
    lines = dict(
        re.findall(r'<g class="edge (?:\w+)(?: dashed)?"><title>([^\n]+)\n.*?stroke-width="([\d.]+)"', svg, re.DOTALL)
    )
    widths = {name: float(width) for name, width in lines.items()}
    assert (
        widths["istio-ingressgateway → envoydummy"]
        > widths["vm1 → envoydummy"]
        > widths["istio-eastwestgateway → istiod"]
    )
    assert max(widths.values()) <= 8
    assert re.search(r'<g class="edge bad"><title>envoydummy → vm2\n', svg)
    assert re.search(r'<g class="edge idle"><title>envoydummy|<g class="edge idle"><title>workbench → workbench\n', svg)


def test_too_many_boxes_are_left_to_the_tables(scenes):
    entries = [scenes.entry(f"e{number}", f"ns{number}", "g", f"10.9.{number}.1") for number in range(100)]
    services = [scenes.service("s", f"ns{number}", {"app": "g"}) for number in range(100)]
    known = {**EMPTY, "workload_entries": entries, "services": services}
    picture = _graph_svg.draw(_graph_stats.build(known, []))
    assert len(boxes(picture.svg)) == 2 * _graph_svg.MOST
    # 40 services, and what is behind those that are drawn is drawn.
    assert picture.omitted == 40
    _page, _reader, text = read((known, []))
    assert "The picture leaves out 40 boxes with little or no traffic." in text


def test_names_that_are_too_long_are_cut_and_whole_in_the_tooltip(scenes):
    known, machines = scenes.small()
    known["pods"][3]["workload"] = "a-very-long-name-that-has-no-place-in-a-box-of-the-picture"
    svg = _graph_svg.draw(_graph_stats.build(known, machines)).svg
    assert "<title>pod a-very-long-name-that-has-no-place-in-a-box-of-the-picture\n" in svg
    assert re.search(r'class="name"[^>]*>a-very-long-name-[^<]{2,12}…<', svg)


def test_the_same_twice(scenes):
    one, other = (_graph_page.page(_graph_stats.build(*scenes.big()), None, NOW) for _time in range(2))
    assert one == other
