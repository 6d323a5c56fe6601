# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side of the module sidecar_info: sees to it that thousands of machines fit into the controller's memory."""

from __future__ import annotations

import typing as t

from ansible.plugins.action.normal import ActionModule as Normal
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _workers

_workers.share_memory()


class ActionModule(Normal):  # type: ignore[misc]
    """Runs the module, and lets go of the files that it was given."""

    # All options: with `until` this runs again.
    _asked: dict[str, t.Any] | None = None

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Runs the task."""
        if self._asked is None:
            self._asked = self._task.args
        self._task.args = self._asked
        try:
            result: dict[str, t.Any] = super().run(tmp, task_vars)
        finally:
            # A worker sends its task's options back with the result, and Ansible keeps them until all machines are done.
            self._task.args = {name: value for name, value in self._asked.items() if name != "config"}
        return result
