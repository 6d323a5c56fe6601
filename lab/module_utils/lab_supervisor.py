# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is a machine's supervisor there? And ssh's shared connections, which must not outlive the machines they lead to."""

from __future__ import annotations

import contextlib
import fcntl
import stat
import subprocess
import time
from pathlib import Path

from ansible.module_utils.lab_error import LabError


def find(pid_file: Path) -> int | None:
    """The process that holds the lock on this pid file, or None where the machine is not running."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            with open(pid_file, encoding="ascii") as stream:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
        except FileNotFoundError:
            return None
        except BlockingIOError:
            text = pid_file.read_text(encoding="ascii").strip()
            if text:
                return int(text)
        time.sleep(0.01)  # it has the lock and is about to write its number
    raise LabError(
        f"{pid_file} is locked but holds no process number.",
        "the supervisor's number in it.",
        "`make lab-down` ends all supervisors.",
    )


def end_connections(run_dir: Path) -> None:
    """End ssh's shared connections to the lab: one to a machine that is no more would let the next command hang."""
    for control in (run_dir / "ssh").glob("*"):
        # Machines end side by side, so somebody else may have ended this connection by now.
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(control.lstat().st_mode):
                continue
            subprocess.run(
                ["ssh", "-o", f"ControlPath={control}", "-O", "exit", "lab"], capture_output=True, check=False
            )
