# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep one lab machine running, for as long as this process lives.

Started by the module lab_machine as `unshare --mount --propagation slave python supervise.py FOLDER`, so it has a mount
namespace of its own. Everything that the machine needs mounted is mounted in there: the host never sees these mounts,
and the kernel takes them away with the last process, however that ends.

The machine is ours in two more ways: it runs in its own control group, and systemd-nspawn is killed by the kernel when this
process dies. A lock on the pid file says "running"; it can't outlive the process either.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "module_utils"))

import lab_cgroup

REBOOT = 133  # what systemd-nspawn exits with when the machine asked for a reboot and nobody else can start it again
PR_SET_PDEATHSIG = 1
NSPAWN_RUN = "/run/systemd/nspawn"
LIBC = ctypes.CDLL(None, use_errno=True)


def log(text: str) -> None:
    """One line to the machine's log (stderr is that file)."""
    print(f"supervise: {text}", file=sys.stderr, flush=True)


def mount(*arguments: str) -> None:
    """Mount something; the command's message goes to the log."""
    subprocess.run(["mount", *arguments], check=True)


def prepare(folder: Path, spec: dict[str, Any]) -> None:
    """Mount the machine's root file system, and a /run for nspawn that is surely in memory."""
    # nspawn refuses to reboot a machine ("Attempted to remove disk file system") unless its folder is on a tmpfs.
    mount("-t", "tmpfs", "-o", "mode=0755", "hybridmesh-lab", NSPAWN_RUN)
    layers = f"lowerdir={spec['lower']},upperdir={folder / 'upper'},workdir={folder / 'work'}"
    mount("-t", "overlay", "-o", layers, f"hybridmesh-lab-{spec['name']}", str(folder / "root"))


def command(folder: Path, spec: dict[str, Any]) -> list[str]:
    """The systemd-nspawn command line."""
    words = [
        "systemd-nspawn",
        "--quiet",
        "--boot",
        "--register=no",
        "--keep-unit",
        "--console=read-only",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        f"--directory={folder / 'root'}",
        f"--machine={spec['link']}",
        f"--hostname={spec['name']}",
        f"--network-bridge={spec['bridge']}",
        *spec["arguments"],
    ]
    for bind in spec["binds"]:
        words.append(f"--bind{'' if bind['writable'] else '-ro'}={bind['source']}:{bind['target']}")
    for target in spec["data"]:
        source = folder / "data" / target.strip("/").replace("/", "-")
        source.mkdir(parents=True, exist_ok=True)
        words.append(f"--bind={source}:{target}")
    return words


def unplug(spec: dict[str, Any]) -> None:
    """Take away the cable of a machine that was killed: the kernel does so only some time after its last process."""
    cable = f"vb-{spec['link']}"
    # Not by /sys, which may be that of another network namespace than ours.
    if cable in (name for _index, name in socket.if_nameindex()):
        # It may vanish by itself at this very moment; nspawn says so if it is still there.
        subprocess.run(["ip", "link", "delete", cable], check=False, stderr=subprocess.DEVNULL)


def run(folder: Path, spec: dict[str, Any]) -> int:
    """Run the machine once, until it is switched off or reboots."""
    me = os.getpid()

    def become_machine() -> None:
        lab_cgroup.enter(spec["name"])
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != me:  # the supervisor died before the line above
            os._exit(1)

    lab_cgroup.make(spec["name"])
    unplug(spec)
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        # Only /proc/sys/net is writable inside. With "yes" instead, /sys is, too, and systemd-networkd waits for udev for ever.
        "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
        **spec["environment"],
    }
    process = subprocess.Popen(  # the child does next to nothing between fork and exec, and there are no threads
        command(folder, spec), stdin=subprocess.DEVNULL, env=environment, preexec_fn=become_machine
    )
    status = process.wait()
    # What the machine left in its groups (a killed nspawn leaves processes for a moment) must not be there at the next start.
    lab_cgroup.kill(spec["name"])
    lab_cgroup.remove(spec["name"])
    return status


def main(folder: Path) -> int:
    spec = json.loads((folder / "machine.json").read_text(encoding="utf-8"))
    with open(spec["pid_file"], "a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log("another supervisor runs this machine")
            return 1
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        lab_cgroup.make(lab_cgroup.SUPERVISORS)
        lab_cgroup.enter(lab_cgroup.SUPERVISORS)
        prepare(folder, spec)
        while True:
            log(f"starting {spec['name']}")
            status = run(folder, spec)
            log(f"{spec['name']} ended with status {status}")
            if status != REBOOT:
                return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
