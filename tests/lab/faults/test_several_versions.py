# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three machines in two groups with two versions behind one Service: subsets, a header match, mutual TLS, and who is let in.

The lab has three machines for this file alone.
"""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
import yaml

from ..conftest import Lab, Run
from ..demo import MACHINES, PLAYBOOK, PODS, V1, V2, V3, at_the_ingress, from_machine, from_pod
from ..test_8_traffic import becomes, status_from

VERSIONS = {"vm1": "v2", "vm2": "v2", "vm3": "v3"}
TO_V3 = "x-version: v3"


def group(name: str, account: str, version: str, **more: t.Any) -> dict[str, t.Any]:
    return {
        "name": name,
        "namespace": "chapter10vm",
        "service_account": account,
        "labels": {"app": "envoydummy", "version": version},
        "ports": {"http": 10000},
        "probe": {"periodSeconds": 5, "initialDelaySeconds": 1, "httpGet": {"path": "/", "port": 10000}},
        **more,
    }


SERVICE = {"name": "envoydummy", "ports": [{"name": "http", "port": 80, "targetPort": 10000}]}
GROUPS = [
    group("envoydummy", "chapter10-sa", "v2", service=SERVICE),
    group("envoydummy-v3", "chapter10-v3-sa", "v3"),
]
# As variables of the host: those of a group in a file are weaker than the lab's group_vars/all.
NEWER = {"mesh_workload_group": "chapter10vm/envoydummy-v3", "demo_app_vm_version": "v3"}
INVENTORY = {"mesh_vms": {"hosts": {"vm3": NEWER}}}
VERSION_RULES: dict[str, t.Any] = {
    "routes": [
        {
            "name": "versions",
            "namespace": "chapter10vm",
            "services": ["envoydummy.chapter10vm"],
            "rules": [
                {
                    "match": [{"headers": {"x-version": "v3"}}],
                    "backends": [{"service": "envoydummy.chapter10vm", "subset": "v3"}],
                },
                {"backends": [{"service": "envoydummy.chapter10vm", "subset": "v2"}]},
            ],
        }
    ],
    "destinations": [
        {"service": "envoydummy.chapter10vm", "subsets": {"v2": {"version": "v2"}, "v3": {"version": "v3"}}}
    ],
}
STRICT = {"mtls": [{"namespace": namespace, "mode": "STRICT"} for namespace in ("chapter10", "chapter10vm")]}
ONE_IDENTITY = {
    "access": [
        {
            "name": "machines",
            "namespace": "chapter10",
            "selector": {"app": "envoydummy"},
            "allow": [{"identities": ["chapter10vm/chapter10-sa"]}],
        }
    ]
}


class Shop:
    """The lab with three machines of two versions."""

    def __init__(self, lab: Lab, inventory: pathlib.Path) -> None:
        self.lab = lab
        self.inventory = inventory

    def playbook(self, name: str, **variables: t.Any) -> Run:
        everything = {"workload_group_groups": GROUPS, **variables}
        run = self.lab.playbook(name, "-i", "inventories/lab", "-i", str(self.inventory), variables=everything)
        assert run.code == 0, run.output
        return run

    def traffic(self, *rules: dict[str, t.Any]) -> None:
        together = {key: value for each in rules for key, value in each.items()}
        self.playbook("playbooks/traffic.yml", traffic_rules=together)
        again = self.playbook("playbooks/traffic.yml", traffic_rules=together)
        assert again.changed == 0, again.output


@pytest.fixture(scope="module")
def shop(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Shop]:
    inventory = tmp_path_factory.mktemp("versions") / "versions.yml"
    inventory.write_text(yaml.safe_dump(INVENTORY))
    with lab.machines(3):
        found = Shop(lab, inventory)
        for playbook in ("playbooks/mesh.yml", "playbooks/onboard.yml", PLAYBOOK):
            found.playbook(playbook)
        yield found
        found.playbook("playbooks/traffic.yml", traffic_rules={}, traffic_settle=0)
        found.playbook(PLAYBOOK, demo_app_state="absent")
        lab.kubectl("delete", "workloadgroup", "-n", "chapter10vm", "envoydummy-v3")


@pytest.fixture(autouse=True)
def _without_rules(shop: Shop) -> None:
    shop.playbook("playbooks/traffic.yml", traffic_rules={}, traffic_settle=0)


def test_each_machine_has_its_groups_version_and_identity(shop: Shop) -> None:
    run = shop.playbook("playbooks/verify.yml")
    assert "3 VMs - 3 ok" in run.words, run.output
    entries = json.loads(shop.lab.kubectl("get", "workloadentry", "-n", "chapter10vm", "-o", "json"))["items"]
    found = {entry["spec"]["address"]: entry["spec"] for entry in entries}
    accounts = {"v2": "chapter10-sa", "v3": "chapter10-v3-sa"}
    for number, version in enumerate(VERSIONS.values(), start=1):
        spec = found[f"10.88.0.{20 + number}"]
        assert (spec["labels"]["version"], spec["serviceAccount"]) == (version, accounts[version])
    for playbook in ("playbooks/onboard.yml", PLAYBOOK):
        assert shop.playbook(playbook).changed == 0


def test_one_service_over_both_groups(shop: Shop) -> None:
    becomes(str({V2, V3}), lambda: str(from_pod(shop.lab, MACHINES, times=40)))


def test_subsets_and_a_header(shop: Shop) -> None:
    shop.traffic(VERSION_RULES)
    for ask in (
        lambda *more: from_pod(shop.lab, *more, times=20),
        lambda *more: from_machine(shop.lab, "vm1", *more, times=20),
    ):
        becomes(str({V2}), lambda: str(ask(MACHINES)))  # noqa: B023
        becomes(str({V3}), lambda: str(ask(MACHINES, TO_V3)))  # noqa: B023


def test_nothing_but_mutual_tls(shop: Shop) -> None:
    """The node is not in the mesh."""
    address = shop.lab.kubectl("get", "service", "-n", "chapter10", "envoydummy", "-o", "jsonpath={.spec.clusterIP}")
    urls = (f"http://{address}/", "http://10.88.0.21:10000/")
    for url in urls:
        becomes("200", lambda: status_from(shop.lab, "cluster1", url))  # noqa: B023
    shop.traffic(STRICT)
    for url in urls:
        becomes("000", lambda: status_from(shop.lab, "cluster1", url))  # noqa: B023
    for vm in VERSIONS:
        assert from_machine(shop.lab, vm, PODS, times=5) == {V1}
    assert from_pod(shop.lab, MACHINES, times=20) <= {V2, V3}
    assert set(at_the_ingress(shop.lab, 100)) <= {V1, V2, V3}


def test_one_identity_is_let_in_and_no_other(shop: Shop) -> None:
    """Two groups have an identity each; Pods and the gateway have others."""
    for vm in VERSIONS:
        assert from_machine(shop.lab, vm, PODS) == {V1}
    shop.traffic(STRICT, ONE_IDENTITY)
    becomes(str({"403"}), lambda: str(from_pod(shop.lab, PODS, times=5)))
    # A connection that is open goes by the rules under which it was opened, until the proxy has drained it: 45 s, as Istio has it.
    # A proxy has one for each of its threads, so one answer says nothing of the others.
    becomes(str({"403"}), lambda: str(from_machine(shop.lab, "vm3", PODS, times=40)), seconds=120)
    for _again in range(5):
        assert {vm: from_machine(shop.lab, vm, PODS) for vm in VERSIONS} == {"vm1": {V1}, "vm2": {V1}, "vm3": {"403"}}
    assert from_pod(shop.lab, PODS, times=5) == {"403"}
    becomes("False", lambda: str(V1 in at_the_ingress(shop.lab, 100)), seconds=120)
