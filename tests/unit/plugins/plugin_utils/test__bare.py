# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the look by Python alone: real programs, run by this Python."""

from __future__ import annotations

import shlex
import subprocess
import sys
import types
import typing as t
import zlib

import pytest
from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.plugins.action.normal import ActionModule as Normal
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _bare

LOOKED_FOR = {
    "targets": [],
    "other_ports": [],
    "timeout": 1.0,
    "names": [],
    "controller_time": None,
    "names_resolve": False,
    "certificate_timeout": 0,
    "config": None,
}
MARK = "a.b.c: "


def played(command: str, data: bytes) -> subprocess.CompletedProcess[bytes]:
    """Runs a command as a machine does."""
    return subprocess.run(["/bin/sh", "-c", command], input=data, capture_output=True, check=False)


def asked(function: str = "look", **params: t.Any) -> dict[str, t.Any] | None:
    """What the program answers."""
    data = zlib.compress(_bare.program("_look", function, {**LOOKED_FOR, **params}, MARK))
    done = played(f"{shlex.quote(sys.executable)} -IS -c {shlex.quote(_bare._UNPACK)}", data)
    return _bare.answer_in(done.stdout.decode(), MARK)


def test_the_program_needs_python_alone() -> None:
    assert all("ansible.module_utils" not in text for text in _bare.sources("_look").values())
    found = asked()
    assert found is not None
    assert found["answer"]["python"] == ".".join(str(part) for part in sys.version_info[:3])


def test_what_is_only_loaded_where_it_is_asked_for_comes_along() -> None:
    found = asked(names_resolve=True)
    assert found is not None
    assert found["answer"]["resolver"]


def test_what_can_not_be_written_is_told() -> None:
    config = {"files": {"mesh.yaml": ""}, "image": False, "address": "192.0.2.1", "own_files": [], "capture": None}
    found = asked(config=config)
    assert found is not None
    assert found["refused"].startswith("config: ")


def test_what_fails_gives_no_answer() -> None:
    assert asked(function="no_such_thing") is None


def test_whatever_is_printed_before_it_does_not_matter() -> None:
    assert _bare.answer_in(f'Welcome to {MARK}\n\n{MARK}{{"answer": 1}}\n', MARK) == {"answer": 1}
    assert _bare.answer_in("Welcome\n", MARK) is None


class Action(_bare.BareAction):
    """As an action of the collection is."""

    look = ("_look", "look")

    def validated(self) -> dict[str, t.Any]:
        return {**LOOKED_FOR, **self._task.args}

    def result_of(self, params: dict[str, t.Any], answer: t.Any) -> dict[str, t.Any]:
        return {"changed": False, "vm": answer, "asked": params}


@pytest.fixture
def act(monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., dict[str, t.Any]]:
    """Plays a task, on this machine, with the module in place of Ansible's."""
    monkeypatch.setattr(Normal, "run", lambda self, tmp=None, task_vars=None: {"as": "module"})
    monkeypatch.setattr(ActionBase, "run", lambda self, tmp=None, task_vars=None: {})

    def play(
        python: str = sys.executable,
        pipelining: bool = True,
        environment: str = "",
        task: t.Mapping[str, t.Any] | None = None,
        **args: t.Any,
    ) -> dict[str, t.Any]:
        action = Action.__new__(Action)
        told = {"args": args, "async_val": 0, "delegate_to": None, "resolved_action": "a.b.c", **(task or {})}
        action._task = types.SimpleNamespace(**told)
        action._templar = types.SimpleNamespace(template=lambda value: value)
        action._is_pipelining_enabled = lambda style: pipelining and style == "new"
        action._compute_environment_string = lambda: environment

        def execute(command: str, in_data: bytes) -> dict[str, t.Any]:
            done = played(command, in_data)
            return {"rc": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}

        action._low_level_execute_command = execute
        monkeypatch.setattr(constants.config, "get_config_value", lambda name, variables: variables[name])
        return dict(action.run(task_vars={"INTERPRETER_PYTHON": python}))

    return play


def test_the_look(act: t.Callable[..., dict[str, t.Any]]) -> None:
    result = act(timeout=2.0)
    assert result["vm"]["uid"] >= 0
    assert result["asked"]["timeout"] == 2.0


def test_what_is_refused_fails(act: t.Callable[..., dict[str, t.Any]]) -> None:
    config = {"files": {"mesh.yaml": ""}, "image": False, "address": "192.0.2.1", "own_files": [], "capture": None}
    result = act(config=config)
    assert result["failed"]
    assert result["msg"].startswith("config: ")


def test_the_environment_of_the_task_counts(act: t.Callable[..., dict[str, t.Any]]) -> None:
    # As Ansible writes it: for a shell. No program is found there.
    assert act(environment="PATH='/no where'")["vm"]["units"]["istio.service"]["present"] is False
    assert "as" not in act(environment="PATH='/no where'")


@pytest.mark.parametrize(
    "otherwise",
    [
        {"python": "auto"},
        {"python": "/no/such/python3"},
        {"pipelining": False},
        {"task": {"async_val": 60}},
        {"task": {"delegate_to": "another"}},
        {"timeout": "no number", "targets": ["192.0.2.1:1"]},
    ],
)
def test_where_it_can_not_be_it_is_a_module_like_any_other(
    act: t.Callable[..., dict[str, t.Any]], otherwise: dict[str, t.Any]
) -> None:
    assert act(**otherwise) == {"as": "module"}
