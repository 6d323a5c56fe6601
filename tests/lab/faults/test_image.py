# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines that are started from an image join by themselves, whatever happened meanwhile, and go without a trace."""

from __future__ import annotations

import base64
import json
import pathlib
import re
import subprocess
import time
import typing as t

import pytest

from ..conftest import ADDRESSES, Lab, Run
from .test_day_two import GROUP, ISTIO, NAMESPACE, restart, roots, succeeded, wait_until

BUILDER = "vm1"
STATE = pathlib.Path("/var/lib/hybridmesh-lab")
RUNNING = pathlib.Path("/run/hybridmesh-lab")
RIGHTS = pathlib.Path(__file__).resolve().parents[3] / "docs" / "rights" / "join.yml"
IDENTITY = {
    "kind": "identity",
    "url": "http://169.254.169.254/identity?audience=cluster1.lab.test",
    "headers": {"Metadata-Flavor": "Lab"},
    "api_server": "https://10.88.0.10:6443",
}
SSH = (
    "ssh",
    "-i",
    str(STATE / "pki/ssh/id"),
    *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"),
    *("-o", "ConnectTimeout=5"),
)
SHORT = "ISTIO_CUSTOM_IP_TABLES=true\nSECRET_TTL=60s\n"
Files = t.Mapping[str, t.Mapping[str, str]]
LATEST = 600


class Fleet:
    """Machines from an image: vm11 and so on, at 10.88.0.31 and so on."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def play(self, **variables: t.Any) -> None:
        succeeded(self.lab.playbook("lab/autoscale.yml", "--forks", "10", variables=variables))

    def start(self, count: int = 1, first: int = 11, moved: int = 0, files: Files | None = None) -> list[str]:
        """Starts some at once; returns their addresses. What is in `files` takes the place of the image's."""
        self.play(lab_count=count, lab_first=first, lab_moved=moved, lab_files=dict(files or {}))
        return [f"10.88.0.{20 + number + moved}" for number in range(first, first + count)]

    def stop(self, count: int = 1, first: int = 11, state: str = "stopped") -> None:
        self.play(lab_count=count, lab_first=first, lab_machines_state=state)

    def ssh(self, address: str, script: str, check: bool = True) -> str:
        """Runs a script on one; its host key was made when it booted."""
        done = subprocess.run(
            [*SSH, f"root@{address}", "bash -s"],
            input=script,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert not check or done.returncode == 0, f"{address}: {script}: {done.stdout}{done.stderr}"
        return done.stdout

    def entries(self) -> dict[str, str]:
        """Address -> status of Healthy, of all entries of the group that are connected."""
        listed = json.loads(self.lab.kubectl("get", "workloadentry", "-n", NAMESPACE, "-o", "json"))["items"]
        found = {}
        for entry in listed:
            conditions = (entry.get("status") or {}).get("conditions") or []
            connected = "istio.io/disconnectedAt" not in entry["metadata"]["annotations"]
            states = [item["status"] for item in conditions if item["type"] == "Healthy" and connected]
            found[entry["spec"]["address"]] = states[0] if states else "gone"
        return found

    def wait(self, addresses: t.Iterable[str], seconds: float = LATEST) -> float:
        """Waits until they are healthy in the mesh."""
        wanted = set(addresses)

        def healthy() -> bool:
            return wanted <= {address for address, state in self.entries().items() if state == "True"}

        try:
            return wait_until(healthy, seconds)
        except AssertionError:
            for address in wanted:
                print(address, self.entries().get(address), self.log(address))
            raise

    def joined(self, address: str) -> None:
        """Waits until it was proven that the machine works with the capture on."""
        wait_until(lambda: "capture: on" in self.ssh(address, "istio-capture status", check=False), LATEST)
        wait_until(lambda: self.ssh(address, "systemctl is-enabled istio || true").strip() == "enabled", LATEST)

    def log(self, address: str) -> str:
        return self.ssh(address, "journalctl --no-pager -o cat -u 'istio-join*'", check=False)


def image(lab: Lab, *arguments: str, **variables: t.Any) -> Run:
    source = {**IDENTITY, "api_ca": (STATE / "pki/ca.crt").read_text()}
    return lab.playbook(
        "playbooks/image.yml",
        *arguments,
        variables={
            "mesh_image": BUILDER,
            "vm_sidecar_image_source": source,
            # The lab has no time.
            "vm_sidecar_image_check": "*:*:0/5",
            "vm_sidecar_image_check_delay": 0,
            **variables,
        },
    )


@pytest.fixture(scope="module")
def fleet(mesh: Lab) -> t.Iterator[Fleet]:
    """The image, made of a bare machine, and nothing started from it yet."""
    mesh.kubectl("apply", "-f", str(RIGHTS))
    mesh.reset(BUILDER)
    try:
        would = succeeded(image(mesh, "--check", "--diff", vm_sidecar_image_clean=True))
        assert "would create /usr/local/sbin/istio-join" in would.words, would.output
        assert "istio-join" not in mesh.ssh(BUILDER, "ls /usr/local/sbin /etc/systemd/system; test -s /etc/machine-id")
        succeeded(image(mesh, vm_sidecar_image_clean=True))
        again = succeeded(image(mesh, vm_sidecar_image_clean=True))
        assert again.changed == 0, again.output
        assert "WARNING" not in again.output, again.output
        succeeded(mesh.playbook("lab/image.yml", variables={"lab_image_from": BUILDER}))
        yield Fleet(mesh)
    finally:
        mesh.kubectl("delete", "-f", str(RIGHTS), "--ignore-not-found")
        # What is not of the inventory goes, too.
        mesh.reset(BUILDER)
        forget_machines_of_the_image(mesh)


def forget_machines_of_the_image(lab: Lab) -> None:
    """Deletes their entries: for the rest of the grace period clients would try addresses that nobody has any more."""
    listed = json.loads(lab.kubectl("get", "workloadentry", "-n", NAMESPACE, "-o", "json"))["items"]
    names = [item["metadata"]["name"] for item in listed if item["spec"]["address"] not in ADDRESSES.values()]
    if names:
        lab.kubectl("delete", "workloadentry", "-n", NAMESPACE, "--ignore-not-found", *names)


@pytest.fixture(autouse=True)
def none_left(fleet: Fleet) -> t.Iterator[None]:
    yield
    fleet.stop(5, state="absent")


def settings(source: t.Mapping[str, t.Any]) -> dict[str, dict[str, str]]:
    """The image's settings with another source, as the role would have written it."""
    config = json.loads((STATE / "images/image/etc/hybridmesh/join.json").read_text())
    return {"/etc/hybridmesh/join.json": {"content": json.dumps({**config, "source": source}), "mode": "0600"}}


def bundle(lab: Lab) -> str:
    certificates = lab.kubectl("get", "cm", "-n", NAMESPACE, "istio-ca-root-cert", "-o", "json")
    gateway = lab.kubectl("get", "service", *ISTIO, "istio-eastwestgateway", "-o", "json")
    token = lab.kubectl("create", "token", "chapter10-sa", "-n", NAMESPACE, "--audience", "istio-ca").strip()
    address = json.loads(gateway)["status"]["loadBalancer"]["ingress"][0]["ip"]
    certificates = json.loads(certificates)["data"]["root-cert.pem"]
    return json.dumps({"root_certificates": certificates, "gateway_addresses": [address], "token": token})


def test_a_machine_of_the_mesh_is_no_image(fleet: Fleet) -> None:
    """All that is in the way is told at once, and nothing is changed."""
    before = fleet.lab.state_of("vm2")
    run = image(fleet.lab, mesh_image="vm2")
    assert run.code != 0, run.output
    assert run.changed == 0, run.output
    for what in (
        "istio.service runs",
        "the key /etc/certs/key.pem",
        "the certificate /etc/certs/cert-chain.pem",
        "the token /var/run/secrets/tokens/istio-token",
        "the ssh host key /etc/ssh/ssh_host_ed25519_key",
        "a machine-id in /etc/machine-id",
        f"the pinned address {ADDRESSES['vm2']}",
        "set vm_sidecar_image_clean to true",
    ):
        assert what in run.words, f"{what}: {run.output}"
    wrong = image(
        fleet.lab, mesh_image="vm2", vm_sidecar_image_source={"kind": "command"}, vm_sidecar_fail_mode="closed"
    )
    assert "of kind command has no command" in wrong.words, wrong.output
    assert "fail open" in wrong.words, wrong.output
    assert fleet.lab.state_of("vm2") == before


def test_an_image_holds_nothing_of_the_machine_that_it_was_made_of(fleet: Fleet) -> None:
    root = STATE / "images/image"
    assert not list(root.glob("etc/ssh/ssh_host_*"))
    assert (root / "etc/machine-id").read_text() == ""
    assert [path.name for path in (root / "etc/certs").iterdir()] == ["root-cert.pem"]
    assert not [path for path in (root / "run", root / "var/run") if (path / "secrets/tokens/istio-token").exists()]
    held = subprocess.run(
        ["grep", "-rlE", "PRIVATE KEY|ISTIO_SVC_IP=1", str(root / "etc"), str(root / "var/lib/istio")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert held.stdout == "", held.stdout


def test_four_machines_at_once_become_healthy_and_go(fleet: Fleet) -> None:
    """The number of seconds from a machine's start to its entry's health, each; without Ansible on any of them."""
    addresses = fleet.start(4)
    fleet.wait(addresses)
    took = {}
    for number, address in enumerate(addresses, start=11):
        started = (RUNNING / f"vm{number}.pid").stat().st_mtime
        name = f"{GROUP}-{address}-network1"
        shown = json.loads(fleet.lab.kubectl("get", "workloadentry", "-n", NAMESPACE, name, "-o", "json"))
        stamps = [item["lastTransitionTime"] for item in shown["status"]["conditions"] if item["type"] == "Healthy"]
        healthy = time.mktime(time.strptime(stamps[0][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
        took[f"vm{number}"] = round(healthy - started)
    print(f"four machines from one image at once: seconds from boot to healthy: {took}")
    for address in addresses:
        fleet.joined(address)
    asked = "cat /etc/machine-id; cat /etc/ssh/ssh_host_ed25519_key.pub; openssl x509 -noout -pubkey -in /etc/certs/cert-chain.pem"
    assert len({fleet.ssh(address, asked) for address in addresses}) == 4
    # A client of the mesh gets answers from all of them, and each of them reaches the mesh.
    for address in addresses:
        answer = fleet.ssh(address, "curl -s -m 5 http://workbench.lab.svc.cluster.local/")
        assert answer == "workbench", answer

    begun = time.monotonic()
    fleet.stop(4)
    wait_until(lambda: not [one for one in addresses if fleet.entries().get(one, "gone") != "gone"], LATEST)
    told = round(time.monotonic() - begun)
    wait_until(lambda: not set(addresses) & set(fleet.entries()), 900)
    print(
        f"stopped without a word: disconnected after {told} s, entries gone after {round(time.monotonic() - begun)} s"
    )


def test_only_root_reaches_the_metadata_server(fleet: Fleet) -> None:
    (address,) = fleet.start()
    fleet.joined(address)
    ask = f"curl -s -m 5 -o /dev/null -w '%{{http_code}} ' -H 'Metadata-Flavor: Lab' '{IDENTITY['url']}'"
    told = fleet.ssh(
        address, f"{ask}; for user in nobody istio-proxy; do setpriv --reuid $user --clear-groups {ask}; done; true"
    )
    assert told.split() == ["200", "000", "000"], told
    # Its identity is good for one ServiceAccount's token, and for nothing next to it.
    tried = fleet.ssh(
        address,
        f"""
        bearer=$(curl -s -H 'Metadata-Flavor: Lab' '{IDENTITY["url"]}')
        api() {{ curl -sk -o /dev/null -w '%{{http_code}} ' -H "Authorization: Bearer $bearer" "$@"; }}
        api {IDENTITY["api_server"]}/api/v1/namespaces/{NAMESPACE}/configmaps/istio-ca-root-cert
        api {IDENTITY["api_server"]}/api/v1/namespaces/{NAMESPACE}/configmaps
        api {IDENTITY["api_server"]}/api/v1/namespaces/{NAMESPACE}/secrets
        for account in default chapter10-sa; do for audience in istio-ca https://kubernetes.default.svc.cluster.local; do
            api -H 'Content-Type: application/json' {IDENTITY["api_server"]}/api/v1/namespaces/{NAMESPACE}/serviceaccounts/$account/token \
                -d '{{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{{"audiences":["'$audience'"]}}}}'
        done; done
        """,
    )
    assert tried.split() == ["200", "403", "403", "403", "403", "201", "403"], tried


def test_a_file_and_a_command_as_the_source(fleet: Fleet) -> None:
    path, program = "/etc/hybridmesh-join/bundle.json", "/usr/local/sbin/my-bundle"
    given = {"content": bundle(fleet.lab), "mode": "0644"}
    (open_file,) = fleet.start(first=11, files={**settings({"kind": "file", "path": path}), path: given})
    script = {"content": f"#!/bin/sh\ncat <<'END'\n{given['content']}\nEND\n", "mode": "0700"}
    (by_command,) = fleet.start(
        first=12, files={**settings({"kind": "command", "command": [program]}), program: script}
    )
    fleet.wait([by_command])
    # A file that others may read is not taken; mended, it is, and nobody has to start anything.
    assert f"{path} has the mode 0644" in fleet.log(open_file)
    assert fleet.entries().get(open_file) != "True"
    fleet.ssh(open_file, f"chmod 0600 {path}")
    fleet.wait([open_file])
    for address in (open_file, by_command):
        fleet.joined(address)
        assert json.loads(given["content"])["token"] not in fleet.ssh(address, "journalctl --no-pager")


def test_a_source_that_is_not_there_costs_nothing_but_the_mesh(fleet: Fleet) -> None:
    fleet.lab.ssh("cluster1", "systemctl stop lab-metadata")
    try:
        (address,) = fleet.start()
        wait_until(lambda: "works without the mesh" in fleet.log(address), LATEST)
        asked = "systemctl is-system-running --wait; istio-capture status; getent hosts cluster1.lab.test; curl -s -m 5 localhost:10000"
        told = fleet.ssh(address, asked)
        assert told.startswith("running\ncapture: off\n"), told
        assert "10.88.0.10" in told, told
        assert "V2" in told, told
    finally:
        fleet.lab.ssh("cluster1", "systemctl start lab-metadata")
    took = fleet.wait([address])
    fleet.joined(address)
    print(f"joined {took} s after its source was back")


def test_a_machine_that_was_off_until_its_certificate_expired(fleet: Fleet) -> None:
    (address,) = fleet.start(files={"/etc/hybridmesh/sidecar.env": {"content": SHORT}})
    fleet.joined(address)
    wait_until(lambda: lifetime(fleet, address) < 600, LATEST)
    fleet.stop()
    time.sleep(65)
    fleet.start(files={"/etc/hybridmesh/sidecar.env": {"content": SHORT}})
    fleet.wait([address])
    fleet.joined(address)
    assert "got a token: the certificate has expired" in fleet.log(address)


def lifetime(fleet: Fleet, address: str) -> float:
    """Seconds that the machine's certificate is made for; istiod dates it two minutes back."""
    shown = fleet.ssh(address, "openssl x509 -noout -startdate -enddate -in /etc/certs/cert-chain.pem", check=False)
    stamps = [time.mktime(time.strptime(text.strip(), "%b %d %H:%M:%S %Y %Z")) for text in re.findall("=(.*)", shown)]
    return stamps[1] - stamps[0] if len(stamps) == 2 else float("inf")


def test_a_machine_that_was_suspended_until_its_certificate_expired(fleet: Fleet) -> None:
    """It does not boot when it wakes up. Token and certificate have both expired by then."""
    (address,) = fleet.start(files={"/etc/hybridmesh/sidecar.env": {"content": SHORT}})
    fleet.joined(address)
    wait_until(lambda: lifetime(fleet, address) < 600, LATEST)
    fleet.ssh(address, "rm /run/secrets/tokens/istio-token")
    freeze("vm11", True)
    time.sleep(75)
    freeze("vm11", False)
    began = time.monotonic()
    wait_until(lambda: "the certificate has expired" in fleet.log(address), LATEST)
    fleet.wait([address])
    wait_until(lambda: "capture: on" in fleet.ssh(address, "istio-capture status"), LATEST)
    print(f"suspended past expiry: healthy {round(time.monotonic() - began)} s after it woke up")


def freeze(machine: str, frozen: bool) -> None:
    """Stops all processes of a machine at once, or lets them go on."""
    for path, words in (
        ("/sys/fs/cgroup/freezer/hybridmesh-lab/{}/freezer.state", ("THAWED", "FROZEN")),
        ("/sys/fs/cgroup/hybridmesh-lab/{}/cgroup.freeze", ("0", "1")),
    ):
        file = pathlib.Path(path.format(machine))
        if file.exists():
            file.write_text(words[frozen])
            return
    pytest.fail("no control group to freeze the machine by")


def test_a_machine_that_comes_back_with_another_address(fleet: Fleet) -> None:
    (before,) = fleet.start()
    fleet.joined(before)
    fleet.stop()
    (after,) = fleet.start(moved=20)
    assert before != after
    fleet.wait([after])
    fleet.joined(after)
    assert f"ISTIO_SVC_IP={after}" in fleet.ssh(after, "cat /etc/hybridmesh/sidecar.env")
    # One that changes while the machine runs is seen, too.
    name = "/etc/systemd/network/10-host0.network"
    moved = "10.88.0.71"
    fleet.ssh(after, f"sed -i 's/{after}/{moved}/' {name}; systemd-run --on-active=1 networkctl reload")
    fleet.wait([moved])


def test_a_root_that_was_rotated_after_the_image_was_made(fleet: Fleet, tmp_path: pathlib.Path) -> None:
    """Without a bundle of both: what the image has, and what a machine that was off has, is of no use at all."""
    (old,) = fleet.start(first=11)
    fleet.joined(old)
    fleet.stop(first=11)
    subprocess.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout new.key -out new.pem -subj /O=new -days 30 "
        "-addext keyUsage=critical,keyCertSign,cRLSign",
        shell=True,
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    certificate, key = (tmp_path / "new.pem").read_text(), (tmp_path / "new.key").read_text()
    data = {"ca-cert.pem": certificate, "ca-key.pem": key, "cert-chain.pem": certificate, "root-cert.pem": certificate}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cacerts", "namespace": "istio-system"}}
    encoded = {name: base64.b64encode(text.encode()).decode() for name, text in data.items()}
    try:
        fleet.lab.kubectl("apply", "-f", "-", stdin=json.dumps({**secret, "data": encoded}))
        restart(fleet.lab, "istio-system", "istiod")
        where = ["cm", "-n", NAMESPACE, "istio-ca-root-cert", "-o", "jsonpath={.data.root-cert\\.pem}"]
        wait_until(lambda: fleet.lab.kubectl("get", *where).strip() == certificate.strip(), 120)
        restart(fleet.lab, "istio-system", "istio-eastwestgateway")
        assert roots(certificate) == 1
        (new,) = fleet.start(first=12)
        fleet.start(first=11)
        fleet.wait([new, old])
        assert "the certificate is of no use, and goes" in fleet.log(old)
        assert "the certificate is of no use" not in fleet.log(new)
        for address in (new, old):
            fleet.joined(address)
            assert fleet.ssh(address, "cat /etc/certs/root-cert.pem").strip() == certificate.strip()
    finally:
        fleet.lab.kubectl("delete", "secret", *ISTIO, "cacerts", "--ignore-not-found")
        restart(fleet.lab, "istio-system", "istiod")
        restart(fleet.lab, "istio-system", "istio-eastwestgateway")
        restart(fleet.lab, "lab", "workbench")
        # Certificates of an authority that is gone are of no use.
        fleet.lab.reset("vm2")


def test_offboard_takes_all_of_it_off(fleet: Fleet) -> None:
    """Off the machine that the image was made of, which is not allowed to join."""
    succeeded(fleet.lab.playbook("lab/up.yml"))
    wait_until(lambda: "answers 403" in fleet.lab.ssh(BUILDER, "journalctl --no-pager -o cat -u istio-join"), LATEST)
    assert "--uid-owner" in fleet.lab.ssh(BUILDER, "iptables -S")
    succeeded(fleet.lab.playbook("playbooks/offboard.yml", "--limit", BUILDER))
    left = fleet.lab.ssh(
        BUILDER,
        "iptables -S | grep -e --uid-owner -e REJECT; find /etc /usr/local /run /var/lib -name '*istio*' -o -name '*hybridmesh*'; "
        "systemctl list-units --all --no-legend --plain 'istio*'; true",
    )
    assert left == "", left
