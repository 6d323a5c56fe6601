# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one kind of error that the lab's modules end with."""

from __future__ import annotations


class LabError(Exception):
    """What was found, what was expected, and what to do next."""

    def __init__(self, found: str, expected: str, next_step: str) -> None:
        super().__init__(f"Found: {found} Expected: {expected} Next step: {next_step}")
