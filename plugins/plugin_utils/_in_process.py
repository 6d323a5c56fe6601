# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules about the cluster in the controller's own process. Private to the collection.

To start a process for a module, and in it Python, Ansible's library and the Kubernetes client, takes longer than to ask the
API server. Ansible's main process loads the class of an action before it forks for a task, so what is imported here is there
already in each of its children. And no option of such a task ever leaves the process.
"""

from __future__ import annotations

import typing as t

from ansible.module_utils.common.parameters import remove_values
from ansible.plugins.action import ActionBase
from ansible_collections.hybridmesh.istio.plugins.module_utils import _cluster_module, _connection
from ansible_collections.hybridmesh.istio.plugins.module_utils._kubeconfig import secrets_of
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _task_options


class Here:
    """The task, as the module's work sees it."""

    def __init__(self, params: dict[str, t.Any], check_mode: bool, diff: bool) -> None:
        self.params = params
        self.check_mode = check_mode
        self._diff = diff


class InProcess(ActionBase):  # type: ignore[misc]
    """Runs a module here where it would run on the controller anyway, and else where it is meant to."""

    _supports_async = True
    definition: _cluster_module.Definition

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Runs the task."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        if not self._belongs_here():
            result.update(self._execute_module(task_vars=task_vars, wrap_async=self._task.async_val))
            return result
        definition = self.definition
        params = _task_options.validated(
            self._task, definition.argument_spec, mutually_exclusive=definition.mutually_exclusive
        )
        task = Here(params, bool(self._task.check_mode), bool(self._task.diff))
        secrets = secrets_of(params.get("kubeconfig"))
        secrets.update(
            str(params[name])
            for name, option in definition.argument_spec.items()
            if option.get("no_log") and params[name]
        )
        result.update(remove_values(_cluster_module.result_of(definition, task), secrets))
        return result

    def _belongs_here(self) -> bool:
        """Whether the module would run on this machine, as this user, with this environment, while the task waits for it."""
        return (
            self._connection.transport == "local"
            and not self._connection.become
            and not any(self._task.environment or [])
            and not self._task.async_val
            and _connection.IMPORT_ERROR is None
        )
