# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML as Go's library writes it. What is expected here was written by that library (sigs.k8s.io/yaml 1.6.0)."""

from __future__ import annotations

import random
import typing as t

import pytest
import yaml
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _goyaml, _goyaml_writer

# A document, and the lines of what the library makes of it.
WRITTEN: list[tuple[dict[str, t.Any], list[str]]] = [
    (
        {"b": "1", "a10": "x", "a9": "x", "a": {}, "B": []},
        ["B: []", "a: {}", "a9: x", "a10: x", 'b: "1"'],
    ),
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
        [
            "v:",
            '- "y"',
            '- "no"',
            '- "on"',
            '- "null"',
            '- "~"',
            '- ""',
            '- "1"',
            '- "0x1F"',
            '- "0o17"',
            '- "017"',
            '- "089"',
            '- "1_000"',
            '- "-5"',
            '- ".5"',
            '- "1e3"',
            '- "1:30"',
            '- "2020-01-01"',
            "- 2020-13-01",
            '- "0."',
            "- +",
            "- .",
            "- <<",
            "- =",
        ],
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
        [
            "v:",
            "- '- a'",
            "- 'a: b'",
            "- 'a #b'",
            "- '#x'",
            "- '*'",
            "- '&a'",
            "- '!x'",
            "- '|'",
            "- '%'",
            "- '@'",
            "- '`'",
            "- '---'",
            "- '?'",
            "- '? a'",
            "- :x",
            "- '-'",
            "- -x",
            "- '''q'''",
            "- '\"q\"'",
            "- '{a'",
            "- '[a'",
            "- ',a'",
            "- ' a'",
            "- 'a '",
        ],
    ),
    (
        {"v": ["a\nb", "a\n", "\n", "\n\n", " a\nb", "a \nb", "a\n b", "a\n\nb\n"]},
        [
            "v:",
            "- |-",
            "  a",
            "  b",
            "- |",
            "  a",
            "- |2+",
            "",
            "- |2+",
            "",
            "",
            "- |2-",
            "   a",
            "  b",
            '- "a \\nb"',
            "- |-",
            "  a",
            "   b",
            "- |",
            "  a",
            "",
            "  b",
        ],
    ),
    (
        {"v": ["\tx", "a\tb", "ü", "😀", "\u2028", "a\u2028b", "\x07", "\ufeff", "\xa0", "\r", "a\\b\xad"]},
        [
            "v:",
            '- "\\tx"',
            '- "a\\tb"',
            "- ü",
            '- "\\U0001F600"',
            "- '\u2028'",
            "- 'a\u2028  b'",
            '- "\\a"',
            '- "\\uFEFF"',
            "- \xa0",
            '- "\\r"',
            "- a\\b\xad",
        ],
    ),
    (
        {
            "v": "istiod.istio-system.svc:15012",
            "json": '{"app":"x","n":"a b"}',
            "list": [["a"], [], {}],
            "m": [{"a": 1, "b": [True, None]}],
        },
        [
            'json: \'{"app":"x","n":"a b"}\'',
            "list:",
            "- - a",
            "- []",
            "- {}",
            "m:",
            "- a: 1",
            "  b:",
            "  - true",
            "  - null",
            "v: istiod.istio-system.svc:15012",
        ],
    ),
    (
        {"v": "word " * 30 + "end", "w": "it's " * 20 + "end", "x": "tab\t " * 20 + "end"},
        [
            "v: word word word word word word word word word word word word word word word word",
            "  word word word word word word word word word word word word word word end",
            "w: it's it's it's it's it's it's it's it's it's it's it's it's it's it's it's it's",
            "  it's it's it's it's end",
            'x: "tab\\t tab\\t tab\\t tab\\t tab\\t tab\\t tab\\t tab\\t tab\\t tab\\t tab\\t tab\\t tab\\t',
            '  tab\\t tab\\t tab\\t tab\\t tab\\t tab\\t tab\\t end"',
        ],
    ),
    (
        {"k" * 129: "long key", "multi\nline": {"a": ["b"]}},
        ["? " + "k" * 129, ": long key", "? |-", "  multi", "  line", ": a:", "  - b"],
    ),
    (
        {"f": [0.5, 1e-07, 123456.5, 1234567.5, 100.0, -0.25]},
        ["f:", "- 0.5", "- 1e-07", "- 123456.5", "- 1.2345675e+06", "- 100", "- -0.25"],
    ),
]


@pytest.mark.parametrize(("document", "expected"), WRITTEN)
def test_written_as_go_does(document: dict[str, t.Any], expected: list[str]) -> None:
    assert _goyaml_writer.dump(document).removesuffix("\n").split("\n") == expected


CHARACTERS = "abyYnN019 _-:#.,'\"\n\t{}[]&*!|>%@`~?/\\$<>\u00fc\u2028\U0001f600"


def test_whatever_is_written_is_read_again() -> None:
    """By us and by PyYAML (in block scalars PyYAML takes U+2028 for a line break, so it is spared that)."""
    chance = random.Random(1)

    def text() -> str:
        return "".join(chance.choice(CHARACTERS) for _number in range(chance.choice((1, 3, 8, 120))))

    for _number in range(500):
        document = {text(): [text(), {text(): text()}, {}, []], "x": {text(): text()}}
        written = _goyaml_writer.dump(document)
        if "\u2028" not in written:
            assert _goyaml.load(written) == document
            strings = {key: value for key, value in yaml.safe_load(written).items() if isinstance(key, str)}
            assert strings == document
