# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML as Istio's own tools read it. Private to the collection.

Istio is written in Go, and its YAML library differs from PyYAML in which plain words are numbers or booleans. How it
writes is in `_goyaml_writer`.
"""

from __future__ import annotations

import datetime
import decimal
import math
import re
import typing as t

import yaml

_BOOLEANS = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
}
_NULLS = ("", "~", "null", "Null", "NULL")
_FLOAT_WORDS = {
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
_INTEGER = re.compile(r"([-+]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?\Z")
_TIMESTAMP = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})"
    r"(?:(?:[Tt](\d{1,2}):(\d{1,2}):(\d{1,2})(?:[.,]\d+)?(?:Z|[-+]\d{2}:\d{2}))"
    r"|(?: (\d{1,2}):(\d{1,2}):(\d{1,2})(?:[.,]\d+)?))?\Z",
    re.ASCII,
)


def _is_timestamp(text: str) -> bool:
    match = _TIMESTAMP.match(text)
    if not match:
        return False
    numbers = [int(group) for group in match.groups() if group is not None]
    try:
        datetime.datetime(*numbers)  # type: ignore[arg-type]
    except ValueError:
        return False
    return True


def resolve(text: str) -> t.Any:
    """What an unquoted word means: None, a bool, an int, a float, or the word itself.

    A timestamp stays the word that it is: that is what the Go library does where the type is not known beforehand.
    """
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if text in _FLOAT_WORDS:
        return _FLOAT_WORDS[text]
    if text[0] == ".":
        return float(text) if _FLOAT.match(text) else text
    if text[0] not in "+-0123456789" or _is_timestamp(text):
        return text
    plain = text.replace("_", "")
    match = _INTEGER.match(plain)
    if match:
        sign, digits = match.groups()
        octal = len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()
        value = int(digits, 8) if octal else int(digits, 0)
        if sign == "-":
            value = -value
        # Signed numbers have 63 bits, unsigned ones 64; what is larger is a float.
        if -(2**63) <= value < (2**63 if sign else 2**64):
            return value
    if _FLOAT.match(plain):
        value_f = float(plain)
        return text if value_f in (float("inf"), float("-inf")) else value_f
    return text


def is_plain_string(text: str) -> bool:
    """Whether the word, unquoted, is read as a string by YAML 1.1 readers."""
    if _is_timestamp(text) or _BASE_60.match(text):
        return False
    return isinstance(resolve(text), str)


def format_float(number: float) -> str:
    """The shortest form that reads back the same, as Go's %g has it."""
    if math.isnan(number):
        return ".nan"
    if number in (float("inf"), float("-inf")):
        return ".inf" if number > 0 else "-.inf"
    sign, digits, exponent = decimal.Decimal(repr(number)).normalize().as_tuple()
    text = "".join(str(digit) for digit in digits)
    power = len(text) + int(exponent) - 1
    prefix = "-" if sign else ""
    if number == 0:
        return prefix + "0"
    if power < -4 or power >= 6:
        mantissa = text[0] + ("." + text[1:] if len(text) > 1 else "")
        return "{}{}e{}{:02d}".format(prefix, mantissa, "-" if power < 0 else "+", abs(power))
    return prefix + format(decimal.Decimal(repr(abs(number))).normalize(), "f")


_BaseLoader: t.Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STRING = "tag:yaml.org,2002:str"
_RESOLVED = "tag:hybridmesh,2024:resolved"


class _Loader(_BaseLoader):  # type: ignore[misc]
    """PyYAML's parser with the Go library's idea of what plain words mean."""

    def resolve(self, kind: t.Any, value: t.Any, implicit: t.Any) -> t.Any:
        if kind is yaml.ScalarNode and implicit[0]:
            if value == "<<":
                return "tag:yaml.org,2002:merge"
            return _STRING if isinstance(resolve(value), str) else _RESOLVED
        return super().resolve(kind, value, implicit)


def _construct_mapping(loader: t.Any, node: t.Any) -> dict[str, t.Any]:
    """A mapping with its keys as text at once: 1 and true, as keys, would be one and the same to Python."""
    loader.flatten_mapping(node)
    return {
        _json_key(loader.construct_object(key, deep=True)): loader.construct_object(value, deep=True)
        for key, value in node.value
    }


# As a key it merges mappings; as a value it is a word like any other.
_Loader.add_constructor("tag:yaml.org,2002:merge", lambda _loader, node: node.value)
_Loader.add_constructor(_RESOLVED, lambda loader, node: resolve(node.value))
_Loader.add_constructor("tag:yaml.org,2002:merge", lambda loader, node: node.value)
_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


def load(text: str) -> t.Any:
    """Reads the first document; keys become strings.

    Raises:
        yaml.YAMLError: it is not YAML.
        ValueError: a key that JSON can't have (null, a mapping).
    """
    loader = _Loader(text)
    try:
        return loader.get_data() if loader.check_data() else None
    finally:
        loader.dispose()


def _json_key(key: t.Any) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int):
        return str(key)
    if isinstance(key, float):
        return format_float(key)
    raise ValueError(f"a key is {key!r}, which can't be turned into text")
