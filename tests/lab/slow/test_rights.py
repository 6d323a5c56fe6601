# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rights in docs/rights suffice for the whole life of a mesh, from an empty cluster on."""

from __future__ import annotations

from ..conftest import Lab
from ..test_4_rights import Job, fine


def test_from_nothing_with_three_jobs(mesh: Lab) -> None:
    """The cluster and the machines are made bare, then each playbook is played by its own job."""
    mesh.reset()
    for namespace in ("istio-system", "chapter10vm", "lab"):
        mesh.apply(f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}")
    run = Job(mesh, "mesh").playbook("playbooks/mesh.yml")
    assert run.code == 0, run.output
    mesh.kubectl("wait", "-n", "lab", "deployment/workbench", "--for=create", "--timeout=120s")
    mesh.kubectl("rollout", "status", "-n", "lab", "deployment/workbench", "--timeout=120s")
    run = Job(mesh, "onboard").playbook("playbooks/onboard.yml")
    assert run.code == 0, run.output
    fine(Job(mesh, "verify").playbook("playbooks/verify.yml"))
    lost = Job(mesh, "lost")
    options = ("-e", "mesh_lost=vm2", "-e", "vm_sidecar_lost_deny=address")
    for more in ((), ("-e", "vm_sidecar_lost_found=true")):
        run = lost.playbook("playbooks/offboard_lost.yml", *options, *more)
        assert run.code == 0, run.output
    run = Job(mesh, "offboard").playbook("playbooks/offboard.yml")
    assert run.code == 0, run.output
    assert mesh.kubectl("get", "workloadentries", "-A", "-o", "name") == ""
