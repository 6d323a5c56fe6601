# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that has been somebody's for years: what was there goes on working, or the run stops before it changes anything."""

from __future__ import annotations

import os
import shlex
import subprocess
import typing as t

import pytest

from .conftest import ADDRESSES, Lab

VM = "vm1"
ADDRESS = ADDRESSES[VM]
ONBOARD = ("playbooks/onboard.yml", "--limit", VM)

# A resolver of its own on 127.0.0.53, as systemd-resolved or dnsmasq: it asks the real one.
RESOLVER = """
import socket
here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
here.bind(("127.0.0.53", 53))
while True:
    question, who = here.recvfrom(4096)
    there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    there.settimeout(2)
    there.sendto(question, ("10.88.0.10", 53))
    try:
        here.sendto(there.recv(4096), who)
    except OSError:
        pass
"""
YEARS = f"""
echo '192.0.2.7 billing.corp' >> /etc/hosts
iptables -N CORP; iptables -A INPUT -j CORP; iptables -A CORP -s 192.0.2.99 -j DROP
nft add table inet corp; nft add chain inet corp input
ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up
ip netns add container
ip link add veth0 type veth peer name eth0 netns container; ip link set veth0 master docker0 up
ip -n container link set lo up; ip -n container link set eth0 up
ip -n container addr add 172.17.0.2/16 dev eth0; ip -n container route add default via 172.17.0.1
sysctl -q -w net.ipv4.ip_forward=1; iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
printf 'Port 22\\nPort 2222\\n' > /etc/ssh/sshd_config.d/ports.conf; systemctl reload ssh
systemd-run --quiet --unit=monitoring python3 -m http.server 9100 --directory /usr/share/doc
cp /usr/bin/python3 /usr/local/sbin/envoy; systemd-run --quiet --unit=other-envoy /usr/local/sbin/envoy -m http.server 9901 --directory /usr/share/doc
cat > /root/resolver.py <<'END'
{RESOLVER}
END
systemd-run --quiet --unit=resolver python3 /root/resolver.py
sleep 1
echo 'nameserver 127.0.0.53' > /etc/resolv.conf
"""


@pytest.fixture(scope="module")
def brownfield(mesh: Lab) -> t.Iterator[Lab]:
    mesh.reset(VM)
    mesh.ssh(VM, "set -e\n" + YEARS)
    # Outside of the mesh, on a port that is captured on the machine.
    mesh.ssh("cluster1", "systemd-run --quiet --unit=outside python3 -m http.server 10000 --directory /usr/share/doc")
    mesh.apply(
        """\
        apiVersion: security.istio.io/v1
        kind: PeerAuthentication
        metadata: {name: strict, namespace: chapter10vm}
        spec: {mtls: {mode: STRICT}}
        """
    )
    yield mesh
    mesh.ssh("cluster1", "systemctl stop outside")
    mesh.kubectl("delete", "peerauthentication", "-n", "chapter10vm", "strict")
    mesh.reset(VM)


def answers(port: int) -> bool:
    """Whether a port of the machine answers HTTP to somebody outside of the mesh, which this machine is."""
    done = subprocess.run(["curl", "-s", "-m", "5", "-o", "/dev/null", f"http://{ADDRESS}:{port}/"], check=False)
    return done.returncode == 0


def works(lab: Lab) -> None:
    assert "192.0.2.7" in lab.ssh(VM, "getent hosts billing.corp")
    assert "10.88.0.22" in lab.ssh(VM, "getent hosts vm2.lab.test")
    assert "CORP" in lab.ssh(VM, "iptables -S INPUT")
    assert "192.0.2.99" in lab.ssh(VM, "iptables -S CORP")
    assert "corp" in lab.ssh(VM, "nft list tables")
    # A container asks others, by a captured port, too, and the machine's own application.
    for url in ("http://10.88.0.10:8000/releases/", "http://10.88.0.10:10000/", "http://172.17.0.1:10000/"):
        lab.ssh(VM, f"ip netns exec container curl -sSf -m 5 -o /dev/null {url}")
    assert answers(9100)
    assert answers(9901)
    ssh = [*shlex.split(os.environ["LAB_SSH"]), "-p", "2222", f"root@{ADDRESS}", "hostname"]
    # By another port the host's key is not known yet.
    ssh[1:1] = ["-o", "HostKeyAlias=" + ADDRESS]
    assert subprocess.run(ssh, capture_output=True, text=True, check=False).stdout.strip() == VM


def test_check_and_diff_show_all_and_change_nothing(brownfield: Lab) -> None:
    works(brownfield)
    before = brownfield.state_of(VM)
    run = brownfield.playbook(*ONBOARD, "--check", "--diff")
    assert run.code == 0, run.output
    assert brownfield.state_of(VM) == before
    for told in (
        "would install http://10.88.0.10:8000/releases/1.31.0-lab/deb/istio-sidecar.deb",
        "would create /var/lib/istio/envoy/cluster.env",
        "would create /etc/istio/config/mesh",
        "would create /etc/systemd/system/istio-capture.service",
        "would create /etc/systemd/system/istio.service.d/50-hybridmesh.conf",
        "would change /etc/hosts",
        "would create a token",
        "would start istio.service and istio-capture.service",
    ):
        assert told in run.words, run.output
    # The diff itself: our lines, and none of the others'.
    assert "+10.88.0.200 istiod.istio-system.svc" in run.output
    assert "-192.0.2.7" not in run.output


def test_issue_27728_39775_29518_42822_what_was_there_goes_on_working(brownfield: Lab) -> None:
    run = brownfield.playbook(*ONBOARD)
    assert run.code == 0, run.output
    works(brownfield)
    # What belongs to the mesh alone is shut for everybody else: strict mutual TLS.
    assert not answers(10000)
    assert "workbench" in brownfield.ssh(VM, "getent hosts workbench.lab.svc.cluster.local")
    proven = brownfield.playbook("playbooks/verify.yml", "--limit", VM)
    assert proven.code == 0, proven.output


def test_the_ports_of_management_are_not_captured(brownfield: Lab) -> None:
    run = brownfield.playbook(
        *ONBOARD, variables={"vm_sidecar_inbound_ports": ["*"], "vm_sidecar_management_ports": [9100, 9901]}
    )
    assert run.code == 0, run.output
    works(brownfield)
    assert not answers(10000)
    run = brownfield.playbook(*ONBOARD)
    assert run.code == 0, run.output


def test_offboarding_leaves_it_as_it_was(brownfield: Lab) -> None:
    run = brownfield.playbook("playbooks/offboard.yml", "--limit", VM)
    assert run.code == 0, run.output
    works(brownfield)
    assert answers(10000)


@pytest.mark.parametrize(
    ("breaking", "mending", "words"),
    [
        (
            "echo '10.88.0.9 istiod.istio-system.svc' >> /etc/hosts",
            "sed -i '/10.88.0.9/d' /etc/hosts",
            "somebody else's",
        ),
        ("systemd-run --quiet --unit=taken python3 -m http.server 15001; sleep 1", "systemctl stop taken", "15001"),
        (
            "systemd-run --quiet --unit=taken /usr/local/sbin/envoy -m http.server 15000; sleep 1",
            "systemctl stop taken",
            "envoy (PID",
        ),
    ],
    ids=["a line in /etc/hosts", "an application on the sidecar's port", "another Envoy on the admin port"],
)
def test_what_can_not_go_together_stops_the_run_before(
    brownfield: Lab, breaking: str, mending: str, words: str
) -> None:
    brownfield.ssh(VM, breaking)
    try:
        before = brownfield.state_of(VM)
        run = brownfield.playbook(*ONBOARD)
        assert run.code != 0
        assert words in run.words, run.output
        assert brownfield.state_of(VM) == before
    finally:
        brownfield.ssh(VM, mending)
