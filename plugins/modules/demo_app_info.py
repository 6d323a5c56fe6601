#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the sample application can run on a virtual machine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: demo_app_info
short_description: Whether the sample application can run on a virtual machine
version_added: 0.1.0
description:
  - Looks for Envoy, for whoever listens on the application's port, and at the application's unit. Fails where the application could
    not run, and says all that stands in its way.
  - In check mode, an Envoy that is not there yet is no failure.
author:
  - hybridmesh.istio contributors (@hybridmesh)
extends_documentation_fragment:
  - hybridmesh.istio.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  envoy:
    description: Path of Envoy on the machine.
    type: str
    required: true
  port:
    description: The port that the application listens on.
    type: int
    required: true
  unit:
    description: The application's own unit of systemd.
    type: str
    required: true
  replaces:
    description: Units of systemd that may have the port, as the application takes their place.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Look at the machine
  hybridmesh.istio.demo_app_info:
    envoy: /usr/local/bin/envoy
    port: 10000
    unit: hybridmesh-demo.service
"""

RETURN = r"""
envoy:
  description: Its C(path), and whether it is C(executable).
  returned: success
  type: dict
holders:
  description: Who listens on the port, each with C(pid), C(command) and C(unit) as far as they can be seen.
  returned: success
  type: list
  elements: dict
unit:
  description: State of the application's unit, with C(present), C(active), C(sub) and C(enabled).
  returned: success
  type: dict
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hybridmesh.istio.plugins.module_utils import _demo_machine, _vm_facts


def main() -> None:
    """Runs the module."""
    module = AnsibleModule(
        argument_spec={
            "envoy": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "unit": {"type": "str", "required": True},
            "replaces": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    params = module.params

    def run(command: t.Sequence[str]) -> str:
        try:
            return str(module.run_command(list(command), handle_exceptions=False)[1])
        except OSError:
            return ""

    facts: dict[str, t.Any] = {
        "systemd": os.path.isdir("/run/systemd/system"),
        "uid": os.geteuid(),
        "envoy": {
            "path": params["envoy"],
            "executable": os.path.isfile(params["envoy"]) and os.access(params["envoy"], os.X_OK),
        },
        "port": params["port"],
        "holders": _vm_facts.holders(params["port"]),
        "unit": _vm_facts.units(run, [params["unit"]])[params["unit"]],
    }
    problems = _demo_machine.problems(facts, params["unit"], params["replaces"], module.check_mode)
    if problems:
        module.fail_json(
            msg=" ".join(str(problem) for problem in problems),
            found="; ".join(problem.found for problem in problems),
            expected="; ".join(problem.expected for problem in problems),
            next_step="; ".join(problem.next_step for problem in problems),
        )
    module.exit_json(changed=False, **{key: facts[key] for key in ("envoy", "holders", "unit")})


if __name__ == "__main__":
    main()
