#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab needs from the host, and the host as it was before."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_host
short_description: What the lab needs from the host, and the host as it was before
version_added: 0.1.0
description:
  - "With O(state=present): a folder for the lab's state with a marker in it, a bridge, and what nspawn needs under /run."
  - "With O(state=absent): every process, link, control group, firewall rule and folder of the lab is taken away, whatever state it is in.
    What the lab did not make is not touched: where a folder or bridge of its name is not its own, it stops before anything is done."
  - Machines have their own mount and network namespaces, so the host's mounts, routes, sysctls and firewall stay as they are, with two
    exceptions that are written down before they are made and undone at the end; RV(host_before) tells which.
options:
  state:
    description: Whether the lab has its place on this host.
    type: str
    choices: [present, absent]
    default: present
  state_dir:
    description: Folder of the lab's state. Belongs to root alone; gone with the lab.
    type: path
    required: true
  run_dir:
    description: Folder for pid files and control sockets.
    type: path
    required: true
  bridge:
    description: Name of the bridge, 15 characters at most.
    type: str
    required: true
  address:
    description: The host's own address on the bridge, with its prefix length. Needed with O(state=present).
    type: str
  links:
    description: Name in O(state_dir) -> target of a symbolic link to keep there. The target need not be there yet.
    type: dict
    default: {}
  record:
    description: What else to write down in the marker, for the inventory and other programs.
    type: dict
    default: {}
author:
  - hybridmesh.istio contributors (@hybridmesh)
"""

EXAMPLES = r"""
- name: Host | Make room for the lab
  lab_host:
    state_dir: /var/lib/hybridmesh-lab
    run_dir: /run/hybridmesh-lab
    bridge: hmlab0
    address: 10.88.0.1/24
"""

RETURN = r"""
actions:
  description: What was done, in words.
  returned: always
  type: list
  elements: str
cgroup:
  description: "Which control groups this host has: V(v2), V(v1 hybrid) or V(v1)."
  returned: always
  type: str
machines:
  description: Names of the machines that there are, running or not.
  returned: with O(state=present)
  type: list
  elements: str
host_before:
  description: What was changed on the host, as it was before.
  returned: with O(state=present)
  type: dict
"""

import ipaddress  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import shutil  # noqa: E402
import subprocess  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils import lab_cgroup, lab_supervisor  # noqa: E402
from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.lab_error import LabError  # noqa: E402

MADE_BY = "hybridmesh-lab"
# The bridge's own hardware address (locally administered, "hmlab" in ASCII) is how it is known as the lab's: unlike an
# alias, the kernel sets it in the same step that makes the bridge.
BRIDGE_ADDRESS = "02:68:6d:6c:61:62"
MARKER = "lab.json"
NSPAWN_RUN = Path("/run/systemd/nspawn")
BRIDGE_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


def ip(*words: str) -> Any:
    """Ask `ip` something, or tell it to do something."""
    done = subprocess.run(["ip", "-json", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"`ip {' '.join(words)}` says {done.stderr.strip()!r}.", "success.", "see whether this is root.")
    return json.loads(done.stdout or "[]")


class Host:
    """The host, as far as the lab is concerned."""

    def __init__(self, module: AnsibleModule) -> None:
        self.options = module.params
        self.check = module.check_mode
        self.state_dir = Path(self.options["state_dir"])
        self.run_dir = Path(self.options["run_dir"])
        self.bridge: str = self.options["bridge"]
        self.marker_file = self.state_dir / MARKER
        self.actions: list[str] = []

    # What is there

    def marker(self) -> dict[str, Any] | None:
        """The lab's own record, or None where there is no lab. Refuses a folder that is somebody else's."""
        try:
            content = json.loads(self.marker_file.read_text(encoding="utf-8"))
            if content["made_by"] == MADE_BY:
                return content
        except FileNotFoundError:
            if not self.state_dir.exists() or not any(self.state_dir.iterdir()):
                return None
        except (ValueError, KeyError, TypeError):
            pass
        raise LabError(
            f"{self.state_dir} is there, but not with the lab's marker {MARKER} in it.",
            "a folder that the lab made, or none.",
            "move it away, if nothing needs it.",
        )

    def machines(self) -> list[str]:
        """The machines that were made, whether they run or not."""
        folder = self.state_dir / "machines"
        return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []

    def link(self) -> dict[str, Any] | None:
        """The lab's bridge, or None. Refuses one that is somebody else's."""
        for link in ip("link", "show"):
            if link["ifname"] == self.bridge:
                if link["address"] == BRIDGE_ADDRESS:
                    return link
                raise LabError(
                    f"a network link {self.bridge} that has not the lab's hardware address, {BRIDGE_ADDRESS}.",
                    "a bridge that the lab made, or none of that name.",
                    "rename or delete it, if nothing needs it.",
                )
        return None

    def refuse_overlap(self) -> None:
        """The lab's network must not be one that this host reaches elsewhere."""
        own = ipaddress.ip_interface(self.options["address"]).network
        for route in ip("-4", "route", "show", "table", "all"):
            destination = route["dst"]
            if destination == "default" or route.get("dev") == self.bridge:
                continue
            if ipaddress.ip_network(destination, strict=False).overlaps(own):
                raise LabError(
                    f"a route to {destination} by {route.get('dev', 'nothing')}, which overlaps the lab's {own}.",
                    "a network that is free on this host.",
                    "give the lab another one, LAB_NETWORK=10.123.0.0/24 for example.",
                )

    def filters_bridges(self) -> bool:
        """Whether what crosses a bridge of this host is dropped by its firewall (Docker makes it so)."""
        if not BRIDGE_FILTER.exists() or BRIDGE_FILTER.read_text().strip() != "1" or not shutil.which("iptables"):
            return False
        done = subprocess.run(["iptables", "-w", "-S", "FORWARD"], capture_output=True, text=True, check=False)
        return "-P FORWARD DROP" in done.stdout.splitlines()

    def rule(self, action: str) -> int:
        """The one rule that the lab may add to the firewall: -C looks, -I adds, -D deletes."""
        words = ["-i", self.bridge, "-o", self.bridge, "-m", "comment", "--comment", MADE_BY, "-j", "ACCEPT"]
        done = subprocess.run(["iptables", "-w", action, "FORWARD", *words], capture_output=True, check=False)
        return done.returncode

    # present

    def present(self) -> dict[str, Any]:
        """Make what is missing; returns the marker."""
        marker = self.marker()
        link = self.link()
        self.refuse_overlap()
        filtered = self.filters_bridges()
        before = marker["host_before"] if marker else self._look(filtered)
        wanted = {"made_by": MADE_BY, "bridge": self.bridge, "cgroup": lab_cgroup.mode(), **self.options["record"]}
        wanted["host_before"] = before
        if wanted != marker:
            self._do("record written", lambda: self._write_marker(wanted))
        for folder in (self.run_dir, self.run_dir / "ssh"):
            if not folder.is_dir():
                self._do(f"{folder} made", lambda folder=folder: folder.mkdir(mode=0o700, parents=True))
        if not NSPAWN_RUN.is_dir():
            self._do(f"{NSPAWN_RUN} made", lambda: NSPAWN_RUN.mkdir(mode=0o755, parents=True))
        if filtered and self.rule("-C") != 0:
            self._do("firewall rule added", lambda: self.rule("-I"))
        for name, target in sorted(self.options["links"].items()):
            self._link(self.state_dir / name, target)
        self._bridge(link)
        return wanted

    def _look(self, filtered: bool) -> dict[str, Any]:
        missing = [str(folder) for folder in (NSPAWN_RUN, *NSPAWN_RUN.parents) if not folder.exists()]
        before: dict[str, Any] = {"missing_folders": missing, "firewall_rule": filtered}
        if lab_cgroup.mode() == "v2":
            before["subtree_control"] = sorted(lab_cgroup.enabled(lab_cgroup.ROOT))
        return before

    def _write_marker(self, content: dict[str, Any]) -> None:
        self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = self.state_dir / f".{MARKER}"
        beside.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        beside.replace(self.marker_file)

    def _link(self, place: Path, target: str) -> None:
        if place.is_symlink() and os.readlink(place) == target:
            return

        def make() -> None:
            place.parent.mkdir(mode=0o755, exist_ok=True)
            place.unlink(missing_ok=True)
            place.symlink_to(target)

        self._do(f"{place} linked to {target}", make)

    def _bridge(self, link: dict[str, Any] | None) -> None:
        if link is None:
            self._do(
                f"bridge {self.bridge} made",
                lambda: ip(
                    *f"link add name {self.bridge} address {BRIDGE_ADDRESS} type bridge forward_delay 0".split()
                ),
            )
        address = ipaddress.ip_interface(self.options["address"])
        has = {
            f"{item['local']}/{item['prefixlen']}"
            for entry in (ip("-4", "address", "show", "dev", self.bridge) if link else [])
            for item in entry.get("addr_info", [])
        }
        for wrong in sorted(has - {str(address)}):
            self._do(f"address {wrong} removed", lambda wrong=wrong: ip("address", "del", wrong, "dev", self.bridge))
        if str(address) not in has:
            self._do(f"address {address} added", lambda: ip("address", "add", str(address), "dev", self.bridge))
        if link is None or "UP" not in link["flags"]:
            self._do(f"bridge {self.bridge} up", lambda: ip("link", "set", self.bridge, "up"))

    # absent

    def absent(self) -> None:
        """Take everything away. Each step works whatever the steps before it found."""
        marker = self.marker() or {}
        link = self.link()
        before = marker.get("host_before", {})
        if lab_cgroup.processes():
            self._do("processes ended", lambda: lab_cgroup.kill())
        if not self.check:
            lab_supervisor.end_connections(self.run_dir)
        if link:
            self._do(f"bridge {self.bridge} deleted", self._delete_links)
        if before.get("firewall_rule") and self.rule("-C") == 0:
            self._do("firewall rule deleted", lambda: self.rule("-D"))
        if any((point / lab_cgroup.TOP).is_dir() for point in lab_cgroup.hierarchies()):
            self._do("control groups removed", lambda: lab_cgroup.remove())
        self._restore_controllers(before)
        if self.run_dir.exists():
            self._do(f"{self.run_dir} deleted", lambda: shutil.rmtree(self.run_dir))
        for name in before.get("missing_folders", []):
            if Path(name).is_dir() and not any(Path(name).iterdir()):
                self._do(f"{name} removed", lambda name=name: os.rmdir(name))
        if self.state_dir.exists():
            self._do(f"{self.state_dir} deleted", self._delete_state)

    def _delete_links(self) -> None:
        # The machines' ends go with their network namespaces, but a moment later: both ends go with this one at once.
        for port in ip("link", "show", "master", self.bridge):
            subprocess.run(["ip", "link", "delete", port["ifname"]], capture_output=True, check=False)
        end = time.monotonic() + 10
        while ip("link", "show", "master", self.bridge) and time.monotonic() < end:
            time.sleep(0.05)
        ip("link", "delete", self.bridge)

    def _restore_controllers(self, before: dict[str, Any]) -> None:
        if "subtree_control" not in before or lab_cgroup.mode() != "v2":
            return
        for controller in sorted(lab_cgroup.enabled(lab_cgroup.ROOT) - set(before["subtree_control"])):
            control = lab_cgroup.ROOT / "cgroup.subtree_control"
            try:
                self._do(
                    f"controller {controller} no longer handed down",
                    lambda control=control, controller=controller: control.write_text(f"-{controller}"),
                )
            except OSError as error:
                # Somebody else uses it by now: then it is theirs.
                self.actions.append(f"controller {controller} stays: {error.strerror}")

    def _delete_state(self) -> None:
        # The marker goes last: a half-deleted folder must still be known as the lab's.
        for entry in self.state_dir.iterdir():
            if entry.name == MARKER:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        self.marker_file.unlink(missing_ok=True)
        self.state_dir.rmdir()

    def _do(self, text: str, act: Any) -> None:
        if not self.check:
            act()
        self.actions.append(f"would be: {text}" if self.check else text)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "state_dir": {"type": "path", "required": True},
            "run_dir": {"type": "path", "required": True},
            "bridge": {"type": "str", "required": True},
            "address": {"type": "str"},
            "links": {"type": "dict", "default": {}},
            "record": {"type": "dict", "default": {}},
        },
        required_if=[("state", "present", ["address"])],
        supports_check_mode=True,
    )
    host = Host(module)
    try:
        more = {}
        if module.params["state"] == "present":
            more = {"host_before": host.present()["host_before"], "machines": host.machines()}
        else:
            host.absent()
    except (LabError, OSError) as error:
        module.fail_json(msg=str(error), actions=host.actions)
    module.exit_json(changed=bool(host.actions), actions=host.actions, cgroup=lab_cgroup.mode(), **more)


if __name__ == "__main__":
    main()
