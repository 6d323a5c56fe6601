# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of reading a machine's facts."""

from __future__ import annotations

import os
import socket
import sys

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _vm_facts

UNITS = """\
Id=istio.service
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled

Id=istio-capture.service
LoadState=not-found
ActiveState=inactive
SubState=dead
UnitFileState=

Id=hybridmesh-deadman.timer
LoadState=not-found
ActiveState=inactive
SubState=dead
UnitFileState=
"""


def test_units():
    found = _vm_facts.units(lambda command: UNITS)
    assert found["istio.service"] == {"present": True, "active": "active", "sub": "running", "enabled": True}
    assert found["istio-capture.service"]["present"] is False
    assert found["istio-capture.service"]["enabled"] is False


def test_units_without_systemd():
    assert not _vm_facts.units(lambda command: "")["istio.service"]["present"]


@pytest.mark.parametrize(
    ("shown", "version", "status"),
    [
        ("install installed 1.31.0", "1.31.0", "installed"),
        ("install half-configured 1.31.0", "1.31.0", "half-configured"),
        ("deinstall config-files 1.31.0", None, "absent"),
        ("", None, "absent"),
        ("dpkg-query: no packages found matching istio-sidecar", None, "absent"),
    ],
)
def test_package(shown, version, status):
    found = _vm_facts.package(lambda command: shown)
    assert (found["version"], found["status"]) == (version, status)


def test_whether_the_package_is_held():
    assert _vm_facts.package(lambda command: "hold installed 1")["held"]
    assert not _vm_facts.package(lambda command: "install installed 1")["held"]


def test_package_record(tmp_path, monkeypatch):
    record = tmp_path / "package.json"
    monkeypatch.setattr(_vm_facts._vm_files, "PACKAGE_RECORD", str(record))
    record.write_text('{"source": "x"}')
    assert _vm_facts.package(lambda command: "install installed 1")["record"] == {"source": "x"}
    record.write_text("{")
    assert _vm_facts.package(lambda command: "install installed 1")["record"] is None


def test_who_listens_on_the_sidecar_s_ports(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        monkeypatch.setattr(_vm_facts, "PORTS", (port, port))
        found, _ssh = _vm_facts.listeners(lambda command: "")
    assert [(entry["port"], entry["pid"], entry["sidecar"]) for entry in found] == [(port, os.getpid(), False)]
    assert found[0]["command"]


def test_our_own_sidecar_is_told_from_others(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        monkeypatch.setattr(_vm_facts, "PORTS", (port, port))
        monkeypatch.setattr(_vm_facts, "_program", lambda pid: "/usr/local/bin/envoy (deleted)")
        found, _ssh = _vm_facts.listeners(lambda command: "")
    assert found[0]["sidecar"] is True


def test_ports_of_sshd_where_systemd_listens():
    shown = "Listen=0.0.0.0:2222 (Stream)\nListen=[::]:2222 (Stream)\n"
    _found, ssh = _vm_facts.listeners(lambda command: shown)
    assert 2222 in ssh


def test_the_port_that_the_connection_came_in_by(monkeypatch):
    texts = {
        "/proc/50/environ": "PATH=/bin\0",
        "/proc/50/stat": "50 (su do) S 40 0 0",
        "/proc/40/environ": "A=b\0SSH_CONNECTION=10.0.0.1 5000 10.0.0.2 2200\0",
    }
    monkeypatch.setattr(os, "getpid", lambda: 50)
    monkeypatch.setattr(_vm_facts, "read", texts.get)
    assert _vm_facts.connection_ports() == {2200}
    texts["/proc/40/environ"] = ""
    assert _vm_facts.connection_ports() == set()


@pytest.mark.parametrize(
    ("shown", "applied"),
    [({}, False), ({"iptables-legacy-save": "-A OUTPUT -j ISTIO_OUTPUT"}, True), ({"ip6tables-nft-save": "x"}, False)],
)
def test_capture(shown, applied, monkeypatch, tmp_path):
    monkeypatch.setattr(_vm_facts, "HELD", str(tmp_path / "held"))
    monkeypatch.setattr(_vm_facts._vm_files, "BYPASSED", str(tmp_path / "bypassed"))
    found = _vm_facts.capture(lambda command: shown.get(command[0], ""))
    assert found == {"applied": applied, "held": False, "bypassed": None}
    (tmp_path / "held").touch()
    (tmp_path / "bypassed").write_text("at noon: the shop is down\n")
    found = _vm_facts.capture(lambda command: "")
    assert found["held"] is True
    assert found["bypassed"] == "at noon: the shop is down"


def test_somebody_else_s_hosts_lines(tmp_path, monkeypatch):
    hosts = tmp_path / "hosts"
    hosts.write_text(
        "127.0.0.1 localhost\n9.9.9.9 istiod.istio-system.svc other # note\n"
        "# BEGIN hybridmesh.istio\n1.1.1.1 istiod.istio-system.svc\n# END hybridmesh.istio\n"
    )
    monkeypatch.setattr(_vm_facts._vm_files, "HOSTS", str(hosts))
    assert _vm_facts.hosts(["istiod.istio-system.svc"]) == [
        {"address": "9.9.9.9", "names": ["istiod.istio-system.svc"]}
    ]


def test_facts_hold_no_content_of_secrets(tmp_path, monkeypatch):
    key, token = tmp_path / "key.pem", tmp_path / "istio-token"
    key.write_text("SECRETKEY")
    token.write_text("a.SECRETTOKEN.c")
    monkeypatch.setattr(_vm_facts._vm_files, "KEY", str(key))
    monkeypatch.setattr(_vm_facts._vm_files, "TOKEN", str(token))
    facts = _vm_facts.collect(lambda command: "", [])
    assert facts["certificate"]["key"] is True
    assert facts["token"]["present"] is True
    assert "SECRET" not in repr(facts)
    assert facts["python"].startswith(f"{sys.version_info[0]}.{sys.version_info[1]}")
