# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of WorkloadGroups, and WorkloadGroups given as a whole. Private to the collection. Pure."""

from __future__ import annotations

import re
import typing as t

import yaml
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _goyaml

# The versions that the API serves; all of them have the same fields.
VERSIONS = ("networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3")
# https://istio.io/latest/docs/reference/config/networking/workload-group/
_SPEC = {"metadata": dict, "template": dict, "probe": dict}
_METADATA = {"labels": dict, "annotations": dict}
_TEMPLATE = {
    "address": str,
    "labels": dict,
    "locality": str,
    "network": str,
    "ports": dict,
    "serviceAccount": str,
    "weight": int,
}
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


class Name(t.NamedTuple):
    """A WorkloadGroup's name."""

    namespace: str
    name: str


def parse_name(term: str, namespace: str | None) -> Name:
    """`NAMESPACE/GROUP`, or `GROUP` with the namespace given apart.

    Raises:
        MeshError: there is no namespace, there are two, or a part is empty.
    """
    before, slash, name = term.rpartition("/")
    if slash and namespace not in (None, "", before):
        raise MeshError(
            f"group '{term}' and namespace '{namespace}'", "one namespace", "leave one of them out, or make them equal"
        )
    result = Name(before if slash else namespace or "", name)
    if not result.namespace or not result.name or "/" in result.namespace:
        raise MeshError(
            f"the group '{term}'" + ("" if slash or namespace else " without a namespace"),
            "NAMESPACE/GROUP, or GROUP with the option namespace",
            "name the WorkloadGroup so (mesh_workload_group)",
        )
    return result


def is_definition(term: t.Any) -> bool:
    """Whether a term is a whole WorkloadGroup: a mapping, or YAML of one (no name holds a colon)."""
    return isinstance(term, t.Mapping) or ":" in str(term)


def parse_definition(term: t.Any, namespace: str | None) -> tuple[Name, dict[str, t.Any]]:
    """A WorkloadGroup given as a mapping or as YAML, as `istioctl x workload entry configure --file` takes it.

    Raises:
        MeshError: it is none, has fields that no WorkloadGroup has, or is of another namespace than the one given.
    """
    document = dict(term) if isinstance(term, t.Mapping) else _read(str(term))
    if document.get("kind") != "WorkloadGroup" or document.get("apiVersion") not in VERSIONS:
        raise _wrong(
            "a definition with kind '{}' and apiVersion '{}'".format(document.get("kind"), document.get("apiVersion")),
            "kind WorkloadGroup and apiVersion " + VERSIONS[0],
        )
    metadata = _mapping(document, "metadata", None)
    name = metadata.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _wrong(f"a definition with the name {name!r}", "metadata.name, as Kubernetes allows it")
    where = metadata.get("namespace") or namespace
    if not where:
        raise _wrong(f"WorkloadGroup {name} without a namespace", "metadata.namespace, or the option namespace")
    if namespace and where != namespace:
        raise _wrong(
            f"WorkloadGroup {name} is defined in namespace '{where}', and namespace is '{namespace}'", "one namespace"
        )
    spec = _mapping(document, "spec", _SPEC)
    template = _mapping(spec, "spec.template", _TEMPLATE)
    of_vms = _mapping(spec, "spec.metadata", _METADATA)
    for path, texts in (
        ("metadata.annotations", metadata.get("annotations")),
        ("spec.metadata.labels", of_vms.get("labels")),
        ("spec.metadata.annotations", of_vms.get("annotations")),
        ("spec.template.labels", template.get("labels")),
    ):
        _texts(path, texts)
    for port_name, port in (template.get("ports") or {}).items():
        if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
            raise _wrong(f"spec.template.ports.{port_name} is {port!r}", "a port from 1 to 65535")
    result = {**document, "metadata": {**metadata, "namespace": str(where)}, "spec": spec}
    return Name(str(where), name), result


def _read(text: str) -> dict[str, t.Any]:
    try:
        document = _goyaml.load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise _wrong(f"a definition that is not valid YAML: {error}", "one WorkloadGroup") from error
    if not isinstance(document, dict):
        raise _wrong(f"a definition that is no mapping: {text[:60]!r}", "one WorkloadGroup")
    return document


def _mapping(parent: t.Mapping[str, t.Any], path: str, fields: t.Mapping[str, type] | None) -> dict[str, t.Any]:
    """The mapping at the end of `path` with each field of its type; empty where it is absent."""
    value = parent.get(path.rpartition(".")[2])
    if value is None:
        return {}
    if not isinstance(value, t.Mapping):
        raise _wrong(f"{path} is {value!r}", "a mapping")
    for field, content in value.items() if fields is not None else ():
        kind = (fields or {}).get(str(field))
        if kind is None:
            raise _wrong(f"{path} has a field '{field}'", "the fields " + ", ".join(fields or ()))
        if content is not None and (not isinstance(content, kind) or isinstance(content, bool)):
            raise _wrong(f"{path}.{field} is {content!r}", {dict: "a mapping", str: "text", int: "a number"}[kind])
    return dict(value)


def _texts(path: str, values: t.Any) -> None:
    for key, value in (values or {}).items() if isinstance(values, t.Mapping) or not values else [("", values)]:
        if not isinstance(key, str) or not isinstance(value, str):
            raise _wrong(f"{path}: {key} is {value!r}", "text (put it in quotes)")


def _wrong(found: str, expected: str) -> MeshError:
    return MeshError(found, expected, "correct the WorkloadGroup that is given")
