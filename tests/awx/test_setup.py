# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook awx, with the real modules of awx.awx, against a server that checks what they send. Each test goes on from the one before."""

from __future__ import annotations

import copy
import json
import typing as t

from .conftest import BEARER, Awx, project_files
from .declared import SURVEYS, TEMPLATES
from .state import MANAGED

PROJECT = project_files()
SECRETS = ("secret-of-the-cluster", "secret-of-the-machines", "secret-of-the-callback")


def test_what_is_refused_before_anything_is_changed(awx: Awx) -> None:
    """The single reasons: tests/unit/plugins/plugin_utils/test__awx_setup.py."""
    run = awx.play(bearer=BEARER, slices=0, callback_key="short")
    assert run.code != 0
    for told in ("one way to the cluster", "awx_setup_slices 0", "an awx_setup_callback_key of 5 characters"):
        assert told in run.words, run.output
    assert awx.world.requests == []
    assert "secret-of-" not in run.output
    # What only AWX can tell.
    run = awx.play(machine=None, credentials=["Vault"])
    assert run.code != 0
    for told in ("neither awx_setup_machine nor a credential called 'Mesh - machines'", "no credential called 'Vault'"):
        assert told in run.words, run.output
    assert awx.world.writes == []


def test_without_awx_awx_or_with_a_wrong_token(awx: Awx) -> None:
    run = awx.play(environment={"ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false"})
    assert run.code != 0
    assert "ansible-galaxy collection install awx.awx" in run.words, run.output
    run = awx.play(environment={"CONTROLLER_OAUTH_TOKEN": "wrong"})
    assert run.code != 0
    assert "Invalid authentication credentials" in run.words
    assert awx.world.writes == []


def test_check_mode_in_an_empty_awx(awx: Awx) -> None:
    run = awx.play("--check")
    assert run.code == 0, run.output
    assert "would create or change, once what they need is there: image, credentials, project" in run.words
    assert run.changed > 0
    assert awx.world.writes == []


def test_what_is_made(awx: Awx) -> None:
    run = awx.play("-vvv")
    assert run.code == 0, run.output
    assert awx.state.refused == []
    # What awx.awx sends, and AWX leaves out.
    assert awx.state.ignored == {
        "credential_types.managed",
        "job_templates.organization",
        "workflow_job_template_nodes.type",
    }
    assert [secret for secret in SECRETS if secret in run.output] == []

    templates = {item["name"].removeprefix("Mesh - "): item for item in awx.state.objects["job_templates"].values()}
    assert set(templates) == {*TEMPLATES, "join"}
    for name, item in templates.items():
        assert awx.state.survey(item["name"]) == SURVEYS.get(name, [])
        assert item.get("survey_enabled", False) == (name in SURVEYS)
        attached = awx.state.related("job_templates", item["name"], "credentials")
        assert attached == {"Mesh - cluster by kubeconfig", "Mesh - machines"}
    slices = {name for name, item in templates.items() if item.get("job_slice_count") == 3}
    assert slices == {"onboard", "renew", "diagnose"}
    assert templates["report"]["job_type"] == "check"
    assert "{{" in json.loads(templates["shift"]["extra_vars"])["traffic_shift_backends"]
    assert templates["join"]["host_config_key"] == "secret-of-the-callback"

    assert awx.state.related("groups", "mesh_vms", "hosts") == {"vm1", "vm2"}
    assert json.loads(awx.state.named("hosts", "vm1")["variables"]) == {"ansible_host": "10.0.0.11"}
    assert json.loads(awx.state.named("inventories", "Mesh - inventory")["variables"]) == {
        "mesh_workload_group": "shop/orders"
    }
    assert awx.state.named("inventory_sources", "more")["source"] == "scm"
    source = awx.state.named("inventory_sources", "Mesh - registered machines")
    assert source["source_path"] in PROJECT
    assert source["credential"] == awx.state.named("credentials", "Mesh - cluster by kubeconfig")["id"]
    registered = awx.state.named("inventories", "Mesh - registered machines")["id"]
    assert {name for name, item in templates.items() if item["inventory"] == registered} == {"renew", "report"}
    assert awx.state.named("credentials", "Mesh - cluster by kubeconfig")["inputs"]["kubeconfig"].startswith(
        "apiVersion: v1\n"
    )
    injected = awx.state.named("credential_types", "Mesh - kubeconfig")["injectors"]
    assert injected == {"env": {"K8S_AUTH_KUBECONFIG": "{{ kubeconfig }}"}}

    schedule = awx.state.named("schedules", "Mesh - renew every night")
    assert schedule["unified_job_template"] == templates["renew"]["id"]
    assert schedule["rrule"] == "DTSTART;TZID=UTC:20260101T020000 RRULE:FREQ=DAILY;INTERVAL=1"

    steps = ["infra", "mesh", "onboard", "verify", "report"]
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        node = awx.state.named("workflow_job_template_nodes", step)
        assert node["unified_job_template"] == templates[step]["id"]
        led = {
            how: awx.state.related("workflow_job_template_nodes", step, f"{how}_nodes") for how in ("success", "always")
        }
        # The proof and the report come also where some machines failed.
        wanted = "always" if step in ("onboard", "verify") else "success"
        assert led[wanted] == ({following} if following else set())
        assert led["always" if wanted == "success" else "success"] == set()


def test_a_second_run_changes_nothing(awx: Awx) -> None:
    again = awx.play()
    assert (again.code, again.changed) == (0, 0), again.output
    assert again.warnings == []
    assert awx.world.writes == []
    check = awx.play("--check")
    assert (check.code, check.changed) == (0, 0), check.output
    assert awx.state.refused == []


CHANGED: dict[str, t.Any] = {
    "slices": 5,
    "renew_time": "23:30",
    "hosts": {"vm1": {"ansible_host": "10.0.0.99"}},
    "kubeconfig": None,
    "bearer": BEARER,
    "callback_key": None,
    "job_credentials": {"verify": "Mesh verify"},
}


def make(awx: Awx, name: str, kind: str) -> None:
    """Somebody makes a credential by hand."""
    organization = awx.state.named("organizations", "Mesh")["id"]
    inputs = BEARER if kind == "Mesh - bearer token" else {}
    body = {"name": name, "organization": organization, "inputs": inputs}
    body["credential_type"] = awx.state.named("credential_types", kind)["id"]
    assert awx.state.handle("POST", "credentials", {}, body)[0] == 201


def test_check_mode_tells_what_is_declared_otherwise(awx: Awx) -> None:
    make(awx, "Mesh verify", "Mesh - bearer token")
    run = awx.play("--check", **CHANGED)
    assert run.code == 0, run.output
    assert run.changed > 0
    # The credential is new, and the jobs are to have it.
    assert "would create or change, once what they need is there: registered, templates" in run.words
    assert awx.world.writes == []


def test_what_is_declared_otherwise_is_changed(awx: Awx) -> None:
    run = awx.play(**CHANGED)
    assert run.code == 0, run.output
    assert awx.state.named("job_templates", "Mesh - onboard")["job_slice_count"] == 5
    assert "T233000" in awx.state.named("schedules", "Mesh - renew every night")["rrule"]
    assert json.loads(awx.state.named("hosts", "vm1")["variables"]) == {"ansible_host": "10.0.0.99"}
    assert awx.state.named("credentials", "Mesh - cluster by bearer token")["inputs"] == BEARER
    attached = awx.state.related("job_templates", "Mesh - verify", "credentials")
    assert attached == {"Mesh verify", "Mesh - machines"}
    attached = awx.state.related("job_templates", "Mesh - onboard", "credentials")
    assert attached == {"Mesh - cluster by bearer token", "Mesh - machines"}
    # Whoever is in the group for another reason stays.
    assert awx.state.related("groups", "mesh_vms", "hosts") == {"vm1", "vm2"}
    assert awx.state.refused == []


def test_all_of_it_goes_and_nothing_else(awx: Awx) -> None:
    make(awx, "Vault", "Machine")
    # A credential of a type that is to go is somebody's. It is told before anything goes.
    run = awx.play(state="absent")
    assert run.code != 0
    assert "Found: 1 credentials of the types that are to go (Mesh verify)" in run.words
    assert awx.world.writes == []
    del awx.state.objects["credentials"][awx.state.named("credentials", "Mesh verify")["id"]]

    before = copy.deepcopy(awx.state.objects)
    run = awx.play("--check", state="absent")
    assert run.code == 0, run.output
    assert awx.world.writes == []
    assert awx.state.objects == before

    run = awx.play(state="absent", kubeconfig=None, machine=None)
    assert run.code == 0, run.output
    assert "The organisation Mesh stays. It holds 1 credentials that this role did not make." in run.words
    left = {name: {item.get("name") for item in found.values()} for name, found in awx.state.objects.items() if found}
    assert left == {"organizations": {"Mesh"}, "credentials": {"Vault"}, "credential_types": set(MANAGED)}

    del awx.state.objects["credentials"][awx.state.named("credentials", "Vault")["id"]]
    run = awx.play(state="absent")
    assert (run.code, run.changed) == (0, 1), run.output
    assert awx.state.objects["organizations"] == {}
    run = awx.play(state="absent")
    assert (run.code, run.changed) == (0, 0), run.output
    assert run.warnings == []
    assert awx.state.refused == []
