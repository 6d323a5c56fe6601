#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A systemd-nspawn machine of the lab, as declared."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_machine
short_description: A systemd-nspawn machine of the lab, as declared
version_added: 0.1.0
description:
  - Runs on the host. Writes the machine's own files into its root file system, starts it, and waits until its sshd answers.
  - The root file system is an overlay over one that all machines share, so a machine costs next to nothing and is bare again in seconds.
  - A machine whose files or settings differ from what is declared is started again; one whose base file system was rebuilt is made anew.
options:
  name:
    description: Name of the machine and its host name.
    type: str
    required: true
  state:
    description: V(running) makes and starts it, V(stopped) kills it and leaves its files, V(absent) kills and deletes it.
    type: str
    choices: [running, stopped, absent]
    default: running
  state_dir:
    description: Folder of the lab's state on the host.
    type: path
    required: true
  run_dir:
    description: Folder for pid files, empty after a reboot of the host.
    type: path
    required: true
  supervisor:
    description: Path of C(supervise.py). Needed to start.
    type: path
  rootfs:
    description: Folder with the root file system to lay the machine's own files over. Never written to.
    type: path
  address:
    description: Address on which sshd answers.
    type: str
  bridge:
    description: The host's bridge that the machine is plugged into.
    type: str
  arguments:
    description: More arguments for systemd-nspawn.
    type: list
    elements: str
    default: []
  environment:
    description: More environment variables for systemd-nspawn.
    type: dict
    default: {}
  binds:
    description: Files and folders of the host that the machine sees.
    type: list
    elements: dict
    default: []
    suboptions:
      source:
        description: Path on the host.
        type: path
        required: true
      target:
        description: Path in the machine.
        type: str
        required: true
      writable:
        description: Whether the machine may write there.
        type: bool
        default: false
  data:
    description: Folders of the machine that live on the host's file system instead of the overlay. They go with the machine.
    type: list
    elements: str
    default: []
  files:
    description:
      - Path in the machine -> a string (the content), or a dict with one of C(content), C(source) (a file of the host), C(link) (a symbolic
        link's target) and, if wanted, C(mode) (octal, as a string, default V(0644)) and C(keep) (only written when the machine is made, default V(false)).
      - All belong to root. Their names may not lead through a symbolic link.
    type: dict
    default: {}
  timeout:
    description: Seconds to wait for sshd. An idle host needs two or three of them, but many machines may be starting at once.
    type: int
    default: 180
author:
  - hybridmesh.istio contributors (@hybridmesh)
"""

EXAMPLES = r"""
- name: Machine | Run it
  lab_machine:
    name: vm1
    state_dir: /var/lib/hybridmesh-lab
    run_dir: /run/hybridmesh-lab
    supervisor: "{{ role_path }}/files/supervise.py"
    rootfs: /root/.cache/hybridmesh/rootfs/bookworm-1234
    bridge: hmlab0
    address: 10.88.0.21
    files:
      /etc/hostname: vm1
"""

RETURN = r"""
actions:
  description: What was done, in words.
  returned: always
  type: list
  elements: str
  sample: [made, started]
"""

import contextlib  # noqa: E402
import fcntl  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import shutil  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402
import stat  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils import lab_cgroup, lab_supervisor  # noqa: E402
from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.lab_error import LabError  # noqa: E402


class WantedFile:
    """One declared file of a machine."""

    def __init__(self, path: str, declared: Any) -> None:
        fields = {"content": declared} if isinstance(declared, str) else dict(declared)
        self.path = Path(path.lstrip("/"))
        self.keep = bool(fields.get("keep", False))
        self.mode = int(str(fields.get("mode", "0644")), 8)
        self.link: str | None = fields.get("link")
        self.content = b""
        if "source" in fields:
            self.content = Path(fields["source"]).read_bytes()
        elif self.link is None:
            self.content = fields["content"].encode()

    def found_in(self, layers: list[Path]) -> bool:
        """Whether the machine has exactly this (or, for a file to keep, anything), seen through its layers, uppermost first."""
        for layer in layers:
            place = layer / self.path
            try:
                status = place.lstat()
            except (FileNotFoundError, NotADirectoryError):
                continue
            if stat.S_ISCHR(status.st_mode):  # overlayfs: deleted in this layer
                return False
            if self.keep:
                return True
            if stat.S_ISLNK(status.st_mode):
                return self.link is not None and os.readlink(place) == self.link
            if self.link is not None or not stat.S_ISREG(status.st_mode):
                return False
            return stat.S_IMODE(status.st_mode) == self.mode and place.read_bytes() == self.content
        return False

    def write(self, layers: list[Path]) -> None:
        """Write it into the uppermost layer, atomically."""
        place = layers[0]
        for part in self.path.parent.parts:
            place /= part
            self._make_folder(place, [layer / place.relative_to(layers[0]) for layer in layers[1:]])
        place /= self.path.name
        beside = place.with_name(f".{place.name}.lab")
        beside.unlink(missing_ok=True)
        if self.link is not None:
            beside.symlink_to(self.link)
        else:
            with open(beside, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as stream:
                stream.write(self.content)
                os.fchmod(stream.fileno(), self.mode)
        beside.replace(place)

    def _make_folder(self, place: Path, below: list[Path]) -> None:
        if place.is_dir() and not place.is_symlink():
            return
        for lower in below:
            if lower.is_symlink():
                raise LabError(
                    f"/{self.path} leads through the symbolic link {lower}.",
                    "a path without links, because it is written before the machine runs.",
                    "name the file by its real path.",
                )
        place.mkdir(mode=0o755)
        for lower in below:
            if lower.is_dir():  # the overlay shows the upper folder's owner and mode
                status = lower.stat()
                os.chown(place, status.st_uid, status.st_gid)
                place.chmod(stat.S_IMODE(status.st_mode))
                return


class Machine:
    """The machine on this host: its folder, its supervisor, its control group."""

    def __init__(self, module: AnsibleModule) -> None:
        self.options = module.params
        self.name: str = self.options["name"]
        self.folder = Path(self.options["state_dir"], "machines", self.name)
        self.run_dir = Path(self.options["run_dir"])
        self.pid_file = self.run_dir / f"{self.name}.pid"

    def spec(self) -> dict[str, Any]:
        """What the supervisor has to know."""
        return {
            "name": self.name,
            # The host's end of the cable is called vb-LINK, and a link's name has 15 characters at most.
            "link": f"hml-{self.name}"[:12],
            "lower": self.options["rootfs"],
            "bridge": self.options["bridge"],
            "pid_file": str(self.pid_file),
            **{key: self.options[key] for key in ("arguments", "environment", "binds", "data")},
        }

    def spec_before(self) -> dict[str, Any] | None:
        """What the machine was made with, or None where there is no machine."""
        try:
            return json.loads((self.folder / "machine.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def supervisor(self) -> int | None:
        """The supervisor's process, or None where the machine is not running."""
        return lab_supervisor.find(self.pid_file)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """One at a time: two runs must not make, mend or delete the same machine at once."""
        if not self.run_dir.is_dir():
            yield
            return
        with open(self.run_dir / f"{self.name}.lock", "w", encoding="ascii") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def layers(self) -> list[Path]:
        """Where the machine's files are seen and written."""
        pid = self.supervisor()
        if pid:  # the overlay is mounted in the supervisor's mount namespace, and the layers must be left alone
            return [Path(f"/proc/{pid}/root{self.folder}/root")]
        return [self.folder / "upper", Path(self.options["rootfs"])]

    def stop(self) -> bool:
        """Kill it with everything in it; returns whether anything ran."""
        ran = bool(lab_cgroup.processes(self.name))
        pid = self.supervisor()
        if pid:
            os.kill(pid, signal.SIGKILL)
            ran = True
        end = time.monotonic() + 10
        while self.supervisor() and time.monotonic() < end:
            time.sleep(0.02)
        lab_cgroup.kill(self.name)
        lab_cgroup.remove(self.name)
        lab_supervisor.end_connections(self.run_dir)
        return ran

    def delete(self) -> bool:
        """Delete its folder; returns whether there was one."""
        self.pid_file.unlink(missing_ok=True)
        try:
            shutil.rmtree(self.folder)
        except FileNotFoundError:
            return False
        return True

    def make(self) -> None:
        """Make the machine's folders, and write down what it is made of."""
        for name, mode in (("upper", 0o755), ("work", 0o755), ("root", 0o755)):
            (self.folder / name).mkdir(mode=mode, parents=True, exist_ok=True)
        beside = self.folder / ".machine.json"
        beside.write_text(json.dumps(self.spec(), indent=2, sort_keys=True) + "\n", encoding="utf-8")
        beside.replace(self.folder / "machine.json")

    def start(self) -> None:
        """Start its supervisor, which outlives this module."""
        self.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.pid_file.unlink(missing_ok=True)
        words = ["unshare", "--mount", "--propagation", "slave", "--", sys.executable]
        with open(self.folder / "console.log", "wb") as console:
            subprocess.Popen(
                [*words, self.options["supervisor"], str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                cwd="/",
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until its sshd answers."""
        begin = time.monotonic()
        while time.monotonic() - begin < self.options["timeout"]:
            try:
                with socket.create_connection((self.options["address"], 22), timeout=2) as connection:
                    if connection.recv(4) == b"SSH-":
                        return
            except OSError:
                pass
            # The supervisor gets a few seconds to take its lock before its absence means that it failed.
            if time.monotonic() - begin > 5 and not self.supervisor():
                break
            time.sleep(0.05)
        tail = " / ".join(self.console()[-8:])
        state = "runs, but" if self.supervisor() else "ended, and"
        raise LabError(
            f"the machine {self.name} {state} its sshd did not answer on {self.options['address']}. It said last: {tail}",
            f"an answer within {self.options['timeout']} s.",
            f"read {self.folder}/console.log; `make lab-down lab` makes everything anew.",
        )

    def console(self) -> list[str]:
        """What was last on its console."""
        text = (self.folder / "console.log").read_text(encoding="utf-8", errors="replace")
        return [line.strip() for line in text.splitlines() if line.strip()]


def absent(module: AnsibleModule, machine: Machine) -> list[str]:
    """Kill and delete."""
    if module.check_mode:
        return ["would be deleted"] if machine.folder.exists() or machine.supervisor() else []
    actions = []
    if machine.stop():
        actions.append("killed")
    if machine.delete():
        actions.append("deleted")
    return actions


def stopped(module: AnsibleModule, machine: Machine) -> list[str]:
    """Kill it, as if its power went."""
    if module.check_mode:
        return ["would be killed"] if machine.supervisor() else []
    return ["killed"] if machine.stop() else []


def running(module: AnsibleModule, machine: Machine) -> list[str]:
    """Make it, mend it, start it: only what is missing."""
    actions = []
    before = machine.spec_before()
    wanted = machine.spec()
    anew = before is not None and before["lower"] != wanted["lower"]
    layers = machine.layers()
    files = [WantedFile(path, declared) for path, declared in sorted(module.params["files"].items())]
    drifted = [wanted_file for wanted_file in files if anew or not wanted_file.found_in(layers)]
    # At the first start the files are part of making it; the pid is what says that it runs.
    is_running = machine.supervisor() is not None
    if before is None:
        actions.append("made")
    elif anew:
        actions.append("made anew over another root file system")
    elif before != wanted:
        actions.append("settings changed")
    if before is not None and not anew:
        actions.extend(f"/{wanted_file.path} written" for wanted_file in drifted)
    if actions or not is_running:
        actions.append("started again" if is_running else "started")
    if module.check_mode:
        return [f"would be: {action}" for action in actions]
    if actions:
        machine.stop()
        if anew:
            machine.delete()
        machine.make()
        for wanted_file in drifted:
            wanted_file.write([machine.folder / "upper", Path(module.params["rootfs"])])
        machine.start()
    machine.wait()
    return actions


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["running", "stopped", "absent"], "default": "running"},
            "state_dir": {"type": "path", "required": True},
            "run_dir": {"type": "path", "required": True},
            "supervisor": {"type": "path"},
            "rootfs": {"type": "path"},
            "address": {"type": "str"},
            "bridge": {"type": "str"},
            "arguments": {"type": "list", "elements": "str", "default": []},
            "environment": {"type": "dict", "default": {}},
            "binds": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "source": {"type": "path", "required": True},
                    "target": {"type": "str", "required": True},
                    "writable": {"type": "bool", "default": False},
                },
            },
            "data": {"type": "list", "elements": "str", "default": []},
            "files": {"type": "dict", "default": {}},
            "timeout": {"type": "int", "default": 180},
        },
        required_if=[("state", "running", ["supervisor", "rootfs", "address", "bridge"])],
        supports_check_mode=True,
    )
    machine = Machine(module)
    try:
        with machine.lock():
            actions = {"running": running, "stopped": stopped, "absent": absent}[module.params["state"]](
                module, machine
            )
    except (LabError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(actions), actions=actions)


if __name__ == "__main__":
    main()
