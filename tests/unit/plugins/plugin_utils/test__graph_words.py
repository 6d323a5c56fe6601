# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of a graph."""

from __future__ import annotations

import pytest
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _graph_stats
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _graph_words as core
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._graph_nodes import Cast, Member


def edge(**values):
    return _graph_stats.Edge("a", "b", "calls", **values)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0"),
        (0.004, "<0.01"),
        (0.25, "0.25"),
        (1, "1"),
        (7.46, "7.5"),
        (24.0000001, "24"),
        (99.96, "100"),
        (1234.5, "1,234"),
    ],
)
def test_figures(value, words):
    assert core.number(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0 %"), (1, "100 %"), (0.00001, "0.01 %"), (0.0004, "0.04 %"), (0.001, "0.1 %"), (0.05, "5 %"), (0.053, "5.3 %"),
        (0.242, "24 %"), (0.9954, "99.5 %"), (0.99999, "99.9 %"),
    ],
)  # fmt: skip
def test_shares(value, words):
    assert core.share(value) == words


@pytest.mark.parametrize(
    ("values", "short", "long"),
    [
        ({"requests": 2.5}, "2.5/s", "2.5 requests/s"),
        ({"connections": 0.2}, "0.20 conn/s", "0.20 connections/s"),
        ({"open": 1}, "1 open", "1 open connection"),
        ({"open": 2}, "2 open", "2 open connections"),
        ({"open": 2, "http": True, "total": 3}, "idle", "nothing now"),
        ({}, "no traffic", "nothing yet"),
    ],
)
def test_rates(values, short, long):
    assert core.rate(edge(**values)) == short
    assert core.long_rate(edge(**values)) == long


@pytest.mark.parametrize(
    ("values", "tone"),
    [
        ({}, "idle"),
        ({"open": 2, "http": True}, "idle"),
        ({"open": 2}, "good"),
        ({"requests": 10}, "good"),
        ({"requests": 10000, "errors": 1}, "good"),
        ({"requests": 100, "errors": 1}, "warn"),
        ({"requests": 100, "errors": 5}, "bad"),
        ({"connections": 1, "refused": 1}, "bad"),
    ],
)
def test_tones(values, tone):
    assert core.tone(edge(**values)) == tone


def health(kind, *states):
    cast = Cast()
    node = cast.node(kind, "x", "ns")
    for number, state in enumerate(states):
        cast.put(node, Member(f"m{number}", "ns", f"10.0.0.{number}", state))
    return core.health(cast, node)


def test_health():
    assert health("vm", "unhealthy") == ("unhealthy", "bad")
    assert health("vms", "healthy", "unhealthy") == ("1 of 2 not well", "warn")
    assert health("vms", "disconnected", "unhealthy") == ("none of 2 is well", "bad")
    assert health("vms", "healthy", "not_checked") == ("all 2 well", "good")
    assert health("vms", "not_checked", "not_checked") == ("no health check", "dim")
    assert health("pods", "ready", "ready") == ("all 2 ready", "good")
    assert health("service") == ("no proxies behind it", "dim")
    assert health("external") == ("not in the cluster", "dim")
    assert health("unseen") == ("seen by whom they call", "dim")


def test_a_service_is_as_well_as_what_is_behind_it(scenes):
    cast = _graph_stats.build(*scenes.small()).cast
    assert core.health(cast, cast.nodes["service/chapter10vm/envoydummy"]) == ("1 of 2 not well", "warn")


def test_labels(scenes):
    cast = _graph_stats.build(*scenes.big()).cast
    assert core.label(cast.nodes["vms/legacy/search"]) == "20 VMs"
    assert core.label(cast.nodes["pods/shop/web-mail"]) == "4 pods"
    assert core.label(cast.nodes["gateway/edge/ingress"]) == "gateway"
    assert core.where(cast.nodes["pods/shop/web-mail"]) == "shop · v7"
    assert core.reading(cast.nodes["pods/shop/web-mail"]) == "3 read"
    assert core.reading(cast.nodes["gateway/edge/ingress"]) == ""
