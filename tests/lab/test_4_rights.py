# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each job does with the rights of docs/rights what it has to do, and can't do what is next to it; and the policy on tokens.

Each playbook is played with the rights of its job.
"""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest
import yaml
from conftest import ADDRESSES, Lab, Run

RIGHTS = pathlib.Path(__file__).resolve().parents[2] / "docs" / "rights"
ACCOUNT = ("-n", "chapter10vm", "chapter10-sa")


class Job:
    """Somebody who has the rights of one manifest, and no others."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab, self.name = lab, name
        lab.kubectl("apply", "-f", str(RIGHTS / f"{name}.yml"))
        config = yaml.safe_load(pathlib.Path(os.environ["KUBECONFIG"]).read_text())
        token = lab.kubectl("create", "token", name, "-n", "hybridmesh").strip()
        config["users"] = [{"name": config["contexts"][0]["context"]["user"], "user": {"token": token}}]
        self.kubeconfig = lab.folder / f"{name}.kubeconfig"
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(yaml.safe_dump(config))

    def playbook(self, name: str, *arguments: str) -> Run:
        return self.lab.playbook(name, *arguments, variables={"mesh_kubeconfig": str(self.kubeconfig)})

    def tasks(self, text: str) -> Run:
        """Plays tasks on this machine."""
        playbook = self.lab.folder / f"{self.name}.yml"
        play = {"hosts": "localhost", "gather_facts": False, "tasks": yaml.safe_load(text)}
        playbook.write_text(yaml.safe_dump([play]))
        return self.playbook(str(playbook))

    def may(self, *what: str) -> bool:
        """What the API server says to `kubectl auth can-i`."""
        user = f"system:serviceaccount:hybridmesh:{self.name}"
        answer = self.lab.kubectl(
            "auth", "can-i", *what, "--as", user, "--as-group", "system:authenticated", check=False
        )
        assert answer.strip() in ("yes", "no"), answer
        return answer.strip() == "yes"


def fine(run: Run) -> None:
    assert run.code == 0, run.output
    assert run.changed == 0, run.output


RENEW = """
- name: The files of the group
  ansible.builtin.set_fact:
    files: "{{ lookup('hybridmesh.istio.sidecar_bootstrap', 'chapter10vm/envoydummy', token=false) }}"
- name: A token for each machine
  ansible.builtin.assert:
    that: >-
      lookup('hybridmesh.istio.sidecar_token', 'chapter10vm/envoydummy', vms=['vm1', 'vm2']).values()
      | map('split', '.') | map('length') == [3, 3]
  no_log: true
"""


@pytest.mark.parametrize("name", ["mesh", "onboard", "renew", "verify", "diagnose"])
def test_a_playbook_with_the_rights_of_its_job(mesh: Lab, name: str) -> None:
    fine(Job(mesh, name).playbook(f"playbooks/{name}.yml"))


def test_the_plugins_of_renewal_with_its_rights(mesh: Lab) -> None:
    fine(Job(mesh, "renew").tasks(RENEW))


def test_a_machine_is_drained_within_the_share_with_the_rights_of_onboard(mesh: Lab) -> None:
    job = Job(mesh, "onboard")
    vm = {"name": "vm1", "group": "chapter10vm/envoydummy", "address": ADDRESSES["vm1"]}
    options: dict[str, t.Any] = {"kubeconfig": str(job.kubeconfig), "vms": [vm]}
    # Twice, since the first time the Lease is made, and the second time taken.
    for _time in range(2):
        answer = mesh.module("workload_drain", share=0.34, share_timeout=60, **options)
        assert answer["vms"] == {"vm1": "drained"}
        mesh.module("workload_drain", state="restored", **options)
    notes = mesh.kubectl("get", "lease", "-n", "chapter10vm", "hybridmesh-istio-drain", "-o", "json")
    assert ADDRESSES["vm1"] in json.loads(notes)["metadata"]["annotations"]["hybridmesh.istio/taken-out"]


# What each job has no business with.
FOR_NOBODY_BUT_MESH = [
    ("get", "secrets", "-n", "istio-system"),
    ("get", "secrets", "-n", "chapter10vm"),
    ("delete", "workloadgroups.networking.istio.io", "-n", "chapter10vm"),
    ("patch", "validatingadmissionpolicies"),
    ("patch", "clusterroles"),
    ("list", "workloadentries.networking.istio.io", "-A"),
]  # fmt: skip
NEXT_DOOR = {
    "mesh": [("get", "secrets", "-A"), ("create", "pods/exec", "-A"), ("create", "serviceaccounts/token", "-A")],
    "onboard": [
        ("patch", "workloadentries.networking.istio.io", "-n", "chapter10vm"),
        ("delete", "leases.coordination.k8s.io", "-n", "chapter10vm"),
    ],
    "renew": [
        ("patch", "workloadgroups.networking.istio.io", "-n", "chapter10vm"),
        ("list", "workloadentries.networking.istio.io", "-n", "chapter10vm"),
    ],
    "verify": [("create", "serviceaccounts/token", *ACCOUNT[:2])],
    "offboard": [("create", "serviceaccounts/token", *ACCOUNT[:2]), ("create", "pods/exec", "-n", "lab")],
    "lost": [("create", "serviceaccounts/token", *ACCOUNT[:2]), ("list", "authorizationpolicies", "-n", "chapter10vm")],
    "diagnose": [("create", "serviceaccounts/token", *ACCOUNT[:2]), ("create", "pods/exec", "-n", "lab")],
}


@pytest.mark.parametrize("name", NEXT_DOOR)
def test_what_is_next_door_is_shut(mesh: Lab, name: str) -> None:
    job = Job(mesh, name)
    asked = NEXT_DOOR[name] + ([] if name == "mesh" else FOR_NOBODY_BUT_MESH)
    assert [what for what in asked if job.may(*what)] == []


@pytest.mark.parametrize("name", ["onboard", "renew"])
def test_tokens_of_the_group_alone(mesh: Lab, name: str) -> None:
    job = Job(mesh, name)
    command = ("create", "token", "--kubeconfig", str(job.kubeconfig), "-n", "chapter10vm", "--audience", "istio-ca")
    assert len(mesh.kubectl(*command, "chapter10-sa").split(".")) == 3
    assert mesh.kubectl(*command, "default", check=False) == ""


def test_a_right_that_one_can_do_without(mesh: Lab) -> None:
    """Whether istiods are gone is asked for with a right that another job has."""
    job = Job(mesh, "verify")
    mesh.kubectl("delete", "rolebinding", "-n", "istio-system", "hybridmesh-verify")
    options = {"kubeconfig": str(job.kubeconfig), "group": "chapter10vm/envoydummy", "count": 2}
    answer = mesh.module("workload_entry_info", check=False, **options)
    assert answer["failed"]
    assert 'verb "list" on resource "pods" in namespace "istio-system"' in answer["expected"]
    assert answer["next_step"].endswith("or set check_istiod to false")
    assert mesh.module("workload_entry_info", check_istiod=False, **options)["failed_vms"] == []


def test_a_right_that_is_missing_is_named(mesh: Lab) -> None:
    job = Job(mesh, "verify")
    run = job.tasks(RENEW)
    assert run.code == 2
    assert 'verb "get" on resource "mutatingwebhookconfigurations"' in run.words


TOKENS: list[tuple[dict[str, t.Any], str]] = [
    ({"audiences": ["istio-ca"], "expirationSeconds": 3600}, ""),
    ({"audiences": ["istio-ca"], "expirationSeconds": 86400}, ""),
    ({"audiences": ["https://kubernetes.default.svc.cluster.local"]}, "must have the audience istio-ca and no other"),
    ({"audiences": ["istio-ca", "other"]}, "must have the audience istio-ca and no other"),
    ({"audiences": []}, "must have the audience istio-ca and no other"),
    ({}, "must have the audience istio-ca and no other"),
    ({"audiences": ["istio-ca"], "expirationSeconds": 86401}, "valid for 86400 s at most"),
]


@pytest.mark.parametrize(("spec", "refusal"), TOKENS, ids=lambda value: json.dumps(value) if value else "")
def test_what_tokens_of_a_group_are_for(mesh: Lab, spec: dict[str, t.Any], refusal: str) -> None:
    """The administrator asks: the policy knows no exception for people."""
    path = "/api/v1/namespaces/chapter10vm/serviceaccounts/{}/token"
    body = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec})
    answer = mesh.kubectl("create", "--raw", path.format("chapter10-sa"), "-f", "-", stdin=body, check=False)
    assert bool(answer) == (not refusal)
    if refusal:
        with pytest.raises(AssertionError, match=refusal):
            mesh.kubectl("create", "--raw", path.format("chapter10-sa"), "-f", "-", stdin=body)
        # That of no group is none of the policy's business.
        assert mesh.kubectl("create", "--raw", path.format("default"), "-f", "-", stdin=body)


def test_a_pod_of_the_account_gets_its_own_tokens(mesh: Lab) -> None:
    """For the API server, and for somebody else: kubelets are asked for both."""
    image = mesh.kubectl(
        "get", "deployment", "-n", "lab", "workbench", "-o", "jsonpath={.spec.template.spec.containers[0].image}"
    )
    mesh.apply(
        f"""\
        apiVersion: v1
        kind: Pod
        metadata: {{name: with-tokens, namespace: chapter10vm}}
        spec:
          serviceAccountName: chapter10-sa
          containers: [{{name: c, image: {image}, imagePullPolicy: Never, volumeMounts: [{{name: t, mountPath: /t}}]}}]
          volumes: [{{name: t, projected: {{sources: [{{serviceAccountToken: {{path: t, audience: other}}}}]}}}}]
        """
    )
    try:
        mesh.kubectl("wait", "-n", "chapter10vm", "pod/with-tokens", "--for=condition=Ready", "--timeout=100s")
    finally:
        mesh.kubectl("delete", "pod", "-n", "chapter10vm", "with-tokens", "--wait=false")


def test_a_refused_token_is_told_with_what_to_do(mesh: Lab) -> None:
    playbook = mesh.folder / "long.yml"
    playbook.write_text(
        """\
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.debug:
        msg: "{{ lookup('hybridmesh.istio.sidecar_token', 'chapter10vm/envoydummy', duration=100000) | length }}"
"""
    )
    run = mesh.playbook(str(playbook))
    assert run.code == 2
    assert "valid for 86400 s at most" in run.words
    assert "Expected: a request that the cluster's admission policies allow" in run.words


def test_the_cap_is_changed_and_the_policy_removed(mesh: Lab) -> None:
    def mesh_yml(*arguments: str, **variables: t.Any) -> Run:
        return mesh.playbook("playbooks/mesh.yml", *arguments, variables=variables)

    run = mesh_yml("--check", "--diff", control_plane_token_max_duration=600)
    assert run.code == 0
    assert "+" in run.output
    assert "<= 600" in run.output
    try:
        run = mesh_yml(control_plane_token_policy=False)
        assert run.code == 0, run.output
        assert run.changed == 1, run.output
        fine(mesh_yml(control_plane_token_policy=False))
        assert mesh.kubectl("create", "token", *ACCOUNT)
    finally:
        run = mesh_yml()
    assert run.changed == 1, run.output
