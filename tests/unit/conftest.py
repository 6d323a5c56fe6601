# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes this tree importable as ansible_collections.hybridmesh.istio, from a checkout and from an unpacked artifact."""

from __future__ import annotations

from pathlib import Path

from ansible.plugins.loader import init_plugin_loader

ROOT = Path(__file__).parents[2]


def collections_path() -> Path:
    """The folder that holds ansible_collections/hybridmesh/istio."""
    if ROOT.parts[-3:] == ("ansible_collections", "hybridmesh", "istio"):
        return ROOT.parents[2]
    return ROOT / "collections"


init_plugin_loader([str(collections_path())])
