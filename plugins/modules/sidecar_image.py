#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a virtual machine fit to become an image whose machines join the mesh by themselves."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sidecar_image
short_description: A virtual machine that is fit to become an image
version_added: 0.1.0
description:
  - Looks for what no image may hold, since all machines made from it would share it. A key, a certificate, a token, ssh host keys, a
    machine-id, a pinned address, a sidecar that runs.
  - Sees to it that machines made from the image join when they boot, by the units that the role vm_sidecar has put there.
author:
  - hybridmesh.istio contributors (@hybridmesh)
extends_documentation_fragment:
  - hybridmesh.istio.attributes
options:
  state:
    description:
      - V(examined) only looks, and returns what stands in the way as RV(problems).
      - V(sealed) stops the sidecar, enables the units that join, takes away what may be taken away, and fails where anything is left.
    type: str
    choices: [examined, sealed]
    default: sealed
  clean:
    description:
      - Whether what may be taken away is taken away, rather than being in the way.
      - Without its host keys the machine takes no new ssh connection any more.
    type: bool
    default: false
  join:
    description: What C(istio-join) will read, as the role vm_sidecar makes it.
    type: dict
    required: true
  fail_mode:
    description: What happens to captured traffic where the sidecar does not run; an image fails open only.
    type: str
    choices: [open, closed]
    default: open
  address:
    description: The address that the role was told to pin. An image has none.
    type: str
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
seealso:
  - module: hybridmesh.istio.sidecar
"""

EXAMPLES = r"""
- name: See what stands in the way
  hybridmesh.istio.sidecar_image:
    state: examined
    join: "{{ my_join }}"
  register: looked

- name: All of it
  ansible.builtin.debug:
    var: looked.problems
"""

RETURN = r"""
problems:
  description: What stands in the way, each with C(check), C(found), C(expected), C(next_step) and C(message).
  returned: always
  type: list
  elements: dict
removed:
  description: What was taken away, or would be, in words.
  returned: when O(state=sealed)
  type: list
  elements: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hybridmesh.istio.plugins.module_utils import (
    _join,
    _sidecar_run,
    _vm_facts,
    _vm_files,
    _vm_image,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

# The check is started by its timer, and needs no link of its own.
ENABLED = tuple(unit for unit in _join.UNITS if unit != "istio-join-check.service")
_USAGE = 2


def problem(check: str, error: MeshError) -> dict[str, str]:
    """A problem as plain data."""
    return {
        "check": check,
        "found": error.found,
        "expected": error.expected,
        "next_step": error.next_step,
        "message": str(error),
    }


def in_the_way(params: t.Mapping[str, t.Any], found: t.Iterable[_vm_image.Trace]) -> list[dict[str, str]]:
    """All that stands in the way, with the settings first."""
    problems = [problem("source", error) for error in _join.config_problems(params["join"])]
    if params["fail_mode"] == "closed":
        error = MeshError(
            "vm_sidecar_fail_mode is closed",
            "machines of an image fail open, as nobody is there when they boot for the first time",
            "leave it at open for the image",
        )
        problems.append(problem("fail_mode", error))
    if params["address"]:
        error = MeshError(
            f"vm_sidecar_address is {params['address']}",
            "none: each machine reads its own when it boots",
            "leave it unset for the image",
        )
        problems.append(problem("address", error))
    for trace in found:
        if params["clean"] and trace.cleanable:
            continue
        step = trace.remedy + (f"; or {_vm_image.CLEAN}" if trace.cleanable else "")
        error = MeshError(trace.what, "an image without it, since all its machines would share it", step)
        problems.append(problem(trace.kind, error))
    return problems


def enabled(run: t.Callable[[t.Sequence[str]], str]) -> bool:
    """Whether the units that join start at boot."""
    return all(unit["enabled"] for unit in _vm_facts.units(run, ENABLED).values())


def seal(module: AnsibleModule, run: t.Callable[[t.Sequence[str]], str], found: list[_vm_image.Trace]) -> None:
    """Does it."""
    stopped = [trace for trace in found if trace.kind == "sidecar"]
    if stopped:
        # The rules first: Envoy is gone before a sidecar that stops takes them away.
        module.run_command([_vm_files.CAPTURE_SCRIPT, "remove"])
        module.run_command(["systemctl", "disable", "--now", "--quiet", *reversed(_vm_image.RUNNING)])
    module.run_command(["systemctl", "daemon-reload"])
    if not enabled(run):
        code, out, err = module.run_command(["systemctl", "enable", "--quiet", *ENABLED])
        if code:
            module.fail_json(msg=f"systemctl enable: {(err or out).strip()}")
    code, _out, err = module.run_command([_join.PROGRAM, "usage"])
    if code != _USAGE:
        module.fail_json(
            msg=f"Found: {_join.PROGRAM} does not run here: {err.strip()[-500:]}. Expected: /usr/bin/python3 is Python 3.8 or newer. "
            "Next step: install one."
        )
    _vm_image.clean(found)
    _vm_image.forget()


def main() -> None:
    """Runs the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["examined", "sealed"], "default": "sealed"},
            "clean": {"type": "bool", "default": False},
            "join": {"type": "dict", "required": True},
            "fail_mode": {"type": "str", "choices": ["open", "closed"], "default": "open"},
            "address": {"type": "str"},
        },
        supports_check_mode=True,
    )

    run = _sidecar_run.asking(module)
    params = module.params
    source = params["join"].get("source") or {}
    found = _vm_image.traces(run, source)
    if params["state"] == "examined":
        module.exit_json(changed=False, problems=in_the_way(params, found))
    removed = [trace.what for trace in found if params["clean"] and trace.cleanable and trace.kind != "address"]
    result: dict[str, t.Any] = {
        "changed": bool(removed) or not enabled(run),
        "removed": removed,
        "problems": [],
        "diff": {"prepared": "".join(f"{what}: removed\n" for what in removed)},
    }
    if module.check_mode:
        module.exit_json(**result)
    try:
        seal(module, run, found if params["clean"] else [])
    except OSError as error:
        module.fail_json(
            msg=f"Found: {error.strerror} ({error.filename}). Expected: what no image may hold can be taken away. Next step: mend "
            "that, and run again."
        )
    result["problems"] = in_the_way(dict(params, clean=False), _vm_image.traces(run, source))
    if result["problems"]:
        module.fail_json(msg="\n".join(item["message"] for item in result["problems"]), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
