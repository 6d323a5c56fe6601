# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Google's discovery documents: which method a request is for, and whether it is one that Google's schemas allow."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import time
import typing as t
import urllib.parse
from pathlib import Path

import googleapiclient

from .answers import Json, Refusal, invalid

DOCUMENTS = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
APIS = {
    "compute.googleapis.com": "compute.v1",
    "container.googleapis.com": "container.v1",
    "iam.googleapis.com": "iam.v1",
    "cloudresourcemanager.googleapis.com": "cloudresourcemanager.v1",
    # Compute Engine answers under this name, too.
    "www.googleapis.com": "compute.v1",
}


@dataclasses.dataclass(frozen=True)
class Request:
    """A request that Google's documents know.

    Attributes:
        method: the method's ID, such as `compute.networks.insert`.
        verb: HTTP's.
        path: below the host.
        params: what the path holds.
        query: what follows the question mark.
        body: what was sent.
        at: when it came.
    """

    method: str
    verb: str
    path: str
    params: dict[str, str]
    query: dict[str, str]
    body: Json
    at: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def mutates(self) -> bool:
        """Whether it could change something."""
        return self.verb != "GET" and not self.method.endswith(("getIamPolicy", "testIamPermissions"))


class Document:
    """One API."""

    def __init__(self, name: str) -> None:
        self.content: Json = json.loads((DOCUMENTS / f"{name}.json").read_text(encoding="utf-8"))
        self.schemas: dict[str, Json] = self.content["schemas"]
        self._methods: list[tuple[str, re.Pattern[str], Json]] = []
        self._collect(self.content["resources"])

    def _collect(self, resources: Json) -> None:
        for resource in resources.values():
            for method in resource.get("methods", {}).values():
                path = "/" + self.content["servicePath"] + method.get("flatPath", method["path"])
                pattern = re.sub(r"\\\{\+?(\w+)\\\}", r"(?P<\1>[^/:]+)", re.escape(path))
                self._methods.append((method["httpMethod"], re.compile(pattern), method))
            self._collect(resource.get("resources", {}))

    def request(self, verb: str, url: str, body: t.Any) -> Request:
        """The request, validated.

        Raises:
            Refusal: there is no such method, or its schema does not allow what was sent.
        """
        parts = urllib.parse.urlsplit(url)
        path = urllib.parse.unquote(parts.path)
        for known, pattern, method in self._methods:
            match = pattern.fullmatch(path)
            if known == verb and match:
                query = dict(urllib.parse.parse_qsl(parts.query))
                self._check_query(method, query)
                self._check_body(method, body)
                return Request(method["id"], verb, path, match.groupdict(), query, body or {})
        raise Refusal(404, f"The requested URL {verb} {path} was not found: no discovery document has it", "notFound")

    def _check_query(self, method: Json, query: t.Mapping[str, str]) -> None:
        allowed = {**self.content.get("parameters", {}), **method.get("parameters", {})}
        for name in query:
            if name not in allowed:
                raise invalid(f"{method['id']}: unknown parameter {name}")
        for name, parameter in method.get("parameters", {}).items():
            if parameter.get("required") and parameter["location"] == "query" and name not in query:
                raise invalid(f"{method['id']}: the parameter {name} is required")

    def _check_body(self, method: Json, body: t.Any) -> None:
        schema = method.get("request", {}).get("$ref")
        if schema is None:
            if body:
                raise invalid(f"{method['id']} takes no body")
            return
        self._check(self.schemas[schema], body or {}, method["id"], schema)

    def _check(self, schema: Json, value: t.Any, method: str, where: str) -> None:
        if value is None:
            return
        if "$ref" in schema:
            self._check(self.schemas[schema["$ref"]], value, method, where)
            return
        kind = schema.get("type")
        if kind == "object":
            self._check_object(schema, value, method, where)
        elif kind == "array":
            if not isinstance(value, list):
                raise invalid(f"{where}: {value!r} is no list")
            for number, item in enumerate(value):
                self._check(schema["items"], item, method, f"{where}[{number}]")
        else:
            check_scalar(schema, value, where)

    def _check_object(self, schema: Json, value: t.Any, method: str, where: str) -> None:
        if not isinstance(value, dict):
            raise invalid(f"{where}: {value!r} is no object")
        known, more = schema.get("properties", {}), schema.get("additionalProperties")
        for key, item in value.items():
            if key in known:
                self._check(known[key], item, method, f"{where}.{key}")
            elif more is not None:
                self._check(more, item, method, f"{where}.{key}")
            else:
                raise invalid(f"Invalid JSON payload received. Unknown name \"{key}\" at '{where}'")
        for key, item in known.items():
            if method in item.get("annotations", {}).get("required", []) and value.get(key) is None:
                raise invalid(f"Required field '{where}.{key}' not specified")


def check_scalar(schema: Json, value: t.Any, where: str) -> None:
    """A text, number or truth value; numbers may come as text, as in Google's JSON."""
    kind, fits = schema.get("type"), True
    if kind == "boolean":
        fits = isinstance(value, bool)
    elif kind in ("integer", "number") or schema.get("format") in ("int64", "uint64"):
        fits = isinstance(value, (int, float, str)) and not isinstance(value, bool)
        pattern = r"-?\d+(\.\d+)?" if kind == "number" else r"-?\d+"
        fits = fits and bool(re.fullmatch(pattern, str(value)))
    elif kind == "string":
        fits = isinstance(value, str)
    if not fits:
        raise invalid(f"Invalid value at '{where}' ({kind}): {value!r}")
    if "enum" in schema and value not in schema["enum"]:
        raise invalid(f"Invalid value at '{where}': {value!r} is none of {schema['enum']}")
    if "pattern" in schema and kind == "string" and value and not re.fullmatch(schema["pattern"], value):
        raise invalid(f"Invalid value for field '{where}': {value!r} must match {schema['pattern']}")


@functools.cache
def document(host: str) -> Document | None:
    """The document of the API that is served under a name."""
    return Document(APIS[host]) if host in APIS else None
