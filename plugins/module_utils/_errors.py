# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one shape that every failure of this collection has. Private to the collection."""

from __future__ import annotations


class MeshError(Exception):
    """Something is not as it must be, told so that the reader can act on it.

    Args:
        found: what was seen, as a sentence without a full stop.
        expected: what would have been right.
        next_step: what the reader should do now.
    """

    def __init__(self, found: str, expected: str, next_step: str) -> None:
        super().__init__(found)
        self.found = found
        self.expected = expected
        self.next_step = next_step

    def __str__(self) -> str:
        return f"Found: {self.found}. Expected: {self.expected}. Next step: {self.next_step}."
