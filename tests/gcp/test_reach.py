# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How machines are reached: ssh as inventories/gcp has it, directly and through a stand-in for Identity-Aware Proxy.

There is no sshd here, only a port that hears what ssh says first; tests/lab/slow has real ones.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import socket
import subprocess
import threading
import typing as t

import pytest

from . import iap
from .conftest import ROOT, SCALED, VMS, Cloud

MACHINE = {"cluster": None, "nat": False, "vms": [{**VMS, "count": 1}]}


class Port:
    """A port of this machine that greets as sshd does, and keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self._socket = socket.create_server(("", 0))
        self.number: int = self._socket.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _peer = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"SSH-2.0-heard\r\n")
                self.heard.append(connection.recv(256))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def port() -> t.Iterator[Port]:
    found = Port()
    yield found
    found.close()


def logged_in(cloud: Cloud, environment: dict[str, str], **variables: t.Any) -> subprocess.CompletedProcess[str]:
    """What becomes of an attempt to reach the machines."""
    if shutil.which("ssh") is None:
        pytest.skip("there is no ssh here")
    words = ["ansible", "-i", "inventories/gcp", "mesh_vms", "-m", "ansible.builtin.ping", "-vvv"]
    return subprocess.run(
        [*words, "-e", json.dumps(variables)],
        cwd=ROOT,
        env={**cloud.environment(), **environment, "ANSIBLE_SSH_RETRIES": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_through_identity_aware_proxy(cloud: Cloud, port: Port, tmp_path: pathlib.Path) -> None:
    cloud.world.settings.addresses = ("127.0.0.1", "127.0.0.2")
    declared = {**MACHINE, "vms": [{**VMS, "count": 1, "zone": "australia-southeast1-b"}, SCALED]}
    assert not cloud.run(**declared).get("failed")
    environment = iap.install(tmp_path / "bin", port.number)
    said = logged_in(cloud, environment, mesh_vms_through_iap=True)
    # Machine, project and zone are those of the machine, the port is ssh's; for those that come and go, too.
    tunnels = {tunnel["arguments"][2]: tunnel for tunnel in iap.tunnels(tmp_path / "bin")}
    scaled = next(path for path in cloud.things("instances") if "/mesh1-web-" in path).rsplit("/", 1)[-1]
    assert set(tunnels) == {"mesh1-app-1", scaled}, said.stdout
    for name, address, zone in (("mesh1-app-1", "127.0.0.1", "b"), (scaled, "127.0.0.2", "a")):
        assert tunnels[name]["address"] == address
        told = tunnels[name]["arguments"]
        assert told[:4] == ["compute", "start-iap-tunnel", name, "22"]
        assert {"--project=my-project", f"--zone=australia-southeast1-{zone}", "--listen-on-stdin"} <= set(told)
    # What ssh says comes out at the other end.
    assert [text[:8] for text in port.heard] == [b"SSH-2.0-"] * 2

    # Without the firewall rule there is no way.
    assert not cloud.run(**declared, iap=False).get("failed")
    said = logged_in(cloud, environment, mesh_vms_through_iap=True)
    assert "UNREACHABLE" in said.stdout
    assert "failed to connect to backend" in iap.tunnels(tmp_path / "bin")[-1]["error"]
    assert len(port.heard) == 2
    assert not cloud.world.refused


def test_directly(cloud: Cloud, port: Port, tmp_path: pathlib.Path) -> None:
    cloud.world.settings.addresses = ("127.0.0.1",)
    assert not cloud.run(**MACHINE).get("failed")
    said = logged_in(cloud, iap.install(tmp_path / "bin"), ansible_port=port.number)
    assert iap.tunnels(tmp_path / "bin") == []
    assert [text[:8] for text in port.heard] == [b"SSH-2.0-"], said.stdout
    # Host keys go by the machine, not by an address that another one may have had.
    assert f"HostKeyAlias=compute.{cloud.thing('instances', 'mesh1-app-1')['id']}" in said.stdout
