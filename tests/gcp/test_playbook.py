# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook infra_gcp, the dynamic inventory and the kubeconfig, as a user runs them."""

from __future__ import annotations

import json
import re
import subprocess
import typing as t

import yaml

from .conftest import ROOT, VMS, Cloud

PRIVATE = "PRIVATE KEY"


def test_playbook_inventory_and_kubeconfig(cloud: Cloud) -> None:
    file = cloud.folder / "kubeconfig"
    check = cloud.play("--check", "--diff")
    assert check.code == 0, check.output
    assert cloud.world.mutations == []
    assert "would create network mesh1" in check.words
    # What it costs is told before anything is made, thing by thing.
    assert "3 nodes e2-medium with 50 GB pd-balanced each" in check.words

    run = cloud.play("-vvvv", kubeconfig_file=str(file))
    assert run.code == 0, run.output
    # Before the task that makes it.
    cost = "- 3 nodes e2-medium with 50 GB pd-balanced each"
    assert run.output.index(cost) < run.output.index("Configure | The infrastructure as declared")
    assert run.changed == 2, run.output
    assert PRIVATE not in run.output
    assert cloud.world.settings.token not in run.output
    assert yaml.safe_load(file.read_text())["users"][0]["user"]["exec"]["command"] == "gke-gcloud-auth-plugin"
    assert (file.stat().st_mode & 0o777) == 0o600

    cloud.world.requests.clear()
    again = cloud.play(kubeconfig_file=str(file))
    assert (again.code, again.changed) == (0, 0), again.output
    assert cloud.world.mutations == []
    # What google.cloud itself imports is deprecated in the newest ansible-core.
    assert "[WARNING]" not in again.output.replace("[WARNING]: Deprecation warnings can be disabled", ""), again.output

    inventory = json.loads(command(cloud, "ansible-inventory", "-i", "inventories/gcp", "--list"))
    machines = {path.rsplit("/", 1)[-1] for path in cloud.things("instances")}
    assert set(inventory["mesh_vms"]["hosts"]) == machines
    assert len(inventory["mesh_group_shop_app"]["hosts"]) == 2
    assert len(inventory["mesh_group_shop_web"]["hosts"]) == 1
    known = inventory["_meta"]["hostvars"]["mesh1-app-1"]
    assert plain(known["mesh_workload_group"]) == "shop/app"
    assert plain(known["ansible_host"]) == cloud.thing("instances", "mesh1-app-1")["networkInterfaces"][0]["networkIP"]

    tokens = cloud.world.tokens
    message = "{{ [mesh_kubeconfig, mesh_kubeconfig] | map(attribute='users') | list }}"
    told = command(
        cloud,
        "ansible",
        "-i",
        "inventories/gcp",
        "localhost",
        "-m",
        "ansible.builtin.debug",
        "-a",
        json.dumps({"msg": message}),
    )
    assert cloud.world.settings.token in told
    # Each use of the variable has a token of its own, so that none can be too old.
    assert cloud.world.tokens >= tokens + 2

    gone = cloud.play(state="absent", drain=False)
    assert gone.code == 0, gone.output
    assert sorted(cloud.world.state.things) == []


def plain(value: t.Any) -> t.Any:
    """A text that ansible-inventory says of that no template is to be seen in it."""
    return value["__ansible_unsafe"] if isinstance(value, dict) else value


def command(cloud: Cloud, *words: str) -> str:
    """What a command prints in the checkout."""
    done = subprocess.run(
        words, cwd=ROOT, env=cloud.environment(), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_documentation_has_the_list_of_costs(cloud: Cloud) -> None:
    """What is printed for the defaults and one machine is what docs/gcp.md has."""
    told = cloud.run(check=True, vms=[{**VMS, "count": 1}])["cost"]
    section = (ROOT / "docs/gcp.md").read_text().partition("## What is made")[2].partition("\n## ")[0]
    for line in told:
        what, _dash, where = line.partition(" - ")
        assert what in section
        if what == "no charge by itself":
            for kind in where.split(", "):
                assert kind.partition(" ")[2].removeprefix("project ") in section


def test_source_ranges_of_the_gateway_are_the_machines(cloud: Cloud) -> None:
    """In inventories/gcp, who may use the gateway is whoever may be a machine; and each of these is let through to the nodes."""
    known = json.loads(command(cloud, "ansible-inventory", "-i", "inventories/gcp", "--host", "localhost"))
    assert known["eastwest_gateway_internal"] == "gcp"
    words = ["ansible", "-i", "inventories/gcp", "localhost", "-m", "ansible.builtin.debug", "-a"]
    told = command(cloud, *words, "var=eastwest_gateway_source_ranges")
    assert re.findall(r"[0-9./]{9,}", told) == [known["gcp_infra_subnet_range"]], told
    told = command(cloud, *words, "var=eastwest_gateway_annotations")
    assert not cloud.run(check=False, cluster={}, vms=[]).get("failed")
    # The address that is reserved is the one that the Service asks for.
    (address,) = cloud.things("addresses")
    assert f"networking.gke.io/load-balancer-ip-addresses: {address.rsplit('/', 1)[-1]}" in told


def test_empty_project_as_inventory(cloud: Cloud) -> None:
    inventory = json.loads(command(cloud, "ansible-inventory", "-i", "inventories/gcp", "--list"))
    assert not inventory.get("mesh_vms", {}).get("hosts")
    assert inventory["gcp_infra"]["hosts"] == ["localhost"]
