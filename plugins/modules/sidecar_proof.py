#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proves that a virtual machine works with the capture on, and confirms the trial."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sidecar_proof
short_description: Proof that a virtual machine works with its Istio sidecar
version_added: 0.1.0
description:
  - Looks from the machine whether names, what is outside of the mesh and the mesh itself are reached with the capture on.
  - Confirms the trial that M(hybridmesh.istio.sidecar) began, if all of that is well, so that the dead man's timer is disarmed and
    the sidecar starts at boot from then on.
  - Call it over a connection that was opened since the capture is on. That it arrives is the proof that new ones can be opened.
author:
  - hybridmesh.istio contributors (@hybridmesh)
extends_documentation_fragment:
  - hybridmesh.istio.attributes
options:
  names:
    description:
      - Names that must be answered as well with the capture as without it. The machine's own name is tried where it
        is empty.
    type: list
    elements: str
    default: []
  egress:
    description:
      - What is outside of the mesh and has to be reached as well with the capture as without it, as V(http://host/path),
        V(https://host) or V(tls://host:port).
    type: list
    elements: str
    default: []
  mesh_name:
    description: The name of istiod that its certificate holds.
    type: str
    required: true
  mesh_port:
    description: The port of istiod.
    type: int
    default: 15012
  roots:
    description: The mesh's root certificates, PEM.
    type: str
    required: true
  dns_capture:
    description: Whether the sidecar answers for names of the mesh.
    type: bool
    default: true
  patience:
    description: Seconds after which a check that keeps failing is given up.
    type: int
    default: 15
  timeout:
    description: Seconds to wait for each connection or answer.
    type: float
    default: 3.0
  confirm:
    description: Whether the trial is confirmed if all is well.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    details: Looks, and confirms nothing.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: A trial is confirmed each time.
seealso:
  - module: hybridmesh.istio.sidecar
"""

EXAMPLES = r"""
- name: Look through the capture, and keep it if all is well
  hybridmesh.istio.sidecar_proof:
    mesh_name: istiod.istio-system.svc
    roots: "{{ lookup('hybridmesh.istio.sidecar_bootstrap', 'shop/billing')['root-cert.pem'] }}"
    egress: [https://example.com]
    confirm: true
"""

RETURN = r"""
proof:
  description: The verdicts, each with C(check), C(ok), C(found), C(expected) and C(next_step).
  returned: always
  type: list
  elements: dict
"""

import platform
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hybridmesh.istio.plugins.module_utils import _proof, _sidecar_run, _vm_facts, _vm_files


def prove(module: AnsibleModule) -> list[dict[str, t.Any]]:
    """The verdicts on what is reached with the capture on."""
    params = module.params
    user = _vm_facts.sidecar_user()
    if user is None:
        module.fail_json(msg="this machine has no user istio-proxy; install the sidecar first")
        raise AssertionError("fail_json does not return")
    wanted = _proof.Wanted(
        names=params["names"] or [platform.node()],
        egress=params["egress"],
        mesh_name=params["mesh_name"],
        mesh_port=params["mesh_port"],
        roots=params["roots"],
        dns_capture=params["dns_capture"],
        user=user,
        timeout=params["timeout"],
    )
    return _proof.prove(_sidecar_run.asking(module), wanted, time.monotonic() + params["patience"])


def confirm(module: AnsibleModule) -> None:
    """Disarms the dead man's timer; ends the module where it was too late, or something does not run any more."""
    code, _out, err = _sidecar_run.commands(module)([_vm_files.CAPTURE_SCRIPT, "confirm"])
    if code:
        module.fail_json(msg=err.strip() or f"istio-capture confirm ended with {code}")


def main() -> None:
    """Runs the module."""
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "default": []},
            "egress": {"type": "list", "elements": "str", "default": []},
            "mesh_name": {"type": "str", "required": True},
            "mesh_port": {"type": "int", "default": 15012},
            "roots": {"type": "str", "required": True},
            "dns_capture": {"type": "bool", "default": True},
            "patience": {"type": "int", "default": 15},
            "timeout": {"type": "float", "default": 3.0},
            "confirm": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    verdicts = prove(module)
    confirmed = module.params["confirm"] and not module.check_mode and all(verdict["ok"] for verdict in verdicts)
    if confirmed:
        confirm(module)
    module.exit_json(changed=confirmed, proof=verdicts)


if __name__ == "__main__":
    main()
