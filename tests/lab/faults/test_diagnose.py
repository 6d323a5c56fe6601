# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults that are put into the lab one by one; the playbook diagnose names each of them as the first cause."""

from __future__ import annotations

import contextlib
import json
import re
import time
import typing as t

import pytest
import yaml

from ..conftest import ADDRESSES, Lab

VM = "vm1"
GROUP = "envoydummy"
NAMESPACE = "chapter10vm"
ENTRY = f"{GROUP}-{ADDRESSES[VM]}-network1"

RESTART = "systemctl restart istio; "
WITHOUT_CREDENTIALS = "systemctl stop istio; rm -f /etc/certs/key.pem /etc/certs/cert-chain.pem; "
TOKEN = "/var/run/secrets/tokens/istio-token"

# Cause -> (how it is brought about on the machine, how it is undone there).
ON_THE_MACHINE: dict[str, tuple[str, str]] = {
    "half_installed": (
        "sed -i '/^Package: istio-sidecar$/,/^$/s/^Status: .*/Status: hold ok half-configured/' /var/lib/dpkg/status",
        "sed -i '/^Package: istio-sidecar$/,/^$/s/^Status: .*/Status: hold ok installed/' /var/lib/dpkg/status",
    ),
    "disk_full": (
        "mount -t tmpfs -o size=64k full /etc/istio/proxy; head -c 100000 /dev/zero > /etc/istio/proxy/ballast || true",
        "umount /etc/istio/proxy",
    ),
    "bad_settings": (
        'cp -a /var/lib/istio/envoy/cluster.env /root/; echo "X=\'unfinished" >> /var/lib/istio/envoy/cluster.env',
        "mv /root/cluster.env /var/lib/istio/envoy/cluster.env",
    ),
    "not_running": ("systemctl stop istio", "systemctl start istio"),
    "bypassed": ("istio-capture bypass for the test", "istio-capture resume; istio-capture confirm"),
    "address_gone": (
        "sed -i 's/^ISTIO_SVC_IP=.*/ISTIO_SVC_IP=10.88.0.199/' /etc/hybridmesh/sidecar.env",
        f"sed -i 's/^ISTIO_SVC_IP=.*/ISTIO_SVC_IP={ADDRESSES[VM]}/' /etc/hybridmesh/sidecar.env",
    ),
    "port_taken": (
        "systemd-run --unit=squatter python3 -m http.server 15055; sleep 1",
        "systemctl stop squatter",
    ),
    "capture_off": ("istio-capture remove", "systemctl restart istio-capture"),
    "name_unresolved": (
        "cp -a /etc/hosts /root/; sed '/istiod/d' /root/hosts > /etc/hosts; " + RESTART + "sleep 3",
        "cat /root/hosts > /etc/hosts",
    ),
    "wrong_address": (
        "cp -a /etc/hosts /root/; sed -i 's/^.* istiod.istio-system.svc/10.88.0.199 istiod.istio-system.svc/' /etc/hosts",
        "cat /root/hosts > /etc/hosts",
    ),
    "tcp_firewall": (
        "iptables -I OUTPUT -p tcp --dport 15012 -j DROP",
        "iptables -D OUTPUT -p tcp --dport 15012 -j DROP",
    ),
    "tcp_route": (
        "ip route add unreachable 10.88.0.200/32",
        "ip route del unreachable 10.88.0.200/32",
    ),
    "wrong_root": (
        "cp -a /etc/certs/root-cert.pem /root/; systemctl stop istio; openssl req -x509 -newkey rsa:2048 -nodes -keyout /dev/null "
        "-subj /O=other -days 2 -out /etc/certs/root-cert.pem 2> /dev/null; systemctl start istio",
        "systemctl stop istio; cp -a /root/root-cert.pem /etc/certs/; systemctl start istio",
    ),
    "no_token": (WITHOUT_CREDENTIALS + f"mv {TOKEN} /root/; systemctl start istio", f"cp -a /root/istio-token {TOKEN}"),
    "bad_token": (
        WITHOUT_CREDENTIALS + f"cp -a {TOKEN} /root/; echo nonsense > {TOKEN}; systemctl start istio",
        f"cp -a /root/istio-token {TOKEN}",
    ),
    "wrong_cluster_id": (
        "cp -a /var/lib/istio/envoy/cluster.env /root/; "
        "sed -i \"s/^ISTIO_META_CLUSTER_ID=.*/ISTIO_META_CLUSTER_ID='other'/\" /var/lib/istio/envoy/cluster.env; "
        + RESTART,
        "mv /root/cluster.env /var/lib/istio/envoy/cluster.env; " + RESTART,
    ),
    "probe_fails": ("systemctl stop lab-app", "systemctl start lab-app"),
}


@pytest.fixture(scope="module", autouse=True)
def tools(mesh: Lab) -> None:
    """What the faults need on the machine, and what is a well machine's answer."""
    first_cause(mesh, None)


def diagnose(lab: Lab) -> str:
    run = lab.playbook("playbooks/diagnose.yml", "--limit", VM)
    assert run.changed == 0, run.output
    return run.words


def first_cause(lab: Lab, cause: str | None, seconds: int = 20) -> None:
    """The first cause is this one, at the latest after some seconds: a sidecar needs a while to notice."""
    wanted = f"{VM} - {cause} - " if cause else f"{VM} - well"
    deadline = time.monotonic() + seconds
    while wanted not in (told := diagnose(lab)):
        assert time.monotonic() < deadline, told[told.rindex("The report") :]
    assert re.search(rf"{VM} - remedy - \w", told) or cause is None, told


@contextlib.contextmanager
def broken(lab: Lab, breaking: str, mending: str) -> t.Iterator[None]:
    """A fault on the machine. Afterwards whatever is left of it is mended as a user would."""
    lab.ssh(VM, "set -e; " + breaking)
    try:
        yield
    finally:
        lab.ssh(VM, mending)
        well(lab)


def well(lab: Lab) -> None:
    run = lab.playbook("playbooks/onboard.yml", "--limit", VM, variables={"vm_sidecar_restart_share": 1.0})
    assert run.code == 0, run.output
    deadline = time.monotonic() + 60
    while '"status": "True"' not in (
        seen := lab.kubectl("get", "workloadentry", "-n", NAMESPACE, ENTRY, "-o", "json", check=False)
    ):
        assert time.monotonic() < deadline, seen
        time.sleep(1)


@pytest.mark.parametrize("cause", ON_THE_MACHINE)
def test_fault_on_the_machine(mesh: Lab, cause: str) -> None:
    with broken(mesh, *ON_THE_MACHINE[cause]):
        first_cause(mesh, cause)


def test_not_installed(mesh: Lab) -> None:
    mesh.ssh(VM, "systemctl stop istio; apt-mark unhold istio-sidecar; dpkg --remove istio-sidecar")
    try:
        first_cause(mesh, "not_installed")
    finally:
        well(mesh)


def test_clock(mesh: Lab, tmp_path: t.Any) -> None:
    # Machines of the lab share the host's clock, so it is Python's that goes wrong.
    wrapper = "/usr/local/bin/python-with-a-twist"
    mesh.ssh(
        VM,
        "mkdir -p /run/twist; printf 'import time\\nreal = time.time\\ntime.time = lambda: real() + 7200\\n' "
        f"> /run/twist/sitecustomize.py; printf '#!/bin/sh\\nPYTHONPATH=/run/twist exec /usr/bin/python3 \"$@\"\\n' > {wrapper}; "
        f"chmod 755 {wrapper}",
    )
    inventory = tmp_path / "twisted.yml"
    inventory.write_text(yaml.safe_dump({"mesh_vms": {"hosts": {VM: {"ansible_python_interpreter": wrapper}}}}))
    try:
        run = mesh.playbook("playbooks/diagnose.yml", "--limit", VM, "-i", "inventories/lab", "-i", str(inventory))
        assert f"{VM} - clock - " in run.words, run.output
    finally:
        mesh.ssh(VM, f"rm -r {wrapper} /run/twist")


def requested_token(lab: Lab, *arguments: str) -> str:
    return lab.kubectl("create", "token", *arguments)


@pytest.mark.parametrize(
    ("cause", "arguments"),
    [
        # istiod signs for whoever has a token: the certificate is another account's then.
        ("wrong_identity", ["default", "-n", "lab", "--audience", "istio-ca"]),
        ("wrong_audience", ["default", "-n", "lab", "--audience", "vault"]),
    ],
)
def test_a_token_of_another_kind(mesh: Lab, cause: str, arguments: list[str]) -> None:
    token = requested_token(mesh, *arguments)
    breaking = WITHOUT_CREDENTIALS + f"cp -a {TOKEN} /root/; printf %s {token} > {TOKEN}; systemctl start istio"
    with broken(mesh, breaking, f"cp -a /root/istio-token {TOKEN}; {RESTART}"):
        first_cause(mesh, cause)


@pytest.mark.parametrize(
    ("cause", "deployment"), [("gateway_down", "istio-eastwestgateway"), ("istiod_down", "istiod")]
)
def test_a_part_of_the_mesh_is_down(mesh: Lab, cause: str, deployment: str) -> None:
    where = ["-n", "istio-system", f"deployment/{deployment}"]
    replicas = mesh.kubectl("get", *where, "-o", "jsonpath={.spec.replicas}")
    # Its autoscaler would bring it back.
    scaler = mesh.kubectl("get", "hpa", "-n", "istio-system", deployment, "-o", "json", check=False)
    if scaler:
        mesh.kubectl("delete", "hpa", "-n", "istio-system", deployment)
    mesh.kubectl("scale", *where, "--replicas=0")
    mesh.kubectl(
        "wait", "-n", "istio-system", "--for=delete", "pod", "-l", f"app={deployment}", "--timeout=60s", check=False
    )
    try:
        first_cause(mesh, cause, 40)
    finally:
        mesh.kubectl("scale", *where, f"--replicas={replicas}")
        if scaler:
            kept = json.loads(scaler)
            kept["metadata"] = {
                key: kept["metadata"][key] for key in ("name", "namespace", "labels") if key in kept["metadata"]
            }
            mesh.kubectl("apply", "-f", "-", stdin=json.dumps(kept))
        mesh.kubectl("rollout", "status", *where, "--timeout=90s")
        time.sleep(5)
        well(mesh)


def test_issue_30854_34579_registration_is_switched_off(mesh: Lab) -> None:
    where = ["-n", "istio-system", "deployment/istiod"]
    mesh.kubectl("set", "env", *where, "PILOT_ENABLE_WORKLOAD_ENTRY_AUTOREGISTRATION=false")
    mesh.kubectl("rollout", "status", *where, "--timeout=90s")
    mesh.kubectl("delete", "workloadentry", "-n", NAMESPACE, ENTRY)
    try:
        first_cause(mesh, "auto_registration_off")
    finally:
        mesh.kubectl("set", "env", *where, "PILOT_ENABLE_WORKLOAD_ENTRY_AUTOREGISTRATION-")
        mesh.kubectl("rollout", "status", *where, "--timeout=90s")
        well(mesh)


def test_issue_51211_the_group_is_gone(mesh: Lab) -> None:
    mesh.kubectl("delete", "workloadgroup", "-n", NAMESPACE, GROUP)
    try:
        first_cause(mesh, "group_missing")
    finally:
        # istiod makes the entries of both machines anew, without what their sidecars have reported before.
        assert mesh.playbook("playbooks/onboard.yml").code == 0
        well(mesh)


def test_the_entry_was_deleted_by_hand(mesh: Lab) -> None:
    mesh.kubectl("delete", "workloadentry", "-n", NAMESPACE, ENTRY)
    first_cause(mesh, "not_registered")
    # istiod makes it anew only for a new connection, which onboard brings about at once.
    run = mesh.playbook("playbooks/onboard.yml", "--limit", VM)
    assert "the mesh has no WorkloadEntry for it" in run.words, run.output
    well(mesh)
    first_cause(mesh, None)


def test_a_drain_that_was_left_behind(mesh: Lab) -> None:
    vms = [{"name": VM, "group": f"{NAMESPACE}/{GROUP}", "address": ADDRESSES[VM]}]
    assert mesh.module("workload_drain", vms=vms)["vms"] == {VM: "drained"}
    first_cause(mesh, "drained")
    assert mesh.module("workload_drain", vms=vms, state="restored")["vms"] == {VM: "restored"}
    first_cause(mesh, None)


def test_no_service_selects_it(mesh: Lab) -> None:
    services = json.loads(mesh.kubectl("get", "services", "-n", NAMESPACE, "-o", "json"))["items"]
    for service in services:
        patch = json.dumps({"spec": {"selector": {"app": "somebody-else"}}})
        mesh.kubectl("patch", "service", "-n", NAMESPACE, service["metadata"]["name"], "-p", patch)
    try:
        first_cause(mesh, "no_service")
    finally:
        for service in services:
            patch = json.dumps({"spec": {"selector": service["spec"]["selector"]}})
            mesh.kubectl("patch", "service", "-n", NAMESPACE, service["metadata"]["name"], "-p", patch)
        well(mesh)


def test_a_machine_that_does_not_answer(mesh: Lab, tmp_path: t.Any) -> None:
    dead = tmp_path / "dead.yml"
    dead.write_text(yaml.safe_dump({"mesh_vms": {"hosts": {VM: {"ansible_host": "10.88.0.199"}}}}))
    run = mesh.playbook("playbooks/diagnose.yml", "-i", "inventories/lab", "-i", str(dead))
    assert f"{VM} - unreachable - " in run.words, run.output
    assert "vm2 - well" in run.words, run.output
