# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told about declared traffic, and not refused."""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _traffic_notes
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_scene import Scene

MakeScene = t.Callable[..., Scene]

SUBSETS = {"destinations": [{"service": "web.shop", "subsets": {"v2": {"version": "v2"}}}]}
LABELS = (("app", "web"), ("version", "v2"))


def test_a_subset_without_workloads(scene: MakeScene) -> None:
    assert _traffic_notes.notes(scene(SUBSETS, workloads={("shop", LABELS): True})) == []
    assert _traffic_notes.notes(scene(SUBSETS, workloads={("shop", LABELS): False})) == [
        "DestinationRule shop/web, subset v2: no Pod and no WorkloadEntry in shop has the labels app=web, version=v2 so far"
    ]


def test_a_policy_without_workloads(scene: MakeScene) -> None:
    rules = {"access": [{"name": "a", "namespace": "shop", "selector": {"app": "x"}, "allow": []}]}
    notes = _traffic_notes.notes(scene(rules, workloads={("shop", (("app", "x"),)): False}))
    assert notes == ["AuthorizationPolicy shop/a: no Pod and no WorkloadEntry in shop has the labels app=x so far"]


def test_an_identity_that_nobody_has(scene: MakeScene) -> None:
    notes = _traffic_notes.notes(scene({}, accounts={("vms", "a"): True, ("vms", "b"): False}))
    assert notes == ["access names the identity vms/b, and this cluster has no such ServiceAccount"]


def test_a_secret_that_may_not_be_read(scene: MakeScene) -> None:
    notes = _traffic_notes.notes(scene({}, unreadable={("istio-system", "cert"), ("istio-system", "cert-cacert")}))
    assert notes == ["whether the Secret istio-system/cert is there can't be told: no right to get it"]


def test_a_port_that_no_service_has(scene: MakeScene) -> None:
    servers = [{"port": port, "hosts": ["*"]} for port in (80, 8443, 9000)]
    rules = {"gateways": [{"name": "g", "namespace": "shop", "servers": servers}]}
    assert _traffic_notes.notes(scene(rules)) == []
    spec = {"selector": {"istio": "ingressgateway"}, "ports": [{"port": 80}, {"port": 443, "targetPort": 8443}]}
    notes = _traffic_notes.notes(scene(rules, services={("istio-system", "gateway"): {"spec": spec}}))
    assert notes == ["gateway shop/g opens port 9000, which no Service of the gateway's Pods has"]
