# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a declaration says that can't be meant."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _traffic_declared

Validate = t.Callable[[dict[str, t.Any]], dict[str, t.Any]]


@pytest.fixture
def told(validate: Validate) -> t.Callable[..., list[str]]:
    def of(rules: dict[str, t.Any], name: str = "traffic") -> list[str]:
        return [problem.found for problem in _traffic_declared.problems(validate(rules), name, "cluster.local")]

    return of


Told = t.Callable[..., list[str]]


def route(**more: t.Any) -> dict[str, t.Any]:
    base = {"name": "r", "namespace": "shop", "hosts": ["a.com"], "rules": [{"backends": [{"service": "web"}]}]}
    return {"routes": [{**base, **more}]}


def rule(**more: t.Any) -> dict[str, t.Any]:
    protocol = more.pop("protocol", "http")
    return route(protocol=protocol, rules=[{"backends": [{"service": "web"}], **more}])


def access(**more: t.Any) -> dict[str, t.Any]:
    return {"access": [{"name": "a", "namespace": "shop", **more}]}


FINE: list[dict[str, t.Any]] = [
    {},
    route(),
    rule(backends=[], spec={"redirect": {"uri": "/"}}),
    rule(match=[{"headers": {"a": "b", "c": {"present": True}}, "path": "/"}, {"path_prefix": "/b"}]),
    rule(protocol="tls", match=[{"sni": ["a.com"], "port": 443}]),
    route(rules=None, spec={"http": []}),
    route(hosts=None, spec={"hosts": ["a.com"]}),
    access(allow=[]),
    access(allow=[{}]),
    access(deny=[{"identities": ["a/b", "a/*", "a/b*", "*", "td/ns/a/sa/b"]}]),
    {"destinations": [{"service": "web.shop", "subsets": {"v1": {"version": "v1"}}}]},
    {"destinations": [{"host": "*.example.com", "namespace": "shop"}, {"service": "web", "namespace": "shop"}]},
    {"mtls": [{"namespace": "shop", "ports": {80: "DISABLE"}, "selector": {"app": "web"}}]},
]


@pytest.mark.parametrize("rules", FINE)
def test_what_is_fine(told: Told, rules: dict[str, t.Any]) -> None:
    assert told(rules) == []


WRONG: list[tuple[dict[str, t.Any], str]] = [
    (route(hosts=None), "has neither hosts nor services"),
    (route(services=["web.shop.other"]), "names the Service 'web.shop.other', which is no name of one"),
    (route(rules=[]), "route shop/r has no rules"),
    (rule(backends=[]), "rule 1 has no backends"),
    (rule(backends=[{"weight": 100}]), "names neither service nor host"),
    (rule(mirrors=[{"service": "web", "host": "web"}]), "names both service and host"),
    (rule(backends=[{"service": "api.example.com"}]), "names the Service 'api.example.com'"),
    (rule(protocol="tcp", timeout=3, match=[{"headers": {"a": "b"}}]), "protocol tcp has timeout, match.headers"),
    (rule(match=[{"sni": ["a.com"]}]), "protocol http has match.sni"),
    (rule(match=[{"path": "/", "path_prefix": "/"}]), "one match has path and path_prefix"),
    (rule(match=[{"headers": {"a": {"suffix": "b"}}}]), "match.headers.a is {'suffix': 'b'}"),
    (rule(match=[{"headers": {"a": None}}]), "match.headers.a is None"),
    (rule(match=[{"headers": {"a": {"present": False}}}]), "match.headers.a is {'present': False}"),
    (rule(match=[{"query": {"a": {"present": True}}}]), "match.query.a is {'present': True}"),
    (access(), "has neither allow nor deny"),
    (access(allow=[{}], deny=[{}]), "has both allow and deny"),
    (access(deny=[]), "denies nothing"),
    (access(allow=[{"identities": [], "methods": ["GET"]}]), "identities is empty, which Istio takes for no limit"),
    (access(allow=[{"identities": ["web"]}]), "the identity is 'web'"),
    (access(allow=[{"identities": ["*/web"]}]), "the identity is '*/web'"),
    ({"destinations": [{"service": "web"}]}, "does not say in which namespace its Service is"),
    ({"destinations": [{"host": "api.example.com"}]}, "has no namespace"),
    ({"destinations": [{"name": "x"}]}, "destination x names neither service nor host"),
    ({"destinations": [{"service": "web.shop", "subsets": {"v1": "v1"}}]}, "subset v1: its labels are 'v1'"),
    ({"mtls": [{"namespace": "shop", "ports": {80: "DISABLE"}}]}, "mtls shop/default has ports"),
]


@pytest.mark.parametrize(("rules", "words"), WRONG)
def test_what_is_wrong(told: Told, rules: dict[str, t.Any], words: str) -> None:
    found = told(rules)
    assert len(found) == 1
    assert words in found[0]


@pytest.mark.parametrize("name", ["", "a b", "-a", "a" * 64])
def test_names_that_no_label_can_have(told: Told, name: str) -> None:
    assert told({}, name) == [f"the declaration's name is '{name}'"]


def test_all_at_once(told: Told) -> None:
    assert len(told({**route(hosts=None, rules=[]), **access()})) == 3
