# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A canary control plane next to the old one: machines move one after the other, then the old one goes."""

from __future__ import annotations

import json
import typing as t

import pytest

from ..conftest import Lab, Run
from ..traffic import from_pod

OLD: dict[str, t.Any] = {"control_plane_version": "1.30.4-lab", "control_plane_revision": "1-30"}
NEW: dict[str, t.Any] = {"control_plane_version": "1.31.0-lab", "control_plane_revision": "1-31"}
ABSENT = {"control_plane_state": "absent"}


def succeeded(run: Run) -> Run:
    assert run.code == 0, run.output
    return run


def unchanged(run: Run) -> None:
    assert succeeded(run).changed == 0, run.output
    assert "WARNING" not in run.output, run.output


def istiod_of(lab: Lab, machine: str) -> str:
    """The revision whose istiod keeps the machine's entry."""
    answer = lab.kubectl("get", "workloadentry", "-n", "chapter10vm", "-o", "json")
    addresses = {"vm1": "10.88.0.21", "vm2": "10.88.0.22"}
    entries = [item for item in json.loads(answer)["items"] if item["spec"]["address"] == addresses[machine]]
    assert len(entries) == 1, answer
    pod: str = entries[0]["metadata"]["annotations"]["istio.io/workloadController"]
    return "1-31" if pod.startswith("istiod-1-31") else "1-30" if pod.startswith("istiod-1-30") else pod


def move(lab: Lab, machine: str) -> Run:
    variables = {"vm_sidecar_revision": "1-31"}
    return succeeded(lab.playbook("playbooks/onboard.yml", "--limit", machine, variables=variables))


def restart_workbench(lab: Lab) -> None:
    for words in (["restart"], ["status", "--timeout=120s"]):
        lab.kubectl("rollout", words[0], "-n", "lab", "deployment/workbench", *words[1:])


@pytest.fixture(scope="module")
def old(lab: Lab) -> t.Iterator[Lab]:
    """Everything on the old revision alone."""
    lab.reset()
    succeeded(lab.playbook("playbooks/mesh.yml", variables=OLD))
    succeeded(lab.playbook("playbooks/onboard.yml", variables=OLD))
    # It may have been there before its injector.
    restart_workbench(lab)
    succeeded(lab.playbook("playbooks/verify.yml", variables=OLD))
    yield lab
    lab.reset()


def test_machines_move_from_the_old_control_plane_to_the_new_one(old: Lab) -> None:
    assert [istiod_of(old, machine) for machine in ("vm1", "vm2")] == ["1-30", "1-30"]
    with from_pod() as traffic:
        succeeded(old.playbook("playbooks/mesh.yml", variables=NEW))
        unchanged(old.playbook("playbooks/mesh.yml", variables=NEW))
        # What all revisions share stays with the newest.
        unchanged(old.playbook("playbooks/mesh.yml", variables=OLD))
        assert [istiod_of(old, machine) for machine in ("vm1", "vm2")] == ["1-30", "1-30"]

        moved = move(old, "vm1")
        assert "discoveryAddress" in old.ssh("vm1", "grep discoveryAddress.*istiod-1-31 /etc/istio/config/mesh"), (
            moved.output
        )
        assert [istiod_of(old, machine) for machine in ("vm1", "vm2")] == ["1-31", "1-30"]

        refused = old.role("control_plane", variables={**OLD, **ABSENT})
        assert refused.code != 0
        assert "has the tag default" in refused.words, refused.output

        # Namespaces that name no revision, the gateway with them.
        succeeded(old.playbook("playbooks/mesh.yml", variables={**NEW, "control_plane_default": True}))
        unchanged(old.playbook("playbooks/mesh.yml", variables={**NEW, "control_plane_default": True}))
        refused = old.role("control_plane", variables={**OLD, **ABSENT})
        assert refused.code != 0
        assert "proxies are connected to the control plane control-plane-1-30" in refused.words, refused.output
        assert "vm2.chapter10vm" in refused.words, refused.output

        move(old, "vm2")
        assert [istiod_of(old, machine) for machine in ("vm1", "vm2")] == ["1-31", "1-31"]
    traffic.told("a canary control plane, two VMs moved to it one after the other, the gateway's pods replaced")
    assert traffic.failed == 0, traffic.statuses

    restart_workbench(old)
    with from_pod() as traffic:
        check = succeeded(old.role("control_plane", "--check", "--diff", variables={**OLD, **ABSENT}))
        assert "would remove Deployment istio-system/istiod-1-30" in check.words, check.output
        gone = succeeded(old.role("control_plane", variables={**OLD, **ABSENT}))
        assert gone.changed == 1, gone.output
        unchanged(old.role("control_plane", variables={**OLD, **ABSENT}))
        # The gateway lets nobody through to it any more.
        assert succeeded(old.playbook("playbooks/mesh.yml", variables=NEW)).changed == 1
        unchanged(old.playbook("playbooks/mesh.yml", variables=NEW))
    traffic.told("the old control plane removed")
    assert traffic.failed == 0, traffic.statuses
    assert "istiod-1-30" not in old.kubectl("get", "deployments,services,configmaps", "-n", "istio-system")
    assert "istiod-1-30" not in old.kubectl("get", "virtualservices", "-n", "istio-system", "-o", "yaml")
    succeeded(old.playbook("playbooks/verify.yml", variables=NEW))
