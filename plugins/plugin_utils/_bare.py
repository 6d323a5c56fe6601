# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at machines by Python alone. Private to the collection.

Whatever a module does, on the machine Ansible's own library for modules comes first: some 10,000 lines that are compiled anew for each
module and each machine. Of a look at a machine, which every run takes at every machine, that is more than half. So what only
looks, and needs nothing of that library, is sent without it: a sixth of the bytes, over the same connection, as the same user.
What changes a machine stays with the library.
"""

from __future__ import annotations

import functools
import json
import re
import shlex
import typing as t
import zlib
from pathlib import Path

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.plugins.action.normal import ActionModule as Normal

_PREFIX = "ansible_collections.hybridmesh.istio.plugins.module_utils"
_FOLDER = Path(__file__).resolve().parents[1] / "module_utils"
_IMPORT = re.compile(r"plugins\.module_utils(?:\.(\w+))? import (\([^)]*\)|[^\n]+)")
_UNPACK = "import sys,zlib;exec(zlib.decompress(sys.stdin.buffer.read()))"


def _text(name: str) -> str:
    return (_FOLDER / f"{name}.py").read_text(encoding="utf-8")


@functools.cache
def sources(name: str) -> dict[str, str]:
    """The text of a file of module_utils and of all that it imports from there, by their full names."""
    found: dict[str, str] = {}
    todo = [name]
    while todo:
        one = todo.pop()
        full = f"{_PREFIX}.{one}"
        if full not in found:
            found[full] = _text(one)
            for whole, parts in _IMPORT.findall(found[full]):
                todo += [whole] if whole else re.findall(r"\w+", parts)
    return found


def program(name: str, function: str, params: t.Mapping[str, t.Any], mark: str) -> bytes:
    """The program that prints what a function of a file of module_utils makes of these parameters (_bare_start.start)."""
    call = (sources(name), f"{_PREFIX}.{name}", function, json.dumps(params), mark)
    return f"{_text('_bare_start')}\nstart(*{call!r})\n".encode()


def answer_in(output: str, mark: str) -> dict[str, t.Any] | None:
    """What the program printed, whatever a login shell or a banner printed before it; None if it did not come to that."""
    lines = [line[len(mark) :] for line in output.splitlines() if line.startswith(mark)]
    return dict(json.loads(lines[-1])) if lines else None


class BareAction(Normal):  # type: ignore[misc]
    """Runs a module that only looks, by Python alone where that is possible, and as any module where it is not."""

    # File of module_utils, and its function of the validated options and `run`.
    look: tuple[str, str]

    def validated(self) -> dict[str, t.Any]:
        """The task's options.

        Raises:
            AnsibleActionFail: one is wrong.
        """
        raise NotImplementedError

    def result_of(self, params: dict[str, t.Any], answer: t.Any) -> dict[str, t.Any]:
        """The module's result."""
        raise NotImplementedError

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Runs the task."""
        python = self._python(task_vars or {})
        if python is None:
            return dict(super().run(tmp, task_vars))
        result: dict[str, t.Any] = ActionBase.run(self, tmp, task_vars)
        params = self.validated()
        mark = f"{self._task.resolved_action}: "
        # The name is for those who look at the machine's processes.
        words = shlex.join([python, "-IS", "-c", _UNPACK, str(self._task.resolved_action)])
        command = f"{self._compute_environment_string()} {words}".strip()
        done = self._low_level_execute_command(command, in_data=zlib.compress(program(*self.look, params, mark), 6))
        found = answer_in(str(done["stdout"]), mark)
        if found is None:
            # Ansible says best what is wrong there.
            return dict(super().run(tmp, task_vars))
        if "refused" in found:
            return dict(result, failed=True, msg=found["refused"])
        return dict(result, **self.result_of(params, found["answer"]))

    def _python(self, task_vars: dict[str, t.Any]) -> str | None:
        """The machine's Python, where it is told and nothing else stands against it.

        Where Ansible has to find it first, the module does that as any other.
        """
        if self._task.async_val or self._task.delegate_to or not self._is_pipelining_enabled("new"):
            return None
        told = constants.config.get_config_value("INTERPRETER_PYTHON", variables=task_vars)
        python = str(self._templar.template(told))
        return python if python.startswith("/") else None
