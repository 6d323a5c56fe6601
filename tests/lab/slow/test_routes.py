# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a declaration says of requests is what the proxies do: time-outs, retries, mirrors, what a sidecar knows of, TLS at a gateway."""

from __future__ import annotations

import base64
import collections
import json
import pathlib
import subprocess
import typing as t

import pytest

from ..conftest import Lab
from ..demo import HOST, ingress_address
from ..test_8_traffic import DESTINATION, MACHINES, WORKBENCH, applied, becomes, play, route, status_from_pod
from .test_shift import INSTALL, REMOVE
from .test_shift import MACHINES as VMS

V2 = {"service": "envoydummy.chapter10vm", "subset": "v2"}
MIRRORED = 30


class Machines:
    """The lab with an application on its machines that fails or dawdles when told to."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def are(self, **modes: str) -> None:
        for machine in VMS:
            self.lab.ssh(machine, f"echo {modes.get(machine, 'well')} > /run/shift-mode")

    def declare(self, *rules: dict[str, t.Any], **more: t.Any) -> None:
        applied(self.lab, {"routes": [route(*rules, **more)], "destinations": [DESTINATION]}, traffic_settle=1)

    def statuses(self, times: int) -> collections.Counter[str]:
        """How often each status was the answer to a pod."""
        script = (
            f"for i in $(seq {times}); do curl -s -o /dev/null -m 20 -w '%{{http_code}}\\n' {MACHINES} || true; done"
        )
        return collections.Counter(
            self.lab.kubectl("exec", "-n", "lab", "deploy/workbench", "--", "sh", "-c", script).split()
        )

    def received(self) -> int:
        """Requests that the workbench's sidecar has sent to machines, as v2."""
        words = (
            "exec",
            "-n",
            "lab",
            "deploy/workbench",
            "-c",
            "istio-proxy",
            "--",
            "pilot-agent",
            "request",
            "GET",
            "clusters",
        )
        lines = self.lab.kubectl(*words).splitlines()
        return sum(
            int(line.rpartition("::")[2])
            for line in lines
            if line.startswith("outbound|80|v2|envoydummy.chapter10vm.") and "::rq_total::" in line
        )


@pytest.fixture(scope="module")
def machines(mesh: Lab) -> t.Iterator[Machines]:
    for machine in VMS:
        mesh.ssh(machine, INSTALL)
    try:
        yield Machines(mesh)
    finally:
        done = play(mesh, {}, traffic_settle=0)
        for machine in VMS:
            mesh.ssh(machine, REMOVE)
        assert done.code == 0, done.output


@pytest.fixture(autouse=True)
def _well(machines: Machines) -> None:
    machines.are()
    run = play(machines.lab, {}, traffic_settle=0)
    assert run.code == 0, run.output
    becomes("200", lambda: status_from_pod(machines.lab, MACHINES))


def test_a_time_out(machines: Machines) -> None:
    machines.are(vm1="slow", vm2="slow")
    assert status_from_pod(machines.lab, MACHINES) == "200"
    machines.declare({"backends": [V2], "timeout": 0.3})
    becomes("504", lambda: status_from_pod(machines.lab, MACHINES))


def test_retries(machines: Machines) -> None:
    """One of two machines answers 500 to everything."""
    machines.are(vm1="fails")
    machines.declare({"backends": [V2], "retries": {"attempts": 0}})
    becomes("True", lambda: str(machines.statuses(20)["500"] > 0))
    machines.declare({"backends": [V2], "retries": {"attempts": 5, "conditions": ["5xx"]}})
    becomes(str({"200": 40}), lambda: str(dict(machines.statuses(40))))


def test_a_mirror(machines: Machines) -> None:
    """Machines get a copy of each request, and the caller the workbench's answers, even if machines fail."""
    machines.are(vm1="fails", vm2="fails")
    workbench = {"service": "workbench.lab", "port": 80}
    machines.declare({"backends": [workbench], "mirrors": [V2]})
    becomes("200", lambda: status_from_pod(machines.lab, MACHINES))

    before = machines.received()
    assert machines.statuses(MIRRORED) == {"200": MIRRORED}
    # Nobody waits for a copy.
    becomes(str(MIRRORED), lambda: str(machines.received() - before))


def test_a_sidecar_that_knows_of_its_own_namespace_alone(machines: Machines) -> None:
    known = {"namespace": "lab", "egress": ["./*", "istio-system/*"], "outbound": "REGISTRY_ONLY"}
    applied(machines.lab, {"sidecars": [known]})
    becomes("502", lambda: status_from_pod(machines.lab, MACHINES))
    assert status_from_pod(machines.lab, WORKBENCH) == "200"


class Shop:
    """A host with a certificate, as it is called from outside."""

    def __init__(self, lab: Lab, authority: pathlib.Path) -> None:
        self.lab, self.authority = lab, authority

    def ask(self, scheme: str, port: int, *options: str) -> str:
        """Curl's status and the answer's; 0 0 where all is well but there was no answer."""
        where = ("--resolve", f"{HOST}:{port}:{ingress_address(self.lab)}", "--cacert", str(self.authority))
        shown = ("-s", "-m", "5", "-o", "/dev/null", "-w", "%{exitcode} %{http_code} %{redirect_url}")
        command = ["curl", *shown, *where, *options, f"{scheme}://{HOST}/"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


@pytest.fixture
def shop(machines: Machines, tmp_path: pathlib.Path) -> t.Iterator[Shop]:
    lab = machines.lab
    run = lab.role("ingress_gateway")
    assert run.code == 0, run.output
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN={HOST} -days 2 -addext subjectAltName=DNS:{HOST}",
        shell=True,
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    files = {"tls.crt": tmp_path / "cert.pem", "tls.key": tmp_path / "key.pem"}
    data = {name: base64.b64encode(path.read_bytes()).decode() for name, path in files.items()}
    metadata = {"name": "mockshop", "namespace": "istio-system"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/tls", "data": data}
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(secret))
    yield Shop(lab, tmp_path / "cert.pem")
    run = play(lab, {}, traffic_settle=0)
    assert run.code == 0, run.output
    lab.kubectl("delete", "secret", "-n", "istio-system", "mockshop")
    run = lab.role("ingress_gateway", variables={"ingress_gateway_state": "absent"})
    assert run.code == 0, run.output


def test_tls_at_the_gateway(shop: Shop) -> None:
    """HTTPS with the Secret's certificate and nothing older than TLS 1.3; plain HTTP is sent on."""
    secure = {
        "port": 443,
        "protocol": "HTTPS",
        "hosts": [HOST],
        "tls": {"secret": "mockshop", "min_version": "TLSV1_3"},
    }
    plain = {"port": 80, "protocol": "HTTP", "hosts": [HOST], "tls": {"redirect": True}}
    gateway = {"name": "mockshop", "namespace": "lab", "servers": [secure, plain]}
    rules = [{"backends": [{"service": "envoydummy.chapter10vm", "port": 80}]}]
    to_machines = {"name": "mockshop", "namespace": "lab", "hosts": [HOST], "gateways": ["mockshop"], "rules": rules}
    applied(shop.lab, {"gateways": [gateway], "routes": [to_machines]})
    becomes("0 200", lambda: shop.ask("https", 443))
    becomes(f"0 301 https://{HOST}/", lambda: shop.ask("http", 80))
    # 35: no handshake. Any other certificate would have been 60.
    assert shop.ask("https", 443, "--tls-max", "1.2").startswith("35 000")
