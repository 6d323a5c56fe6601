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


def main(options: t.Mapping[str, t.Any], run: t.Callable[[AnsibleModule, Cluster], Result]) -> None:
    """Runs a module: `run` returns what it ends with, and its MeshErrors become failures."""
    module = AnsibleModule(argument_spec=dict(connection_argument_spec(), **options), supports_check_mode=True)
    hide_secrets(module)
    try:
        result = run(module, Cluster(module.params))
    except MeshError as error:
        module.fail_json(msg=str(error), found=error.found, expected=error.expected, next_step=error.next_step)
    module.exit_json(**result)
