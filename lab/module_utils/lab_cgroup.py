# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's control groups: one per machine, in every hierarchy of the host.

Everything a machine runs is born in its control group and can't leave it (the machine sees its group as the root).
So "kill whatever belongs to vm1" and "what is left of the lab" have exact answers, also after a supervisor was killed.

Only the standard library is used: the supervisors import this file as well.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from pathlib import Path

TOP = "hybridmesh-lab"
SUPERVISORS = "supervisors"
ROOT = Path("/sys/fs/cgroup")


def hierarchies(mountinfo: str = "/proc/self/mountinfo") -> dict[Path, str]:
    """Mount point -> file system type (cgroup or cgroup2) of each hierarchy of this host."""
    found: dict[Path, str] = {}
    with open(mountinfo, encoding="utf-8") as lines:
        for line in lines:
            before, _dash, after = line.partition(" - ")
            kind = after.split()[0]
            point = Path(before.split()[4])
            if kind in ("cgroup", "cgroup2") and (point == ROOT or ROOT in point.parents):
                found[point] = kind
    return found


def mode() -> str:
    """`v2`, `v1` or `v1 hybrid`, as systemd-nspawn will see it."""
    kinds = hierarchies()
    if kinds.get(ROOT) == "cgroup2":
        return "v2"
    return "v1 hybrid" if "cgroup2" in kinds.values() else "v1"


def _write(path: Path, value: str) -> None:
    with open(path, "w", encoding="ascii") as stream:
        stream.write(value)


def _inherit_cpuset(group: Path) -> None:
    # A new cgroup v1 cpuset is empty, and nothing can be put into it before it has processors and memory nodes.
    for name in ("cpuset.cpus", "cpuset.mems"):
        own, parent = group / name, group.parent / name
        if own.exists() and parent.exists() and not own.read_text().strip():
            _write(own, parent.read_text().strip())


def enabled(group: Path) -> set[str]:
    """Controllers that a cgroup v2 group hands to its children."""
    return set((group / "cgroup.subtree_control").read_text().split())


def _hand_down(group: Path) -> None:
    # Each controller apart: one that can't be handed down here must not keep the others from it.
    missing = set((group / "cgroup.controllers").read_text().split()) - enabled(group)
    for controller in sorted(missing & {"cpu", "cpuset", "io", "memory", "pids"}):
        try:
            _write(group / "cgroup.subtree_control", f"+{controller}")
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT):
                raise


def make(name: str) -> None:
    """Make the group `name` under the lab's own one, in every hierarchy."""
    for point, kind in hierarchies().items():
        if kind == "cgroup2" and point == ROOT:
            _hand_down(point)
        top = point / TOP
        for group in (top, top / name):
            group.mkdir(exist_ok=True)
            if kind == "cgroup":
                _inherit_cpuset(group)
        if kind == "cgroup2" and point == ROOT:
            _hand_down(top)


def enter(name: str) -> None:
    """Put the calling process into the group `name`, which must exist."""
    for point in hierarchies():
        _write(point / TOP / name / "cgroup.procs", "0")


def _tops(name: str | None) -> list[Path]:
    relative = TOP if name is None else f"{TOP}/{name}"
    return [point / relative for point in hierarchies() if (point / relative).is_dir()]


def processes(name: str | None = None) -> set[int]:
    """Every process in a machine's group, or in the whole lab's."""
    pids: set[int] = set()
    for top in _tops(name):
        for folder, _folders, _files in os.walk(top):
            try:
                pids.update(int(pid) for pid in (Path(folder) / "cgroup.procs").read_text().split())
            except OSError as error:
                # The group went away while it was read; a threaded v2 group has no list of processes.
                if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
                    raise
    pids.discard(0)
    return pids


def kill(name: str | None = None, timeout: float = 20.0) -> int:
    """Kill all processes of a group with SIGKILL; returns how many there were. Raises TimeoutError when some stay."""
    seen: set[int] = set()
    end = time.monotonic() + timeout
    while True:
        left = processes(name) - {os.getpid()}
        if not left:
            return len(seen)
        if time.monotonic() > end:
            raise TimeoutError(f"processes {sorted(left)} of the lab do not end")
        seen |= left
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def remove(name: str | None = None, timeout: float = 10.0) -> bool:
    """Remove an empty group with all below it; returns whether there was one."""
    tops = _tops(name)
    end = time.monotonic() + timeout
    for top in tops:
        for folder, _folders, _files in os.walk(top, topdown=False):
            while True:
                try:
                    os.rmdir(folder)
                except FileNotFoundError:
                    pass
                except OSError as error:
                    # The kernel needs a moment to take the last process out of a group.
                    if error.errno == errno.EBUSY and time.monotonic() < end:
                        time.sleep(0.02)
                        continue
                    raise
                break
    return bool(tops)
