# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the versions of the sidecar."""

from __future__ import annotations

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _sidecar_version


@pytest.mark.parametrize(
    ("sidecar", "istiod", "fault"),
    [
        ("1.31.0", "1.31.0", None),
        ("1.31.0lab", "1.31.0-lab", None),
        ("1.30.4", "1.31.0", None),
        ("1.31.1", "1.31.0", "newer"),
        ("1.32.0", "1.31.0", "newer"),
        ("2.0.0", "1.31.0", "newer"),
        ("1.28.0", "1.31.0", "behind"),
    ],
)
def test_skew(sidecar, istiod, fault):
    found = _sidecar_version.skew_fault(sidecar, istiod)
    assert (found is None) if fault is None else (fault in found)


def test_packages_spell_versions_without_the_hyphen():
    assert _sidecar_version.same("1.31.0-lab", "1.31.0lab")
    assert not _sidecar_version.same("1.31.0", "1.31.1")


def test_what_is_no_version_is_refused():
    with pytest.raises(ValueError, match="not a version"):
        _sidecar_version.release("latest")
