# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action demo_app: the module, in the controller's own process."""

from __future__ import annotations

from ansible_collections.hybridmesh.istio.plugins.modules import demo_app
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._in_process import InProcess


class ActionModule(InProcess):
    """See the module's documentation."""

    definition = demo_app.DEFINITION
