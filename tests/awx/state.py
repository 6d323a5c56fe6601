# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server like AWX keeps, and what it makes of requests: the part of AWX's API that awx.awx uses. No network.

What AWX would refuse is refused, and noted; so is what AWX would leave out without a word.
"""

from __future__ import annotations

import dataclasses
import json
import typing as t
import urllib.parse

from . import rules
from .shape import INT, RESOURCES, RUN, STR

Object = dict[str, t.Any]
Answer = tuple[int, t.Any]
SECRET = "$encrypted$"
# Types of credentials that AWX brings along.
MANAGED = {"Machine": "ssh", "Source Control": "scm", "Google Compute Engine": "cloud"}
# Texts that are null where there is none.
NULLABLE = {("inventories", "host_filter")}
# What goes with what it leads to.
CASCADES = {
    ("credentials", "organization"),
    ("hosts", "inventory"),
    ("groups", "inventory"),
    ("inventory_sources", "inventory"),
    ("schedules", "unified_job_template"),
    ("workflow_job_template_nodes", "workflow_job_template"),
}
_SECRETS_OF_MANAGED = {"password", "ssh_key_data", "ssh_key_unlock", "become_password"}


class Refused(Exception):
    """A request that AWX answers with an error."""

    def __init__(self, status: int, answer: t.Any) -> None:
        super().__init__(json.dumps(answer))
        self.status, self.answer = status, answer


@dataclasses.dataclass
class State:
    """All that there is.

    Attributes:
        playbooks: those of each project, once it is updated.
        objects: collection -> number -> object.
        attached: path of a list -> numbers.
        surveys: path of a survey -> the survey.
        refused: what was refused, in words.
        ignored: what AWX leaves out, as `collection.field`.
        teams: how many each organisation has.
    """

    playbooks: set[str]
    objects: dict[str, dict[int, Object]] = dataclasses.field(default_factory=lambda: {name: {} for name in RESOURCES})
    attached: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    surveys: dict[str, Object] = dataclasses.field(default_factory=dict)
    refused: list[str] = dataclasses.field(default_factory=list)
    ignored: set[str] = dataclasses.field(default_factory=set)
    teams: int = 0
    last: int = 0

    def __post_init__(self) -> None:
        for name, kind in MANAGED.items():
            self._keep("credential_types", {"name": name, "kind": kind, "managed": True, "inputs": {}, "injectors": {}})

    def _keep(self, collection: str, item: Object) -> Object:
        self.last += 1
        self.objects[collection][self.last] = {**item, "id": self.last}
        return self.objects[collection][self.last]

    def named(self, collection: str, name: str) -> Object:
        """An object by its name (or identifier)."""
        found = [
            item for item in self.objects[collection].values() if name in (item.get("name"), item.get("identifier"))
        ]
        assert len(found) == 1, f"{collection}: {len(found)} called {name}"
        return found[0]

    def survey(self, name: str) -> list[Object]:
        """The questions of a job template."""
        path = f"job_templates/{self.named('job_templates', name)['id']}/survey_spec"
        return list(self.surveys.get(path, {}).get("spec", []))

    def related(self, collection: str, name: str, what: str) -> set[str]:
        """Names of what is attached to an object."""
        found = self.attached.get(f"{collection}/{self.named(collection, name)['id']}/{what}", [])
        others = self.objects[RESOURCES[collection].related[what]]
        return {others[number].get("name") or others[number]["identifier"] for number in found}

    def handle(self, method: str, path: str, query: dict[str, str], body: t.Any) -> Answer:
        """The status and the answer for a request below /api/v2/."""
        try:
            return self._handled(method, path.strip("/").split("/"), query, body)
        except Refused as refused:
            self.refused.append(f"{method} {path}: {refused}")
            return refused.status, refused.answer

    def _handled(self, method: str, parts: list[str], query: dict[str, str], body: t.Any) -> Answer:
        collection, *rest = parts
        if collection == "tokens":
            return (201, {"id": 1, "token": "issued"}) if method == "POST" else (204, None)
        if collection in ("ping", "config") and method == "GET":
            return 200, {"version": "24.6.1"}
        if collection == "project_updates" and method == "GET":
            return 200, {"status": "successful", "failed": False}
        if collection == "unified_job_templates" and not rest:
            return 200, self._listed(
                collection, [(name, item) for name in RUN for item in self.objects[name].values()], query
            )
        if collection not in RESOURCES:
            raise Refused(404, {"detail": f"{collection}: no such thing"})
        if not rest:
            if method == "GET":
                return 200, self._listed(
                    collection, [(collection, item) for item in self.objects[collection].values()], query
                )
            return 201, self._shown(collection, self._made(collection, body))
        number = int(rest[0])
        if number not in self.objects[collection]:
            raise Refused(404, {"detail": "Not found."})
        if len(rest) == 2:
            return self._below(method, collection, number, rest[1], query, body)
        if method == "DELETE":
            self._removed(collection, number)
            # Inventories go in the background.
            return (202 if collection == "inventories" else 204), None
        if method == "PATCH":
            self._changed(collection, number, body)
        elif method != "GET":
            raise Refused(405, {"detail": f'Method "{method}" not allowed.'})
        return 200, self._shown(collection, self.objects[collection][number])

    def _below(
        self, method: str, collection: str, number: int, what: str, query: dict[str, str], body: t.Any
    ) -> Answer:
        path = f"{collection}/{number}/{what}"
        if what == "survey_spec" and collection.endswith("job_templates"):
            if method == "POST":
                wrong = rules.survey(body)
                if wrong:
                    raise Refused(400, {"error": "; ".join(wrong)})
                self.surveys[path] = body
            return 200, self.surveys.get(path, {})
        other = RESOURCES[collection].related.get(what)
        if not other:
            raise Refused(404, {"detail": f"{path}: no such list"})
        known = self.attached.setdefault(path, [])
        if method == "GET":
            return 200, self._listed(path, [(other, self.objects[other][item]) for item in known], query)
        if body["id"] not in self.objects[other]:
            raise Refused(400, {"detail": f"{other} {body['id']} is not there"})
        if body.get("disassociate"):
            known.remove(body["id"])
        else:
            self._attach(path, known, body["id"])
        return 204, None

    def _attach(self, path: str, known: list[int], number: int) -> None:
        if path.startswith("job_templates/") and path.endswith("/credentials"):
            credentials = self.objects["credentials"]
            if credentials[number]["credential_type"] in {credentials[item]["credential_type"] for item in known}:
                raise Refused(400, {"error": "Cannot assign multiple credentials of one type."})
        known.append(number)

    def _listed(self, path: str, found: list[tuple[str, Object]], query: dict[str, str]) -> Object:
        """A page of a list."""
        chosen = [pair for pair in found if self._selected(*pair, query)]
        page, size = int(query.get("page", 1)), min(int(query.get("page_size", 25)), 200)
        following = urllib.parse.urlencode({**query, "page": page + 1})
        return {
            "count": len(chosen),
            "next": f"/api/v2/{path}/?{following}" if page * size < len(chosen) else None,
            "previous": None,
            "results": [self._shown(*pair) for pair in chosen[(page - 1) * size : page * size]],
        }

    def _selected(self, collection: str, item: Object, query: dict[str, str]) -> bool:
        own = self._full(collection, item)
        either = [key for key in query if key.startswith("or__")]
        if either and not any(str(own.get(key[4:])) == query[key] for key in either):
            return False
        for key in query.keys() - either - {"page", "page_size"}:
            name = key.removesuffix("__startswith")
            found = str(self._followed(collection, own, name.split("__")))
            if not (found == query[key] if name == key else found.startswith(query[key])):
                return False
        return True

    def _followed(self, collection: str, item: Object, path: list[str]) -> t.Any:
        """A field of an object, or of what that leads to."""
        field, *rest = path
        leads = {**RESOURCES[collection].links, "organization": "organizations"}
        if field not in self._full(collection, item) and field not in leads:
            raise Refused(400, {"detail": f"{collection} has no field {field}"})
        value = item.get(field)
        if not rest:
            return value
        if field not in leads:
            raise Refused(400, {"detail": f"{collection}.{field} leads nowhere"})
        other = self.objects[leads[field]].get(value) if value else None
        return self._followed(leads[field], other, rest) if other else None

    def _full(self, collection: str, item: Object) -> Object:
        resource = RESOURCES[collection]
        usual: Object = {
            field: None if field in resource.links else "" if kinds == STR else 0 if kinds == INT else False
            for field, kinds in resource.fields.items()
        }
        usual.update({field: None for other, field in NULLABLE if other == collection})
        usual["type"] = resource.name
        usual.update(
            {"job_templates": {"job_slice_count": 1}, "credential_types": {"managed": False}}.get(collection, {})
        )
        return {**usual, **item}

    def _shown(self, collection: str, item: Object) -> Object:
        own = f"/api/v2/{collection}/{item['id']}/"
        lists = [*RESOURCES[collection].related, *(["survey_spec"] if collection.endswith("job_templates") else [])]
        answer = {**self._full(collection, item), "url": own, "related": {name: f"{own}{name}/" for name in lists}}
        answer["summary_fields"] = {}
        if collection == "organizations":
            answer["summary_fields"]["related_field_counts"] = {
                "users": 0,
                "admins": 0,
                "teams": self.teams,
                **{
                    kind: sum(other.get("organization") == item["id"] for other in self.objects[kind].values())
                    for kind in ("inventories", "projects", "job_templates")
                },
            }
        if collection == "projects":
            answer["scm_revision"] = "0123abcd" if item.get("updated") else ""
            if not item.get("updated"):
                # AWX begins to fetch it at once.
                answer["summary_fields"]["current_update"] = {"id": item["id"]}
                item["updated"] = True
        if collection == "credentials":
            kind = self.objects["credential_types"][item["credential_type"]]
            secrets = {field["id"] for field in kind["inputs"].get("fields", []) if field.get("secret")}
            secrets |= _SECRETS_OF_MANAGED if kind.get("managed") else set()
            answer["inputs"] = {
                key: SECRET if key in secrets else value for key, value in item.get("inputs", {}).items()
            }
        return answer

    def _taken(self, collection: str, body: t.Any) -> Object:
        """What of a request is taken."""
        resource, wrong, taken = RESOURCES[collection], {}, {}
        for field, value in body.items():
            kinds = resource.fields.get(field, ())
            if field in resource.ignored:
                self.ignored.add(f"{collection}.{field}")
            elif not kinds:
                wrong[field] = "no such field"
            elif value is None and (field in resource.links or kinds == STR):
                taken[field] = None if field in resource.links or (collection, field) in NULLABLE else ""
            elif not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                wrong[field] = f"{value!r} is of another type"
            elif field in resource.choices and value not in resource.choices[field]:
                wrong[field] = f"{value!r} is not a valid choice."
            elif field in resource.links and not self._leads(resource.links[field], value):
                wrong[field] = f'Invalid pk "{value}" - object does not exist.'
            elif (
                field in ("variables", "source_vars", "extra_vars")
                and value
                and not isinstance(json.loads(value), dict)
            ):
                wrong[field] = "no mapping"
            else:
                taken[field] = value
        if wrong:
            raise Refused(400, wrong)
        return taken

    def _leads(self, collection: str, number: int) -> bool:
        names = RUN if collection == "unified_job_templates" else (collection,)
        return any(number in self.objects[name] for name in names)

    def _made(self, collection: str, body: t.Any) -> Object:
        item = self._taken(collection, body)
        missing = [field for field in RESOURCES[collection].required if item.get(field) in (None, "")]
        if missing:
            raise Refused(400, dict.fromkeys(missing, "This field is required."))
        self._judge(collection, item, 0)
        return self._keep(collection, item)

    def _changed(self, collection: str, number: int, body: t.Any) -> None:
        known = self.objects[collection][number]
        item = {**known, **self._taken(collection, body)}
        if collection == "credentials":
            own = item.get("inputs", {})
            item["inputs"] = {key: known["inputs"].get(key) if value == SECRET else value for key, value in own.items()}
        self._judge(collection, item, number)
        self.objects[collection][number] = item

    def _removed(self, collection: str, number: int) -> None:
        """An object goes, with what can't be without it; the rest forgets it."""
        if collection == "credential_types":
            if any(item["credential_type"] == number for item in self.objects["credentials"].values()):
                raise Refused(403, {"detail": "Credential types that are in use cannot be deleted."})
            if self.objects[collection][number].get("managed"):
                raise Refused(403, {"detail": "Deletion not allowed for managed credential types"})
        del self.objects[collection][number]
        for path in [path for path in self.attached if path.startswith(f"{collection}/{number}/")]:
            del self.attached[path]
        self.surveys.pop(f"{collection}/{number}/survey_spec", None)
        for path, known in self.attached.items():
            holder, _number, what = path.split("/")
            if RESOURCES[holder].related[what] == collection and number in known:
                known.remove(number)
        for other, resource in RESOURCES.items():
            for field, leads in resource.links.items():
                if leads != collection and not (leads == "unified_job_templates" and collection in RUN):
                    continue
                for key, item in list(self.objects[other].items()):
                    if item.get(field) != number:
                        continue
                    if (other, field) in CASCADES:
                        self._removed(other, key)
                    else:
                        item[field] = None

    def _judge(self, collection: str, item: Object, number: int) -> None:
        resource = RESOURCES[collection]
        for key, other in self.objects[collection].items():
            if key != number and all(other.get(field) == item.get(field) for field in resource.unique):
                raise Refused(400, {"__all__": [f"{resource.name}: {' and '.join(resource.unique)} exist already."]})
        wrong = _WRONG[collection](self, item) if collection in _WRONG else []
        if len(item.get("name") or "") > 512:
            wrong.append("Ensure this field has no more than 512 characters.")
        if wrong:
            raise Refused(400, {"detail": wrong})

    def _wrong_credential_type(self, item: Object) -> list[str]:
        return rules.credential_type(item.get("inputs", {}), item.get("injectors", {}))

    def _wrong_credential(self, item: Object) -> list[str]:
        kind = self.objects["credential_types"][item["credential_type"]]
        if kind.get("managed"):
            return []
        known = {field["id"] for field in kind["inputs"]["fields"]}
        inputs = item.get("inputs", {})
        wrong = [f"there is no input {name}" for name in inputs if name not in known]
        return wrong + [f"{name} is required" for name in kind["inputs"].get("required", []) if not inputs.get(name)]

    def _wrong_job_template(self, item: Object) -> list[str]:
        project = self.objects["projects"][item["project"]]
        item["organization"] = project.get("organization")
        wrong = []
        if not project.get("updated") or item["playbook"] not in self.playbooks:
            wrong.append(f"Playbook {item['playbook']} not found for project.")
        if item.get("job_slice_count", 1) < 1 or item.get("forks", 0) < 0:
            wrong.append("Ensure this value is greater than or equal to 1 (slices) or 0 (forks).")
        if len(item.get("host_config_key", "")) > 1024:
            wrong.append("Ensure this field has no more than 1024 characters.")
        if not item.get("inventory") and not item.get("ask_inventory_on_launch"):
            wrong.append("You must either set a default value or ask to prompt on launch.")
        return wrong

    def _unanswered(self, item: Object) -> list[str]:
        """A step of a workflow, or a job of a schedule, is not asked anything."""
        path = f"job_templates/{item.get('unified_job_template')}/survey_spec"
        asked = self.surveys.get(path, {}).get("spec", [])
        needed = [
            question["variable"] for question in asked if question["required"] and question.get("default", "") == ""
        ]
        return [f"{name} has no answer" for name in needed if name not in item.get("extra_data", {})]

    def _wrong_schedule(self, item: Object) -> list[str]:
        return rules.rule(item["rrule"]) + self._unanswered(item)


_WRONG: dict[str, t.Callable[[State, Object], list[str]]] = {
    "credential_types": State._wrong_credential_type,
    "credentials": State._wrong_credential,
    "job_templates": State._wrong_job_template,
    "workflow_job_template_nodes": State._unanswered,
    "schedules": State._wrong_schedule,
}
