# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory of Ansible's workers, with thousands of machines. Private to the collection.

A worker is a fork that shares its memory with Ansible's main process until one of them writes to it. Python's garbage collector
writes to each object that it looks at, so one full collection in a worker makes a copy of nearly all that the main process holds of
all machines; and when one is due, it is due in all workers at once. A worker lives for one task of one machine, and none of what it
was born with is garbage. `gc.freeze` is made for this: it leaves aside what is there already, and goes on collecting what is new.
"""

from __future__ import annotations

import functools
import gc
import os
import typing as t

from ansible.plugins.action.normal import ActionModule as Normal
from ansible.utils.display import Display


@functools.cache
def share_memory() -> None:
    """From now on, forks of this process leave what they share with it as it is.

    To be called when the module of an action is imported: Ansible's main process does that before it forks for the task.
    """
    os.register_at_fork(after_in_child=gc.freeze)


class LightAction(Normal):  # type: ignore[misc]
    """Runs a module, and lets go of its options after it.

    A worker sends its task's options back twice, in the task's fields and as the result's `invocation`. Ansible keeps them until all
    machines are done, and shows neither below -vvv, nor after a task has started.
    """

    # With `until` this runs again.
    _asked: dict[str, t.Any] | None = None

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Runs the task."""
        if self._asked is None:
            self._asked = self._task.args
        self._task.args = self._asked
        try:
            result: dict[str, t.Any] = super().run(tmp, task_vars)
        finally:
            self._task.args = {}
        if Display().verbosity < 3:
            result.pop("invocation", None)
        return result
