# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module that talks to the cluster begins and ends with. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import (
    Cluster,
    connection_argument_spec,
    hide_secrets,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

# What of a virtual machine the modules about entries are told.
VMS: dict[str, t.Any] = {
    "type": "list",
    "elements": "dict",
    "required": True,
    "options": {
        "name": {"type": "str", "required": True},
        "group": {"type": "str", "required": True},
        "address": {"type": "str"},
    },
}

WORKLOAD: dict[str, t.Any] = {
    "type": "dict",
    "options": {
        "namespace": {"type": "str", "required": True},
        "deployment": {"type": "str", "required": True},
        "container": {"type": "str"},
    },
}

Result = t.Dict[str, t.Any]


class Task(t.Protocol):
    """What a module's work may know of its task: an AnsibleModule, or its stand-in in the controller's own process."""

    params: dict[str, t.Any]
    check_mode: bool
    _diff: bool


class Definition(t.NamedTuple):
    """A module about the cluster, apart from the process in which it runs.

    Attributes:
        options: its options, without those of the connection.
        run: does the work and returns the result; one with `failed` is a failure. May raise MeshError.
        mutually_exclusive: as AnsibleModule has it.
    """

    options: t.Mapping[str, t.Any]
    run: t.Callable[[Task, Cluster], Result]
    mutually_exclusive: t.Sequence[tuple[str, str]] = ()

    @property
    def argument_spec(self) -> dict[str, t.Any]:
        """All of its options."""
        return dict(connection_argument_spec(), **self.options)


def result_of(definition: Definition, task: Task) -> Result:
    """What a module comes to; its MeshErrors become failures."""
    try:
        return definition.run(task, Cluster(task.params))
    except MeshError as error:
        told = {"found": error.found, "expected": error.expected, "next_step": error.next_step}
        return dict(told, failed=True, msg=str(error))


def main(definition: Definition) -> None:
    """Runs a module in a process of its own."""
    module = AnsibleModule(
        argument_spec=definition.argument_spec,
        mutually_exclusive=definition.mutually_exclusive,
        supports_check_mode=True,
    )
    hide_secrets(module)
    result = result_of(definition, module)
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)
