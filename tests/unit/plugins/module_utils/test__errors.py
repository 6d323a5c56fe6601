# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape of an error."""

from __future__ import annotations

from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError


def test_all_three_parts_are_told() -> None:
    assert str(MeshError("a", "b", "c")) == "Found: a. Expected: b. Next step: c."
