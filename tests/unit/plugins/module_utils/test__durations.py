# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Durations as Go writes them."""

from __future__ import annotations

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _durations


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("0s", 0), ("5m", 300), ("1h2m3.5s", 3723.5), ("-1.5s", -1.5), ("+2s", 2), (".5s", 0.5), ("1.s", 1),
     ("250ms", 0.25), ("1us", 1e-6), ("1\u00b5s", 1e-6), ("1\u03bcs", 1e-6), ("10ns", 1e-8), ("24h0m0s", 86400)],
)  # fmt: skip
def test_seconds(text: str, expected: float) -> None:
    assert _durations.seconds(text) == expected


@pytest.mark.parametrize("text", ["", "5", "s", "5 m", "5d", "1h-2m", "--1s", "1.2.3s", "\u0665s"])
def test_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        _durations.seconds(text)
