# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of a mesh at work. Where something is at work, a client sends requests throughout, and the row says how many failed."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
import typing as t

import pytest
import yaml

from ..conftest import ADDRESSES, PROJECT, Lab, Run
from ..interrupted import kill, play, reboot
from ..traffic import from_pod

VM = "vm1"
VMS = ("vm1", "vm2")
NAMESPACE, GROUP = "chapter10vm", "envoydummy"
ISTIO = ["-n", "istio-system"]


def succeeded(run: Run) -> Run:
    assert run.code == 0, run.output
    return run


def health(lab: Lab, vm: str = VM) -> str | None:
    """Status of the condition Healthy; None where there is no entry or no report."""
    name = f"{GROUP}-{ADDRESSES[vm]}-network1"
    text = lab.kubectl("get", "workloadentry", "-n", NAMESPACE, name, "-o", "json", check=False)
    conditions = ((json.loads(text).get("status") or {}).get("conditions") or []) if text else []
    return next((item["status"] for item in conditions if item["type"] == "Healthy"), None)


def wait_until(what: t.Callable[[], bool], seconds: float) -> float:
    started = time.monotonic()
    while not what():
        assert time.monotonic() - started < seconds, f"not within {seconds} s"
        time.sleep(0.5)
    return round(time.monotonic() - started, 1)


def all_well(lab: Lab, seconds: float = 90) -> None:
    """Both machines are proven, by the same playbook that people use."""
    deadline = time.monotonic() + seconds
    while (run := lab.playbook("playbooks/verify.yml")).code:
        assert time.monotonic() < deadline, run.output


@pytest.fixture(autouse=True)
def well(mesh: Lab) -> t.Iterator[None]:
    yield
    succeeded(mesh.playbook("playbooks/onboard.yml"))
    all_well(mesh)


def scale(lab: Lab, deployment: str, replicas: int) -> None:
    lab.kubectl("delete", "hpa", *ISTIO, deployment, "--ignore-not-found")
    lab.kubectl("scale", *ISTIO, f"deployment/{deployment}", f"--replicas={replicas}")
    lab.kubectl("rollout", "status", *ISTIO, f"deployment/{deployment}", "--timeout=120s")


def test_istiod_is_down_for_a_minute(mesh: Lab) -> None:
    with from_pod() as traffic:
        scale(mesh, "istiod", 0)
        time.sleep(60)
        scale(mesh, "istiod", 1)
        wait_until(lambda: health(mesh) == "True", 60)
    traffic.told("istiod down for a minute")
    assert traffic.failed == 0, traffic.statuses


def test_the_gateway_s_pods_are_replaced(mesh: Lab) -> None:
    with from_pod() as traffic:
        restart(mesh, "istio-system", "istio-eastwestgateway")
        time.sleep(10)
    traffic.told("the gateway's pods replaced")
    assert traffic.failed == 0, traffic.statuses


def test_all_of_the_gateway_is_gone_for_two_minutes(mesh: Lab) -> None:
    names = mesh.kubectl("get", "workloadentry", "-n", NAMESPACE, "-o", "name")
    with from_pod() as traffic:
        scale(mesh, "istio-eastwestgateway", 0)
        time.sleep(120)
        assert mesh.kubectl("get", "workloadentry", "-n", NAMESPACE, "-o", "name") == names
        scale(mesh, "istio-eastwestgateway", 2)
        time.sleep(10)
    traffic.told("all gateway pods gone for two minutes")
    assert traffic.failed == 0, traffic.statuses


def restart(lab: Lab, namespace: str, deployment: str) -> None:
    for act in (["restart"], ["status", "--timeout=120s"]):
        lab.kubectl("rollout", act[0], "-n", namespace, f"deployment/{deployment}", *act[1:])


def restart_istiod(lab: Lab) -> None:
    restart(lab, "istio-system", "istiod")


def roots(text: str) -> int:
    """How many certificates a text holds."""
    return text.count("BEGIN CERTIFICATE")


def test_istiod_is_restarted_under_running_machines(mesh: Lab) -> None:
    with from_pod() as traffic:
        restart_istiod(mesh)
        time.sleep(10)
    traffic.told("istiod replaced under running VMs")
    assert traffic.failed == 0, traffic.statuses


def test_envoy_is_killed(mesh: Lab) -> None:
    before = mesh.ssh(VM, "pgrep -x envoy")

    def back() -> bool:
        """Another Envoy runs, and what it captures is captured: the rules may be looked at before they are taken back."""
        return mesh.ssh(
            VM, f"pgrep -x envoy | grep -vx {before.strip()} || true"
        ).strip() != "" and "capture: on" in mesh.ssh(VM, "istio-capture status")

    with from_pod() as traffic:
        mesh.ssh(VM, "pkill -KILL -x envoy")
        took = wait_until(back, 60)
        time.sleep(3)
    traffic.told(f"Envoy of one of two VMs killed, back after {took} s")
    # Requests that were under way are lost; Envoy in the client tries others where the connection fails.
    assert traffic.failed <= traffic.sent * 0.05, traffic.statuses


def test_the_application_dies_and_comes_back(mesh: Lab) -> None:
    with from_pod() as traffic:
        mesh.ssh(VM, "systemctl stop lab-app")
        wait_until(lambda: health(mesh) == "False", 60)
        mesh.ssh(VM, "systemctl start lab-app")
        wait_until(lambda: health(mesh) == "True", 60)
    traffic.told("the application of one of two VMs dies and comes back")


def test_issue_35343_27691_22665_42603_52716_a_machine_reboots(mesh: Lab) -> None:
    with from_pod() as traffic:
        reboot(mesh, VM)
        # The certificate is enough, and a new token would find its folder.
        assert mesh.ssh(VM, "ls /run/secrets/tokens; stat -c '%U %a' /run/secrets /run/secrets/tokens").split("\n") == [
            "istio-proxy 755",
            "istio-proxy 700",
            "",
        ]
        took = wait_until(lambda: health(mesh) == "True" and "capture: on" in mesh.ssh(VM, "istio-capture status"), 90)
    traffic.told(f"one of two VMs reboots, healthy again {took} s after it answered")


def test_issue_33146_46923_an_expired_certificate_is_mended_by_renew(mesh: Lab) -> None:
    """istio/istio#33146, #46923, #35343: dead after a day off, the token gone after a reboot."""
    succeeded(
        mesh.playbook(
            "playbooks/onboard.yml", "--limit", VM, variables={"vm_sidecar_environment": {"SECRET_TTL": "60s"}}
        )
    )
    # A certificate of 60 s, at the next rotation at the latest.
    mesh.ssh(
        VM,
        "systemctl stop istio; rm -f /etc/certs/key.pem /etc/certs/cert-chain.pem; systemctl start istio; "
        "for i in $(seq 100); do [ -s /etc/certs/cert-chain.pem ] && break; sleep 0.2; done",
    )
    mesh.ssh(VM, "systemctl stop istio; rm -f /run/secrets/tokens/istio-token; test -s /etc/certs/cert-chain.pem")
    time.sleep(65)
    mesh.ssh(VM, "systemctl start istio; sleep 5")
    before = mesh.ssh(VM, "systemctl show -p MainPID --value istio")

    run = mesh.playbook(
        "playbooks/renew.yml", "--limit", VM, variables={"vm_sidecar_environment": {"SECRET_TTL": "60s"}}
    )
    assert "renewed" in run.words, run.output
    wait_until(lambda: "capture: on" in mesh.ssh(VM, "istio-capture status"), 60)
    assert mesh.ssh(VM, "systemctl show -p MainPID --value istio") == before


def test_the_api_server_is_killed_in_the_middle(mesh: Lab) -> None:
    mesh.reset(VM)

    def kill(_process: subprocess.Popen[str]) -> None:
        mesh.ssh("cluster1", "systemctl kill --signal=KILL kube-apiserver")

    code, output = play("playbooks/onboard.yml", "--limit", VM, at="Preflight | Look at the machine", then=kill)
    print(f"the API server killed in the middle of a run: it ended with {code}")
    wait_until(lambda: mesh.kubectl("get", "--raw", "/readyz", check=False) == "ok", 60)
    assert code == 0 or "Next step" in output, output


def test_the_disk_is_full_while_files_are_written(mesh: Lab) -> None:
    text = mesh.ssh(VM, "cat /etc/hybridmesh/sidecar.env")
    mesh.ssh(
        VM,
        "cp -a /etc/hybridmesh /root/kept; mount -t tmpfs -o size=64k full /etc/hybridmesh; cp -a /root/kept/. /etc/hybridmesh/; "
        "head -c 100000 /dev/zero > /etc/hybridmesh/ballast || true",
    )
    try:
        run = mesh.playbook("playbooks/onboard.yml", "--limit", VM, variables={"vm_sidecar_environment": {"A": "B"}})
        assert run.code != 0
        assert "No space left on device" in run.words
        assert "Next step: make room" in run.words
        assert mesh.ssh(VM, "cat /etc/hybridmesh/sidecar.env") == text
        assert "capture: on" in mesh.ssh(VM, "istio-capture status")
    finally:
        mesh.ssh(VM, "umount /etc/hybridmesh; rm -r /root/kept")


SERVER = """
import http.server, hashlib, threading
content = open("/releases.deb", "rb").read()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.endswith(".sha256"):
            text = (hashlib.sha256(content).hexdigest() + "  istio-sidecar.deb\\n").encode()
            self.send_response(200); self.send_header("Content-Length", str(len(text))); self.end_headers()
            self.wfile.write(text)
        else:
            self.send_response(200); self.send_header("Content-Length", str(len(content))); self.end_headers()
            self.wfile.write(WHAT)
http.server.HTTPServer(("127.0.0.1", 8099), Handler).serve_forever()
"""


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("content[: len(content) // 2]", "was cut off"),
        ("content[:-9] + b'x' * 9", "which was published or given for it"),
    ],
    ids=["cut off", "wrong checksum"],
)
def test_a_download_that_goes_wrong(mesh: Lab, what: str, words: str) -> None:
    mesh.reset(VM)
    mesh.ssh(VM, "curl -sf -o /releases.deb http://10.88.0.10:8000/releases/1.31.0-lab/deb/istio-sidecar.deb")
    mesh.ssh(
        VM,
        f"cat > /server.py <<'END'\n{SERVER.replace('WHAT', what)}\nEND\nsystemd-run --quiet --unit=releases python3 /server.py",
    )
    time.sleep(1)
    before = mesh.state_of(VM)
    run = mesh.playbook(
        "playbooks/onboard.yml", "--limit", VM, variables={"vm_sidecar_release_url": "http://127.0.0.1:8099"}
    )
    assert run.code != 0
    assert words in run.words, run.output
    assert mesh.state_of(VM) == before
    assert mesh.ssh(VM, "ls /var/cache/hybridmesh 2> /dev/null || true") == ""


def test_a_new_root_certificate_comes_by_a_bundle_of_both(mesh: Lab, tmp_path: t.Any) -> None:
    """The new root beside the old one first, then what is signed by it: nobody meets a certificate that it does not trust."""
    kept = json.loads(mesh.kubectl("get", "secret", *ISTIO, "istio-ca-secret", "-o", "json"))["data"]
    old, key = (base64.b64decode(kept[name]).decode() for name in ("ca-cert.pem", "ca-key.pem"))
    subprocess.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout new.key -out new.pem -subj /O=new -days 30 "
        "-addext keyUsage=critical,keyCertSign,cRLSign",
        shell=True,
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    new, new_key = (tmp_path / "new.pem").read_text(), (tmp_path / "new.key").read_text()

    def authority(certificate: str, private: str) -> None:
        files = {
            "ca-cert.pem": certificate,
            "ca-key.pem": private,
            "cert-chain.pem": certificate,
            "root-cert.pem": old + new,
        }
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cacerts", "namespace": "istio-system"}}
        mesh.kubectl("apply", "-f", "-", stdin=json.dumps({**secret, "stringData": files}))
        restart_istiod(mesh)

    try:
        with from_pod() as bundled:
            authority(old, key)
            where = ["cm", "-n", NAMESPACE, "istio-ca-root-cert", "-o", "yaml"]
            wait_until(lambda: roots(mesh.kubectl("get", *where)) == 2, 60)
            told = succeeded(mesh.playbook("playbooks/renew.yml"))
            assert "the mesh's root certificate changed" in told.words, told.output
            run = succeeded(mesh.playbook("playbooks/onboard.yml"))
            assert "The sidecar is restarted: changed: /etc/certs/root-cert.pem" in run.words, run.output
            assert [roots(mesh.ssh(vm, "cat /etc/certs/root-cert.pem")) for vm in VMS] == [2, 2]
        bundled.told("both roots brought to two VMs")
        # Pods learn of it with their next certificate.
        restart(mesh, "lab", "workbench")
        with from_pod() as traffic:
            authority(new, new_key)
            # One gets a certificate from the new authority at once; the other machine has the old one's.
            mesh.ssh(VM, "systemctl restart istio")
            wait_until(lambda: health(mesh) == "True", 60)
            chain = "openssl crl2pkcs7 -nocrl -certfile /etc/certs/cert-chain.pem | openssl pkcs7 -print_certs"
            assert "O = new" in mesh.ssh(VM, chain)
            all_well(mesh)
        traffic.told("certificates of a new root, one of two VMs restarted without a drain")
        assert succeeded(mesh.playbook("playbooks/onboard.yml")).changed == 0
    finally:
        mesh.kubectl("delete", "secret", *ISTIO, "cacerts", "--ignore-not-found")
        restart_istiod(mesh)
        # Certificates of an authority that is gone are of no use.
        mesh.reset(*VMS)
        restart(mesh, "lab", "workbench")
    assert bundled.failed == 0, bundled.statuses
    assert traffic.failed <= traffic.sent * 0.05, traffic.statuses


def test_two_runs_at_once_on_one_machine(mesh: Lab) -> None:
    mesh.reset(VM)
    runs: list[Run] = []
    threads = [
        threading.Thread(target=lambda: runs.append(mesh.playbook("playbooks/onboard.yml", "--limit", VM)))
        for _number in range(2)
    ]
    for thread in threads:
        thread.start()
        time.sleep(1)
    for thread in threads:
        thread.join()
    for run in runs:
        assert run.code == 0 or "Next step" in run.output, run.output
    print(f"two runs at once: they ended with {[run.code for run in runs]}")


@pytest.mark.parametrize(
    ("task", "after"),
    [
        ("Change | Install the package", 0.0),
        ("Change | Install the package", 0.5),
        ("Change | Install the package", 1.0),
        ("Drain | Wait until nobody is connected", 0.0),
        ("Restart | Start it under the eye", 0.5),
        ("Verify | Look through the capture", 0.0),
        ("Verify | Wait until the mesh has them again", 0.0),
        ("Verify | Disarm the dead man's timer", 0.0),
        ("Wave | Forget the way back", 0.0),
    ],
)
def test_an_upgrade_that_is_aborted_is_taken_up_again(mesh: Lab, task: str, after: float) -> None:
    """A drain that is left behind by the aborted run is lifted by the next."""
    old, new = "1.30.4lab", "1.31.0lab"
    mesh.reset(VM)
    succeeded(mesh.playbook("playbooks/onboard.yml", "--limit", VM, variables={"vm_sidecar_version": "1.30.4-lab"}))
    wait_until(lambda: health(mesh) == "True", 60)
    assert old in mesh.ssh(VM, "dpkg-query -W istio-sidecar")
    options = {"vm_sidecar_ready_timeout": 15, "vm_sidecar_confirm_timeout": 10, "vm_sidecar_health_timeout": 15}
    code, output = play("playbooks/upgrade.yml", "--limit", VM, at=task, after=after, then=kill, variables=options)
    assert task in output
    assert code != 0, output
    succeeded(mesh.playbook("playbooks/upgrade.yml", "--limit", VM))
    assert new in mesh.ssh(VM, "dpkg-query -W istio-sidecar")
    assert mesh.ssh(VM, "apt-mark showhold").strip() == "istio-sidecar"
    assert health(mesh) == "True"
    again = succeeded(mesh.playbook("playbooks/upgrade.yml", "--limit", VM))
    assert again.changed == 0, again.output
    assert mesh.ssh(VM, "ls /var/lib/hybridmesh") == ""


def test_a_whole_batch_goes_back_where_one_of_it_fails(mesh: Lab) -> None:
    mesh.reset(*VMS)
    succeeded(mesh.playbook("playbooks/onboard.yml", variables={"vm_sidecar_version": "1.30.4-lab"}))
    run = mesh.playbook(
        "playbooks/upgrade.yml",
        variables={
            "vm_sidecar_environment": "{{ {'EXEC_USER': 'nobody-there'} if inventory_hostname == 'vm2' else {} }}",
            "vm_sidecar_upgrade_canaries": 0,
            "vm_sidecar_restart_share": 1.0,
            "vm_sidecar_ready_timeout": 8,
        },
    )
    assert run.code != 0
    assert "Taken back, since vm2 failed in the same wave." in run.words, run.output
    assert run.words.count("went back to what it had before (version 1.30.4lab)") >= 2, run.output
    assert all("1.30.4lab" in mesh.ssh(vm, "dpkg-query -W istio-sidecar") for vm in VMS)
    assert [health(mesh, vm) for vm in VMS] == ["True", "True"]
    assert mesh.ssh("vm1", "ls /var/lib/hybridmesh") == ""


def test_a_drain_with_nothing_else_to_do_is_lifted(mesh: Lab) -> None:
    mesh.module("workload_drain", vms=[{"name": VM, "group": f"{NAMESPACE}/{GROUP}", "address": ADDRESSES[VM]}])
    assert health(mesh) == "False"
    before = mesh.ssh(VM, "systemctl show -p MainPID --value istio")
    run = succeeded(mesh.playbook("playbooks/onboard.yml"))
    assert health(mesh) == "True"
    assert mesh.ssh(VM, "systemctl show -p MainPID --value istio") == before
    assert run.changed == 1, run.output


def test_without_a_probe_machines_are_drained_by_their_entries(mesh: Lab) -> None:
    """There is no health that could be patched: the entry is deleted, and made anew when the sidecar connects again."""
    groups = yaml.safe_load((PROJECT / "inventories/lab/group_vars/all/mesh.yml").read_text())["workload_group_groups"]
    del groups[0]["probe"]
    options: dict[str, t.Any] = {"workload_group_groups": groups}
    mesh.reset(*VMS)
    mesh.kubectl("delete", "workloadentry", "-n", NAMESPACE, "--all")
    succeeded(mesh.playbook("playbooks/onboard.yml", variables=options))
    assert health(mesh) is None
    options["vm_sidecar_environment"] = {"SECRET_TTL": "12h"}
    with from_pod() as traffic:
        run = succeeded(mesh.playbook("playbooks/onboard.yml", variables=options))
    assert "its group has no probe, so its WorkloadEntry was deleted" in run.words, run.output
    traffic.told("two VMs without a probe restarted, one after the other")
    assert traffic.failed <= traffic.sent * 0.05, traffic.statuses
    assert succeeded(mesh.playbook("playbooks/onboard.yml", variables=options)).changed == 0
