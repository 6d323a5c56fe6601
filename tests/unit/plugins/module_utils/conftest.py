# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declared traffic, and a cluster that it fits into."""

from __future__ import annotations

import typing as t

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.hybridmesh.istio.plugins.module_utils import _traffic_objects, _traffic_spec
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_facts import Facts
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_scene import Scene

Rules = dict[str, t.Any]


def validated(rules: Rules) -> Rules:
    """A declaration as the module gets it."""
    result = ArgumentSpecValidator(_traffic_spec.ARGUMENTS).validate({"rules": rules})
    assert result.error_messages == []
    found: Rules = result.validated_parameters["rules"]
    return found


def objects(rules: Rules, **context: str) -> list[dict[str, t.Any]]:
    """What a declaration stands for."""
    return _traffic_objects.build(validated(rules), _traffic_objects.Context(**context))


def shop_facts() -> Facts:
    """A cluster with a gateway, Service shop/web of Pods (v1, v2) and Service shop/db, and a ServiceEntry."""
    facts = Facts(namespaces={"shop", "istio-system"})
    for name, ports in (("web", [80]), ("db", [5432, 9187])):
        facts.services["shop", name] = {
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"selector": {"app": name}, "ports": [{"port": port} for port in ports]},
        }
    entry = {"hosts": ["api.example.com"], "ports": [{"number": 443}]}
    facts.entries.append(
        {"kind": "ServiceEntry", "metadata": {"name": "api", "namespace": "shop"}, "spec": entry},
    )
    pod = {"metadata": {"name": "gateway", "namespace": "istio-system", "labels": {"istio": "ingressgateway"}}}
    facts.gateway_pods[(("istio", "ingressgateway"),)] = [pod]
    return facts


@pytest.fixture
def validate() -> t.Callable[[Rules], Rules]:
    return validated


@pytest.fixture
def build() -> t.Callable[..., list[dict[str, t.Any]]]:
    return objects


@pytest.fixture
def facts() -> Facts:
    return shop_facts()


@pytest.fixture
def scene(facts: Facts) -> t.Callable[..., Scene]:
    """From a declaration to what is declared in that cluster; what is given beside it replaces its facts."""

    def make(rules: Rules, **other: t.Any) -> Scene:
        for key, value in other.items():
            setattr(facts, key, value)
        return Scene(objects(rules), facts)

    return make


@pytest.fixture
def live() -> t.Callable[..., dict[str, t.Any]]:
    """An object as it is in the cluster: somebody else's, unless a declaration is named."""

    def make(kind: str, name: str, spec: dict[str, t.Any], of: str | None = None, namespace: str = "shop") -> t.Any:
        labels = {"app.kubernetes.io/managed-by": "hybridmesh.istio", "hybridmesh.istio/traffic": of} if of else {}
        group = "security" if kind in ("PeerAuthentication", "AuthorizationPolicy") else "networking"
        metadata = {"name": name, "namespace": namespace, "labels": labels}
        return {"apiVersion": f"{group}.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}

    return make
