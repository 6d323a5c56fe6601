# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side of the module sidecar: sees to it that a token never becomes a file on the way."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _workers


class ActionModule(_workers.LightAction):
    """Runs the module; refuses a token where Ansible would write the module's arguments to temporary files."""

    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Runs the task."""
        if self._task.args.get("token") and not self._is_pipelining_enabled("new"):
            error = MeshError(
                "this task's connection does not pipeline, so that its arguments would become temporary files on the "
                "controller and on the machine",
                "pipelining, for the task that carries the token",
                "set ansible_pipelining: true for this task; use ssh, with sudo where needed, and leave "
                "ANSIBLE_KEEP_REMOTE_FILES unset",
            )
            raise AnsibleActionFail(str(error))
        return super().run(tmp, task_vars)
