#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything about a virtual machine that the role vm_sidecar decides by."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sidecar_info
short_description: Facts about a virtual machine and its Istio sidecar
version_added: 0.1.0
description:
  - Reads, in one round trip, all that has to be known before an Istio sidecar is installed or changed on a machine.
  - Tries connections from the machine, and says how those that fail would be routed.
  - Never returns the content of a key or a token.
author:
  - hybridmesh.istio contributors (@hybridmesh)
extends_documentation_fragment:
  - hybridmesh.istio.attributes
options:
  targets:
    description:
      - TCP connections to try, as C(host:port).
      - While traffic is captured, they are tried as the sidecar's user, past the capture, if the machine has that user.
    type: list
    elements: str
    default: []
  other_ports:
    description:
      - Ports to try on the host of a target that gives no answer. One that answers shows that there is a route, and
        that a firewall stops the target's own port.
    type: list
    elements: int
    default: [15014, 15010, 8080, 443]
  timeout:
    description: Seconds to wait for each connection or answer.
    type: float
    default: 3.0
  names:
    description: Names for which lines in C(/etc/hosts), other than this collection's own, are returned.
    type: list
    elements: str
    default: []
  controller_time:
    description: The controller's time in seconds since the epoch, to compare the machine's clock with.
    type: float
  names_resolve:
    description: Whether the machine's resolver is asked for the machine's own name. See RV(vm.resolver).
    type: bool
    default: false
  certificate_timeout:
    description: Seconds to wait until the workload certificate is valid, before anything is looked at.
    type: int
    default: 0
  config:
    description:
      - The options O(hybridmesh.istio.sidecar#module:files), C(address), C(environment), C(concurrency),
        C(capture) and C(own_files) that M(hybridmesh.istio.sidecar) would be given. The machine is compared with
        them, so that one round trip tells whether anything has to be done.
      - Without C(address) that of RV(vm.address) is taken. The ports of sshd are added to the management ports.
    type: dict
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
notes:
  - Where C(ansible_python_interpreter) (or C(interpreter_python) of ansible.cfg) is a path, and the connection pipelines, the
    machine is looked at by that Python alone, without Ansible's library for modules. That takes less than half of the time on the
    machine. Everywhere else, and with C(async) or C(delegate_to), it runs as any module. What it finds is the same.
seealso:
  - module: hybridmesh.istio.sidecar
  - module: hybridmesh.istio.sidecar_proof
"""

EXAMPLES = r"""
- name: What is on this machine, and does it reach the gateway
  hybridmesh.istio.sidecar_info:
    targets: ["203.0.113.10:15012"]
    controller_time: "{{ now(utc=true).timestamp() }}"
  register: vm
"""

RETURN = r"""
vm:
  description: The facts.
  returned: always
  type: dict
  contains:
    address:
      description: The address that the machine sends from to the first target (or by its default route).
      type: str
    clock_offset:
      description: Seconds that the machine's clock is ahead of O(controller_time); negative when behind.
      type: float
    reach:
      description:
        - One entry for each of O(targets), with C(target), C(ok), C(error) (timeout, refused, unreachable, no_route,
          denied, reset, name, failed), C(seconds), and for those that failed C(route) and C(elsewhere) (whether another
          port of the same host answered).
      type: list
      elements: dict
    os:
      description: C(id), C(version_id) and C(pretty_name) of the system.
      type: dict
    architecture:
      description: V(amd64), V(arm64), or what the kernel calls it.
      type: str
    package:
      description: C(version), C(status) and C(record) of the sidecar's package.
      type: dict
    units:
      description: C(present), C(active), C(sub) and C(enabled) of each unit of the sidecar.
      type: dict
    listeners:
      description: Who listens on the ports 15000 to 15090.
      type: list
      elements: dict
    ssh_ports:
      description: The ports by which the machine is reached by ssh.
      type: list
      elements: int
    certificate:
      description: C(present), C(valid), C(remaining) (s), C(age) (share of its life), C(identity), C(roots) (SHA-256).
      type: dict
    token:
      description: C(present), C(remaining) (seconds), C(audiences) and C(subject) of the token on the machine.
      type: dict
    capture:
      description:
        - Whether the capture is C(applied), and whether it is C(held) off by the dead man's timer or C(bypassed) by hand
          (the reason as text, or null).
      type: dict
    pinned_address:
      description: The address that an earlier run pinned, null where none did.
      type: str
    proven:
      description: When the machine was last seen to work with the capture on, in seconds since the epoch, or null.
      type: int
    way_back:
      description: Whether a run that was cut off left the package and files from before it.
      type: bool
    resolver:
      description: V(ok), or what came instead of an answer. That a name does not exist is an answer.
      returned: with O(names_resolve)
      type: str
    drift:
      description:
        - Where the machine differs from O(config). C(files) are paths, C(effects) what they call for, C(reasons) which path
          calls for what.
      returned: with O(config)
      type: dict
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hybridmesh.istio.plugins.module_utils import _look, _reach, _sidecar_run, _vm_options

ARGUMENT_SPEC: dict[str, t.Any] = {
    "targets": {"type": "list", "elements": "str", "default": []},
    "other_ports": {"type": "list", "elements": "int", "default": [15014, 15010, 8080, 443]},
    "timeout": {"type": "float", "default": 3.0},
    "names": {"type": "list", "elements": "str", "default": []},
    "controller_time": {"type": "float"},
    "names_resolve": {"type": "bool", "default": False},
    "certificate_timeout": {"type": "int", "default": 0},
    "config": {"type": "dict"},
}


def checked(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The options, once more than Ansible checks them.

    Raises:
        ValueError: a target or an option of `config` is not what it must be.
    """
    try:
        for target in params["targets"]:
            _reach.split_target(target)
    except ValueError as error:
        raise ValueError(f"targets: {error}") from error
    return dict(params, config=None if params["config"] is None else _vm_options.validated(params["config"]))


def result_of(params: t.Mapping[str, t.Any], facts: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The module's result. The files of each machine do not travel back, and are not shown at -vvv."""
    told = {name: value for name, value in params.items() if name != "config"}
    return {"changed": False, "vm": facts, "invocation": {"module_args": told}}


def main() -> None:
    """Runs the module."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        facts = _look.look(checked(module.params), _sidecar_run.asking(module))
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result_of(module.params, facts))


if __name__ == "__main__":
    main()
