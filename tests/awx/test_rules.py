# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWX's rules, and what is declared by them."""

from __future__ import annotations

import re
import textwrap
import typing as t

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from . import rules
from .declared import ROOT, SURVEYS, TEMPLATES, TYPES

QUESTION = {"type": "text", "question_name": "Which", "variable": "which", "required": True}


def survey(*items: dict[str, t.Any]) -> dict[str, t.Any]:
    return {"name": "", "description": "", "spec": [{**QUESTION, **item} for item in items]}


@pytest.mark.parametrize("name", SURVEYS)
def test_surveys_are_as_awx_wants_them(name: str) -> None:
    assert rules.survey({"name": "", "description": "", "spec": SURVEYS[name]}) == []


def test_every_job_that_an_operator_starts_has_a_survey() -> None:
    assert set(SURVEYS) == {"site", "mesh", "onboard", "verify", "renew", "upgrade", "offboard", "shift", "diagnose"}
    assert set(TEMPLATES) - set(SURVEYS) == {"infra", "report"}


def test_the_page_sets_options_that_there_are() -> None:
    specs = yaml.safe_load((ROOT / "roles/awx_setup/meta/argument_specs.yml").read_text(encoding="utf-8"))
    page = (ROOT / "docs/awx.md").read_text(encoding="utf-8")
    example = page.partition("5. Write")[2].partition("\n\n")[2].partition("\n\n")[0]
    shown = yaml.safe_load(textwrap.dedent(example))
    assert "awx_setup_machine" in shown
    assert set(shown) | set(re.findall(r"\bawx_setup_\w+", page)) <= set(specs["argument_specs"]["main"]["options"])


def test_the_job_that_machines_start_asks_nothing() -> None:
    tasks = yaml.safe_load((ROOT / "roles/awx_setup/tasks/jobs.yml").read_text(encoding="utf-8"))
    (called,) = [
        task["awx.awx.job_template"] for task in tasks if "host_config_key" in task.get("awx.awx.job_template", {})
    ]
    assert [name for name in called if name.startswith("ask_") or "survey" in name or "slice" in name] == []


def options_of(playbook: str) -> dict[str, dict[str, t.Any]]:
    """The options of all entry points of the roles that a playbook has, those that it imports included."""
    found: dict[str, dict[str, t.Any]] = {"mesh_hosts": {"type": "str"}}
    for play in yaml.safe_load((ROOT / playbook).read_text(encoding="utf-8")):
        imported = play.get("ansible.builtin.import_playbook")
        if imported:
            found.update(options_of(f"playbooks/{imported}"))
        roles = [(role["role"], "main") for role in play.get("roles", [])]
        tasks = play.get("tasks", [])
        included = [task.get("ansible.builtin.include_role") or task["ansible.builtin.import_role"] for task in tasks]
        roles += [(item["name"], item.get("tasks_from", "main")) for item in included]
        for role, entry in roles:
            specs = ROOT / "roles" / role.rpartition(".")[2] / "meta" / "argument_specs.yml"
            found.update(yaml.safe_load(specs.read_text(encoding="utf-8"))["argument_specs"][entry]["options"])
    return found


# Options that are given to a module, or to a filter as `| bool`, and never to a condition, so that they may be texts.
TEXT_WILL_DO = {"control_plane_allow_upgrade", "vm_sidecar_renew_all", "vm_sidecar_keep_logs"}
FITTING = {
    "text": {"str"},
    "textarea": {"str"},
    "integer": {"int", "float"},
    "float": {"float"},
    "multiselect": {"list"},
    "multiplechoice": {"str"},
}


@pytest.mark.parametrize("name", SURVEYS)
def test_questions_are_about_options_that_there_are(name: str) -> None:
    options = options_of(TEMPLATES[name]["playbook"])
    read_by_template = str(TEMPLATES[name].get("extra_vars"))
    for item in SURVEYS[name]:
        variable = item["variable"]
        if variable not in options:
            assert variable in read_by_template, variable
            continue
        kind = options[variable].get("type", "str")
        if kind == "bool":
            assert variable in TEXT_WILL_DO
            assert item["choices"] == ["false", "true"]
        else:
            assert kind in FITTING[item["type"]], variable
        if options[variable].get("choices"):
            assert item["choices"] == options[variable]["choices"], variable
        # A question's default changes nothing for those who do not look at it.
        usual = options[variable].get("default")
        asked: t.Any = item.get("default")
        if item["type"] == "multiselect":
            asked = [int(line) for line in asked.splitlines()]
        elif kind == "bool":
            asked = asked == "true"
        if usual is not None:
            assert asked == usual, variable


@pytest.mark.parametrize("name", SURVEYS)
def test_answers_are_what_the_roles_take(name: str) -> None:
    """As AWX hands them over: whole numbers, fractions, texts, and lists of texts."""
    options = options_of(TEMPLATES[name]["playbook"])
    for item in SURVEYS[name]:
        if item["variable"] not in options:
            continue
        answers: list[t.Any] = list(item.get("choices", [])) or [
            item.get("default", "x"),
            item.get("min"),
            item.get("max"),
        ]
        if item["type"] == "multiselect":
            answers = [item["choices"], item["choices"][:1]]
        if item["type"] in ("text", "textarea"):
            answers = [item.get("default", "x")]
        validator = ArgumentSpecValidator({item["variable"]: spec_of(options[item["variable"]])})
        for answer in answers:
            assert validator.validate({item["variable"]: answer}).error_messages == [], (item["variable"], answer)


def spec_of(option: dict[str, t.Any]) -> dict[str, t.Any]:
    """What of an option's documentation its validation looks at."""
    return {key: value for key, value in option.items() if key in ("type", "elements", "choices")}


@pytest.mark.parametrize(
    ("item", "wrong"),
    [
        ({"type": "number"}, "there is no type number"),
        ({"required": "yes"}, "required is missing, or no bool"),
        ({"type": "integer", "default": "5"}, "is not of the type integer"),
        ({"type": "integer", "default": 5, "max": 4}, "is not within min and max"),
        ({"min": 1.5}, "min is no integer"),
        ({"type": "multiplechoice"}, "there are no choices"),
        ({"type": "multiplechoice", "choices": [True, False]}, "a choice is no text"),
        ({"type": "multiplechoice", "choices": ["a", "b"], "default": "c"}, "is not among the choices"),
        ({"type": "multiplechoice", "choices": ["a", "b"], "default": "a\nb"}, "several defaults"),
        ({"type": "password", "default": "$encrypted$x"}, "$encrypted$ is reserved"),
    ],
)
def test_what_awx_refuses_of_a_survey(item: dict[str, t.Any], wrong: str) -> None:
    assert wrong in "\n".join(rules.survey(survey(item)))


def test_what_awx_refuses_of_a_survey_as_a_whole() -> None:
    assert rules.survey(survey({}, {})) == ["question 1: the variable which is asked for twice"]
    assert rules.survey(survey()) == ["there are no questions"]
    assert rules.survey({"name": "x", "spec": []}) == ["description is missing, or no str"]


@pytest.mark.parametrize("name", TYPES)
def test_types_of_credentials_are_as_awx_wants_them(name: str) -> None:
    assert rules.credential_type(TYPES[name]["inputs"], TYPES[name]["injectors"]) == []


def test_secrets_are_hidden_and_go_to_the_environment_alone() -> None:
    for kind in TYPES.values():
        secret = {field["id"] for field in kind["inputs"]["fields"] if field.get("secret")}
        assert secret in ({"kubeconfig"}, {"bearer_token"})
        into = [where for where, injected in kind["injectors"].items() for name in secret if name in str(injected)]
        assert into == ["env"]


FIELDS: dict[str, t.Any] = {"fields": [{"id": "a", "label": "A"}]}


@pytest.mark.parametrize(
    ("inputs", "injectors", "wrong"),
    [
        ({"fields": [{"id": "a-b", "label": "A"}]}, {}, "an id that is a name"),
        ({"fields": [{"id": "a", "label": "A", "type": "boolean", "secret": True}]}, {}, "a boolean is neither secret"),
        ({**FIELDS, "required": ["b"]}, {}, "what is required is a field"),
        (FIELDS, {"env": {"ANSIBLE_HOME": "{{ a }}"}}, "may not be set"),
        (FIELDS, {"env": {"PATH": "{{ a }}"}}, "may not be set"),
        (FIELDS, {"env": {"A": "{{ b }}"}}, "'b' is undefined"),
        (FIELDS, {"env": {"A": "{{ tower.filename }}"}}, "no attribute 'filename'"),
        (FIELDS, {"file": {"config": "{{ a }}"}}, "files are template"),
    ],
)
def test_what_awx_refuses_of_a_type_of_credentials(inputs: t.Any, injectors: t.Any, wrong: str) -> None:
    assert wrong in "\n".join(rules.credential_type(inputs, injectors))


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        ("DTSTART;TZID=UTC:20260101T020000 RRULE:FREQ=DAILY;INTERVAL=1", True),
        ("DTSTART:20260101T020000Z RRULE:FREQ=DAILY;INTERVAL=1", True),
        ("DTSTART:20260101T020000 RRULE:FREQ=DAILY;INTERVAL=1", False),
        ("DTSTART:20260101T020000Z RRULE:FREQ=DAILY", False),
        ("RRULE:FREQ=DAILY;INTERVAL=1", False),
    ],
)
def test_rules_of_schedules(text: str, fine: bool) -> None:
    assert (rules.rule(text) == []) == fine
