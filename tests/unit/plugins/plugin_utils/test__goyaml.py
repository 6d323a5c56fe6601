# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML as Go's library reads it."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _goyaml

# What the library makes of `v: ...` on the way to JSON.
READ: list[tuple[str, t.Any]] = [
    ("y", True), ("No", False), ("off", False), ("true", True), ("~", None), ("", None), ("null", None),
    ("1", 1), ("-5", -5), ("0x1F", 31), ("0b11", 3), ("0o17", 15), ("017", 15), ("089", 89.0), ("1_000", 1000),
    (".5", 0.5), ("1e3", 1000.0), ("1:30", "1:30"), ("2020-01-01", "2020-01-01"), ("'1'", "1"), ('"yes"', "yes"),
    ("18446744073709551615", 18446744073709551615), ("a: b", None), ("[1, x]", [1, "x"]), ("1.2.3", "1.2.3"),
    ("+", "+"), ("0x", "0x"), ("v2", "v2"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [case for case in READ if case[0] != "a: b"])
def test_read_as_go_does(text: str, expected: t.Any) -> None:
    found = _goyaml.load(f"v: {text}")["v"]
    assert found == expected
    assert type(found) is type(expected)


def test_keys_become_text() -> None:
    assert _goyaml.load("1: a\ntrue: b\n2.5: c\n") == {"1": "a", "true": "b", "2.5": "c"}
    with pytest.raises(ValueError, match="key"):
        _goyaml.load("~: a")


def test_merge_keys_and_the_first_document() -> None:
    assert _goyaml.load("a: &a {x: 1}\nb:\n  <<: *a\n  z: 2\n") == {"a": {"x": 1}, "b": {"x": 1, "z": 2}}
    assert _goyaml.load("") is None
    with pytest.raises(yaml.YAMLError):
        _goyaml.load("{a")
