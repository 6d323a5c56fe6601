# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side of the module sidecar_info, which every run runs on every machine: quick, and with thousands of them at once."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible_collections.hybridmesh.istio.plugins.modules import sidecar_info
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _bare, _task_options, _workers

_workers.share_memory()
# Read here, so that Ansible's main process does it, and not each of its workers.
_bare.sources("_look")


class ActionModule(_workers.LightAction, _bare.BareAction):
    """Runs the module."""

    look = ("_look", "look")

    def validated(self) -> dict[str, t.Any]:
        """The task's options."""
        try:
            return sidecar_info.checked(_task_options.validated(self._task, sidecar_info.ARGUMENT_SPEC))
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from None

    def result_of(self, params: dict[str, t.Any], answer: t.Any) -> dict[str, t.Any]:
        """The module's result."""
        return sidecar_info.result_of(params, answer)
