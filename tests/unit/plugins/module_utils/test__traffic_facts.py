# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read of a cluster for a declaration, and how often it is asked."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _traffic_facts
from ansible_collections.hybridmesh.istio.plugins.module_utils._apply import Applier

Build = t.Callable[..., list[dict[str, t.Any]]]


def thing(kind: str, name: str, namespace: str, labels: t.Any = None, **more: t.Any) -> dict[str, t.Any]:
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace, "labels": labels or {}}, **more}


def gateway(secret: str = "cert", mode: str = "MUTUAL") -> dict[str, t.Any]:
    server = {"port": 443, "protocol": "HTTPS", "hosts": ["*"], "tls": {"secret": secret, "mode": mode}}
    return {"gateways": [{"name": "g", "namespace": "shop", "servers": [server]}]}


def read(cluster: t.Any, declared: list[dict[str, t.Any]]) -> _traffic_facts.Facts:
    return _traffic_facts.read(Applier(cluster), declared, "cluster.local")


def test_an_empty_cluster(empty_cluster: t.Any, build: Build) -> None:
    empty_cluster.unknown = {"networking.istio.io/v1", "security.istio.io/v1"}
    facts = read(empty_cluster, build(gateway()))
    assert (facts.istio, facts.namespaces, facts.live, facts.gateway_labels) == (False, set(), [], [])


def test_gateways_and_their_secrets(empty_cluster: t.Any, build: Build) -> None:
    labels = {"istio": "ingressgateway"}
    done = {"phase": "Succeeded"}
    empty_cluster.put(
        thing("Pod", "a", "gateways", labels),
        thing("Pod", "b", "gateways", labels, status=done),
        thing("Secret", "cert", "gateways", data={"tls.crt": "c2VjcmV0", "tls.key": "c2VjcmV0", "ca.crt": ""}),
    )
    facts = read(empty_cluster, build(gateway()))
    pods = facts.gateway_pods[(("istio", "ingressgateway"),)]
    assert [pod["metadata"]["name"] for pod in pods] == ["a"]
    assert facts.secrets == {("gateways", "cert"): {"tls.crt", "tls.key"}, ("gateways", "cert-cacert"): None}
    # Keys stay where they are.
    assert "c2VjcmV0" not in str(facts)
    empty_cluster.forbidden = {"/api/v1/namespaces/gateways/secrets/cert"}
    facts = read(empty_cluster, build(gateway("kubernetes://cert", "SIMPLE")))
    assert (facts.secrets, facts.unreadable) == ({}, {("gateways", "cert")})
    assert read(empty_cluster, build(gateway("sds://other"))).secrets == {}


def test_what_gateways_there_are_where_none_is_meant(empty_cluster: t.Any, build: Build) -> None:
    empty_cluster.put(
        thing("Pod", "a", "istio-system", {"istio": "eastwestgateway"}),
        thing("Pod", "b", "istio-system", {"istio": "pilot"}),
    )
    assert read(empty_cluster, build(gateway())).gateway_labels == ["eastwestgateway"]


def test_workloads_are_pods_or_machines(empty_cluster: t.Any, build: Build) -> None:
    rules = {
        "destinations": [{"service": "web.shop", "subsets": {f"v{n}": {"version": f"v{n}"} for n in (1, 2, 3, 4)}}]
    }
    by_hand = {"labels": {"app": "web", "version": "v3"}, "address": "10.0.0.3"}
    empty_cluster.put(
        thing("Service", "web", "shop", spec={"selector": {"app": "web"}}),
        thing("Pod", "one", "shop", {"app": "web", "version": "v1"}),
        thing("WorkloadEntry", "two", "shop", {"app": "web", "version": "v2"}),
        thing("WorkloadEntry", "three", "shop", spec=by_hand),
        thing("Pod", "four", "elsewhere", {"app": "web", "version": "v4"}),
    )
    found = read(empty_cluster, build(rules)).workloads
    assert {dict(labels)["version"]: there for (_space, labels), there in found.items()} == {
        "v1": True,
        "v2": True,
        "v3": True,
        "v4": False,
    }


def test_accounts_that_policies_name(empty_cluster: t.Any, build: Build) -> None:
    identities = ["vms/a", "vms/b", "vms/*", "*"]
    rules = {"access": [{"name": "a", "namespace": "shop", "allow": [{"identities": identities}]}]}
    empty_cluster.put(thing("ServiceAccount", "a", "vms"))
    assert read(empty_cluster, build(rules)).accounts == {("vms", "a"): True, ("vms", "b"): False}


def test_each_kind_is_listed_once_however_much_is_declared(
    empty_cluster: t.Any, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    answer = empty_cluster.request

    def counting(method: str, path: str, *more: t.Any, **options: t.Any) -> t.Any:
        asked.append(path)
        return answer(method, path, *more, **options)

    monkeypatch.setattr(empty_cluster, "request", counting)
    read(empty_cluster, build({"destinations": [{"service": f"web{number}.shop"} for number in range(50)]}))
    assert sorted(path.rpartition("/")[2] for path in asked) == [
        "authorizationpolicies",
        "destinationrules",
        "gateways",
        "namespaces",
        "peerauthentications",
        "serviceentries",
        "services",
        "sidecars",
        # The three API groups, to know their kinds.
        "v1",
        "v1",
        "v1",
        "virtualservices",
    ]
