# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From an empty project to infrastructure, through changes of it, and back: the real modules against the local server."""

from __future__ import annotations

from .conftest import Cloud


def test_made_kept_and_removed(cloud: Cloud) -> None:
    check = cloud.play("--check", "--diff")
    assert check.code == 0, check.output
    assert cloud.world.mutations == []
    assert "would create network mesh1" in check.words
    assert "3 nodes e2-medium" in check.words

    run = cloud.applied()
    print(run.output)
    assert run.changed == 1, run.output
