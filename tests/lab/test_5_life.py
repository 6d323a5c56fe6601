# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a sidecar on machines that carry traffic: upgrade, change, renewal, bypass, removal. One test builds on another."""

from __future__ import annotations

import json
import pathlib
import re
import time
import typing as t

import pytest
import yaml

from .conftest import ADDRESSES, PROJECT, Lab, Run
from .traffic import from_machine, from_pod

VMS = ("vm1", "vm2")
OLD, NEW = "1.30.4", "1.31.0"
NAMESPACE, GROUP = "chapter10vm", "envoydummy"


def version(lab: Lab, vm: str) -> str:
    return lab.ssh(vm, "dpkg-query -W -f '${Version}' istio-sidecar").strip()


def process(lab: Lab, vm: str) -> str:
    """The sidecar's own process: another number means that it was restarted."""
    return lab.ssh(vm, "systemctl show -p MainPID --value istio").strip()


def healthy(lab: Lab, vm: str) -> bool:
    entry = json.loads(
        lab.kubectl("get", "workloadentry", "-n", NAMESPACE, f"{GROUP}-{ADDRESSES[vm]}-network1", "-o", "json")
    )
    return [item["status"] for item in entry["status"]["conditions"] if item["type"] == "Healthy"] == ["True"]


def succeeded(run: Run) -> Run:
    assert run.code == 0, run.output
    return run


@pytest.fixture(scope="module")
def old(lab: Lab) -> Lab:
    """A whole mesh of the older version, from nothing."""
    lab.reset()
    succeeded(lab.playbook("site.yml", variables={"control_plane_version": f"{OLD}-lab"}))
    assert {version(lab, vm) for vm in VMS} == {f"{OLD}lab"}
    return lab


def test_istiod_alone_is_upgraded_first(old: Lab) -> None:
    with from_pod() as traffic:
        succeeded(old.playbook("playbooks/mesh.yml", variables={"control_plane_allow_upgrade": True}))
    traffic.told("istiod and the gateway upgraded under running VMs")
    assert traffic.failed == 0, traffic.statuses
    # A sidecar that istiod supports stays until it is asked for.
    run = succeeded(old.playbook("playbooks/onboard.yml"))
    assert run.changed == 0, run.output
    assert {version(old, vm) for vm in VMS} == {f"{OLD}lab"}


def test_check_mode_of_an_upgrade_tells_and_changes_nothing(old: Lab) -> None:
    before = {vm: old.state_of(vm) for vm in VMS}
    run = succeeded(old.playbook("playbooks/upgrade.yml", "--check", "--diff"))
    assert f"would install http://10.88.0.10:8000/releases/{NEW}-lab/deb/istio-sidecar.deb" in run.words
    assert "would take it out of its Services first" in run.words
    assert {vm: old.state_of(vm) for vm in VMS} == before


def test_a_canary_that_fails_goes_back_and_stops_the_rest(old: Lab) -> None:
    environment = old.ssh("vm1", "cat /etc/hybridmesh/sidecar.env")
    with from_pod() as traffic:
        run = old.playbook(
            "playbooks/upgrade.yml",
            # There is no such user, so the start script ends at once.
            variables={"vm_sidecar_environment": {"EXEC_USER": "nobody-there"}, "vm_sidecar_ready_timeout": 8},
        )
    traffic.told("an upgrade whose canary fails")

    assert run.code != 0
    assert f"went back to what it had before (version {OLD}lab)" in run.words, run.output
    assert "Not touched, since vm1 failed before it" in run.words, run.output
    assert {vm: version(old, vm) for vm in VMS} == dict.fromkeys(VMS, f"{OLD}lab")
    assert old.ssh("vm1", "cat /etc/hybridmesh/sidecar.env") == environment
    assert all(healthy(old, vm) for vm in VMS)
    assert traffic.failed == 0, traffic.statuses


def test_an_upgrade_loses_no_request(old: Lab) -> None:
    old.ssh("vm1", "echo '# edited' >> /var/lib/istio/envoy/envoy_bootstrap_tmpl.json")
    old.ssh("vm2", "echo 'export MY_OWN=kept' >> /var/lib/istio/envoy/sidecar.env")
    with from_pod() as inbound, from_machine("vm1") as outbound:
        run = succeeded(old.playbook("playbooks/upgrade.yml"))
    inbound.told("an upgrade of two VMs, requests to their Service")
    outbound.told("an upgrade of two VMs, requests from one of them")

    assert inbound.failed == 0, inbound.statuses
    assert inbound.sent > 100
    assert {version(old, vm) for vm in VMS} == {f"{NEW}lab"}
    assert [old.ssh(vm, "apt-mark showhold").strip() for vm in VMS] == ["istio-sidecar"] * 2
    # One after the other, since one of two is all that may be out.
    assert run.words.count("Drain | Take the machines out of their Services] ***") == 2
    assert "MY_OWN=kept" in old.ssh("vm2", "cat /var/lib/istio/envoy/sidecar.env")
    assert "# edited" not in old.ssh("vm1", "cat /var/lib/istio/envoy/envoy_bootstrap_tmpl.json")
    assert "# edited" in old.ssh("vm1", "cat /var/lib/istio/envoy/envoy_bootstrap_tmpl.json.dpkg-old")
    # Nothing is left of the way back but the package that is installed now.
    assert old.ssh("vm1", "ls /var/cache/hybridmesh /var/lib/hybridmesh").split() == [
        "/var/cache/hybridmesh:",
        f"istio-sidecar_{NEW}lab.deb",
        "/var/lib/hybridmesh:",
    ]


def test_an_upgrade_that_is_done_changes_nothing(old: Lab) -> None:
    run = succeeded(old.playbook("playbooks/upgrade.yml", "-vvv"))
    assert run.changed == 0, run.output
    assert [run.round_trips(ADDRESSES[vm]) for vm in VMS] == [1, 1]


def test_a_newer_sidecar_than_istiod_is_refused(mesh: Lab) -> None:
    run = mesh.playbook("playbooks/upgrade.yml", "--limit", "vm1", variables={"vm_sidecar_version": "1.32.0"})
    assert run.code != 0
    assert "newer than the control plane" in run.words
    assert run.changed == 0


def test_nothing_to_do_costs_one_round_trip(mesh: Lab) -> None:
    run = succeeded(mesh.playbook("playbooks/onboard.yml", "-vvv"))
    assert run.changed == 0, run.output
    assert [run.round_trips(ADDRESSES[vm]) for vm in VMS] == [1, 1]


def test_other_capture_settings_leave_the_sidecar_running(mesh: Lab) -> None:
    before = process(mesh, "vm1")
    options = {"vm_sidecar_exclude_outbound_ports": [2049]}
    run = succeeded(mesh.playbook("playbooks/onboard.yml", "--limit", "vm1", variables=options))
    assert "The capture is made anew, the sidecar goes on: changed: /etc/hybridmesh/capture.env" in run.words
    assert process(mesh, "vm1") == before
    assert "2049" in mesh.ssh("vm1", "iptables-save; iptables-legacy-save")
    succeeded(mesh.playbook("playbooks/onboard.yml", "--limit", "vm1"))
    assert "2049" not in mesh.ssh("vm1", "iptables-save; iptables-legacy-save")


def test_dns_capture_is_switched(mesh: Lab) -> None:
    names = "getent hosts vm2.lab.test; getent hosts workbench.lab.svc.cluster.local || echo none"
    options = {"vm_sidecar_capture_dns": False}
    with from_pod() as traffic:
        run = succeeded(mesh.playbook("playbooks/onboard.yml", variables=options))
        # Without it, names of the mesh are not known on the machine; all others are.
        seen = mesh.ssh("vm1", names)
        assert "--dport 53" not in mesh.ssh("vm1", "iptables-save; iptables-legacy-save")
        succeeded(mesh.playbook("playbooks/onboard.yml"))
    assert "The sidecar is restarted: changed: /var/lib/istio/envoy/cluster.env, /etc/istio/config/mesh" in run.words
    assert "10.88.0.22" in seen
    assert seen.endswith("none\n")
    assert "none" not in mesh.ssh("vm1", names)
    traffic.told("DNS capture switched off and on, on two VMs")
    assert traffic.failed == 0, traffic.statuses


def test_a_new_gateway_address_restarts_nothing(mesh: Lab) -> None:
    before = process(mesh, "vm1")
    options = {"vm_sidecar_gateway_address": "10.88.0.10"}
    # The node stands for another load balancer of the same gateway.
    service = ("service", "-n", "istio-system", "istio-eastwestgateway")
    mesh.kubectl("patch", *service, "-p", '{"spec": {"externalIPs": ["10.88.0.10"]}}')
    reached = "timeout 30 bash -c 'until (exec 3<>/dev/tcp/10.88.0.10/15012) 2> /dev/null; do sleep 0.5; done'"
    mesh.ssh("vm1", reached)
    try:
        told = succeeded(mesh.playbook("playbooks/renew.yml", "--limit", "vm1", variables=options))
        assert told.changed == 0, told.output
        assert "the gateway's address, or the name that istiod is reached by changed" in told.words, told.output
        assert "run the playbook onboard for it (nothing is restarted)" in told.words, told.output
        run = succeeded(mesh.playbook("playbooks/onboard.yml", "--limit", "vm1", variables=options))
        assert run.recap["vm1"]["changed"] == 1, run.output
        assert "10.88.0.10 istiod.istio-system.svc" in mesh.ssh("vm1", "cat /etc/hosts")
        assert process(mesh, "vm1") == before
    finally:
        mesh.kubectl("patch", *service, "-p", '{"spec": {"externalIPs": null}}')
        succeeded(mesh.playbook("playbooks/onboard.yml", "--limit", "vm1"))


def test_issue_37868_new_labels_of_the_group_reach_its_entries(mesh: Lab) -> None:
    """istio/istio#37868: an entry keeps the labels of its first registration."""
    groups = yaml.safe_load((PROJECT / "inventories/lab/group_vars/all/mesh.yml").read_text())
    wanted = json.loads(json.dumps(groups["workload_group_groups"]))
    wanted[0]["labels"]["track"] = "stable"
    with from_pod() as traffic:
        run = succeeded(mesh.playbook("playbooks/onboard.yml", variables={"workload_group_groups": wanted}))
    traffic.told("new labels on a group")
    assert "track=stable" in run.words
    labels = mesh.kubectl("get", "workloadentry", "-n", NAMESPACE, "-l", "track=stable", "-o", "name").split()
    assert len(labels) == len(VMS)
    assert traffic.failed == 0, traffic.statuses
    succeeded(mesh.playbook("playbooks/onboard.yml"))


def test_renew_of_a_healthy_machine_costs_one_round_trip(mesh: Lab, tmp_path: pathlib.Path) -> None:
    page = tmp_path / "fleet.html"
    run = succeeded(mesh.playbook("playbooks/renew.yml", "-vvv", variables={"mesh_verify_fleet_html": str(page)}))
    assert run.changed == 0, run.output
    assert [run.round_trips(ADDRESSES[vm]) for vm in VMS] == [1, 1]
    assert "2 VMs - 2 ok" in run.words
    assert page.read_text().count("<tr") == 1 + len(VMS)


def test_renew_brings_tokens_without_a_restart(mesh: Lab) -> None:
    before = [process(mesh, vm) for vm in VMS]
    tokens = [mesh.ssh(vm, "cat /var/run/secrets/tokens/istio-token") for vm in VMS]
    run = succeeded(mesh.playbook("playbooks/renew.yml", variables={"vm_sidecar_renew_all": True}))
    assert "2 VMs - 2 renewed" in run.words
    assert [process(mesh, vm) for vm in VMS] == before
    assert all(
        new != old
        for new, old in zip(
            (mesh.ssh(vm, "cat /var/run/secrets/tokens/istio-token") for vm in VMS), tokens, strict=False
        )
    )


def test_a_machine_looks_the_same_by_python_alone_and_by_ansible_s_library(mesh: Lab) -> None:
    def look(**variables: t.Any) -> dict[str, t.Any]:
        files = f"{{{{ lookup('hybridmesh.istio.sidecar_bootstrap', '{NAMESPACE}/{GROUP}', token=false) }}}}"
        config = {"files": files, "capture": {"inbound_ports": ["*"]}}
        facts = mesh.module(
            "sidecar_info",
            machine="vm1",
            variables=variables,
            targets=["10.88.0.10:6443"],
            names_resolve=True,
            config=config,
        )["vm"]
        # What differs from look to look anyway.
        for changing in ("time", "disk"):
            del facts[changing]
        for counting, key in (("certificate", "remaining"), ("certificate", "age"), ("token", "remaining")):
            del facts[counting][key]
        del facts["reach"][0]["seconds"]
        return facts

    alone = look()
    assert alone["certificate"]["valid"]
    assert alone["drift"]["files"]
    # Where Ansible has to find the Python first, and where it may not pipeline.
    assert look(ansible_python_interpreter="auto_silent") == alone
    assert look(ansible_pipelining=False, ansible_ssh_pipelining=False) == alone
    try:
        mesh.ssh(
            "vm1",
            """
            useradd --create-home ops
            install -d -o ops -m 0700 /home/ops/.ssh && install -o ops -m 0600 /root/.ssh/authorized_keys /home/ops/.ssh/
            echo 'ops ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/ops
            """,
        )
        assert look(ansible_user="ops", ansible_become=True) == alone
    finally:
        mesh.ssh("vm1", "pkill -u ops; sleep 1; userdel --remove ops; rm -f /etc/sudoers.d/ops", check=False)


def test_no_secret_lies_in_a_file_where_pipelining_is_off(mesh: Lab) -> None:
    run = succeeded(
        mesh.playbook(
            "playbooks/renew.yml",
            "-vvv",
            variables={"vm_sidecar_renew_all": True},
            environment={"ANSIBLE_PIPELINING": "0", "ANSIBLE_SSH_PIPELINING": "0"},
        )
    )
    tasks = re.split(r"^TASK \[", run.output, flags=re.MULTILINE)
    carrying = [task for task in tasks if "Token | Put it in place]" in task.split("\n", 1)[0]]
    looking = [task for task in tasks if "Renew | Look at the machine]" in task.split("\n", 1)[0]]
    # The others do become files, so that this test could fail.
    assert "PUT" in looking[0]
    assert carrying
    assert not any("PUT" in task for task in carrying), carrying


def test_no_secret_lies_in_a_file_or_is_shown_where_it_comes_with_the_files(mesh: Lab) -> None:
    try:
        # Without a certificate it needs a token: both are written in one task, whose differences are shown.
        mesh.ssh(
            "vm1", "systemctl stop istio; cd /etc/certs; rm key.pem cert-chain.pem; echo >> /etc/istio/config/mesh"
        )
        run = succeeded(
            mesh.playbook(
                "playbooks/onboard.yml",
                *("--limit", "vm1", "--diff", "-vvvv"),
                environment={"ANSIBLE_PIPELINING": "0", "ANSIBLE_SSH_PIPELINING": "0"},
            )
        )
    finally:
        succeeded(mesh.playbook("playbooks/onboard.yml"))
    tasks = re.split(r"^TASK \[", run.output, flags=re.MULTILINE)
    writing = [task for task in tasks if "Change | Install the package" in task.split("\n", 1)[0]]
    assert "+++ after: /etc/istio/config/mesh" in writing[0]
    assert re.search(r"/var/run/secrets/tokens/istio-token \(istio-proxy, 0600\): (create|change)", writing[0]), writing
    assert "PUT" not in writing[0]
    assert mesh.ssh("vm1", "cat /var/run/secrets/tokens/istio-token").strip() not in run.output


def test_renew_tells_a_changed_root_certificate(mesh: Lab) -> None:
    mesh.ssh(
        "vm1",
        "cp -a /etc/certs/root-cert.pem /root/; openssl req -x509 -newkey rsa:2048 -nodes -keyout /dev/null -subj /O=other "
        "-days 2 -out /etc/certs/root-cert.pem 2> /dev/null",
    )
    try:
        run = mesh.playbook("playbooks/renew.yml", "--limit", "vm1")
        assert "another mesh's authority" in run.words, run.output
    finally:
        mesh.ssh("vm1", "cp -a /root/root-cert.pem /etc/certs/")


def test_bypass_and_resume_need_nobody(mesh: Lab) -> None:
    mesh.ssh("vm1", "istio-capture bypass the shop is down")
    assert "ISTIO" not in mesh.ssh("vm1", "iptables-save; iptables-legacy-save")
    assert "the shop is down" in mesh.ssh("vm1", "istio-capture status")

    run = mesh.playbook("playbooks/onboard.yml", "--limit", "vm1")
    assert run.code != 0
    assert "somebody put the sidecar out of use" in run.words
    report = mesh.playbook("playbooks/renew.yml", "--limit", "vm1")
    assert "bypassed" in report.words

    mesh.ssh("vm1", "istio-capture resume && istio-capture confirm")
    assert "capture: on" in mesh.ssh("vm1", "istio-capture status")
    assert mesh.ssh("vm1", "systemctl is-enabled istio istio-capture").split() == ["enabled", "enabled"]


def test_resume_that_nobody_confirms_is_undone(mesh: Lab) -> None:
    mesh.ssh(
        "vm1",
        "istio-capture bypass; sed 's/trial 60 60/trial 60 3/' /usr/local/sbin/istio-capture > /root/impatient; "
        "chmod 755 /root/impatient",
    )
    try:
        mesh.ssh("vm1", "/root/impatient resume")
        deadline = time.monotonic() + 30
        while "ISTIO" in mesh.ssh("vm1", "iptables-save; iptables-legacy-save"):
            assert time.monotonic() < deadline
            time.sleep(0.5)
        assert "held" in mesh.ssh("vm1", "istio-capture status")
    finally:
        mesh.ssh("vm1", "rm -f /etc/hybridmesh/bypassed /root/impatient")
        succeeded(mesh.playbook("playbooks/onboard.yml", "--limit", "vm1"))


def same_machine(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
    """What differs between two looks at a machine, without the times of files and what dpkg and useradd write down."""
    books = re.compile(r"/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$|/var/lib/dpkg/")
    # Tables of the kernel that were looked at once stay, empty.
    empty = re.compile(r"^ip6?tables(-legacy)? (\*\w+|:\w+ ACCEPT\s*|COMMIT)$")

    def without_time(text: str | None) -> str | None:
        return None if text is None else re.sub(r" \d{9,}\.\d+ ", " ", text)

    return {
        key: (before.get(key), after.get(key))
        for key in before.keys() | after.keys()
        if not books.search(key)
        and not empty.match(key)
        and without_time(before.get(key)) != without_time(after.get(key))
    }


def test_issue_52961_47957_48368_29478_offboard_leaves_nothing_and_onboarding_again_works(mesh: Lab) -> None:
    mesh.reset("vm2")
    mesh.ssh(
        "vm2",
        "echo '192.0.2.7 mine' >> /etc/hosts; iptables -A INPUT -s 192.0.2.7 -j DROP; mkdir -p /etc/certs; touch /etc/certs/mine",
    )
    before = mesh.state_of("vm2")
    succeeded(mesh.playbook("playbooks/onboard.yml", "--limit", "vm2"))

    with from_pod() as traffic:
        run = succeeded(mesh.playbook("playbooks/offboard.yml", "--limit", "vm2"))
    traffic.told("one of two VMs offboarded")

    assert same_machine(before, mesh.state_of("vm2")) == {}
    assert traffic.failed == 0, traffic.statuses
    assert mesh.kubectl("get", "workloadentry", "-n", NAMESPACE, "-o", "name").split() == [
        f"workloadentry.networking.istio.io/{GROUP}-{ADDRESSES['vm1']}-network1"
    ]
    assert run.recap["vm2"]["changed"] >= 2
    assert "192.0.2.7" in mesh.ssh("vm2", "getent hosts mine")
    again = succeeded(mesh.playbook("playbooks/offboard.yml", "--limit", "vm2"))
    assert again.changed == 0, again.output
    succeeded(mesh.playbook("playbooks/onboard.yml", "--limit", "vm2"))
    proven = succeeded(mesh.playbook("playbooks/verify.yml"))
    assert "2 VMs - 2 ok" in proven.words


def test_offboard_keeps_the_logs_if_asked(mesh: Lab) -> None:
    succeeded(mesh.playbook("playbooks/offboard.yml", "--limit", "vm2", variables={"vm_sidecar_keep_logs": True}))
    assert mesh.ssh("vm2", "stat -c '%U %s' /var/log/istio/istio.log").startswith("root ")
    succeeded(mesh.playbook("playbooks/onboard.yml", "--limit", "vm2"))


def test_a_lost_machine_is_shut_out(mesh: Lab) -> None:
    refused = mesh.playbook("playbooks/offboard_lost.yml", variables={"mesh_lost": "vm2"})
    assert refused.code != 0
    assert f"is also the identity of {GROUP}-{ADDRESSES['vm1']}-network1" in refused.words, refused.output

    options = {"mesh_lost": "vm2", "vm_sidecar_lost_deny": "address"}
    with from_machine("vm1") as other:
        run = succeeded(mesh.playbook("playbooks/offboard_lost.yml", "-vvv", variables=options))
        assert run.round_trips(ADDRESSES["vm2"]) == 0
        assert "can go on renewing it" in run.words
        answer = "curl -s -o /dev/null -m 5 -w '%{http_code}' http://workbench.lab.svc.cluster.local/ || true"
        deadline = time.monotonic() + 20
        while (status := mesh.ssh("vm2", answer).strip()) != "403":
            assert time.monotonic() < deadline, status
            time.sleep(0.5)
    assert other.failed == 0, other.statuses
    again = succeeded(mesh.playbook("playbooks/offboard_lost.yml", variables=options))
    assert again.changed == 0, again.output

    succeeded(mesh.playbook("playbooks/offboard_lost.yml", variables={**options, "vm_sidecar_lost_found": True}))
    succeeded(mesh.playbook("playbooks/onboard.yml", "--limit", "vm2"))
    succeeded(mesh.playbook("playbooks/verify.yml"))
