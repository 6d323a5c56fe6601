# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From an empty cluster and bare machines to a proven mesh, and what a user does next. One test builds on another."""

from __future__ import annotations

import base64
import os
import pathlib
import re

import pytest
import yaml

from .conftest import ADDRESSES, Lab, Run

VMS = ("vm1", "vm2")


def quiet(run: Run) -> bool:
    """Whether a run printed neither a warning nor a deprecation."""
    return not re.search(r"\[(WARNING|DEPRECATION|ERROR)", run.output)


@pytest.fixture(scope="module")
def first_run(lab: Lab) -> Run:
    return lab.playbook("site.yml", "-vvvv")


def test_check_mode_from_nothing_succeeds_and_changes_nothing(lab: Lab) -> None:
    lab.reset()
    machines = {vm: lab.state_of(vm) for vm in VMS}
    cluster = lab.kubectl("get", "namespaces,crds,clusterroles,sa", "-A", "-o", "name")

    run = lab.playbook("site.yml", "--check", "--diff")
    sample = lab.playbook("playbooks/demo.yml", "--check", "--diff")

    assert run.code == 0, run.output
    assert quiet(run), run.output
    assert "not_tested" in run.output
    # What an earlier playbook would have made is missing, and is told as that.
    assert sample.code == 0, sample.output
    assert quiet(sample), sample.output
    for made in (
        "Namespace chapter10",
        "Deployment chapter10/envoydummy",
        "Deployment istio-system/istio-ingressgateway",
    ):
        assert f"would create {made}" in sample.words, sample.output
    assert {vm: lab.state_of(vm) for vm in VMS} == machines
    assert lab.kubectl("get", "namespaces,crds,clusterroles,sa", "-A", "-o", "name") == cluster


def test_first_run_proves_every_vm(first_run: Run) -> None:
    assert first_run.code == 0, first_run.output
    table = first_run.output[first_run.output.rindex("Report | The proof") :]
    for vm in VMS:
        assert re.search(rf"- {vm} +ok ", table), table
        assert ADDRESSES[vm] in table, table
    assert "not_tested" not in table, table


def test_no_secret_is_printed_at_any_verbosity(lab: Lab, first_run: Run) -> None:
    secrets = []
    users = yaml.safe_load(pathlib.Path(os.environ["KUBECONFIG"]).read_text())["users"]
    for user in users:
        encoded = user["user"]["client-key-data"]
        secrets += [encoded, base64.b64decode(encoded).decode().splitlines()[1]]
    for vm in VMS:
        secrets += lab.ssh(
            vm, "cat /var/run/secrets/tokens/istio-token; echo; sed -n 2p /etc/certs/key.pem"
        ).splitlines()
    secrets = [secret for secret in secrets if secret]
    assert len(secrets) >= 2 + 2 * len(VMS)

    assert [secret[:12] for secret in secrets if secret in first_run.output] == []
    # Any other token of the cluster's: a JSON web token starts with the encoding of '{"alg":'.
    assert "eyJhbGciOi" not in first_run.output


def test_no_secret_of_a_kubeconfig_given_as_a_dictionary_is_printed(mesh: Lab, tmp_path: pathlib.Path) -> None:
    config = yaml.safe_load(pathlib.Path(os.environ["KUBECONFIG"]).read_text())
    variables = tmp_path / "variables.yml"
    variables.write_text(yaml.safe_dump({"mesh_kubeconfig": config}))

    run = mesh.playbook("site.yml", "-vvvv", "-e", f"@{variables}")

    assert run.code == 0, run.output
    assert run.changed == 0, run.output
    assert [user["name"] for user in config["users"] if user["user"]["client-key-data"][:40] in run.output] == []


def test_entries_are_healthy(mesh: Lab) -> None:
    listed = yaml.safe_load(mesh.kubectl("get", "workloadentries", "-n", "chapter10vm", "-o", "yaml"))["items"]
    healthy = {
        entry["spec"]["address"]: condition["status"]
        for entry in listed
        for condition in entry["status"]["conditions"]
        if condition["type"] == "Healthy"
    }
    assert healthy == {ADDRESSES[vm]: "True" for vm in VMS}


def test_second_run_changes_nothing_in_few_round_trips(mesh: Lab) -> None:
    run = mesh.playbook("site.yml", "-vvv")

    assert run.code == 0, run.output
    assert run.changed == 0, run.output
    assert quiet(run), run.output
    trips = {vm: run.round_trips(ADDRESSES[vm]) for vm in VMS}
    print(f"round trips of a second run: {trips}")
    # Three to converge, one for the proof.
    assert all(0 < count <= 4 for count in trips.values()), trips


def test_second_check_run_finds_nothing_to_do(mesh: Lab) -> None:
    run = mesh.playbook("site.yml", "--check", "--diff")

    assert run.code == 0, run.output
    assert run.changed == 0, run.output
    assert quiet(run), run.output


def test_verify_alone_proves_the_same(mesh: Lab) -> None:
    run = mesh.playbook("playbooks/verify.yml", "-vvv")

    assert run.code == 0, run.output
    assert run.changed == 0, run.output
    assert {vm: run.round_trips(ADDRESSES[vm]) for vm in VMS} == dict.fromkeys(VMS, 1)


def test_limit_works_on_one_vm_alone(mesh: Lab) -> None:
    mesh.reset("vm2")

    run = mesh.playbook("site.yml", "--limit", "vm2", "-vvv")

    assert run.code == 0, run.output
    assert run.round_trips(ADDRESSES["vm1"]) == 0
    # A new machine is looked at, changed and proven; then comes the role mesh_verify.
    assert run.round_trips(ADDRESSES["vm2"]) == 4
    assert re.search(r"- vm2 +ok ", run.output), run.output
    assert re.search(r"- vm1 +not_reached ", run.output), run.output


def test_a_dead_vm_does_not_stop_the_others(mesh: Lab, tmp_path: pathlib.Path) -> None:
    dead = tmp_path / "dead.yml"
    # An address of the lab's network that no machine has.
    dead.write_text(yaml.safe_dump({"mesh_vms": {"hosts": {"vm1": {"ansible_host": "10.88.0.199"}}}}))

    run = mesh.playbook("site.yml", "-i", "inventories/lab", "-i", str(dead))

    assert run.code != 0
    assert run.recap["vm1"]["unreachable"] == 1, run.output
    assert run.recap["vm2"]["failed"] == 0, run.output
    table = run.output[run.output.rindex("Report | The proof") :]
    assert re.search(r"- vm1 +UNREACHABLE ", table), table
    assert re.search(r"- vm2 +ok ", table), table
