# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From an empty project in Google Cloud to healthy machines in the mesh, and back to nothing, with inventories/gcp as it is.

The cloud is the server of tests/gcp: its machines are the lab's, its cluster is the lab's, and the token that Google's
library gets from it is one of the lab's API server.
"""

from __future__ import annotations

import base64
import json
import pathlib
import shutil
import subprocess
import sys
import typing as t

import pytest
import yaml

from ..conftest import ADDRESSES, PROJECT, Lab

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests"))

from gcp import iap  # noqa: E402
from gcp.server.front import World  # noqa: E402
from gcp.server.state import Settings  # noqa: E402

MACHINES = ("vm1", "vm2")
# What of the lab's own settings is the lab's, and no matter of the cloud.
OF_THE_LAB = (
    "mesh_release_url",
    "control_plane_version",
    "control_plane_spec",
    "mesh_verify_targets",
    "mesh_verify_from",
)


def administrators_token(lab: Lab) -> str:
    """A token of the cluster for somebody who may do all, as Google's users are."""
    lab.apply(
        """
        apiVersion: v1
        kind: Namespace
        metadata: {name: google}
        ---
        apiVersion: v1
        kind: ServiceAccount
        metadata: {name: admin, namespace: google}
        ---
        apiVersion: rbac.authorization.k8s.io/v1
        kind: ClusterRoleBinding
        metadata: {name: google-admin}
        roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
        subjects: [{kind: ServiceAccount, name: admin, namespace: google}]
        """
    )
    return lab.kubectl("create", "token", "admin", "-n", "google", "--duration", "6h").strip()


def inventory(folder: pathlib.Path, ways: bool = False) -> pathlib.Path:
    """A copy of inventories/gcp, with what a user would write into it: here, what the lab is.

    Args:
        folder: where.
        ways: whether ssh goes the inventory's ways, not the lab's.
    """
    result = folder / "inventory"
    shutil.copytree(ROOT / "inventories/gcp", result)
    variables = result / "group_vars/all"
    variables.mkdir()
    (result / "group_vars/all.yml").rename(variables / "gcp.yml")
    lab = json.loads(
        subprocess.run([str(ROOT / "inventories/lab/machines.py")], capture_output=True, text=True, check=True).stdout
    )
    own = yaml.safe_load((ROOT / "inventories/lab/group_vars/all/mesh.yml").read_text())
    (variables / "lab.yml").write_text(
        yaml.safe_dump(
            {
                **lab["all"]["vars"],
                **{name: own[name] for name in OF_THE_LAB},
                "gcp_infra_vms": [
                    {
                        "name": "envoydummy",
                        "workload_group": "chapter10vm/envoydummy",
                        "ports": [10000],
                        "count": len(MACHINES),
                    }
                ],
                "eastwest_gateway_source_ranges": [lab["all"]["vars"]["lab_network"]],
            }
        )
    )
    machines = yaml.safe_load((ROOT / "inventories/lab/group_vars/lab_machines/ssh.yml").read_text())
    if ways:
        # Who logs in, with which key, is the lab's; the way there, and how host keys are taken, is the inventory's.
        machines["ansible_ssh_common_args"] = (
            f"{{{{ mesh_vms_ssh_args }}}} -o UserKnownHostsFile={folder}/known_hosts -o IdentitiesOnly=yes"
        )
    # The lab's machines are logged in to as root.
    own_variables = result / "group_vars/mesh_vms"
    own_variables.mkdir()
    (result / "group_vars/mesh_vms.yml").rename(own_variables / "gcp.yml")
    (own_variables / "lab.yml").write_text(yaml.safe_dump({**machines, "ansible_become": False}))
    return result


@pytest.fixture
def world(lab: Lab, tmp_path: pathlib.Path) -> t.Iterator[World]:
    lab.reset()
    config = json.loads(lab.kubectl("config", "view", "--raw", "-o", "json"))["clusters"][0]["cluster"]
    if "certificate-authority-data" in config:
        authority = base64.b64decode(config["certificate-authority-data"]).decode()
    else:
        authority = pathlib.Path(config["certificate-authority"]).read_text()
    settings = Settings(
        addresses=tuple(ADDRESSES[name] for name in MACHINES),
        endpoint=config["server"].removeprefix("https://"),
        ca_certificate=authority,
        token=administrators_token(lab),
        duration=0.5,
    )
    (tmp_path / "cloud").mkdir()
    with World(tmp_path / "cloud", settings) as found:
        yield found
    lab.reset()


def test_from_an_empty_project_and_back(lab: Lab, world: World, tmp_path: pathlib.Path) -> None:
    folder = inventory(tmp_path)

    def play(*arguments: str) -> t.Any:
        environment = {**world.environment(), "KUBECONFIG": str(tmp_path / "none")}
        run = lab.playbook(arguments[0], "-i", str(folder), *arguments[1:], environment=environment, timeout=1800)
        assert not world.refused, world.refused
        assert run.code == 0, run.output
        assert world.settings.token not in run.output
        # What google.cloud itself imports is deprecated in the newest ansible-core.
        output = run.output.replace("[WARNING]: Deprecation warnings can be disabled", "")
        assert "[WARNING]" not in output, run.output
        return run

    assert (PROJECT / "site.yml").exists()
    play("site.yml", "--check", "--diff")
    assert world.mutations == []

    run = play("site.yml")
    assert "2 VMs - 2 ok" in run.words, run.output
    entries = json.loads(lab.kubectl("get", "workloadentries", "-n", "chapter10vm", "-o", "json"))["items"]
    assert sorted(entry["spec"]["address"] for entry in entries) == sorted(ADDRESSES[name] for name in MACHINES)
    healthy = [c["status"] for entry in entries for c in entry["status"]["conditions"] if c["type"] == "Healthy"]
    assert healthy == ["True", "True"]

    # The gateway's load balancer is an internal one, at the reserved address, for the machines' addresses alone.
    services = json.loads(lab.kubectl("get", "services", "-A", "-o", "json"))["items"]
    (gateway,) = [item for item in services if item["spec"].get("type") == "LoadBalancer"]
    assert len(gateway["spec"]["loadBalancerSourceRanges"]) == 1
    annotations = gateway["metadata"]["annotations"]
    assert annotations["networking.gke.io/load-balancer-type"] == "Internal"
    assert annotations["networking.gke.io/load-balancer-ip-addresses"] == "mesh1-gateway"

    world.requests.clear()
    again = play("site.yml")
    assert again.changed == 0, again.output
    assert world.mutations == []

    play("playbooks/infra_gcp.yml", "-e", "gcp_infra_state=absent")
    assert sorted(world.state.things) == []
    # What would have cost money is gone before the cluster is.
    services = json.loads(lab.kubectl("get", "services", "-A", "-o", "json"))["items"]
    assert [item["metadata"]["name"] for item in services if item["spec"].get("type") == "LoadBalancer"] == []


def test_machines_through_identity_aware_proxy(lab: Lab, world: World, tmp_path: pathlib.Path) -> None:
    """The way there is a stand-in for gcloud, which looks at the machines and the firewall; their sshd is real."""
    folder = inventory(tmp_path, ways=True)
    environment = {**world.environment(), **iap.install(tmp_path / "bin")}
    # No shared connection of an earlier test may be the way there.
    through = {"mesh_vms_through_iap": True, "ansible_ssh_args": "-o ControlMaster=no -o ControlPath=none"}
    extra = ("-i", str(folder), "-e", json.dumps({"gcp_infra_with_cluster": False, **through}))
    run = lab.playbook("playbooks/infra_gcp.yml", *extra, environment=environment, timeout=600)
    assert run.code == 0, run.output
    # New machines are let in without a question, and are the same ones the next time.
    tunnels = iap.tunnels(tmp_path / "bin")
    assert {tunnel["arguments"][2] for tunnel in tunnels} == {"mesh1-envoydummy-1", "mesh1-envoydummy-2"}
    assert {tunnel["address"] for tunnel in tunnels} == {ADDRESSES[name] for name in MACHINES}
    keys = (tmp_path / "known_hosts").read_text()
    again = lab.playbook("playbooks/infra_gcp.yml", *extra, environment=environment, timeout=600)
    assert (again.code, again.changed) == (0, 0), again.output
    assert (tmp_path / "known_hosts").read_text() == keys
