# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the module sidecar_proof: what is confirmed, and when."""

from __future__ import annotations

import socket

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.hybridmesh.istio.plugins.modules import sidecar_proof

GOOD = {"check": "dns", "ok": True, "found": "", "expected": "", "next_step": ""}
BAD = {**GOOD, "ok": False}


class Exit(Exception):
    """The module has ended."""


class Machine:
    """Answers the module's looks with these verdicts, and its programs with this exit status."""

    def __init__(self, verdicts, code):
        self.verdicts, self.code = verdicts, code
        self.asked = []
        self.commands = []

    def prove(self, run, wanted, deadline):
        self.asked.append(wanted)
        return self.verdicts

    def run_command(self, command):
        self.commands.append(command)
        return self.code, "", "istio-capture: too late" if self.code else ""


@pytest.fixture
def machine(monkeypatch):
    made = Machine([GOOD], 0)
    monkeypatch.setattr(sidecar_proof._vm_facts, "sidecar_user", lambda: (1, 1))
    monkeypatch.setattr(sidecar_proof._proof, "prove", made.prove)
    monkeypatch.setattr(basic.AnsibleModule, "run_command", made.run_command)
    return made


def run(check=False, **options):
    ended = {}

    def end(_module, **result):
        ended.update(result)
        raise Exit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(basic.AnsibleModule, "exit_json", end)
        patch.setattr(basic.AnsibleModule, "fail_json", end)
        arguments = {"mesh_name": "istiod.istio-system.svc", "roots": "PEM", **options, "_ansible_check_mode": check}
        with patch_module_args(arguments), pytest.raises(Exit):
            sidecar_proof.main()
    return ended


def test_what_is_well_is_confirmed(machine):
    assert run(confirm=True) == {"changed": True, "proof": [GOOD]}
    assert machine.commands == [["/usr/local/sbin/istio-capture", "confirm"]]


@pytest.mark.parametrize(
    ("verdicts", "check", "confirm"), [([GOOD, BAD], False, True), ([GOOD], True, True), ([GOOD], False, False)]
)
def test_nothing_else_is(machine, verdicts, check, confirm):
    machine.verdicts = verdicts
    assert run(check=check, confirm=confirm) == {"changed": False, "proof": verdicts}
    assert machine.commands == []


def test_a_confirmation_that_comes_too_late_is_a_failure(machine):
    machine.code = 1
    assert run(confirm=True) == {"msg": "istio-capture: too late"}


def test_the_machine_s_own_name_is_looked_up_by_default(machine):
    run()
    assert machine.asked[0].names == [socket.gethostname()]
    assert machine.asked[0].mesh_port == 15012


def test_no_proof_on_a_machine_without_a_sidecar(monkeypatch):
    monkeypatch.setattr(sidecar_proof._vm_facts, "sidecar_user", lambda: None)
    assert "istio-proxy" in run()["msg"]
