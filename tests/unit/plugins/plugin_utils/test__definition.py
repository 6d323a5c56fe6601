# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of WorkloadGroups, and WorkloadGroups given as a whole."""

from __future__ import annotations

import copy
import typing as t

import pytest
import yaml
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _definition


@pytest.mark.parametrize(
    ("term", "namespace", "expected"),
    [("a/b", None, ("a", "b")), ("b", "a", ("a", "b")), ("a/b", "a", ("a", "b")), ("a/b", "", ("a", "b"))],
)
def test_parse_name(term: str, namespace: str | None, expected: tuple[str, str]) -> None:
    assert _definition.parse_name(term, namespace) == expected


@pytest.mark.parametrize(
    ("term", "namespace"), [("b", None), ("a/b", "c"), ("a/", None), ("/b", None), ("a/b/c", None), ("", "a")]
)
def test_parse_name_refuses(term: str, namespace: str | None) -> None:
    with pytest.raises(MeshError):
        _definition.parse_name(term, namespace)


GROUP: dict[str, t.Any] = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "WorkloadGroup",
    "metadata": {"name": "payments", "namespace": "shop"},
    "spec": {
        "metadata": {"labels": {"app": "payments"}},
        "template": {"serviceAccount": "payments", "ports": {"http": 8080}, "weight": 2},
        "probe": {"tcpSocket": {"port": 8080}},
    },
}


def changed(path: str, value: t.Any) -> dict[str, t.Any]:
    group = copy.deepcopy(GROUP)
    *parents, last = path.split(".")
    place = group
    for part in parents:
        place = place.setdefault(part, {})
    place[last] = value
    return group


@pytest.mark.parametrize("namespace", [None, "", "shop"])
def test_definition(namespace: str | None) -> None:
    for term in (GROUP, yaml.safe_dump(GROUP)):
        assert _definition.is_definition(term)
        assert _definition.parse_definition(term, namespace) == (("shop", "payments"), GROUP)


@pytest.mark.parametrize("term", ["a/b", "b", "", 3])
def test_names_are_no_definitions(term: t.Any) -> None:
    assert not _definition.is_definition(term)


def test_namespace_given_apart() -> None:
    group = changed("metadata", {"name": "payments"})
    name, resource = _definition.parse_definition(group, "shop")
    assert name == ("shop", "payments")
    assert resource["metadata"]["namespace"] == "shop"


def test_little_is_needed() -> None:
    group = {"apiVersion": "networking.istio.io/v1alpha3", "kind": "WorkloadGroup", "metadata": GROUP["metadata"]}
    assert _definition.parse_definition(group, None)[1]["spec"] == {}


@pytest.mark.parametrize(
    ("term", "said"),
    [
        ("a: [", "not valid YAML"),
        ("- a: b", "no mapping"),
        (changed("kind", "WorkloadEntry"), "kind 'WorkloadEntry'"),
        (changed("apiVersion", "v1"), "apiVersion 'v1'"),
        (changed("metadata.name", None), "the name None"),
        (changed("metadata.name", "A_b"), "the name 'A_b'"),
        (changed("metadata", []), "metadata is []"),
        (changed("spec", []), "spec is []"),
        (changed("spec.metadata.labels.version", 2), "version is 2"),
        (changed("spec.metadata.labels", ["a"]), "spec.metadata.labels is ['a']"),
        (changed("spec.metadata.annotations.x", True), "x is True"),
        (changed("spec.template.network", 1), "spec.template.network is 1"),
        (changed("spec.template.weight", True), "spec.template.weight is True"),
        (changed("spec.template.port", {}), "spec.template has a field 'port'"),
        (changed("spec.template.ports.http", "80"), "spec.template.ports.http is '80'"),
        (changed("spec.template.ports.http", 0), "spec.template.ports.http is 0"),
        (changed("spec.probes", {}), "spec has a field 'probes'"),
    ],
)
def test_bad_definitions(term: t.Any, said: str) -> None:
    with pytest.raises(MeshError) as caught:
        _definition.parse_definition(term, None)
    assert said in caught.value.found
    assert caught.value.expected
    assert caught.value.next_step


def test_two_namespaces_or_none() -> None:
    with pytest.raises(MeshError, match="defined in namespace 'shop', and namespace is 'other'"):
        _definition.parse_definition(GROUP, "other")
    with pytest.raises(MeshError, match="without a namespace"):
        _definition.parse_definition(changed("metadata", {"name": "payments"}), None)
