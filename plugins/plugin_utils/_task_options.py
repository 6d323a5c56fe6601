# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a task whose module does its work in the action. Private to the collection."""

from __future__ import annotations

import json
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.json import Direction, get_module_encoder


def plain(task: t.Any) -> dict[str, t.Any]:
    """A task's options as they would arrive in another process. Here they say where they come from, which YAML can't write."""
    encoder = get_module_encoder("legacy", Direction.CONTROLLER_TO_MODULE)
    return dict(json.loads(json.dumps(task.args, cls=encoder)))


def validated(task: t.Any, argument_spec: t.Mapping[str, t.Any], **rules: t.Any) -> dict[str, t.Any]:
    """A task's options, as its module would get them.

    Args:
        task: Ansible's task.
        argument_spec: of the module.
        rules: what else Ansible's validator takes, such as `mutually_exclusive`.

    Raises:
        AnsibleActionFail: an option is wrong, and why.
    """
    checked = ArgumentSpecValidator(argument_spec, **rules).validate(plain(task))
    if checked.error_messages:
        raise AnsibleActionFail(f"{task.action}: {checked.errors.msg}")
    return dict(checked.validated_parameters)
