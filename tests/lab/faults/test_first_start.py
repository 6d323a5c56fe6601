# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever happens during the first start: within the timer's span the machine works as it did before, and a second run ends well."""

from __future__ import annotations

import random
import subprocess
import time

import pytest

from ..conftest import Lab
from ..interrupted import kill, play, reboot, wait_as_before, works_as_before

VM = "vm1"
READY, CONFIRM = 15, 10
OPTIONS = {"vm_sidecar_ready_timeout": READY, "vm_sidecar_confirm_timeout": CONFIRM}
# The timer, what it takes to stop, and a little for the test itself.
SPAN = READY + CONFIRM + 15
ONBOARD = ("playbooks/onboard.yml", "--limit", VM)

# Where the controller is killed: a task's name, and seconds after it began.
BOUNDARIES = [
    ("Preflight | Look at the machine", 0.0),
    ("Token | Create one for each machine", 0.0),
    # One call for package, files and start: about half a second each, on a machine with nothing else to do.
    ("Change | Install the package", 0.0),
    ("Change | Install the package", 0.5),
    ("Change | Install the package", 1.0),
    ("Change | Install the package", 1.5),
    ("Change | Install the package", 2.0),
    ("Change | Install the package", 3.0),
    # And one for the proof and the confirmation.
    ("Verify | Look through the capture", 0.0),
    ("Verify | Look through the capture", 0.3),
    ("Verify | Look through the capture", 0.6),
]
SEED = random.SystemRandom().randrange(10**6)


def converges(lab: Lab) -> None:
    run = lab.playbook(*ONBOARD)
    assert run.code == 0, run.output
    again = lab.playbook(*ONBOARD)
    assert again.changed == 0, again.output
    assert "capture: on" in lab.ssh(VM, "istio-capture status")


def settled(lab: Lab) -> None:
    """The machine works as before, or it was confirmed in time and works with the sidecar."""
    deadline = time.monotonic() + SPAN
    while True:
        enabled = lab.ssh(VM, "systemctl is-enabled istio-capture 2> /dev/null || true").strip() == "enabled"
        armed = "hybridmesh-deadman.timer" in lab.ssh(VM, "systemctl list-timers --no-legend --all")
        wrong = works_as_before(lab, VM)
        if not armed and (wrong is None or (enabled and wrong == "rules are left")):
            return
        assert time.monotonic() < deadline, wrong or "the timer is still armed"
        time.sleep(0.5)


@pytest.mark.parametrize(("task", "after"), BOUNDARIES)
def test_the_controller_is_killed(mesh: Lab, task: str, after: float) -> None:
    mesh.reset(VM)
    code, output = play(*ONBOARD, at=task, after=after, then=kill, variables=OPTIONS)
    assert task in output
    assert code != 0 or after > 0, output
    settled(mesh)
    converges(mesh)


def test_the_controller_is_killed_at_random_points(mesh: Lab) -> None:
    dice = random.Random(SEED)
    print(f"seed {SEED}")
    for number in range(20):
        if number % 5 == 0:
            mesh.reset(VM)
        moment = round(dice.uniform(0.5, 14), 2)
        print(f"killed after {moment} s")
        # Each begins where the one before was killed: a run that is repeated takes up what was left.
        play(*ONBOARD, then=kill, after=moment, variables=OPTIONS)
        settled(mesh)
    converges(mesh)


def test_the_gateway_goes_away_meanwhile(mesh: Lab) -> None:
    mesh.reset(VM)

    def block(_process: subprocess.Popen[str]) -> None:
        mesh.ssh(VM, "iptables -I OUTPUT -p tcp --dport 15012 -j DROP")

    code, output = play(*ONBOARD, at="Change | Install the package", then=block, variables=OPTIONS)
    assert code != 0, output
    assert "the sidecar is not ready after" in " ".join(output.split()), output
    wait_as_before(mesh, VM, SPAN)
    mesh.ssh(VM, "iptables -D OUTPUT -p tcp --dport 15012 -j DROP")
    converges(mesh)


def test_istiod_goes_away_meanwhile(mesh: Lab) -> None:
    mesh.reset(VM)
    where = ["-n", "istio-system", "deployment/istiod"]

    def stop(_process: subprocess.Popen[str]) -> None:
        mesh.kubectl("delete", "hpa", "-n", "istio-system", "istiod", "--ignore-not-found")
        mesh.kubectl("scale", *where, "--replicas=0")

    code, output = play(*ONBOARD, at="Change | Install the package", then=stop, variables=OPTIONS)
    try:
        assert code != 0, output
        wait_as_before(mesh, VM, SPAN)
    finally:
        mesh.kubectl("scale", *where, "--replicas=1")
        mesh.kubectl("rollout", "status", *where, "--timeout=90s")
    time.sleep(5)
    converges(mesh)


def test_issue_48311_the_token_is_bad(mesh: Lab) -> None:
    mesh.reset(VM)
    spoil = (
        "while :; do for f in /run/secrets/tokens/istio-token; do [ -s $f ] && echo bad > $f; done; sleep 0.02; done"
    )
    mesh.ssh(VM, f"systemd-run --quiet --unit=spoiler bash -c '{spoil}'")
    run = mesh.playbook(*ONBOARD, variables=OPTIONS)
    assert run.code != 0
    assert "the sidecar is not ready after" in run.words, run.output
    wait_as_before(mesh, VM, SPAN)
    mesh.ssh(VM, "systemctl stop spoiler")
    converges(mesh)


def test_the_machine_reboots_in_the_middle(mesh: Lab) -> None:
    mesh.reset(VM)
    code, _output = play(
        *ONBOARD,
        at="Verify | Look through the capture",
        then=lambda _process: mesh.ssh(VM, "systemctl reboot --force", check=False),
        variables=OPTIONS,
    )
    assert code != 0
    time.sleep(2)
    deadline = time.monotonic() + 60
    while not mesh.ssh(VM, "echo up", check=False):
        assert time.monotonic() < deadline
        time.sleep(1)
    wait_as_before(mesh, VM, 15)
    assert mesh.ssh(VM, "systemctl is-active istio || true").strip() in ("inactive", "failed")
    converges(mesh)


@pytest.fixture
def gateway_down(mesh: Lab):
    where = ["-n", "istio-system", "deployment/istio-eastwestgateway"]

    def down() -> None:
        mesh.kubectl("delete", "hpa", "-n", "istio-system", "istio-eastwestgateway", "--ignore-not-found")
        mesh.kubectl("scale", *where, "--replicas=0")

    def up() -> None:
        mesh.kubectl("scale", *where, "--replicas=2")
        mesh.kubectl("rollout", "status", *where, "--timeout=90s")

    yield down, up
    up()


def captured(lab: Lab) -> bool:
    return "capture: on" in lab.ssh(VM, "istio-capture status")


def wait_captured(lab: Lab, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not captured(lab):
        assert time.monotonic() < deadline
        time.sleep(1)


def test_issue_43276_29224_42603_a_reboot_with_the_gateway_down_leaves_the_machine_working(
    mesh: Lab, gateway_down
) -> None:
    """istio/istio#43276, #29224, #42603: DNS failed while istiod could not be reached."""
    down, up = gateway_down
    converges(mesh)
    down()
    reboot(mesh, VM)
    wait_as_before(mesh, VM, 5)
    up()
    # By itself, as soon as the sidecar has its configuration.
    wait_captured(mesh)


def test_settings_that_can_not_be_read_leave_the_machine_working(mesh: Lab) -> None:
    converges(mesh)
    mesh.ssh(VM, 'echo "X=\'unfinished" >> /var/lib/istio/envoy/cluster.env; systemctl restart istio')
    wait_as_before(mesh, VM, 20)
    reboot(mesh, VM)
    wait_as_before(mesh, VM, 5)
    converges(mesh)


def test_issue_33454_a_crashed_agent_leaves_the_machine_working(mesh: Lab) -> None:
    """istio/istio#33454: a crashed agent blocked all outbound traffic."""
    converges(mesh)
    mesh.ssh(VM, "systemctl kill --signal=KILL istio")
    wait_as_before(mesh, VM, 5)
    wait_captured(mesh)


def test_fail_mode_closed_keeps_captured_ports_shut(mesh: Lab, gateway_down) -> None:
    down, up = gateway_down
    run = mesh.playbook(*ONBOARD, variables={"vm_sidecar_fail_mode": "closed"})
    assert run.code == 0, run.output
    down()
    reboot(mesh, VM)
    # ssh answers, as the reboot was seen to end; what is captured does not.
    assert captured(mesh)
    wrong = mesh.ssh("cluster1", "curl -s -m 3 -o /dev/null http://10.88.0.21:10000/ && echo open || echo shut").strip()
    assert wrong == "shut"
    up()
    mesh.ssh(VM, "systemctl restart istio")
    converges_open = mesh.playbook(*ONBOARD)
    assert converges_open.code == 0, converges_open.output
    converges(mesh)
