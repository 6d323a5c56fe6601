# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side of the module sidecar_info: sees to it that thousands of machines fit into the controller's memory."""

from __future__ import annotations

from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _workers

_workers.share_memory()


class ActionModule(_workers.LightAction):
    """Runs the module."""
