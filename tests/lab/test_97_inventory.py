# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory of the mesh's own entries: the playbooks of day 2 run with it alone."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import typing as t

import pytest
import yaml

from .conftest import PROJECT, Lab
from .test_4_rights import Job

VM1, VM2 = "envoydummy-10.88.0.21-network1", "envoydummy-10.88.0.22-network1"
GROUP = "mesh_group_chapter10vm__envoydummy"


class Inventory:
    """A folder with the plugin's file and, as group variables, how ssh reaches the machines; no machine is named in it."""

    def __init__(self, folder: pathlib.Path, **options: t.Any) -> None:
        self.path = folder / "lab.workloads.yml"
        self.path.write_text(yaml.safe_dump({"plugin": "hybridmesh.istio.workloads", **options}))
        place = folder / "group_vars"
        place.mkdir(exist_ok=True)
        lab = PROJECT / "inventories" / "lab" / "group_vars"
        state = {"lab_state": "/var/lib/hybridmesh-lab", "lab_run": "/run/hybridmesh-lab"}
        ssh = yaml.safe_load((lab / "lab_machines" / "ssh.yml").read_text())
        mesh = yaml.safe_load((lab / "all" / "mesh.yml").read_text())
        # Which group a machine belongs to, its entry says.
        del mesh["mesh_workload_group"]
        (place / "mesh_vms.yml").write_text(yaml.safe_dump(ssh))
        (place / "all.yml").write_text(yaml.safe_dump({**mesh, **state, "lab_node_address": "10.88.0.10"}))

    def read(self) -> dict[str, t.Any]:
        done = subprocess.run(
            ["ansible-inventory", "-i", str(self.path), "--list"],
            cwd=PROJECT,
            env={**os.environ, "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "WARNING" not in done.stderr, done.stderr
        found: dict[str, t.Any] = json.loads(done.stdout)
        return found


@pytest.fixture(scope="module")
def inventory(mesh: Lab, tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    job = Job(mesh, "inventory")
    return Inventory(tmp_path_factory.mktemp("inventory"), kubeconfig=str(job.kubeconfig))


def test_machines_and_what_is_known_of_them(inventory: Inventory) -> None:
    found = inventory.read()
    assert sorted(found[GROUP]["hosts"]) == [VM1, VM2]
    assert GROUP in found["mesh_vms"]["children"] or found["mesh_vms"]["hosts"]
    seen = found["_meta"]["hostvars"][VM1]
    text = json.dumps(seen)
    for value in ("10.88.0.21", "chapter10vm/envoydummy", "network1", "healthy", "chapter10-sa"):
        assert value in text
    assert seen["mesh_entry_connected"] is True


@pytest.mark.parametrize("playbook", ["verify", "renew", "diagnose"])
def test_day_2_with_this_inventory_alone(mesh: Lab, inventory: Inventory, playbook: str) -> None:
    run = mesh.playbook(f"playbooks/{playbook}.yml", "-i", str(inventory.path))
    assert run.code == 0, run.output
    assert run.changed == 0, run.output
    assert set(run.recap) >= {VM1, VM2}, run.output
    assert "WARNING" not in run.output, run.output


def test_a_limit(mesh: Lab, inventory: Inventory) -> None:
    run = mesh.playbook("playbooks/verify.yml", "-i", str(inventory.path), "--limit", VM2)
    assert run.code == 0, run.output
    assert set(run.recap) == {VM2}, run.output


def test_only_those_that_are_not_healthy(mesh: Lab, inventory: Inventory, tmp_path: pathlib.Path) -> None:
    ill = Inventory(tmp_path, kubeconfig=str(mesh.folder / "inventory.kubeconfig"), health=["unhealthy"])
    mesh.ssh("vm2", "systemctl stop lab-app")
    try:
        mesh.kubectl(
            *f"wait workloadentry/{VM2} -n chapter10vm --for=condition=Healthy=False --timeout=60s".split(), check=True
        )
        assert ill.read()[GROUP]["hosts"] == [VM2]
    finally:
        mesh.ssh("vm2", "systemctl start lab-app")
        mesh.kubectl(*f"wait workloadentry/{VM2} -n chapter10vm --for=condition=Healthy --timeout=60s".split())


def test_the_rights_are_for_reading_alone(mesh: Lab, inventory: Inventory) -> None:
    job = Job(mesh, "inventory")
    assert job.may("list", "workloadentries.networking.istio.io", "-A")
    for what in (
        ("get", "secrets", "-n", "chapter10vm"),
        ("create", "serviceaccounts/token", "-n", "chapter10vm"),
        ("patch", "workloadentries.networking.istio.io", "-n", "chapter10vm"),
        ("list", "pods", "-n", "istio-system"),
    ):
        assert not job.may(*what), what
