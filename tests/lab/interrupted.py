# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of playbooks into which something happens: at a task's beginning, or after so many seconds."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
import typing as t

from .conftest import PROJECT, Lab

DNS = "python3 -c 'import socket; print(socket.gethostbyname(\"vm2.lab.test\"))'"


def play(
    playbook: str,
    *arguments: str,
    at: str | None = None,
    after: float = 0.0,
    then: t.Callable[[subprocess.Popen[str]], None],
    variables: t.Mapping[str, t.Any] | None = None,
) -> tuple[int, str]:
    """Runs a playbook; when a task whose name holds `at` begins (at once if None), and `after` seconds more have passed, `then`
    is called with the process. Returns its status and output. Whether `then` was called at all is for the caller to see.
    """
    command = ["ansible-playbook", playbook, *arguments, "-e", json.dumps(variables or {})]
    process = subprocess.Popen(
        command,
        cwd=PROJECT,
        env={**os.environ, "ANSIBLE_FORCE_COLOR": "0", "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    timers = []

    def fire() -> None:
        timer = threading.Timer(after, then, [process])
        timers.append(timer)
        timer.start()

    if at is None:
        fire()
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if at is not None and not timers and line.startswith("TASK [") and at in line:
            fire()
    code = process.wait()
    for timer in timers:
        timer.cancel()
        timer.join()
    return code, "".join(lines)


def kill(process: subprocess.Popen[str]) -> None:
    """Ends the controller and all its workers at once, with no chance to tidy up."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def works_as_before(lab: Lab, machine: str) -> str | None:
    """Why a machine does not work as it did without a sidecar; None where it does. Over a new ssh connection."""
    checks = {
        "a file over plain HTTP": "curl -sf -m 5 -o /dev/null http://10.88.0.10:8000/releases/",
        "a name by DNS": DNS,
        "a port of its own": "curl -sf -m 5 -o /dev/null http://127.0.0.1:10000/",
    }
    for what, check in checks.items():
        if not lab.ssh(machine, f"{check} && echo well || true").strip().endswith("well"):
            return what
    rules = lab.ssh(
        machine,
        "iptables-save; iptables-legacy-save; ip6tables-save; ip6tables-legacy-save; nft list tables 2>/dev/null",
    )
    return "rules are left" if "ISTIO" in rules or "istio-proxy" in rules else None


def wait_as_before(lab: Lab, machine: str, seconds: float) -> float:
    """Waits until the machine works as before; returns how long that took."""
    started = time.monotonic()
    while (wrong := works_as_before(lab, machine)) is not None:
        assert time.monotonic() - started < seconds, f"{machine} after {seconds} s: {wrong}"
        time.sleep(0.5)
    return round(time.monotonic() - started, 1)


def reboot(lab: Lab, machine: str) -> None:
    """Reboots a machine and waits until it answers again."""
    boot = lab.ssh(machine, "cat /proc/1/stat | cut -d' ' -f22")
    lab.ssh(machine, "systemd-run --quiet --on-active=1 systemctl reboot")
    deadline = time.monotonic() + 90
    while True:
        time.sleep(1)
        seen = lab.ssh(machine, "cat /proc/1/stat | cut -d' ' -f22", check=False)
        if seen and seen != boot:
            return
        assert time.monotonic() < deadline, f"{machine} does not come back"
