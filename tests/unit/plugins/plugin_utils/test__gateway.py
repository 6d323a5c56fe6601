# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses of gateways, whatever kind they are."""

from __future__ import annotations

import socket
import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gateway import Way, split_port, way_given


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", ("192.0.2.1", None)),
        ("192.0.2.1:31012", ("192.0.2.1", 31012)),
        ("2001:DB8:0::1", ("2001:db8::1", None)),
        ("[2001:db8::1]:31012", ("2001:db8::1", 31012)),
        ("gw.example", ("gw.example", None)),
        ("gw.example:443", ("gw.example", 443)),
    ],
)
def test_split_port(text: str, expected: tuple[str, int | None]) -> None:
    assert split_port(text, "x") == expected


@pytest.mark.parametrize("text", [":1", "a:", "a:0", "a:65536", "a:b", "a:b:1", "[x]:1:2", "2001:db8::1::2:3"])
def test_split_port_refuses(text: str) -> None:
    with pytest.raises(MeshError, match="ingress_ip"):
        split_port(text, "ingress_ip")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", Way(("192.0.2.1",))),
        ("192.0.2.2, 192.0.2.1", Way(("192.0.2.2", "192.0.2.1"))),
        ("192.0.2.2:31012,192.0.2.1:31012", Way(("192.0.2.2", "192.0.2.1"), 31012)),
        # The first one's family decides.
        ("2001:db8::5,192.0.2.9", Way(("2001:db8::5",))),
        ("192.0.2.9,2001:db8::5,192.0.2.9", Way(("192.0.2.9",))),
    ],
)
def test_way_given(text: str, expected: Way) -> None:
    assert way_given(text) == expected


def test_way_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[t.Any] = [
        (0, 0, 0, "", ("2001:db8::1", 0, 0, 0)),
        (0, 0, 0, "", ("192.0.2.20", 0)),
        (0, 0, 0, "", ("192.0.2.3", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kw: answers)
    assert way_given("gw.example:443") == Way(("192.0.2.3", "192.0.2.20"), 443, "gw.example")
    del answers[1:]
    assert way_given("gw.example") == Way(("2001:db8::1",), 15012, "gw.example")


@pytest.mark.parametrize("text", ["192.0.2.1:1,192.0.2.2", ",", "192.0.2.1:1,192.0.2.2:2"])
def test_ways_that_differ(text: str) -> None:
    with pytest.raises(MeshError, match="ingress_ip"):
        way_given(text)
