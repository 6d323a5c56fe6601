# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab promises about itself. Takes the running lab down, several times: `make lab-test`, as root.

What was built must be in the cache already. The tests build on each other, and leave the lab up with two VMs.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
STATE = Path("/var/lib/hybridmesh-lab")
RUN = Path("/run/hybridmesh-lab")
BRIDGE = "hmlab0"
NODE, VM1, VM2 = "10.88.0.10", "10.88.0.21", "10.88.0.22"


def play(name: str, *words: str, check: bool = True, **environment: str) -> tuple[str, float]:
    """Run one of the lab's playbooks; returns its output and how long it took."""
    begin = time.monotonic()
    done = subprocess.run(
        [
            "ansible-playbook",
            "--inventory",
            "inventories/lab",
            "--forks",
            "10",
            f"lab/{name}.yml",
            *words,
        ],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout
    return done.stdout, time.monotonic() - begin


def changes(output: str) -> dict[str, int]:
    """Host -> how many tasks changed something."""
    return {host: int(number) for host, number in re.findall(r"^(\S+)\s+:.*\bchanged=(\d+)", output, re.MULTILINE)}


def ssh(address: str, command: str) -> str:
    """Run something on a machine, over ssh as lab-env has it."""
    exports = subprocess.run(["lab/env"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    words = shlex.split(re.findall(r"^export LAB_SSH=(.*)$", exports, re.MULTILINE)[0])
    done = subprocess.run(
        [*shlex.split(words[0]), f"root@{address}", command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def kubectl(*words: str) -> str:
    """Ask the cluster."""
    command = [
        str(STATE / "bin/kubectl"),
        f"--kubeconfig={STATE}/admin.kubeconfig",
        *words,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def eventually(what: Any, seconds: float = 30) -> Any:
    """Ask again until the answer is true, or does not fail any more."""
    end = time.monotonic() + seconds
    while True:
        try:
            answer = what()
            if answer:
                return answer
        except (AssertionError, subprocess.CalledProcessError):
            if time.monotonic() > end:
                raise
        assert time.monotonic() < end, f"nothing within {seconds} s"
        time.sleep(0.2)


def output_of(*command: str) -> str:
    """A command's output; none where there is no such command."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""


def host() -> dict[str, Any]:
    """All of the host that the lab might leave a trace on."""
    processes = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if re.search(r"nspawn|supervise\.py|hybridmesh-lab|kube-apiserver --advertise", words):
                processes.append(words)
    sysctls = {}
    for line in output_of("sysctl", "-a").splitlines():
        name, _equals, value = line.partition(" = ")
        # Settings, not counters; and not those that each network link has of its own.
        if name.startswith(
            (
                "vm.",
                "net.ipv4.ip_",
                "net.bridge.",
                "kernel.panic",
                "kernel.keys.",
                "net.netfilter.nf_conntrack_max",
            )
        ):
            sysctls[name] = value
    links = [
        {key: link[key] for key in ("ifname", "flags", "address")} for link in json.loads(output_of("ip", "-j", "link"))
    ]
    return {
        "processes": sorted(processes),
        "links": links,
        "addresses": re.sub(r"\s+valid_lft.*", "", output_of("ip", "-o", "address")),
        "routes": output_of("ip", "route", "show", "table", "all") + output_of("ip", "rule"),
        "mounts": re.sub(
            r"^\d+ \d+ ",
            "",
            Path("/proc/1/mountinfo").read_text(encoding="utf-8"),
            flags=re.MULTILINE,
        ),
        "cgroups": sorted(str(path) for path in Path("/sys/fs/cgroup").glob("**/*") if "hybridmesh" in str(path)),
        "firewall": "".join(
            re.sub(r"#.*|\[\d+:\d+\]", "", output_of(command))
            for command in ("iptables-save", "iptables-legacy-save", "ip6tables-save")
        ),
        "nft": output_of("nft", "list", "ruleset"),
        "sysctls": sysctls,
        "folders": sorted(
            str(entry)
            for folder in ("/run", "/run/systemd", "/var/lib", "/run/netns")
            for entry in (Path(folder).iterdir() if Path(folder).is_dir() else ())
        ),
    }


@pytest.fixture(scope="module")
def before() -> dict[str, Any]:
    """The host without the lab."""
    play("down")
    assert not STATE.exists()
    return host()


def assert_as_before(before: dict[str, Any]) -> None:
    """The host is as it was."""
    after = host()
    for what, was in before.items():
        assert after[what] == was, what


def test_starts(before: dict[str, Any]) -> None:
    output, seconds = play("up", LAB_VMS="2")
    assert "WARNING" not in output
    assert changes(output)["vm1"] == 1
    print(f"warm start: {seconds:.1f} s")


def test_second_run_changes_nothing() -> None:
    output, seconds = play("up")
    assert set(changes(output).values()) == {0}
    assert "WARNING" not in output
    print(f"run without a change: {seconds:.1f} s")


def test_nothing_but_the_bridge_is_on_the_host(before: dict[str, Any]) -> None:
    now = host()
    for what in ("mounts", "firewall", "nft", "sysctls"):
        assert now[what] == before[what], what
    names = {link["ifname"] for link in now["links"]} - {link["ifname"] for link in before["links"]}
    assert names == {BRIDGE, "vb-hml-cluster1", "vb-hml-vm1", "vb-hml-vm2"}


def test_cluster_runs_pods_that_vms_reach() -> None:
    manifest = json.dumps(
        {
            "apiVersion": "v1",
            "kind": "List",
            "items": [
                {
                    "apiVersion": "v1",
                    "kind": "Namespace",
                    "metadata": {"name": "lab-test"},
                },
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {
                        "name": "web",
                        "namespace": "lab-test",
                        "labels": {"app": "web"},
                    },
                    "spec": {
                        "terminationGracePeriodSeconds": 0,
                        "containers": [
                            {
                                "name": "web",
                                "image": "docker.io/lab/workbench:1",
                                "command": [
                                    "python3",
                                    "-m",
                                    "http.server",
                                    "8080",
                                    "--directory",
                                    "/etc",
                                ],
                            }
                        ],
                    },
                },
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "metadata": {"name": "web", "namespace": "lab-test"},
                    "spec": {
                        "type": "LoadBalancer",
                        "selector": {"app": "web"},
                        "ports": [{"port": 80, "targetPort": 8080}],
                    },
                },
            ],
        }
    )
    command = [
        str(STATE / "bin/kubectl"),
        f"--kubeconfig={STATE}/admin.kubeconfig",
        "apply",
        "-f",
        "-",
    ]
    subprocess.run(command, input=manifest, text=True, check=True, capture_output=True)
    kubectl("-n", "lab-test", "wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    pod = json.loads(kubectl("-n", "lab-test", "get", "pod", "web", "-o", "json"))["status"]["podIP"]

    def address() -> str:
        status = json.loads(kubectl("-n", "lab-test", "get", "service", "web", "-o", "json"))["status"]
        return status["loadBalancer"].get("ingress", [{}])[0].get("ip", "")

    balancer = eventually(address)
    for vm in (VM1, VM2):
        assert ssh(vm, f"curl -s -m 5 http://{pod}:8080/hostname") == "web"
        assert eventually(lambda vm=vm: ssh(vm, f"curl -s -m 5 http://{balancer}/hostname")) == "web"
        answer = kubectl(
            "-n",
            "lab-test",
            "exec",
            "web",
            "--",
            "curl",
            "-s",
            "-m",
            "5",
            f"http://{vm}:10000/",
        )
        assert answer.startswith("V2---")
    names = "import socket; print(*map(socket.gethostbyname, ('web', 'kubernetes.default', 'vm1.lab.test')))"
    answer = kubectl("-n", "lab-test", "exec", "web", "--", "python3", "-c", names).split()
    assert answer[1:] == ["10.90.0.1", VM1]
    assert "GET /hostname" in kubectl("-n", "lab-test", "logs", "web")
    # A Service keeps its address when it is made anew.
    kubectl("-n", "lab-test", "delete", "service", "web")
    subprocess.run(command, input=manifest, text=True, check=True, capture_output=True)
    assert eventually(address) == balancer


def test_vms_know_each_other_and_not_the_cluster() -> None:
    assert ssh(VM1, "getent hosts vm2.lab.test").split()[0] == VM2
    assert ssh(VM1, "getent hosts kubernetes.default.svc.cluster.local || echo none") == "none"
    assert ssh(VM1, ". /etc/os-release; echo $VERSION_CODENAME") == "bookworm"
    assert ssh(VM2, ". /etc/os-release; echo $VERSION_CODENAME") == "trixie"


def test_reboot_inside_a_machine() -> None:
    look = "cat /proc/sys/kernel/random/boot_id; ls /root/kept"
    for address in (VM2, NODE):
        boot = ssh(address, f"touch /root/kept; {look}")
        ssh(address, "systemd-run --quiet --on-active=1 systemctl reboot")
        now = eventually(
            lambda address=address, boot=boot: (now := ssh(address, look)) != boot and now,
            60,
        )
        assert "/root/kept" in now
    ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    # Until the node's lease has run out, the API server does not know that it was away.
    eventually(lambda: kubectl("get", "node", "cluster1", "-o", ready) == "True", 60)
    kubectl("-n", "lab-test", "wait", "--for=condition=Ready", "pod/web", "--timeout=60s")


def test_poweroff_and_start_again() -> None:
    ssh(VM1, "systemd-run --quiet --on-active=1 systemctl poweroff")
    eventually(lambda: "off" in play("status")[0])
    assert changes(play("up")[0])["vm1"] == 1
    assert ssh(VM1, "hostname") == "vm1"


def test_reset_makes_a_machine_bare() -> None:
    ssh(VM1, "touch /root/mine")
    ssh(VM2, "touch /root/mine")
    output, seconds = play("reset", "-e", "lab_reset=vm1")
    print(f"reset of one VM: {seconds:.1f} s")
    assert changes(output)["cluster1"] == 0
    assert ssh(VM1, "ls /root/mine 2>/dev/null || echo bare") == "bare"
    assert ssh(VM2, "ls /root/mine") == "/root/mine"


def test_drift_is_mended() -> None:
    ssh(VM1, "echo '# changed' >> /etc/systemd/system/lab-app.service")
    output, _seconds = play("up")
    assert changes(output)["vm1"] == 1
    assert changes(output)["vm2"] == 0
    assert ssh(VM1, "grep -c changed /etc/systemd/system/lab-app.service || true") == "0"


def test_eight_vms_and_back() -> None:
    output, seconds = play("up", LAB_VMS="8")
    print(f"six more VMs: {seconds:.1f} s")
    assert changes(output)["vm8"] == 1
    assert ssh("10.88.0.28", "hostname") == "vm8"
    hosts = json.loads(output_of("ansible-inventory", "-i", str(ROOT / "inventories/lab"), "--list"))["mesh_vms"][
        "hosts"
    ]
    assert len(hosts) == 8
    play("up", LAB_VMS="2")
    assert {entry.name for entry in (STATE / "machines").iterdir()} == {
        "cluster1",
        "vm1",
        "vm2",
    }


def test_down_leaves_the_host_as_it_was(before: dict[str, Any]) -> None:
    _output, seconds = play("down")
    print(f"down: {seconds:.1f} s")
    assert_as_before(before)
    assert changes(play("down")[0])["localhost"] == 0


def test_down_after_everything_was_killed(before: dict[str, Any]) -> None:
    play("up")
    for pid_file in RUN.glob("*.pid"):
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
    play("down")
    assert_as_before(before)


@pytest.mark.parametrize("seconds", [4, 8, 15])
def test_down_after_a_start_that_was_killed(before: dict[str, Any], seconds: int) -> None:
    start = subprocess.Popen(
        ["ansible-playbook", "--inventory", "inventories/lab", "lab/up.yml"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(seconds)
    os.killpg(start.pid, signal.SIGKILL)
    start.wait()
    play("down")
    assert_as_before(before)


def test_refuses_what_it_did_not_make(before: dict[str, Any]) -> None:
    STATE.mkdir()
    (STATE / "somebody's").touch()
    try:
        for name in ("up", "down"):
            output, _seconds = play(name, check=False)
            assert "not with the lab's marker" in output
            assert (STATE / "somebody's").exists()
    finally:
        (STATE / "somebody's").unlink()
        STATE.rmdir()
    subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=True)
    try:
        for name in ("up", "down"):
            output, _seconds = play(name, check=False)
            assert "has not the lab's hardware address" in output
    finally:
        subprocess.run(["ip", "link", "delete", BRIDGE], check=True)
    subprocess.run(["ip", "link", "add", "lab-overlap", "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "link", "set", "lab-overlap", "up"], check=True)
        subprocess.run(["ip", "route", "add", "10.88.0.0/16", "dev", "lab-overlap"], check=True)
        output, _seconds = play("up", check=False)
        assert "overlaps the lab's 10.88.0.0/24" in output
    finally:
        subprocess.run(["ip", "link", "delete", "lab-overlap"], check=True)
    assert_as_before(before)


def test_firewall_that_drops_what_crosses_bridges(before: dict[str, Any]) -> None:
    if not Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists():
        pytest.skip("this kernel does not show bridges to the firewall")
    subprocess.run(["iptables", "-P", "FORWARD", "DROP"], check=True)
    try:
        play("up")
        assert ssh(VM1, f"curl -s -m 5 http://{VM2}:10000/").startswith("V2---")
        play("down")
    finally:
        subprocess.run(["iptables", "-P", "FORWARD", "ACCEPT"], check=True)
        if "table ip filter" not in before["nft"] and not before["firewall"]:
            # Setting the policy has made the table.
            subprocess.run(["nft", "delete", "table", "ip", "filter"], check=False)
    assert_as_before(before)


def test_other_network(before: dict[str, Any]) -> None:
    play("up", LAB_NETWORK="10.123.7.0/24", LAB_VMS="1")
    assert (
        ssh(
            "10.123.7.21",
            "curl -s -o /dev/null -w '%{http_code}' http://10.123.7.10:8000/releases/",
        )
        == "200"
    )
    play("down")
    assert_as_before(before)


def test_is_up_again_for_the_tests_to_come() -> None:
    play("up", LAB_VMS="2")
    assert "The lab is up" in play("status")[0]
