# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook graph: what is sent is on the page, in a real browser; what can't be read is listed; with the rights of its job."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import typing as t

import pytest

from . import browser
from .conftest import Lab, Run
from .test_4_rights import Job
from .traffic import from_machine, from_pod

WORKBENCH, VM1, VM2 = "pods/lab/workbench", "vm/chapter10vm/vm1", "vm/chapter10vm/vm2"
SERVICE_VM, SERVICE_POD = "service/chapter10vm/envoydummy", "service/lab/workbench"


class Graph:
    """One run of the playbook.

    Attributes:
        run: what ansible-playbook said.
        page: the page that it wrote.
        edges: (source, target) -> edge, from the run's statistics.
        unread: proxy -> why.
    """

    def __init__(
        self, lab: Lab, name: str, *arguments: str, play: t.Callable[..., Run] | None = None, **more: t.Any
    ) -> None:
        self.page = lab.folder / f"{name}.html"
        variables = {"mesh_verify_graph_html": str(self.page), "mesh_verify_stats": True, **more}
        kept = {"ANSIBLE_SHOW_CUSTOM_STATS": "true", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
        self.run = (play or lab.playbook)("playbooks/graph.yml", *arguments, variables=variables, environment=kept)
        assert self.run.code == 0, self.run.output
        assert self.run.changed == 0, self.run.output
        _head, _mark, rest = self.run.output.partition("CUSTOM STATS: ")
        data = json.JSONDecoder().raw_decode(rest, rest.index("{"))[0]["mesh_graph"]
        self.edges = {(edge["source"], edge["target"]): edge for edge in data["edges"]}
        self.nodes = {node["id"]: node for node in data["nodes"]}
        self.unread = {item["proxy"]: item["why"] for item in data["unread"]}
        self.html = self.page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def busy(mesh: Lab) -> Graph:
    """While a pod calls the machines, and a machine the pod."""
    with from_pod() as inbound, from_machine("vm1") as outbound:
        graph = Graph(mesh, "busy", mesh_verify_graph_interval=8)
    assert inbound.sent > 50
    assert outbound.sent > 50
    return graph


def test_who_talks_to_whom(busy: Graph) -> None:
    assert busy.unread == {}
    for source, target in (
        (WORKBENCH, SERVICE_VM),
        (SERVICE_VM, VM1),
        (SERVICE_VM, VM2),
        (VM1, SERVICE_POD),
        (SERVICE_POD, WORKBENCH),
    ):
        edge = busy.edges[source, target]
        assert 1 < edge["requests"] < 30, edge
        assert edge["error_share"] == 0, edge
        assert edge["security"] == "mtls", edge
        assert edge["ports"] == [80], edge
    # The gateway passes on the machines' connections to istiod.
    istiod = busy.edges["gateway/istio-system/istio-eastwestgateway", "service/istio-system/istiod"]
    assert istiod["open"] >= 2
    assert istiod["security"] == "passed"
    assert all(busy.nodes[node]["well"] for node in (VM1, VM2, WORKBENCH, SERVICE_VM))


def test_what_was_sent_is_what_was_counted(busy: Graph) -> None:
    sent = busy.edges[WORKBENCH, SERVICE_VM]["requests"]
    got = sum(busy.edges[SERVICE_VM, vm]["requests"] for vm in (VM1, VM2))
    assert got == pytest.approx(sent, rel=0.01)
    # The machines' own counters, at a slightly different time.
    handed = sum(busy.nodes[vm]["members"][0]["receives"] for vm in (VM1, VM2))
    assert handed == pytest.approx(sent, rel=0.4)


def test_the_page_stands_for_itself(busy: Graph) -> None:
    assert not re.search(r"<script|<link|<img|(src|href)=|url\(", busy.html)
    assert "eyJhbGciOi" not in busy.html
    assert "BEGIN CERTIFICATE" not in busy.html


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (1400, True), (800, False), (500, True)])
def test_in_a_real_browser(busy: Graph, tmp_path: pathlib.Path, width: int, dark: bool) -> None:
    seen = browser.measure(busy.page, width, dark)
    assert seen["misfits"] == []
    assert seen["boxes"] >= 8
    assert seen["lines"] >= 5
    # The picture scrolls in its frame where there is no room for it, the page does not.
    assert seen["page"][0] <= seen["page"][1]
    brightness = [sum(map(int, re.findall(r"\d+", seen[name])[:3])) for name in ("background", "ink")]
    assert (brightness[0] < 150 and brightness[1] > 600) if dark else (brightness[0] > 600 and brightness[1] < 200)
    picture = tmp_path / "page.png"
    # An empty page makes a few KB.
    assert browser.screenshot(busy.page, picture, width, dark=dark) > 40_000
    kept = pathlib.Path.cwd() / "tests" / "output"
    if kept.is_dir():
        shutil.copy(picture, kept / f"graph-{width}{'-dark' if dark else ''}.png")


def test_check_mode_reads_as_well(mesh: Lab) -> None:
    graph = Graph(mesh, "check", "--check", mesh_verify_graph_interval=1)
    assert (SERVICE_VM, VM1) in graph.edges
    assert "unknown" not in {edge["security"] for edge in graph.edges.values() if edge["total"]}


def test_what_cannot_be_read_is_listed_and_fails_nothing(mesh: Lab) -> None:
    mesh.ssh("vm2", "systemctl stop istio")
    try:
        graph = Graph(
            mesh, "unread", "-e", '{"ansible_host": "10.88.0.99"}', "--limit", "vm1,vm2", mesh_verify_graph_interval=1
        )
        # Both can't be reached at that address.
        assert {name for name in graph.unread if name.startswith("machine")} == {"machine vm1", "machine vm2"}
        graph = Graph(mesh, "stopped", mesh_verify_graph_interval=1)
        assert "no answer from Envoy's admin interface" in graph.unread["machine vm2"]
        assert "machine vm2" in graph.html
        assert (SERVICE_VM, VM1) in graph.edges
    finally:
        mesh.ssh("vm2", "systemctl start istio")


def test_with_the_rights_of_its_job(mesh: Lab) -> None:
    job = Job(mesh, "graph")
    spaces = {"mesh_verify_graph_namespaces": ["chapter10vm", "lab"], "mesh_verify_graph_interval": 1}

    def play(name: str, *arguments: str, variables: dict[str, t.Any], environment: dict[str, str]) -> Run:
        reached = {**variables, "mesh_kubeconfig": str(job.kubeconfig)}
        return mesh.playbook(name, *arguments, variables=reached, environment=environment)

    graph = Graph(mesh, "rights", play=play, **spaces)
    assert graph.unread == {}
    assert (SERVICE_POD, WORKBENCH) in graph.edges
    for what in (
        ("create", "pods/exec", "-n", "istio-system"),
        ("list", "pods", "-n", "istio-system"),
        ("get", "secrets", "-n", "lab"),
        ("create", "serviceaccounts/token", "-n", "chapter10vm"),
        ("patch", "workloadentries.networking.istio.io", "-n", "chapter10vm"),
    ):
        assert not job.may(*what), what
    # Whole lists are refused, and the answer says which right is missing.
    run = job.playbook("playbooks/graph.yml")
    assert run.code != 0
    assert 'verb "list" on resource "services"' in run.words
