# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what no image may hold, in a folder."""

from __future__ import annotations

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _vm_files, _vm_image

RUNS = "Id=istio.service\nLoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\n"
IDLE = "Id=istio.service\nLoadState=loaded\nActiveState=inactive\nSubState=dead\nUnitFileState=disabled\n"
KEY = "-----BEGIN PRIVATE KEY-----\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """The paths lie under a folder."""
    for module, names in (
        (_vm_files, ("KEY", "CERTIFICATE", "TOKEN", "UNIT_ENV", "SIDECAR_ENV", "CLUSTER_ENV")),
        (_vm_image, ("MACHINE_ID", "DBUS_MACHINE_ID", "HOST_KEYS", "CERTIFICATES")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, str(tmp_path) + getattr(module, name))
    monkeypatch.setattr(_vm_image, "NOTES", (str(tmp_path / "etc/hybridmesh/proven"),))

    def write(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    write("etc/machine-id", "")
    write("etc/certs/root-cert.pem", "-----BEGIN CERTIFICATE-----\n")
    write("etc/hybridmesh/sidecar.env", "ISTIO_CUSTOM_IP_TABLES=true\n")
    write("etc/hybridmesh/proven", "1")
    return write


def kinds(source=None, units=IDLE):
    return [trace.kind for trace in _vm_image.traces(lambda _command: units, source or {})]


def test_a_clean_machine(machine):
    assert kinds() == []
    machine("etc/machine-id", "uninitialized\n")
    assert kinds() == []


def test_all_of_it_and_what_may_be_taken_away(machine, tmp_path):
    machine("etc/machine-id", "0123\n")
    machine("etc/certs/key.pem", KEY)
    machine("etc/certs/cert-chain.pem", "x")
    machine("etc/certs/somebody-s.pem", KEY)
    machine("var/run/secrets/tokens/istio-token", "x")
    machine("etc/ssh/ssh_host_rsa_key", KEY)
    machine("etc/ssh/ssh_host_rsa_key.pub", "x")
    machine("etc/hybridmesh/sidecar.env", "ISTIO_SVC_IP=192.0.2.1\n")
    machine("var/lib/istio/envoy/sidecar.env", "ISTIO_SVC_IP=192.0.2.1\n")
    machine("opt/bundle.json", "x")
    source = {"kind": "file", "path": str(tmp_path / "opt/bundle.json")}
    found = list(_vm_image.traces(lambda _command: RUNS, source))
    assert [trace.kind for trace in found] == [
        "sidecar",
        "certificate",
        "key",
        "key",
        "token",
        "token",
        "ssh_host_key",
        "machine_id",
        "address",
        "address",
    ]
    _vm_image.clean(found)
    machine("etc/hybridmesh/sidecar.env", "")
    # Somebody's key, the bundle, and what somebody wrote into the package's own file are not ours to take away.
    assert kinds(source) == ["key", "token", "address"]
    assert (tmp_path / "etc/machine-id").read_text() == ""
    assert not (tmp_path / "etc/ssh/ssh_host_rsa_key.pub").exists()


def test_a_machine_id_for_dbus_is_no_link(machine, tmp_path):
    machine("var/lib/dbus/machine-id", "0123\n")
    assert kinds() == ["machine_id"]
    (tmp_path / "var/lib/dbus/machine-id").unlink()
    (tmp_path / "var/lib/dbus/machine-id").symlink_to(tmp_path / "etc/machine-id")
    assert kinds() == []


def test_notes_go(machine, tmp_path):
    _vm_image.forget()
    _vm_image.forget()
    assert not (tmp_path / "etc/hybridmesh/proven").exists()
