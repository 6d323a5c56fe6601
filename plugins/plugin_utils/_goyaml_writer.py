# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML as Istio's own tools write it. Private to the collection.

Istio is written in Go, and its YAML library differs from PyYAML in the order of keys, in quoting, and in where long lines
are folded. Files that are to equal those of istioctl, byte for byte, have to follow it. What is implemented here is the
library's behaviour for block style, which is all that is needed.
"""

from __future__ import annotations

import functools
import typing as t

from ansible_collections.hybridmesh.istio.plugins.plugin_utils._goyaml import format_float, is_plain_string

_WIDTH = 80
_INDENT = 2


def _int64(number: int) -> int:
    return (number + 2**63) % 2**64 - 2**63


def _compare_keys(left: str, right: str) -> int:
    """Natural order: numbers inside keys by value, letters after everything else."""
    for i in range(min(len(left), len(right))):
        a, b = left[i], right[i]
        if a == b:
            continue
        if a.isalpha() and b.isalpha():
            return -1 if a < b else 1
        if a.isalpha() or b.isalpha():
            return -1 if b.isalpha() else 1
        number_a = number_b = 0
        if a == "0" or b == "0":
            for j in range(i - 1, -1, -1):
                if not left[j].isdecimal():
                    break
                if left[j] != "0":
                    number_a = number_b = 1
                    break
        end_a = end_b = i
        while end_a < len(left) and left[end_a].isdecimal():
            number_a = _int64(number_a * 10 + ord(left[end_a]) - 48)
            end_a += 1
        while end_b < len(right) and right[end_b].isdecimal():
            number_b = _int64(number_b * 10 + ord(right[end_b]) - 48)
            end_b += 1
        if number_a != number_b:
            return -1 if number_a < number_b else 1
        if end_a != end_b:
            return -1 if end_a < end_b else 1
        return -1 if a < b else 1
    return len(left) - len(right)


sort_key = functools.cmp_to_key(_compare_keys)


def _printable(char: str) -> bool:
    code = ord(char)
    return (
        code == 0x0A or 0x20 <= code <= 0x7E or 0xA0 <= code <= 0xD7FF or (0xE000 <= code <= 0xFFFD and code != 0xFEFF)
    )


_BREAKS = "\r\n\x85\u2028\u2029"
_ESCAPES = {
    "\0": "0", "\a": "a", "\b": "b", "\t": "t", "\n": "n", "\v": "v", "\f": "f", "\r": "r", "\x1b": "e",
    '"': '"', "\\": "\\", "\x85": "N", "\xa0": "_", "\u2028": "L", "\u2029": "P",
}  # fmt: skip


class _Style:
    """How one piece of text may be written."""

    def __init__(self, text: str) -> None:
        indicators = text[:3] in ("---", "...")
        special = leading = trailing_space = trailing_break = break_space = space_break = False
        self.multiline = False
        previous = ""
        for i, char in enumerate(text):
            last = i + 1 == len(text)
            blank_follows = last or text[i + 1] in " \t"
            if i == 0:
                indicators |= char in "#,[]{}&*!|>'\"%@`" or (char in "?:-" and blank_follows)
            else:
                indicators |= (char == ":" and blank_follows) or (char == "#" and previous in " \t\0" + _BREAKS)
            special |= not _printable(char)
            if char == " ":
                leading |= i == 0
                trailing_space |= last
                break_space |= previous in _BREAKS and i > 0
            elif char in _BREAKS:
                self.multiline = True
                leading |= i == 0
                trailing_break |= last
                space_break |= previous == " "
            previous = char
        self.plain = not (
            leading or trailing_space or trailing_break or break_space or space_break or special or self.multiline
            or indicators
        )  # fmt: skip
        self.single_quoted = not (break_space or space_break or special)
        self.literal = bool(text) and not (trailing_space or space_break or special)


class _Writer:
    """Writes one document; column and the two flags decide where breaks go, as in every libyaml."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.column = 0
        self.indent = 0
        self.whitespace = True
        self.indention = True

    def put(self, text: str) -> None:
        self.out.append(text)
        self.column += len(text)

    def line_break(self, char: str = "\n") -> None:
        self.out.append(char)
        self.column = 0

    def to_indent(self) -> None:
        if not self.indention or self.column > self.indent or (self.column == self.indent and not self.whitespace):
            self.line_break()
        self.put(" " * (self.indent - self.column))
        self.whitespace = self.indention = True

    def indicator(self, text: str, space_before: bool = True, whitespace: bool = False, keep: bool = False) -> None:
        self.put((" " if space_before and not self.whitespace else "") + text)
        self.whitespace = whitespace
        self.indention = self.indention and keep

    def node(self, value: t.Any, in_mapping: bool = True) -> None:
        if isinstance(value, dict):
            self.mapping(value)
        elif isinstance(value, list):
            self.sequence(value, in_mapping)
        elif isinstance(value, str):
            self.scalar(value)
        else:
            if value is None:
                text = "null"
            elif isinstance(value, bool):
                text = "true" if value else "false"
            elif isinstance(value, float):
                text = str(int(value)) if value == int(value) and abs(value) < 1e21 else format_float(value)
            else:
                text = str(value)
            self.plain(text)

    def mapping(self, value: dict[str, t.Any]) -> None:
        if not value:
            self.indicator("{}")
            return
        outer = self.indent
        self.indent = outer + _INDENT if self.column or self.out else 0
        for key in sorted(value, key=sort_key):
            self.to_indent()
            simple = len(key.encode()) <= 128 and not _Style(key).multiline
            if simple:
                self.scalar(key, key=True)
                self.indicator(":", space_before=False)
            else:
                self.indicator("?", keep=True)
                self.scalar(key)
                self.to_indent()
                self.indicator(":", keep=True)
            self.node(value[key])
        self.indent = outer

    def sequence(self, value: list[t.Any], in_mapping: bool) -> None:
        if not value:
            self.indicator("[]")
            return
        outer = self.indent
        if not (in_mapping and not self.indention):
            self.indent += _INDENT
        for item in value:
            self.to_indent()
            self.indicator("-", keep=True)
            self.node(item, in_mapping=False)
        self.indent = outer

    def scalar(self, text: str, key: bool = False) -> None:
        style = _Style(text)
        outer = self.indent
        self.indent += _INDENT
        if "\n" in text and style.literal and not key:
            self.literal(text)
        elif "\n" not in text and is_plain_string(text) and style.plain:
            self.plain(text, breaks=not key)
        elif "\n" not in text and is_plain_string(text) and style.single_quoted:
            self.single_quoted(text, breaks=not key)
        else:
            self.double_quoted(text, breaks=not key)
        self.indent = outer

    def plain(self, text: str, breaks: bool = True) -> None:
        if not self.whitespace:
            self.put(" ")
        spaces = False
        for i, char in enumerate(text):
            if char == " " and breaks and not spaces and self.column > _WIDTH and text[i + 1 : i + 2] != " ":
                self.to_indent()
            else:
                self.put(char)
                if char != " ":
                    self.indention = False
            spaces = char == " "
        self.whitespace = self.indention = False

    def single_quoted(self, text: str, breaks: bool) -> None:
        self.indicator("'")
        spaces = broken = False
        for i, char in enumerate(text):
            if char == " ":
                inner = 0 < i < len(text) - 1
                if breaks and not spaces and self.column > _WIDTH and inner and text[i + 1] != " ":
                    self.to_indent()
                else:
                    self.put(char)
                spaces = True
            elif char in _BREAKS:
                self.line_break(char)
                self.indention = broken = True
            else:
                if broken:
                    self.to_indent()
                self.put("''" if char == "'" else char)
                self.indention = spaces = broken = False
        self.indicator("'", space_before=False)

    def double_quoted(self, text: str, breaks: bool) -> None:
        self.indicator('"')
        spaces = False
        for i, char in enumerate(text):
            if not _printable(char) or char in _BREAKS or char in '"\\' or text[0] == "\ufeff":
                code = ord(char)
                if char in _ESCAPES:
                    self.put("\\" + _ESCAPES[char])
                elif code <= 0xFF:
                    self.put(f"\\x{code:02X}")
                elif code <= 0xFFFF:
                    self.put(f"\\u{code:04X}")
                else:
                    self.put(f"\\U{code:08X}")
                spaces = False
            elif char == " " and breaks and not spaces and self.column > _WIDTH and 0 < i < len(text) - 1:
                self.to_indent()
                if text[i + 1] == " ":
                    self.put("\\")
                spaces = True
            else:
                self.put(char)
                spaces = char == " "
        self.indicator('"', space_before=False)

    def literal(self, text: str) -> None:
        self.indicator("|")
        if text[0] == " " or text[0] in _BREAKS:
            self.indicator(str(_INDENT), space_before=False)
        if text[-1] not in _BREAKS:
            self.indicator("-", space_before=False)
        elif len(text) == 1 or text[-2] in _BREAKS:
            self.indicator("+", space_before=False)
        self.line_break()
        self.indention = self.whitespace = broken = True
        for char in text:
            if char in _BREAKS:
                self.line_break(char)
                self.indention = broken = True
            else:
                if broken:
                    self.to_indent()
                self.put(char)
                self.indention = broken = False


def dump(document: dict[str, t.Any]) -> str:
    """Writes a mapping of plain data (text, numbers, booleans, null, lists, mappings)."""
    writer = _Writer()
    writer.node(document)
    text = "".join(writer.out)
    return text if writer.column == 0 else text + "\n"
