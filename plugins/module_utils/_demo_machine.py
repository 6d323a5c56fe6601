# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in the sample application's way on a virtual machine. Pure. Runs there, so it imports little."""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError


def problems(facts: t.Mapping[str, t.Any], unit: str, replaces: t.Sequence[str], check: bool) -> list[MeshError]:
    """What stands in the way on a virtual machine.

    Args:
        facts: `systemd`, `uid`, `envoy` (`path`, `executable`), `port`, `holders` (`pid`, `command`, `unit`).
        unit: the application's own unit.
        replaces: the units whose place it takes.
        check: whether this is only a check; what another role of the same run may bring is no problem then.
    """
    found = []
    if not facts["systemd"]:
        found.append(
            MeshError(
                "the machine was not booted with systemd", "a machine with systemd", "leave this host out (--limit)"
            )
        )
    if facts["uid"] != 0:
        found.append(
            MeshError(
                f"tasks run as user ID {facts['uid']} on the machine",
                "they run as root",
                "set ansible_user=root or ansible_become=true for this host",
            )
        )
    if not facts["envoy"]["executable"] and not check:
        found.append(
            MeshError(
                f"{facts['envoy']['path']} is not there, or no program",
                "an Envoy on the machine, such as the one in the sidecar's package",
                "install the sidecar first (role vm_sidecar), or name another Envoy (demo_app_vm_envoy)",
            )
        )
    for holder in facts["holders"]:
        if holder["unit"] not in (unit, *replaces):
            found.append(
                MeshError(
                    "{}{}{} listens on port {} of the machine".format(
                        holder["command"] or "a program that can't be named",
                        f" (PID {holder['pid']})" if holder["pid"] else "",
                        f" of {holder['unit']}" if holder["unit"] else "",
                        facts["port"],
                    ),
                    "a port that is free for the application",
                    "stop that program, choose another port (demo_app_port), or have the application take the place of its"
                    " unit (demo_app_vm_replaces)",
                )
            )
    return found
