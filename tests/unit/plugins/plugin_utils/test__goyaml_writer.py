# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501  (what the library wrote stays as it is)
"""YAML as Go's library writes it. What is expected here was written by that library (sigs.k8s.io/yaml 1.6.0)."""

from __future__ import annotations

import random
import typing as t

import pytest
import yaml
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _goyaml, _goyaml_writer

WRITTEN: list[tuple[dict[str, t.Any], str]] = [
    ({"b": "1", "a10": "x", "a9": "x", "a": {}, "B": []}, 'B: []\na: {}\na9: x\na10: x\nb: "1"\n'),
    (
        {
            "v": [
                "y",
                "no",
                "on",
                "null",
                "~",
                "",
                "1",
                "0x1F",
                "0o17",
                "017",
                "089",
                "1_000",
                "-5",
                ".5",
                "1e3",
                "1:30",
                "2020-01-01",
                "2020-13-01",
                "0.",
                "+",
                ".",
                "<<",
                "=",
            ]
        },
        'v:\n- "y"\n- "no"\n- "on"\n- "null"\n- "~"\n- ""\n- "1"\n- "0x1F"\n- "0o17"\n- "017"\n- "089"\n- "1_000"\n- "-5"\n- ".5"\n- "1e3"\n- "1:30"\n- "2020-01-01"\n- 2020-13-01\n- "0."\n- +\n- .\n- <<\n- =\n',
    ),
    (
        {
            "v": [
                "- a",
                "a: b",
                "a #b",
                "#x",
                "*",
                "&a",
                "!x",
                "|",
                "%",
                "@",
                "`",
                "---",
                "?",
                "? a",
                ":x",
                "-",
                "-x",
                "'q'",
                '"q"',
                "{a",
                "[a",
                ",a",
                " a",
                "a ",
            ]
        },
        "v:\n- '- a'\n- 'a: b'\n- 'a #b'\n- '#x'\n- '*'\n- '&a'\n- '!x'\n- '|'\n- '%'\n- '@'\n- '`'\n- '---'\n- '?'\n- '? a'\n- :x\n- '-'\n- -x\n- '''q'''\n- '\"q\"'\n- '{a'\n- '[a'\n- ',a'\n- ' a'\n- 'a '\n",
    ),
    (
        {"v": ["a\nb", "a\n", "\n", "\n\n", " a\nb", "a \nb", "a\n b", "a\n\nb\n"]},
        'v:\n- |-\n  a\n  b\n- |\n  a\n- |2+\n\n- |2+\n\n\n- |2-\n   a\n  b\n- "a \\nb"\n- |-\n  a\n   b\n- |\n  a\n\n  b\n',
    ),
    (
        {"v": ["\tx", "a\tb", "ü", "😀", "\u2028", "a\u2028b", "\x07", "\ufeff", "\xa0", "\r", "a\\b\xad"]},
        'v:\n- "\\tx"\n- "a\\tb"\n- ü\n- "\\U0001F600"\n- \'\u2028\'\n- \'a\u2028  b\'\n- "\\a"\n- "\\uFEFF"\n- \xa0\n- "\\r"\n- a\\b\xad\n',
    ),
    (
        {
            "v": "istiod.istio-system.svc:15012",
            "json": '{"app":"x","n":"a b"}',
            "list": [["a"], [], {}],
            "m": [{"a": 1, "b": [True, None]}],
        },
        'json: \'{"app":"x","n":"a b"}\'\nlist:\n- - a\n- []\n- {}\nm:\n- a: 1\n  b:\n  - true\n  - null\nv: istiod.istio-system.svc:15012\n',
    ),
    (
        {
            "v": "word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word end",
            "w": "it's it's it's it's it's it's it's it's it's it's it's it's it's it's it's it's it's it's it's it's end",
            "x": "tab\t tab\t tab\t tab\t tab\t tab\t tab\t tab\t tab\t tab\t tab\t tab\t tab\t tab\t tab\t tab\t tab\t tab\t tab\t tab\t end",
        },
        "v: word word word word word word word word word word word word word word word word\n  word word word word word word word word word word word word word word end\nw: it's it's it's it's it's it's it's it's it's it's it's it's it's it's it's it's\n  it's it's it's it's end\nx: \"tab\\t tab\\t tab\\t tab\\t tab\\t tab\\t tab\\t tab\\t tab\\t tab\\t tab\\t tab\\t tab\\t\n  tab\\t tab\\t tab\\t tab\\t tab\\t tab\\t tab\\t end\"\n",
    ),
    (
        {
            "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk": "long key",
            "multi\nline": {"a": ["b"]},
        },
        "? kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\n: long key\n? |-\n  multi\n  line\n: a:\n  - b\n",
    ),
    (
        {"f": [0.5, 1e-07, 123456.5, 1234567.5, 100.0, -0.25]},
        "f:\n- 0.5\n- 1e-07\n- 123456.5\n- 1.2345675e+06\n- 100\n- -0.25\n",
    ),
]


@pytest.mark.parametrize(("document", "expected"), WRITTEN)
def test_written_as_go_does(document: dict[str, t.Any], expected: str) -> None:
    assert _goyaml_writer.dump(document) == expected


CHARACTERS = "abyYnN019 _-:#.,'\"\n\t{}[]&*!|>%@`~?/\\$<>\u00fc\u2028\U0001f600"


def test_whatever_is_written_is_read_again() -> None:
    """By us and by PyYAML (in block scalars PyYAML takes U+2028 for a line break, so it is spared that)."""
    chance = random.Random(1)

    def text() -> str:
        return "".join(chance.choice(CHARACTERS) for _number in range(chance.choice((1, 3, 8, 120))))

    for _number in range(2000):
        document = {text(): [text(), {text(): text()}, {}, []], "x": {text(): text()}}
        written = _goyaml_writer.dump(document)
        if "\u2028" not in written:
            assert _goyaml.load(written) == document
            strings = {key: value for key, value in yaml.safe_load(written).items() if isinstance(key, str)}
            assert strings == document
