# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter mesh_graph, and what it returns as data and as text."""

from __future__ import annotations

import json

from ansible_collections.hybridmesh.istio.plugins.filter.mesh_graph import FilterModule

NOW = 1700000000.0


def graph(scene, **more):
    known, machines = scene
    lists = {
        "hosts": [item["name"] for item in machines],
        "results": [item["result"] for item in machines],
        "addresses": [item["address"] for item in machines],
    }
    return FilterModule().filters()["mesh_graph"](known, now=NOW, **{**lists, **more})


def test_data(scenes):
    found = graph(scenes.small())
    assert json.loads(json.dumps(found)) == found
    assert set(found) == {"html", "nodes", "edges", "totals", "lines", "unread"}
    (vm2,) = [node for node in found["nodes"] if node["name"] == "vm2"]
    assert (vm2["id"], vm2["kind"], vm2["well"], vm2["health"]) == ("vm/chapter10vm/vm2", "vm", False, "unhealthy")
    assert vm2["members"][0]["address"] == "10.88.0.22"
    first = found["edges"][0]
    assert first == {
        "source": "service/chapter10/envoydummy",
        "target": "pods/chapter10/envoydummy",
        "kind": "serves",
        "protocol": "http",
        "requests": 24.0,
        "connections": 0.0,
        "open": 6,
        "error_share": 0.0,
        "security": "mixed",
        "ports": [80],
        "total": 1620,
        "total_errors": 0,
        "flags": [],
    }
    assert found["unread"] == []


def test_lines(scenes):
    lines = graph(scenes.small())["lines"]
    assert lines[0].split() == ["FROM", "TO", "NOW", "ERRORS", "SECURED"]
    assert lines[1].split() == ["istio-ingressgateway.istio-system", "envoydummy.chapter10", "20/s", "0%", "mtls"]
    assert lines[-1] == "6 proxies read, 43.8 requests/s, 1.8 % errors, 95 % mutual TLS"
    assert graph(scenes.small(traffic=False))["lines"][-1] == "6 proxies read, 0 requests/s"


def test_lines_of_a_large_mesh_are_bounded(scenes):
    lines = graph(scenes.big())["lines"]
    assert len(lines) < 100
    # YAML writes them without quotes, and does not fold the table.
    assert not [line for line in lines if ": " in line or line.endswith(":")]


def test_lists_that_are_shorter_than_that_of_the_hosts(scenes):
    found = graph(scenes.small(), results=[], addresses=[["", "10.88.0.21"]])
    assert [item["why"] for item in found["unread"][:2]] == ["the run did not get to it"] * 2
    # Found by its address, beside the entry of which nothing else is known.
    assert {"vm/chapter10vm/vm1", "vm/vm2", "vm/chapter10vm/envoydummy-10.88.0.22-network1"} <= {
        node["id"] for node in found["nodes"]
    }


def test_no_machines_at_all(scenes):
    known, _machines = scenes.small()
    assert FilterModule().filters()["mesh_graph"](known, now=NOW)["html"].startswith("<!DOCTYPE html>")
