#!/usr/bin/env python3
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's machines as an Ansible inventory: one Kubernetes node and any number of VMs.

How many VMs, and on which network: what the environment says (LAB_VMS, LAB_NETWORK), else what the running lab was
started with, else two VMs on 10.88.0.0/24. Works whether the lab is up or not.
"""

from __future__ import annotations

import ipaddress
import json
import os
import sys
from pathlib import Path
from typing import Any

STATE = Path("/var/lib/hybridmesh-lab")
MOST_VMS = 100  # the addresses from .200 on are for Services


def running_lab() -> dict[str, Any]:
    """What the running lab wrote down about itself; nothing where there is none (or it is not for this user to read)."""
    try:
        return json.loads((STATE / "lab.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def number_of_vms(lab: dict[str, Any]) -> int:
    """LAB_VMS, or the running lab's number, or 2."""
    text = os.environ.get("LAB_VMS") or str(lab.get("vms", 2))
    if not text.isdecimal() or not 1 <= int(text) <= MOST_VMS:
        raise SystemExit(f"LAB_VMS: found {text!r}, expected a number from 1 to {MOST_VMS}. Set it to 2, for example.")
    return int(text)


def network(lab: dict[str, Any]) -> ipaddress.IPv4Network:
    """LAB_NETWORK, or the running lab's, or 10.88.0.0/24."""
    text = os.environ.get("LAB_NETWORK") or str(lab.get("network", "10.88.0.0/24"))
    try:
        found = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise SystemExit(f"LAB_NETWORK: {error}. Expected a network like 10.88.0.0/24.") from error
    if found.prefixlen != 24:
        raise SystemExit(f"LAB_NETWORK: found {text}, expected a prefix length of 24, as in 10.88.0.0/24.")
    return found


def inventory() -> dict[str, Any]:
    """The whole inventory, in the form that Ansible reads from a script."""
    lab = running_lab()
    net = network(lab)
    names = [f"vm{number}" for number in range(1, number_of_vms(lab) + 1)]
    # Odd ones and even ones differ, so that two Pythons and two userlands are always there.
    suites = ("trixie", "bookworm")
    hostvars: dict[str, dict[str, Any]] = {
        name: {"ansible_host": str(net[20 + number]), "lab_rootfs": suites[number % 2]}
        for number, name in enumerate(names, start=1)
    }
    hostvars["cluster1"] = {"ansible_host": str(net[10]), "lab_rootfs": "node"}
    return {
        "all": {
            "children": ["lab_machines"],
            "vars": {
                "lab_state": str(STATE),
                "lab_run": "/run/hybridmesh-lab",
                "lab_network": str(net),
                "lab_host_address": str(net[1]),
                "lab_node_address": str(net[10]),
                "lab_service_addresses": f"{net[200]}-{net[250]}",
            },
        },
        "lab_machines": {"children": ["lab_node", "mesh_vms"]},
        "lab_node": {"hosts": ["cluster1"]},
        "mesh_vms": {"hosts": names},
        "_meta": {"hostvars": hostvars},
    }


def main() -> None:
    if sys.argv[1:2] == ["--host"]:
        json.dump(inventory()["_meta"]["hostvars"].get("".join(sys.argv[2:3]), {}), sys.stdout)
    else:
        json.dump(inventory(), sys.stdout, indent=2)


if __name__ == "__main__":
    main()
