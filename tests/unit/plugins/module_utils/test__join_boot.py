# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of a boot's tries, on a machine that is a folder."""

from __future__ import annotations

import base64
import json
import os
import pwd
import time

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import (
    _join,
    _join_boot,
    _join_source,
    _vm_facts,
    _vm_files,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

ME = pwd.getpwuid(os.geteuid()).pw_name
ROOT, OTHER = (
    "-----BEGIN CERTIFICATE-----\n" + base64.b64encode(text).decode() + "\n-----END CERTIFICATE-----\n"
    for text in (b"one", b"two")
)
CONFIG = {"names": ["istiod.istio-system.svc"], "proxy_config": {}, "refresh": 3600, "source": {}}


def token(seconds: float) -> str:
    claims = {"exp": time.time() + seconds, "aud": ["istio-ca"]}
    return "a." + base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode() + ".c"


class Machine:
    """The machine, and what its source says."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self.certificate = {"present": False}
        self.roots, self.token, self.problem = ROOT, token(3600), None
        self.asked_for_tokens = 0
        self.address = "192.0.2.21"
        self.proven = True
        self.commands = []
        for name in ("HOSTS", "UNIT_ENV", "ROOT_CERTIFICATE", "CERTIFICATE", "KEY", "TOKEN", "BYPASSED"):
            monkeypatch.setattr(_vm_files, name, str(folder) + getattr(_vm_files, name))
        monkeypatch.setattr(_vm_files, "USER", ME)
        folders = [item._replace(path=str(folder) + item.path, owner=ME) for item in _vm_files.FOLDERS]
        monkeypatch.setattr(_vm_files, "FOLDERS", folders)
        monkeypatch.setattr(_join, "JOINED", str(folder) + _join.JOINED)
        monkeypatch.setattr(_join_source, "ask", self.ask)
        monkeypatch.setattr(_vm_facts, "certificate", lambda _now: dict(self.certificate, roots=self.fingerprints()))
        monkeypatch.setattr(_join_boot._reach, "source_address", lambda _host: self.address)
        monkeypatch.setattr(_join_boot, "proven", lambda: self.proven)
        monkeypatch.setattr(_join_boot, "succeeds", lambda *command: self.commands.append(command) or True)
        real = _join_boot._atomic.Change
        monkeypatch.setattr(
            _join_boot._atomic,
            "Change",
            lambda *arguments, **keys: real(*arguments, **keys)._replace(owner=ME),
        )
        (folder / "etc").mkdir()
        (folder / "etc/hosts").write_text("127.0.0.1 localhost\n")

    def fingerprints(self):
        return _vm_files.fingerprints(_vm_facts.read(_vm_files.ROOT_CERTIFICATE) or "")

    def ask(self, _config):
        if self.problem:
            raise MeshError(self.problem, "something", "do something")

        def get():
            self.asked_for_tokens += 1
            return self.token

        return _join_source.Found(self.roots, ("192.0.2.7",), get)

    def read(self, path):
        file = self.folder / path
        return file.read_text() if file.exists() else None

    def certified(self):
        for path in ("etc/certs/key.pem", "etc/certs/cert-chain.pem"):
            (self.folder / path).write_text("x")
        self.certificate = {"present": True, "key": True, "valid": True, "remaining": 40000, "age": 0.4}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    if os.geteuid():
        pytest.skip("files have to be given to root")
    return Machine(tmp_path, monkeypatch)


def test_a_first_boot_gets_everything(machine):
    state = _join_boot.attempt(CONFIG)
    assert state.usable
    assert state.problem is None
    assert machine.read("var/run/secrets/tokens/istio-token") == machine.token
    assert (machine.folder / "var/run/secrets/tokens/istio-token").stat().st_mode & 0o777 == 0o600
    assert "ISTIO_SVC_IP=192.0.2.21" in machine.read("etc/hybridmesh/sidecar.env")
    assert machine.read("etc/certs/root-cert.pem") == ROOT
    assert "192.0.2.7 istiod.istio-system.svc" in machine.read("etc/hosts")


def test_with_a_good_certificate_no_token_is_got(machine):
    _join_boot.attempt(CONFIG)
    os.unlink(_vm_files.TOKEN)
    machine.certified()
    state = _join_boot.attempt(CONFIG)
    assert state == (True, [], None)
    assert machine.asked_for_tokens == 1
    assert machine.read("var/run/secrets/tokens/istio-token") is None


def test_a_source_that_is_gone_stops_only_who_needs_it(machine):
    machine.problem = "the server is gone"
    state = _join_boot.attempt(CONFIG)
    assert not state.usable
    assert "the server is gone" in (state.problem or "")
    machine.problem = None
    _join_boot.attempt(CONFIG)
    machine.certified()
    machine.problem = "the server is gone"
    machine.address = "192.0.2.99"
    state = _join_boot.attempt(CONFIG)
    # What the last boot left is enough, and the address is this boot's own.
    assert state.usable
    assert "ISTIO_SVC_IP=192.0.2.99" in machine.read("etc/hybridmesh/sidecar.env")


def test_another_root_makes_the_certificate_useless(machine):
    _join_boot.attempt(CONFIG)
    machine.certified()
    os.unlink(_vm_files.TOKEN)
    machine.roots = ROOT + OTHER
    assert _join_boot.attempt(CONFIG).restart == [_vm_files.ROOT_CERTIFICATE]
    assert machine.asked_for_tokens == 1
    machine.roots = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    state = _join_boot.attempt(CONFIG)
    assert state.usable
    assert _vm_files.CERTIFICATE in state.restart
    assert machine.read("etc/certs/key.pem") is None
    assert machine.asked_for_tokens == 2


@pytest.mark.parametrize("given", ["", token(-5), "a.b.c"])
def test_a_token_of_no_use_is_not_put_in_place(machine, given):
    machine.token = given
    state = _join_boot.attempt(CONFIG)
    assert not state.usable
    assert "no use" in (state.problem or "")
    assert machine.read("var/run/secrets/tokens/istio-token") is None


def test_a_check_asks_only_where_something_is_due(machine, monkeypatch):
    _join_boot.attempt(CONFIG)
    machine.certified()
    monkeypatch.setattr(_join_source, "ask", lambda _config: pytest.fail("asked"))
    assert _join_boot.check(CONFIG) == 0
    machine.proven = False
    machine.address = "192.0.2.99"
    assert _join_boot.check(CONFIG) == 0
    machine.proven = True
    monkeypatch.setattr(_join_source, "ask", machine.ask)
    assert _join_boot.check(CONFIG) == 0
    assert machine.commands == [("systemctl", "restart", "istio.service")]
    # A clock that was set back is no reason to wait for hours.
    with open(_join.JOINED, "w", encoding="ascii") as stream:
        stream.write(str(time.time() + 10000))
    machine.problem = "asked"
    assert _join_boot.check(CONFIG) == 0


def test_somebody_s_bypass_is_respected(machine):
    os.makedirs(os.path.dirname(_vm_files.BYPASSED))
    with open(_vm_files.BYPASSED, "w", encoding="ascii") as stream:
        stream.write("by hand")
    assert _join_boot.boot(CONFIG) == 0
    assert machine.read("etc/hybridmesh/sidecar.env") is None
    assert machine.commands == []


def test_a_machine_that_was_not_proven_yet_is_started_under_the_timer_or_not_at_all(machine, monkeypatch):
    machine.proven = False
    seen = []
    monkeypatch.setattr(_join_boot, "prove", lambda _config: seen.append("proved"))
    assert _join_boot.boot(CONFIG) == 1
    assert seen == ["proved"]
    assert machine.commands == []


def test_usage():
    assert _join_boot.main([]) == 2
    assert _join_boot.main(["usage"]) == 2
