# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says whether this host can carry the lab, and which Debian packages it lacks.

Changes nothing, and is done in milliseconds.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

GIB = 1024**3


def os_release(path: Path = Path("/etc/os-release")) -> dict[str, str]:
    """What the distribution says of itself."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {name: value.strip().strip("\"'") for name, _, value in pairs}


def problem_with_host(uid: int, machine: str, release: Mapping[str, str], has_apt: bool) -> str | None:
    """What speaks against this host in principle."""
    family = {release.get("ID", ""), *release.get("ID_LIKE", "").split()}
    if "debian" not in family or not has_apt:
        name = release.get("PRETTY_NAME", "an unknown system")
        return f"The host runs {name}; the lab needs Debian 12 or later, or a descendant of it. Use such a machine."
    if machine != "x86_64":
        return f"The host's processor is {machine}; the lab is only built for x86_64. Use such a machine."
    if uid != 0:
        return f"This runs as user ID {uid}; the lab makes machines and networks. Start it as root, or with sudo."
    return None


def existing(path: Path) -> Path:
    """The path, or the closest folder above it that exists."""
    while not path.exists():
        path = path.parent
    return path


def meminfo(path: Path = Path("/proc/meminfo")) -> dict[str, int]:
    """The kernel's memory figures, in bytes."""
    figures = {}
    for line in path.read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        figures[name] = int(rest.split()[0]) * 1024
    return figures


def problem_with_size(what: str, found: int, wanted_gib: float, remedy: str) -> str | None:
    """What speaks against this much of something."""
    if found >= wanted_gib * GIB:
        return None
    return f"There are {found / GIB:.1f} GiB of {what}; the lab needs {wanted_gib:g} GiB. {remedy}"


def missing_packages(wanted: Sequence[str]) -> list[str]:
    """Those of the wanted packages that are not installed."""
    asked = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *wanted],
        check=False,  # it fails when one is unknown, which is what is asked
        capture_output=True,
        text=True,
    )
    installed = {line.split()[0] for line in asked.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in wanted if name not in installed]


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types here
    """The task's action."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(
            {
                "cache": {"type": "path", "required": True},
                "disk_gib": {"type": "float", "required": True},
                "memory_gib": {"type": "float", "required": True},
                "packages": {"type": "list", "elements": "str", "required": True},
            }
        )
        cache = Path(options["cache"])
        problem = problem_with_host(os.geteuid(), platform.machine(), os_release(), bool(shutil.which("apt-get")))
        if not problem:
            built = (cache / "lab" / "manifest.json").exists()
            memory = meminfo()
            place = existing(cache)
            problem = problem_with_size(
                f"free space in {place}",
                shutil.disk_usage(place).free,
                options["disk_gib"] / (3 if built else 1),
                "Make room, or name a roomier folder in HYBRIDMESH_CACHE.",
            ) or problem_with_size(
                # A lab that runs already has its share of what is available.
                "memory" if built else "available memory",
                memory["MemTotal" if built else "MemAvailable"],
                options["memory_gib"],
                "Stop something, or use a larger machine.",
            )
        if problem:
            result.update(failed=True, msg=problem)
            return result
        result["missing"] = missing_packages(options["packages"])
        return result
