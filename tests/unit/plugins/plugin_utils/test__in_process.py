# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import importlib
import types
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible_collections.hybridmesh.istio.plugins.module_utils import _cluster_module
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _in_process

PLUGINS = Path(__file__).parents[4] / "plugins"
SECRET = "opensesame"


def work(task: _cluster_module.Task, cluster: t.Any) -> dict[str, t.Any]:
    if task.params["count"] < 0:
        raise MeshError(f"{task.params['count']}, by the word {SECRET}", "more", "count on")
    return {
        "changed": True,
        "count": task.params["count"],
        "modes": [task.check_mode, task._diff],
        "told": SECRET,
        "other": task.params["other"],
    }


DEFINITION = _cluster_module.Definition(
    {"count": {"type": "int", "default": 3}, "other": {"type": "str"}}, work, [("count", "other")]
)


@pytest.fixture
def act(monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., dict[str, t.Any]]:
    """Plays a task with some options."""
    monkeypatch.setattr(_cluster_module, "Cluster", lambda options: options)

    class Action(_in_process.InProcess):
        definition = DEFINITION

        def _execute_module(self, **_more: t.Any) -> dict[str, t.Any]:
            return {"elsewhere": True}

    def play(
        transport: str = "local", become: t.Any = None, environment: t.Any = (), seconds: int = 0, **args: t.Any
    ) -> dict[str, t.Any]:
        task = types.SimpleNamespace(
            args=args,
            check_mode=True,
            diff=False,
            environment=list(environment),
            async_val=seconds,
            action="x",
            delegate_to=None,
        )
        connection = types.SimpleNamespace(
            transport=transport, become=become, _shell=types.SimpleNamespace(tmpdir=None)
        )
        action = Action(task, connection, types.SimpleNamespace(), None, None, None)
        return dict(action.run(task_vars={}))

    return play


def test_the_work_is_done_here(act: t.Callable[..., dict[str, t.Any]]) -> None:
    result = act(count="7")
    assert (result["changed"], result["count"], result["modes"]) == (True, 7, [True, False])
    assert "elsewhere" not in result


@pytest.mark.parametrize(
    "where",
    [{"transport": "ssh"}, {"become": object()}, {"environment": [{"HTTPS_PROXY": "http://proxy"}]}, {"seconds": 60}],
)
def test_and_else_where_it_belongs(act: t.Callable[..., dict[str, t.Any]], where: dict[str, t.Any]) -> None:
    assert act(count=7, **where)["elsewhere"]


def test_without_the_client_the_module_may_have_a_python_that_has_it(
    act: t.Callable[..., dict[str, t.Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_in_process._connection, "IMPORT_ERROR", ImportError("kubernetes"))
    assert act()["elsewhere"]


def test_options_are_plain_data(act: t.Callable[..., dict[str, t.Any]]) -> None:
    class Tagged(str):
        """As Ansible's strings that know where they come from."""

    other = act(other=Tagged("x"))["other"]
    assert other == "x"
    assert not isinstance(other, Tagged)


def test_a_failure_says_what_to_do(act: t.Callable[..., dict[str, t.Any]]) -> None:
    result = act(count=-1)
    assert (result["failed"], result["expected"], result["next_step"]) == (True, "more", "count on")
    assert "Next step: count on" in result["msg"]


@pytest.mark.parametrize("args", [{"count": "many"}, {"unknown": 1}, {"count": 1, "other": "x"}])
def test_bad_options(act: t.Callable[..., dict[str, t.Any]], args: dict[str, t.Any]) -> None:
    with pytest.raises(AnsibleActionFail):
        act(**args)


@pytest.mark.parametrize("given", [{"api_key": SECRET}, {"kubeconfig": {"users": [{"user": {"token": SECRET}}]}}])
def test_secrets_are_taken_out_of_results(act: t.Callable[..., dict[str, t.Any]], given: dict[str, t.Any]) -> None:
    assert SECRET not in str(act(**given))
    assert SECRET not in str(act(count=-1, **given))


def test_every_module_that_can_has_its_action() -> None:
    runtime = yaml.safe_load((PLUGINS.parent / "meta/runtime.yml").read_text(encoding="utf-8"))
    own = {path.stem for path in (PLUGINS / "action").glob("*.py")}
    prefix = "ansible_collections.hybridmesh.istio.plugins"
    for name in runtime["action_groups"]["cluster"]:
        definition = getattr(importlib.import_module(f"{prefix}.modules.{name}"), "DEFINITION", None)
        assert (definition is not None) == (name in own), name
        if definition is not None:
            assert importlib.import_module(f"{prefix}.action.{name}").ActionModule.definition is definition
