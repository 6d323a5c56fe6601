# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Durations as Go, and so Istio and Kubernetes, write them. Private to the collection."""

from __future__ import annotations

import re

# The micro sign comes in two code points.
_UNITS = {
    "ns": 1,
    "us": 10**3,
    "\u00b5s": 10**3,
    "\u03bcs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)", re.ASCII)


def nanoseconds(text: str) -> int:
    """A duration such as `1h2m3.5s` in nanoseconds.

    Raises:
        ValueError: it isn't one.
    """
    unsigned = text[1:] if text[:1] in ("+", "-") else text
    total = end = 0
    for part in _PART.finditer(unsigned):
        if part.start() != end:
            break
        whole, _dot, fraction = part.group(1).partition(".")
        unit = _UNITS[part.group(2)]
        total += int(whole or 0) * unit + int(fraction or 0) * unit // 10 ** len(fraction)
        end = part.end()
    if unsigned != "0" and (end != len(unsigned) or not unsigned):
        raise ValueError(f"{text!r} is not a duration")
    return -total if text.startswith("-") else total


def seconds(text: str) -> float:
    """A duration in seconds.

    Raises:
        ValueError: it isn't one.
    """
    return nanoseconds(text) / 10**9
