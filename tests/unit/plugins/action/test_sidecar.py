# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests that a token is only handed on by pipelining."""

from __future__ import annotations

import types

import pytest
from ansible.errors import AnsibleActionFail
from ansible.plugins.action.normal import ActionModule as Normal
from ansible_collections.hybridmesh.istio.plugins.action.sidecar import ActionModule


def action(monkeypatch, args, pipelining):
    monkeypatch.setattr(Normal, "run", lambda self, tmp=None, task_vars=None: {"changed": True})
    made = ActionModule.__new__(ActionModule)
    made._task = types.SimpleNamespace(args=args)
    made._connection = types.SimpleNamespace(is_pipelining_enabled=lambda wrap_async=False: pipelining)
    return made


def test_a_token_is_refused_without_pipelining(monkeypatch):
    with pytest.raises(AnsibleActionFail, match="does not pipeline") as raised:
        action(monkeypatch, {"token": "a.SECRET.c"}, False).run()
    assert "SECRET" not in str(raised.value)
    assert "Next step" in str(raised.value)


@pytest.mark.parametrize(("args", "pipelining"), [({"token": "a.b.c"}, True), ({"files": {}}, False)])
def test_everything_else_runs(monkeypatch, args, pipelining):
    made = action(monkeypatch, args, pipelining)
    assert made.run() == {"changed": True}
    assert made._task.args == {}
