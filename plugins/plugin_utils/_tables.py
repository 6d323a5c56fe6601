# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables as lines of text, which YAML writes without quotes, so that columns stay aligned. Pure. Private."""

from __future__ import annotations

import re
import typing as t


def natural(name: str) -> list[t.Any]:
    """A key that sorts vm2 before vm10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def columns(cells: t.Sequence[t.Sequence[str]]) -> list[str]:
    """Lines with aligned columns. No cell may hold a blank: YAML folds long lines at single ones."""
    widths = [max(len(line[number]) for line in cells) for number in range(len(cells[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def plain(text: str) -> str:
    """Text that YAML writes without quotes."""
    for bad, good in ((": ", " - "), (" #", " nr "), ("\n", " "), ("\t", " ")):
        text = text.replace(bad, good)
    return text.rstrip(": ")


def span(seconds: int) -> str:
    """A number of seconds as `3d` or `5h07m`."""
    minutes = seconds // 60
    return f"{minutes // 1440}d" if minutes >= 48 * 60 else f"{minutes // 60}h{minutes % 60:02d}m"
