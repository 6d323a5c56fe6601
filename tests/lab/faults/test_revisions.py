# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A canary control plane next to the old one: machines move group by group, then the old one goes.

Two groups with a Service each, two machines in each; the lab has four machines for this file alone.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import typing as t

import pytest
import yaml

from ..conftest import ADDRESSES, Lab, Run
from ..traffic import from_pod

OLD: dict[str, t.Any] = {"control_plane_version": "1.30.4-lab", "control_plane_revision": "1-30"}
NEW: dict[str, t.Any] = {"control_plane_version": "1.31.0-lab", "control_plane_revision": "1-31"}
ABSENT = {"control_plane_state": "absent"}
# Groups of the inventory, with the group of the mesh that their machines are in.
GROUPS = {"shop_vms": "envoydummy", "billing_vms": "billing"}
HOSTS = {"shop_vms": ("vm1", "vm2"), "billing_vms": ("vm3", "vm4")}


def group(name: str) -> dict[str, t.Any]:
    return {
        "name": name,
        "namespace": "chapter10vm",
        "service_account": f"{name}-sa",
        "labels": {"app": name},
        "ports": {"http": 10000},
        "probe": {"periodSeconds": 5, "initialDelaySeconds": 1, "httpGet": {"path": "/", "port": 10000}},
        "service": {"name": name, "ports": [{"name": "http", "port": 80, "targetPort": 10000}]},
    }


def succeeded(run: Run) -> Run:
    assert run.code == 0, run.output
    return run


def unchanged(run: Run) -> None:
    assert succeeded(run).changed == 0, run.output
    assert "WARNING" not in run.output, run.output


class Canary:
    """The lab with two groups of machines, and the inventory in which they are moved."""

    def __init__(self, lab: Lab, inventory: pathlib.Path) -> None:
        self.lab = lab
        self._inventory = inventory
        (inventory / "group_vars").mkdir()
        hosts = {name: {"hosts": dict.fromkeys(machines)} for name, machines in HOSTS.items()}
        (inventory / "hosts.yml").write_text(yaml.safe_dump(hosts))
        for name in GROUPS:
            self.set(name)

    def set(self, name: str, **variables: str) -> None:
        """The variables of one group of the inventory, besides the group of the mesh."""
        everything = {"mesh_workload_group": f"chapter10vm/{GROUPS[name]}", **variables}
        (self._inventory / "group_vars" / f"{name}.yml").write_text(yaml.safe_dump(everything))

    def playbook(self, name: str, *arguments: str, **variables: t.Any) -> Run:
        inventories = ("-i", "inventories/lab", "-i", str(self._inventory))
        everything = {"workload_group_groups": [group(each) for each in GROUPS.values()], **variables}
        return self.lab.playbook(f"playbooks/{name}.yml", *inventories, *arguments, variables=everything)

    def move(self, name: str) -> None:
        """One group to the new control plane, as docs/revisions.md says."""
        self.set(name, vm_sidecar_revision="1-31", mesh_verify_revision="1-31")
        moved = succeeded(self.playbook("onboard", "--limit", name))
        assert set(moved.recap) == set(HOSTS[name]), moved.output
        for machine in HOSTS[name]:
            self.lab.ssh(machine, "grep discoveryAddress.*istiod-1-31 /etc/istio/config/mesh")
        unchanged(self.playbook("onboard", "--limit", name))

    def verify(self, *arguments: str, verdict: str) -> None:
        run = succeeded(self.playbook("verify", *arguments))
        assert f"- 4 VMs - {verdict}" in run.words, run.output

    def istiods(self) -> dict[str, set[str]]:
        """The revisions whose istiod keeps the entries of each group's machines."""
        items = json.loads(self.lab.kubectl("get", "workloadentry", "-n", "chapter10vm", "-o", "json"))["items"]
        assert len(items) == len({item["spec"]["address"] for item in items}), items
        pods = {
            item["spec"]["address"]: item["metadata"]["annotations"]["istio.io/workloadController"] for item in items
        }
        revisions = {address: "-".join(pod.split("-")[1:3]) for address, pod in pods.items()}
        return {name: {revisions[ADDRESSES[machine]] for machine in machines} for name, machines in HOSTS.items()}

    def refuses_to_go(self) -> str:
        """Why the old control plane can't be removed."""
        refused = self.lab.role("control_plane", variables={**OLD, **ABSENT})
        assert refused.code != 0, refused.output
        return refused.words

    def restart_workbench(self) -> None:
        for words in (["restart"], ["status", "--timeout=120s"]):
            self.lab.kubectl("rollout", words[0], "-n", "lab", "deployment/workbench", *words[1:])


@contextlib.contextmanager
def clients(what: str) -> t.Iterator[None]:
    """One client for each group's Service, and none of their requests is lost."""
    with contextlib.ExitStack() as stack:
        all_traffic = {
            name: stack.enter_context(from_pod(f"http://{name}.chapter10vm.svc.cluster.local/"))
            for name in GROUPS.values()
        }
        yield
    for name, traffic in all_traffic.items():
        traffic.told(f"{what}, Service {name}")
    assert {name: traffic.failed for name, traffic in all_traffic.items()} == dict.fromkeys(all_traffic, 0)


@pytest.fixture(scope="module")
def canary(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Canary]:
    """Everything on the old revision alone."""
    lab.reset()
    with lab.machines(4):
        found = Canary(lab, tmp_path_factory.mktemp("revisions"))
        succeeded(found.playbook("mesh", **OLD))
        succeeded(found.playbook("onboard", **OLD))
        # It may have been there before its injector.
        found.restart_workbench()
        found.verify(verdict="4 ok")
        yield found
    lab.reset()


def test_groups_move_from_the_old_control_plane_to_the_new_one(canary: Canary) -> None:
    lab = canary.lab
    assert canary.istiods() == {"shop_vms": {"1-30"}, "billing_vms": {"1-30"}}
    with clients("a canary control plane"):
        succeeded(canary.playbook("mesh", **NEW))
        unchanged(canary.playbook("mesh", **NEW))
        # What all revisions share stays with the newest.
        unchanged(canary.playbook("mesh", **OLD))
        assert canary.istiods() == {"shop_vms": {"1-30"}, "billing_vms": {"1-30"}}

    with clients("the first group moved"):
        canary.move("shop_vms")
        assert canary.istiods() == {"shop_vms": {"1-31"}, "billing_vms": {"1-30"}}
        # Each group is in the mesh, by a control plane of its own.
        canary.verify("--limit", "shop_vms", verdict="2 ok, 2 not_reached")
        canary.verify("--limit", "billing_vms", verdict="2 ok, 2 not_reached")
        unchanged(canary.playbook("onboard", "--limit", "billing_vms"))
        assert "has the tag default" in canary.refuses_to_go()

    with clients("the tag and the gateway's pods moved, and the second group"):
        # Namespaces that name no revision, the gateway with them.
        succeeded(canary.playbook("mesh", **NEW, control_plane_default=True))
        unchanged(canary.playbook("mesh", **NEW, control_plane_default=True))
        assert canary.istiods() == {"shop_vms": {"1-31"}, "billing_vms": {"1-30"}}
        reason = canary.refuses_to_go()
        assert "proxies are connected to the control plane control-plane-1-30" in reason, reason
        assert all(f"{machine}.chapter10vm" in reason for machine in HOSTS["billing_vms"]), reason
        assert not any(f"{machine}.chapter10vm" in reason for machine in HOSTS["shop_vms"]), reason

        canary.move("billing_vms")
        assert canary.istiods() == {"shop_vms": {"1-31"}, "billing_vms": {"1-31"}}

    canary.restart_workbench()
    with clients("the old control plane removed"):
        check = succeeded(lab.role("control_plane", "--check", "--diff", variables={**OLD, **ABSENT}))
        assert "would remove Deployment istio-system/istiod-1-30" in check.words, check.output
        gone = succeeded(lab.role("control_plane", variables={**OLD, **ABSENT}))
        assert gone.changed == 1, gone.output
        unchanged(lab.role("control_plane", variables={**OLD, **ABSENT}))
        # The gateway lets nobody through to it any more.
        assert succeeded(canary.playbook("mesh", **NEW)).changed == 1
        unchanged(canary.playbook("mesh", **NEW))
    assert "istiod-1-30" not in lab.kubectl("get", "deployments,services,configmaps", "-n", "istio-system")
    assert "istiod-1-30" not in lab.kubectl("get", "virtualservices", "-n", "istio-system", "-o", "yaml")
    unchanged(canary.playbook("onboard"))
    canary.verify(verdict="4 ok")
