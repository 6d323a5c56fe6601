#!/usr/bin/env python3
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Benchmark of onboarding on the lab's VMs, eight of them (make lab LAB_VMS=8).

onboard          playbooks/onboard.yml, from bare VMs to healthy entries, against tools/bench/onboard.sh, which does the same
onboard-nothing  the same playbook with nothing to do, against its first run
onboard-trips    round trips for each VM with nothing to do, against 1
renew-trips      the same of playbooks/renew.yml

Told besides, without a target: what Ansible itself takes for the three modules that no playbook can do without (look at the
machines, change them, prove them), if these did nothing at all. Added to the script's time that is the least there can be.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time

from common import Report, say, timed, told

VMS = 8
# Whatever else the machine does makes a time longer, never shorter: the best of so many counts, on both sides.
ROUNDS = 3
ADDRESSES = [f"10.88.0.{20 + number}" for number in range(1, VMS + 1)]
RELEASES = "http://10.88.0.10:8000/releases"
VERSION = "1.31.0-lab"


def run(*command: str, quiet: bool = True) -> str:
    """Runs a program; ends the benchmark where it fails."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stdout[-4000:]}")
    return done.stdout


def play(playbook: str, *arguments: str) -> str:
    """Runs a playbook as a user does, with as many forks as there are VMs; without the look from a pod, which the script does not
    take either."""
    return run("ansible-playbook", playbook, "--forks", str(VMS), "-e", '{"vm_sidecar_verify_from": null}', *arguments)


def wait_until_healthy() -> None:
    """Waits for a healthy entry of each VM."""
    deadline = time.monotonic() + 120
    while True:
        entries = json.loads(run("kubectl", "get", "workloadentries", "-n", "chapter10vm", "-o", "json"))["items"]
        conditions = [item for entry in entries for item in (entry.get("status") or {}).get("conditions") or []]
        if sum(item["type"] == "Healthy" and item["status"] == "True" for item in conditions) == VMS:
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"after two minutes not all of {VMS} VMs are healthy")
        time.sleep(0.2)


def bare() -> None:
    """Bare VMs, and no entry of theirs."""
    play("lab/reset.yml", "-e", "lab_reset=mesh_vms")
    run("kubectl", "delete", "workloadentries", "-n", "chapter10vm", "--all")


def ours() -> None:
    play("playbooks/onboard.yml")
    wait_until_healthy()


def theirs() -> None:
    gateway = run(
        "kubectl",
        "get",
        "svc",
        "-n",
        "istio-system",
        "istio-eastwestgateway",
        "-o",
        "jsonpath={.status.loadBalancer.ingress[0].ip}",
    )
    run("tools/bench/onboard.sh", RELEASES, VERSION, gateway, *ADDRESSES)
    wait_until_healthy()


def floor() -> None:
    """Three modules that do nothing, on all VMs."""
    run("ansible-playbook", "tools/bench/floor.yml", "--forks", str(VMS))


def trips(output: str) -> float:
    """Round trips of the busiest VM."""
    return float(
        max(len(re.findall(rf"^<{re.escape(address)}> SSH: EXEC ", output, re.MULTILINE)) for address in ADDRESSES)
    )


def main() -> int:
    """Runs the benchmark."""
    os.environ["PATH"] = os.path.dirname(os.environ["LAB_ISTIOCTLS"].split(":")[0]) + ":" + os.environ["PATH"]
    hosts = json.loads(run("ansible-inventory", "--list"))["mesh_vms"]["hosts"]
    if len(hosts) != VMS:
        raise SystemExit(f"the lab has {len(hosts)} VMs, {VMS} are needed: make lab-down, then make lab LAB_VMS={VMS}")
    report = Report()
    play("playbooks/mesh.yml")
    bare()
    # Whatever is read for the first time is read now: the group, istioctl, the package.
    play("playbooks/onboard.yml")
    first, script, again, least = [], [], [], []
    for _round in range(ROUNDS):
        bare()
        script.append(timed(theirs))
        bare()
        first.append(timed(ours))
        again.append(timed(lambda: play("playbooks/onboard.yml")))
        least.append(timed(floor))
    told(f"the script, {VMS} VMs from bare to healthy", script)
    told(f"playbooks/onboard.yml, {VMS} VMs from bare to healthy", first)
    told("playbooks/onboard.yml with nothing to do", again)
    told("three modules that do nothing", least)
    say(f"about the least that a playbook can reach: {(min(script) + min(least)) / min(script):.3g} times the script")
    report.ratio("onboard", min(first), min(script), 1.25)
    report.ratio("onboard-nothing", min(again), min(first), 0.2)
    report.ratio("onboard-trips", trips(play("playbooks/onboard.yml", "-vvv")), 1, 1)
    report.ratio("renew-trips", trips(play("playbooks/renew.yml", "-vvv")), 1, 1)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
