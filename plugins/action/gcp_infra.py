# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action gcp_infra: reads, plans, and has google.cloud's modules and Google's APIs bring the plan about."""

from __future__ import annotations

import typing as t

from ansible.module_utils.common.parameters import remove_values
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _gcp_auth, _gcp_run, _task_options
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._in_process import InProcess


class ActionModule(InProcess):
    """See the module's documentation."""

    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Runs the task."""
        # Always here, in the controller's process.
        result: dict[str, t.Any] = super(InProcess, self).run(tmp, task_vars)
        secrets: set[str] = set()
        try:
            declared = _gcp_run.validated(_task_options.plain(self._task))
            secrets = _gcp_auth.secrets(declared)
            check, diff = bool(self._task.check_mode), bool(self._task.diff)
            runner = self._runner(declared, task_vars or {})
            result.update(_gcp_run.brought_about(declared, runner, check, diff, self._display.v))
        except MeshError as error:
            result.update(_gcp_run.failure(error))
        return t.cast("dict[str, t.Any]", remove_values(result, secrets))

    def _runner(self, declared: dict[str, t.Any], task_vars: dict[str, t.Any]) -> t.Callable[..., dict[str, t.Any]]:
        credentials = _gcp_auth.module_options(declared)

        def run(name: str, options: dict[str, t.Any]) -> dict[str, t.Any]:
            arguments = {**options, **credentials}
            return dict(self._execute_module(module_name=name, module_args=arguments, task_vars=task_vars))

        return run
