#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a virtual machine shows of why it is not in the mesh."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sidecar_symptoms_info
short_description: What a virtual machine shows of why it is not in the mesh
version_added: 0.1.0
description:
  - Reads, in one round trip, all that M(hybridmesh.istio.sidecar_info) does, and besides the way to istiod (name, TCP, TLS), what
    Envoy rejects, the latest complaints in the sidecar's logs, full disks, settings that a shell can't read, and whether the
    application answers the group's probe.
  - Changes nothing. P(hybridmesh.istio.mesh_diagnosis#filter) says what it means.
author:
  - hybridmesh.istio contributors (@hybridmesh)
extends_documentation_fragment:
  - hybridmesh.istio.attributes
options:
  probe:
    description: The probe of the machine's WorkloadGroup, as its spec has it.
    type: dict
  controller_time:
    description: The controller's time in seconds since the epoch, to compare the machine's clock with.
    type: float
  timeout:
    description: Seconds to wait for each connection or answer.
    type: float
    default: 3.0
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
seealso:
  - module: hybridmesh.istio.sidecar_info
"""

EXAMPLES = r"""
- name: Look at the machine
  hybridmesh.istio.sidecar_symptoms_info:
    controller_time: "{{ now(utc=true).timestamp() }}"
  register: seen
"""

RETURN = r"""
vm:
  description:
    - What RV(hybridmesh.istio.sidecar_info#module:vm) holds, and C(way) to istiod (C(target), C(addresses), C(tcp), C(tls)), C(envoy)
      (C(answers), C(state), C(rejected)), C(complaints), C(unwritable), C(broken_settings), C(settings), C(has_address), C(probe)
      and C(unit_result).
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hybridmesh.istio.plugins.module_utils import _sidecar_run, _symptoms


def main() -> None:
    """Runs the module."""
    module = AnsibleModule(
        argument_spec={
            "probe": {"type": "dict"},
            "controller_time": {"type": "float"},
            "timeout": {"type": "float", "default": 3.0},
        },
        supports_check_mode=True,
    )

    found = _symptoms.collect(_sidecar_run.asking(module), module.params["probe"], module.params["timeout"])
    if module.params["controller_time"] is not None:
        found["clock_offset"] = round(found["time"] - module.params["controller_time"], 3)
    module.exit_json(changed=False, vm=found)


if __name__ == "__main__":
    main()
