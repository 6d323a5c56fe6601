# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWX's API (24.6) refuses, written down from its documentation and from what its views and serializers check. Pure."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

# Type of a question -> of its default. A default of several choices is text, one choice a line.
QUESTIONS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "textarea": (str,),
    "password": (str,),
    "multiplechoice": (str,),
    "multiselect": (str,),
    "integer": (int,),
    "float": (float, int),
}
# Variables of the environment that credentials may not set, beside all of ANSIBLE_*.
RESERVED = frozenset(
    {
        "VIRTUAL_ENV",
        "PATH",
        "PYTHONPATH",
        "JOB_ID",
        "INVENTORY_ID",
        "INVENTORY_SOURCE_ID",
        "INVENTORY_UPDATE_ID",
        "AD_HOC_COMMAND_ID",
        "REST_API_URL",
        "REST_API_TOKEN",
        "MAX_EVENT_RES",
        "CALLBACK_QUEUE",
        "CALLBACK_CONNECTION",
        "CACHE",
        "JOB_CALLBACK_DEBUG",
        "INVENTORY_HOSTVARS",
        "AWX_HOST",
        "PROJECT_REVISION",
        "SUPERVISOR_CONFIG_PATH",
    }
)
NAME = re.compile(r"[a-zA-Z_]+[a-zA-Z0-9_]*")


def survey(spec: t.Any) -> list[str]:
    """What is wrong with a survey; nothing for one that AWX takes."""
    if not isinstance(spec, dict):
        return ["a survey is a mapping"]
    wrong = [
        f"{field} is missing, or no {kind.__name__}"
        for field, kind in (("name", str), ("description", str), ("spec", list))
        if not isinstance(spec.get(field), kind)
    ]
    if wrong:
        return wrong
    if not spec["spec"]:
        return ["there are no questions"]
    known: set[str] = set()
    return [f"question {number}: {text}" for number, item in enumerate(spec["spec"]) for text in _question(item, known)]


def _question(item: t.Any, known: set[str]) -> t.Iterator[str]:
    if not isinstance(item, dict):
        yield "it is no mapping"
        return
    for field, kind in (("type", str), ("question_name", str), ("variable", str), ("required", bool)):
        if not isinstance(item.get(field), kind):
            yield f"{field} is missing, or no {kind.__name__}"
            return
    if item["variable"] in known:
        yield f"the variable {item['variable']} is asked for twice"
    known.add(item["variable"])
    if item["type"] not in QUESTIONS:
        yield f"there is no type {item['type']}"
        return
    default = item.get("default", "")
    if default != "" and (not isinstance(default, QUESTIONS[item["type"]]) or isinstance(default, bool)):
        yield f"the default {default!r} is not of the type {item['type']}"
        return
    for limit in ("min", "max"):
        if item.get(limit) is not None and not isinstance(item[limit], int):
            yield f"{limit} is no integer"
    if item["type"] in ("multiplechoice", "multiselect"):
        yield from _choices(item, default)
    if isinstance(default, str) and default.startswith("$encrypted$"):
        yield "$encrypted$ is reserved"
    yield from _default_within(item, default)


def _choices(item: dict[str, t.Any], default: str) -> t.Iterator[str]:
    if "choices" not in item:
        yield "there are no choices"
        return
    choices = item["choices"] if isinstance(item["choices"], list) else str(item["choices"]).splitlines()
    if not all(isinstance(choice, str) for choice in choices):
        yield "a choice is no text"
    chosen = [line for line in default.splitlines() if line.strip()]
    if item["type"] == "multiplechoice" and len(chosen) > 1:
        yield "a single choice has several defaults"
    if not set(chosen) <= set(choices):
        yield f"the default {default!r} is not among the choices"


def _default_within(item: dict[str, t.Any], default: t.Any) -> t.Iterator[str]:
    """AWX leaves a default out, without a word, that does not pass the question's own limits."""
    if default == "":
        return
    size = len(default) if item["type"] in ("text", "textarea", "password") else default
    if isinstance(size, (int, float)):
        low, high = item.get("min"), item.get("max")
        if (isinstance(low, int) and size < low) or (isinstance(high, int) and size > high):
            yield f"the default {default!r} is not within min and max"


def credential_type(inputs: t.Any, injectors: t.Any) -> list[str]:
    """What is wrong with a type of credentials."""
    wrong = list(_inputs(inputs))
    return wrong or list(_injectors(injectors, {field["id"] for field in inputs.get("fields", [])}))


def _inputs(inputs: t.Any) -> t.Iterator[str]:
    if not isinstance(inputs, dict) or not set(inputs) <= {"fields", "required"}:
        yield "inputs has fields and required, and nothing else"
        return
    ids = [field.get("id") for field in inputs.get("fields", [])]
    if len(ids) != len(set(ids)) or "tower" in ids:
        yield "ids of fields are unique, and none is tower"
    allowed = {"type", "format", "choices", "id", "label", "help_text", "multiline", "secret", "default"}
    for field in inputs.get("fields", []):
        if not NAME.fullmatch(str(field.get("id"))) or not isinstance(field.get("label"), str):
            yield f"field {field.get('id')}: an id that is a name, and a label"
        if not set(field) <= allowed:
            yield f"field {field.get('id')}: {sorted(set(field) - allowed)} is not known"
        if field.get("type", "string") not in ("string", "boolean"):
            yield f"field {field.get('id')}: it is a string or a boolean"
        if field.get("type") == "boolean" and set(field) & {"choices", "multiline", "format", "secret"}:
            yield f"field {field.get('id')}: a boolean is neither secret nor of several lines"
        if field.get("format", "url") not in ("url", "ssh_private_key"):
            yield f"field {field.get('id')}: there is no format {field['format']}"
    if not set(inputs.get("required", [])) <= set(ids):
        yield "what is required is a field"


def _injectors(injectors: t.Any, fields: set[str]) -> t.Iterator[str]:
    if not isinstance(injectors, dict) or not set(injectors) <= {"file", "env", "extra_vars"}:
        yield "injectors are file, env and extra_vars"
        return
    for name in injectors.get("env", {}):
        if not NAME.fullmatch(name) or name.startswith("ANSIBLE_") or name in RESERVED:
            yield f"the variable {name} may not be set"
    files = injectors.get("file", {})
    if any(name != "template" and not re.fullmatch(rf"template\.{NAME.pattern}", name) for name in files):
        yield "files are template or template.NAME"
    known: dict[str, t.Any] = {**dict.fromkeys(fields, "EXAMPLE"), "tower": {"filename": "EXAMPLE"} if files else {}}
    for kind in ("env", "file", "extra_vars"):
        for name, template in injectors.get(kind, {}).items():
            try:
                ImmutableSandboxedEnvironment(undefined=StrictUndefined).from_string(template).render(known)
            except TemplateError as error:
                yield f"{kind} {name}: {error}"


def rule(text: str) -> list[str]:
    """What is wrong with a schedule's rule."""
    wrong = []
    if len(re.findall(r"DTSTART(?:;[^:]+)?:[0-9]+T[0-9]+Z?", text)) != 1:
        wrong.append("one DTSTART as DTSTART:YYYYMMDDTHHMMSSZ or DTSTART;TZID=...:YYYYMMDDTHHMMSS")
    if re.search(r"DTSTART:[0-9]+T[0-9]+ ", text):
        wrong.append("a DTSTART with its time zone")
    rules = re.findall(r"RRULE:(\S*)", text)
    if len(rules) != 1:
        wrong.append("one RRULE")
    for found in rules:
        parts = dict(part.split("=", 1) for part in found.split(";"))
        if "INTERVAL" not in parts or parts.get("FREQ") not in ("MINUTELY", "HOURLY", "DAILY", "WEEKLY", "MONTHLY"):
            wrong.append("a FREQ that is not SECONDLY, and an INTERVAL")
    return wrong


def playbooks(project: Path, names: t.Iterable[str]) -> set[str]:
    """Those of a project's files that AWX offers as playbooks."""
    found = set()
    for name in names:
        parts = Path(name).parts
        if any(part.startswith(".") for part in parts) or set(parts[:-1]) & {
            "roles",
            "tasks",
            "group_vars",
            "host_vars",
        }:
            continue
        text = (project / name).read_text(encoding="utf-8", errors="ignore")
        if re.search(r"^\s*-?\s*(hosts|(ansible\.builtin\.)?(include|import_playbook)):", text, re.MULTILINE):
            found.add(name)
    return found
