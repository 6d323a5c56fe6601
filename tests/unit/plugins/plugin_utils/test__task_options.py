# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import types

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _task_options

SPEC = {"count": {"type": "int", "default": 3}, "other": {"type": "str"}}


class Tagged(str):
    """As Ansible's strings that know where they come from."""


def task(**args):
    return types.SimpleNamespace(args=args, action="a.b.c")


def test_options_get_their_types_and_defaults():
    assert _task_options.validated(task(count="7"), SPEC) == {"count": 7, "other": None}
    assert _task_options.validated(task(), SPEC)["count"] == 3


def test_they_are_plain():
    other = _task_options.validated(task(other=Tagged("x")), SPEC)["other"]
    assert other == "x"
    assert not isinstance(other, Tagged)


@pytest.mark.parametrize("args", [{"count": "many"}, {"unknown": 1}, {"count": 1, "other": "x"}])
def test_wrong_ones_are_told(args):
    with pytest.raises(AnsibleActionFail, match=r"a\.b\.c: "):
        _task_options.validated(task(**args), SPEC, mutually_exclusive=[("count", "other")])
