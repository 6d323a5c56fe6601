#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes the Istio sidecar off its virtual machine, all of it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sidecar_remove
short_description: Takes the Istio sidecar off a virtual machine
version_added: 0.1.0
description:
  - Takes the capture away, stops the sidecar, and removes its package, files, units, certificates, token, user and its lines in
    C(/etc/hosts), in one round trip. Then looks whether anything is left.
  - Works on machines in any state, half installed ones included.
author:
  - hybridmesh.istio contributors (@hybridmesh)
extends_documentation_fragment:
  - hybridmesh.istio.attributes
options:
  capture_script:
    description:
      - The text of the role's script C(istio-capture), for machines on which it is missing or older. It takes the rules away.
    type: str
    required: true
  keep_logs:
    description: Whether C(/var/log/istio) stays; it belongs to root then.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
seealso:
  - module: hybridmesh.istio.sidecar_info
"""

EXAMPLES = r"""
- name: Take the sidecar away
  hybridmesh.istio.sidecar_remove:
    capture_script: "{{ lookup('ansible.builtin.file', 'istio-capture', rstrip=false) }}"
"""

RETURN = r"""
removed:
  description: What was removed, or would be.
  returned: always
  type: list
  elements: str
left:
  description: What is still there afterwards; empty where the machine is clean.
  returned: always
  type: list
  elements: str
"""

import os
import tempfile
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hybridmesh.istio.plugins.module_utils import (
    _atomic,
    _join,
    _package,
    _sidecar_run,
    _vm_facts,
    _vm_files,
    _vm_remove,
)


def take_rules_away(module: AnsibleModule) -> None:
    """Runs the script's `remove`, from a copy, so that it works whatever is installed."""
    handle, path = tempfile.mkstemp(prefix="istio-capture.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(module.params["capture_script"])
        code, _out, err = module.run_command(["bash", path, "remove"])
    finally:
        os.unlink(path)
    if code:
        module.fail_json(
            msg=f"Found: the capture's rules can't be taken away: {err.strip()}. Expected: no rule is left. Next step: see "
            "iptables-save and iptables-legacy-save on the machine; nothing was removed."
        )


def stop(module: AnsibleModule) -> None:
    """Stops the units, and whatever of the sidecar runs without them."""
    if os.path.exists(_join.PROGRAM):
        # It would start the sidecar again.
        module.run_command(["systemctl", "disable", "--now", "--quiet", *_join.UNITS])
        module.run_command([_join.PROGRAM, "unguard"])
    module.run_command(["systemctl", "stop", _vm_remove.TIMER + ".timer"])
    module.run_command(["systemctl", "disable", "--quiet", *_vm_remove.UNITS])
    module.run_command(["systemctl", "stop", *_vm_remove.UNITS])
    for process in _vm_remove.processes():
        module.run_command(["kill", "-KILL", process.rsplit(" ", 1)[1].rstrip(")")])


def purge(module: AnsibleModule, installed: bool) -> list[str]:
    """Removes the package and its user."""
    gone = []
    if installed:
        module.run_command(["apt-mark", "unhold", _package.NAME])
    # Also where only its configuration is left of it.
    code, out, err = module.run_command(["dpkg", "--force-remove-reinstreq", "--purge", _package.NAME])
    if installed:
        if code:
            module.fail_json(
                msg=f"Found: dpkg --purge fails: {(err or out).strip()[-500:]}. Expected: the package can be removed. Next step: "
                "mend what it says (dpkg --audit) and run again."
            )
        gone.append("the package " + _package.NAME)
    if _vm_facts.sidecar_user() is not None:
        module.run_command(["userdel", _vm_files.USER])
        module.run_command(["groupdel", _vm_files.USER])
        gone.append("the user " + _vm_files.USER)
    return gone


def main() -> None:
    """Runs the module."""
    module = AnsibleModule(
        argument_spec={
            "capture_script": {"type": "str", "required": True},
            "keep_logs": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    module.run_command_environ_update = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    keep_logs = module.params["keep_logs"]

    text = _sidecar_run.asking(module)
    there = _vm_remove.left(text, keep_logs)
    hosts = _vm_remove.hosts_change()
    result: dict[str, t.Any] = {"changed": bool(there), "removed": there, "left": [], "diff": []}
    if hosts is not None:
        result["diff"].append(
            {"before_header": hosts.path, "after_header": hosts.path, "before": hosts.before, "after": hosts.after}
        )
    result["diff"].append({"prepared": "".join(f"{what}: removed\n" for what in there)})
    if not there or module.check_mode:
        module.exit_json(**result)
    installed = _vm_facts.package(text)["version"] is not None
    try:
        take_rules_away(module)
        stop(module)
        result["removed"] = purge(module, installed)
        if hosts is not None:
            _atomic.apply([hosts])
            result["removed"].append("lines in " + hosts.path)
        if keep_logs:
            _vm_remove.give_logs_to_root()
        result["removed"] += _vm_remove.remove_paths(keep_logs)
    except OSError as error:
        module.fail_json(
            msg=f"Found: {error.strerror} ({error.filename}). Expected: the sidecar's files can be removed. Next step: mend that, "
            "and run again: what is gone already is left alone."
        )
    module.run_command(["systemctl", "daemon-reload"])
    module.run_command(["systemctl", "reset-failed", *_vm_remove.UNITS, _vm_remove.TIMER + ".service"])
    result["left"] = _vm_remove.left(text, keep_logs)
    if result["left"]:
        module.fail_json(
            msg="Found: {} still there. Expected: nothing of the sidecar is left. Next step: see what holds it, and run "
            "again.".format(", ".join(result["left"])),
            **result,
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
