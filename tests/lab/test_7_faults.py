# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three of the faults that `make test-faults` tries, so that every run of the tests has them: the one that would cut a machine off,
one of the application's, and one that somebody has to find."""

from __future__ import annotations

import json
import time

from .conftest import ADDRESSES, Lab
from .interrupted import kill, play, wait_as_before
from .traffic import from_pod

VM = "vm1"


def healthy(lab: Lab) -> bool:
    name = f"envoydummy-{ADDRESSES[VM]}-network1"
    entry = json.loads(lab.kubectl("get", "workloadentry", "-n", "chapter10vm", name, "-o", "json"))
    return [item["status"] for item in entry["status"]["conditions"] if item["type"] == "Healthy"] == ["True"]


def test_the_controller_is_killed_while_the_capture_is_on(mesh: Lab) -> None:
    mesh.reset(VM)
    options = {"vm_sidecar_ready_timeout": 15, "vm_sidecar_confirm_timeout": 10}
    code, output = play(
        "playbooks/onboard.yml", "--limit", VM, at="Verify | Look through the capture", then=kill, variables=options
    )
    assert code != 0, output
    # The timer on the machine, and what it takes to stop.
    wait_as_before(mesh, VM, 30)
    run = mesh.playbook("playbooks/onboard.yml", "--limit", VM)
    assert run.code == 0, run.output
    assert "capture: on" in mesh.ssh(VM, "istio-capture status")

    # In the same boot, systemd brings both back after a crash.
    mesh.ssh(VM, "systemctl kill --signal=KILL istio")
    wait_as_before(mesh, VM, 5)
    deadline = time.monotonic() + 60
    while "capture: on" not in mesh.ssh(VM, "istio-capture status"):
        assert time.monotonic() < deadline
        time.sleep(1)


def test_the_application_dies_is_diagnosed_and_comes_back(mesh: Lab) -> None:
    with from_pod() as traffic:
        mesh.ssh(VM, "systemctl stop lab-app")
        deadline = time.monotonic() + 60
        while healthy(mesh):
            assert time.monotonic() < deadline
            time.sleep(0.5)
        run = mesh.playbook("playbooks/diagnose.yml")
        assert run.code != 0
        assert f"{VM} - probe_fails - Health" in run.words, run.output
        assert "vm2 - well" in run.words, run.output
        mesh.ssh(VM, "systemctl start lab-app")
        while not healthy(mesh):
            assert time.monotonic() < deadline + 60
            time.sleep(0.5)
    traffic.told("the application of one of two VMs dies and comes back")


def test_an_entry_that_was_deleted_by_hand_is_found_and_mended(mesh: Lab, tmp_path) -> None:
    mesh.kubectl("delete", "workloadentry", "-n", "chapter10vm", f"envoydummy-{ADDRESSES[VM]}-network1")
    page = tmp_path / "ticket.html"
    run = mesh.playbook("playbooks/diagnose.yml", "--limit", VM, variables={"mesh_verify_diagnose_html": str(page)})
    assert f"{VM} - not_registered - WorkloadEntry" in run.words, run.output
    assert "not_registered" in page.read_text()
    assert mesh.playbook("playbooks/verify.yml", variables={"mesh_verify_timeout": 2}).code != 0

    run = mesh.playbook("playbooks/onboard.yml")
    assert run.code == 0, run.output
    assert mesh.playbook("playbooks/verify.yml").code == 0
