#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Goes back to the sidecar's package and files that were kept before a change, or forgets them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sidecar_way_back
short_description: The way back from a change of an Istio sidecar
version_added: 0.1.0
description:
  - Goes back to the package and files that M(hybridmesh.istio.sidecar) kept with O(hybridmesh.istio.sidecar#module:way_back), or
    forgets them, once the new ones are proven. Needs no network.
  - Nothing is started or restarted, so a sidecar that runs goes on with the program that it has.
author:
  - hybridmesh.istio contributors (@hybridmesh)
extends_documentation_fragment:
  - hybridmesh.istio.attributes
options:
  state:
    description: V(previous) goes back; V(settled) forgets.
    type: str
    choices: [previous, settled]
    required: true
  hold:
    description: Whether other upgrades of the machine leave the package alone (C(apt-mark hold)).
    type: bool
    default: true
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
seealso:
  - module: hybridmesh.istio.sidecar
"""

EXAMPLES = r"""
- name: Go back to the package and files from before
  hybridmesh.istio.sidecar_way_back:
    state: previous
"""

RETURN = r"""
version:
  description: Version of the package that was installed, null where only files were put back.
  returned: with O(state=previous), where something was kept
  type: str
previous:
  description: Version that was kept, or null.
  returned: always
  type: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hybridmesh.istio.plugins.module_utils import (
    _package,
    _package_install,
    _sidecar_run,
    _vm_facts,
)


def main() -> None:
    """Runs the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["previous", "settled"], "required": True},
            "hold": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    run = _sidecar_run.commands(module)
    note = _package.remembered()
    result: dict[str, t.Any] = {"previous": note and note["version"], "changed": note is not None}
    with _sidecar_run.told_errors(module):
        if module.check_mode:
            pass
        elif module.params["state"] == "settled":
            _package.forget()
            _package.tidy(_vm_facts.package(_sidecar_run.asking(module))["version"])
        elif note is not None:
            result["version"] = _package_install.go_back(module.params["hold"], _package.Dpkg(run))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
