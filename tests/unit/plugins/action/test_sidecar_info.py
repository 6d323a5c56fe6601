# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests that nothing that a machine was asked comes back from a worker."""

from __future__ import annotations

import types

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action.normal import ActionModule as Normal
from ansible.utils.display import Display
from ansible_collections.hybridmesh.istio.plugins.action.sidecar_info import ActionModule
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _bare

ARGS = {"controller_time": 5.0, "config": {"files": {"mesh.yaml": "x" * 10000}}}


@pytest.fixture
def ran(monkeypatch):
    """The action, the options of each time that the module ran, and what it does there."""
    seen = []

    def run(self, tmp=None, task_vars=None):
        seen.append(self._task.args)
        if task_vars == "gone":
            raise AnsibleConnectionFailure("gone")
        return {"changed": False, "invocation": {"module_args": self._task.args}}

    monkeypatch.setattr(Normal, "run", run)
    # As where Ansible still has to find the machine's Python.
    monkeypatch.setattr(_bare.BareAction, "_python", lambda self, task_vars: None)
    made = ActionModule.__new__(ActionModule)
    made._task = types.SimpleNamespace(args=dict(ARGS))
    return made, seen


def test_the_module_gets_them_and_the_task_forgets_them(ran):
    action, seen = ran
    assert action.run() == {"changed": False}
    assert seen == [ARGS]
    assert action._task.args == {}


def test_who_asks_for_them_sees_them(ran, monkeypatch):
    monkeypatch.setattr(Display(), "verbosity", 3)
    assert ran[0].run()["invocation"] == {"module_args": ARGS}


def test_the_module_gets_them_at_each_try(ran):
    action, seen = ran
    action.run()
    action.run()
    assert seen == [ARGS, ARGS]
    assert action._task.args == {}


def test_a_machine_that_is_gone_leaves_none(ran):
    action, _seen = ran
    with pytest.raises(AnsibleConnectionFailure):
        action.run(None, "gone")
    assert action._task.args == {}


@pytest.mark.parametrize(
    ("args", "told"),
    [({"timeout": "long"}, "timeout"), ({"targets": ["nonsense"]}, "host:port"), ({"config": {"image": "?"}}, "image")],
)
def test_wrong_options_are_told_before_a_machine_is_asked(ran, args, told):
    action, seen = ran
    action._task.args = args
    action._task.action = "sidecar_info"
    with pytest.raises(AnsibleActionFail, match=told):
        action.validated()
    assert seen == []


def test_files_do_not_come_back(ran):
    action, _seen = ran
    action._task.args = {"timeout": 2, "config": {"files": {"mesh.yaml": "x"}}}
    params = action.validated()
    result = action.result_of(params, {"address": "192.0.2.1"})
    assert result["vm"] == {"address": "192.0.2.1"}
    assert result["invocation"]["module_args"]["timeout"] == 2.0
    assert "mesh.yaml" not in str(result)
