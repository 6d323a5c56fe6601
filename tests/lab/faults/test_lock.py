# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several runs at once that install Istio and its gateway: one does, the others find it done."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import re
import signal
import subprocess
import time

import pytest

from ..conftest import Lab, Run
from ..interrupted import kill, play

LEASE = ("get", "lease", "hybridmesh-istio", "-n", "default", "-o", "json", "--ignore-not-found")
INSTALLS = ("Install | Istio as declared", "Install | The gateway, and istiod through it")


@pytest.fixture(name="empty")
def _empty(lab: Lab) -> Lab:
    lab.reset("cluster1")
    return lab


def changed_in(run: Run, task: str) -> bool:
    """Whether a task of a run changed something."""
    part = run.output.partition(f" : {task}]")[2].partition("TASK [")[0]
    assert "ok: [" in part or "changed: [" in part, run.output
    return "changed: [" in part


def holder(lab: Lab) -> str | None:
    """Who holds the lock."""
    found = lab.kubectl(*LEASE)
    return str(json.loads(found)["spec"]["holderIdentity"]) if found.strip() else None


def test_two_runs_at_once_install_everything_once(empty: Lab) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        runs = list(pool.map(lambda _number: empty.playbook("playbooks/mesh.yml"), range(2)))

    assert [run.code for run in runs] == [0, 0], "\n".join(run.output for run in runs)
    for task in INSTALLS:
        assert sorted(changed_in(run, task) for run in runs) == [False, True], task
    assert holder(empty) is None
    again = empty.playbook("playbooks/mesh.yml")
    assert (again.code, again.changed) == (0, 0), again.output


def test_one_that_is_killed_leaves_it_to_the_next(empty: Lab) -> None:
    held: list[str] = []

    def murder(process: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + 300
        while not (found := holder(empty)):
            assert time.monotonic() < deadline, "nobody took the lock"
            time.sleep(0.5)
        held.append(found)
        kill(process)
        # Workers and modules are in sessions of their own.
        number = re.search(r"process (\d+)", found)
        assert number
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(number[1]), signal.SIGKILL)

    code, output = play("playbooks/mesh.yml", then=murder)
    assert code, output
    assert holder(empty) == held[0]

    refused = empty.playbook("playbooks/mesh.yml", variables={"control_plane_lock_timeout": 1})
    assert refused.code, refused.output
    assert f"another run changes Istio or a gateway: {held[0]}" in refused.words
    assert "control_plane_lock_timeout" in refused.words
    done = empty.playbook("playbooks/mesh.yml")
    assert done.code == 0, done.output
    assert holder(empty) is None
