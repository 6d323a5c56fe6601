# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module that changes Istio or a gateway begins and ends with. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hybridmesh.istio.plugins.module_utils import _lock
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import connection_argument_spec, hide_secrets
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError


def main(arguments: t.Mapping[str, t.Any], run: t.Callable[[AnsibleModule], dict[str, t.Any]]) -> None:
    """Runs such a module, one at a time for a cluster.

    Args:
        arguments: its options, without those of the connection and of the lock.
        run: does the work and returns the result; twice, where it finds something to change. May raise MeshError.
    """
    options = dict(connection_argument_spec(), **_lock.OPTION, **arguments)
    module = AnsibleModule(argument_spec=options, supports_check_mode=True)
    hide_secrets(module)
    try:
        module.exit_json(**_lock.exclusively(module.params, module.params["lock_timeout"], lambda: run(module)))
    except MeshError as error:
        module.fail_json(msg=str(error), found=error.found, expected=error.expected, next_step=error.next_step)
