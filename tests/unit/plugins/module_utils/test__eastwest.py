# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the options of the east-west gateway come down to."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _eastwest, _gateway_spec, _vm_needs
from ansible_collections.hybridmesh.istio.plugins.module_utils._cluster import Gateway, Mesh
from ansible_collections.hybridmesh.istio.plugins.module_utils._eastwest import Options
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._exposure import exposure


def mesh(**more: t.Any) -> Mesh:
    result: dict[str, t.Any] = {
        "namespace": "istio-system",
        "revision": "",
        "version": "1.31.0",
        "mesh_config": "",
        "injector_cluster_id": "cluster1",
        "cluster_name": "cluster1",
        "mesh_id": "mesh1",
        "network": "network1",
        "trust_domain": "cluster.local",
        "discovery_host": "istiod.istio-system.svc",
        "auto_registration": True,
        "health_checks": True,
        "entry_grace_period": 300.0,
        "istiod_pods": ["10.0.0.1"],
        "istiod_images": ["istio/pilot:1.31.0"],
    }
    result.update(more)
    return t.cast(Mesh, result)


def settings(options: Options, of: Mesh | None = None) -> dict[str, t.Any]:
    spec = _eastwest.spec(options, of or mesh())
    return t.cast("dict[str, t.Any]", spec["values"]["gateways"]["istio-ingressgateway"])


def test_identity_is_istiods() -> None:
    spec = _eastwest.spec(Options(), mesh())
    assert spec["values"]["global"]["meshID"] == "mesh1"
    assert spec["values"]["global"]["network"] == "network1"
    assert spec["values"]["global"]["multiCluster"] == {"clusterName": "cluster1"}
    assert spec["profile"] == "empty"
    assert "hub" not in spec


def test_two_replicas_apart_with_a_budget() -> None:
    spec = _eastwest.spec(Options(), mesh())
    own = settings(Options())
    assert (own["replicaCount"], own["autoscaleEnabled"]) == (2, False)
    assert spec["values"]["global"]["defaultPodDisruptionBudget"] == {"enabled": True}
    (component,) = spec["components"]["ingressGateways"]
    assert list(component["k8s"]["affinity"]["podAntiAffinity"]) == ["preferredDuringSchedulingIgnoredDuringExecution"]


def ports(options: Options) -> list[int]:
    return [port["port"] for port in _eastwest.service_ports(options)]


def test_only_what_is_asked_for_is_open() -> None:
    assert ports(Options()) == [15012]
    assert ports(Options(webhook=True)) == [15012, 15017]
    assert ports(Options(webhook=True, cross_network=True)) == [15012, 15017, 15443]


def test_other_networks_are_told_by_the_service_alone() -> None:
    spec = _eastwest.spec(Options(cross_network=True), mesh())
    (component,) = spec["components"]["ingressGateways"]
    assert component["label"] == {"app": "istio-eastwestgateway", "istio": "eastwestgateway"}
    (overlay,) = component["k8s"]["overlays"]
    assert overlay["kind"] == "Service"
    assert overlay["patches"] == [{"path": r"metadata.labels.topology\.istio\.io/network", "value": "network1"}]


@pytest.mark.parametrize("cloud", ["gcp", "aws", "azure"])
def test_internal_load_balancers(cloud: str) -> None:
    own = settings(Options(internal=cloud, annotations={"a": "b"}))
    assert own["serviceAnnotations"] == {**_gateway_spec.INTERNAL[cloud], "a": "b"}


def test_a_given_address_is_left_in_the_cluster() -> None:
    own = settings(Options(addresses=["192.0.2.1", "gw.example.com"]))
    assert own["serviceAnnotations"] == {"hybridmesh.istio/address": "192.0.2.1,gw.example.com"}


def test_the_users_part_is_laid_on_top() -> None:
    over = {"values": {"gateways": {"istio-ingressgateway": {"replicaCount": 3}}}, "hub": "example.com/istio"}
    spec = _eastwest.spec(Options(spec=over, hub="other"), mesh())
    assert spec["hub"] == "example.com/istio"
    assert spec["values"]["gateways"]["istio-ingressgateway"]["replicaCount"] == 3
    assert spec["values"]["gateways"]["istio-ingressgateway"]["type"] == "LoadBalancer"


@pytest.mark.parametrize(
    ("revision", "discovery", "hosts"),
    [
        ("", "istiod.istio-system.svc", ["istiod.istio-system.svc"]),
        ("1-31", "istiod-1-31.istio-system.svc", ["istiod-1-31.istio-system.svc"]),
        ("", "istiod.example.com", ["istiod.example.com", "istiod.istio-system.svc"]),
    ],
)
def test_names_in_use_are_let_through_and_no_others(revision: str, discovery: str, hosts: list[str]) -> None:
    of = mesh(revision=revision, discovery_host=discovery)
    gateway, route = _eastwest.exposure(Options(), of)
    assert gateway["spec"]["servers"][0]["hosts"] == hosts
    assert route["spec"]["tls"][0]["match"] == [{"port": 15012, "sniHosts": hosts}]
    own = "istiod-1-31" if revision else "istiod"
    destination = route["spec"]["tls"][0]["route"][0]["destination"]
    assert destination == {"host": f"{own}.istio-system.svc.cluster.local", "port": {"number": 15012}}


def test_every_control_plane_is_reached_by_its_own_name() -> None:
    made = _eastwest.exposure(Options(webhook=True), mesh(), ["", "1-32"])
    both = ["istiod-1-32.istio-system.svc", "istiod.istio-system.svc"]
    assert made[0]["spec"]["servers"][1]["hosts"] == both
    assert [
        (*rule["match"][0].values(), *rule["route"][0]["destination"].values()) for rule in made[1]["spec"]["tls"]
    ] == [
        (port, [f"{name}.istio-system.svc"], f"{name}.istio-system.svc.cluster.local", {"number": target})
        for port, target in ((15012, 15012), (15017, 443))
        for name in ("istiod", "istiod-1-32")
    ]


def reading(options: Options, **more: t.Any) -> Gateway:
    result: dict[str, t.Any] = {
        "namespace": "istio-system",
        "name": options.name,
        "type": "LoadBalancer",
        "labels": {},
        "selector": {"app": options.name, "istio": "eastwestgateway"},
        "ports": ports(options),
        "addresses": ["10.0.0.9"],
        "cluster_name": "cluster1",
        "mesh_id": "mesh1",
        "network": "network1",
        "pods": ["10.0.0.2"],
        "pod_labels": [],
    }
    result.update(more)
    return t.cast(Gateway, result)


@pytest.mark.parametrize("revision", ["", "1-31"])
def test_what_is_made_is_recognised_as_exposed(revision: str) -> None:
    host = f"istiod-{revision}.istio-system.svc" if revision else "istiod.istio-system.svc"
    of = mesh(revision=revision, discovery_host=host)
    made = _eastwest.exposure(Options(), of)
    gateways = [item for item in made if item["kind"] == "Gateway"]
    routes = [item for item in made if item["kind"] == "VirtualService"]
    assert exposure(of, reading(Options()), gateways, routes) == {"exposed": True, "hosts": [host], "reason": ""}


def test_webhook_and_other_networks_add_servers() -> None:
    made = _eastwest.exposure(Options(webhook=True, cross_network=True), mesh())
    assert [item["metadata"]["name"] for item in made] == ["istiod-gateway", "istiod-vs", "cross-network-gateway"]
    assert [server["port"]["number"] for server in made[0]["spec"]["servers"]] == [15012, 15017]
    assert made[1]["spec"]["tls"][1]["route"][0]["destination"]["port"] == {"number": 443}
    assert made[2]["spec"]["servers"][0]["tls"] == {"mode": "AUTO_PASSTHROUGH"}


PUBLIC = {"34.1.2.3": ["34.1.2.3"]}
PRIVATE = {"10.88.0.200": ["10.88.0.200"]}


@pytest.mark.parametrize(
    ("options", "addresses"),
    [
        (Options(), PRIVATE),
        (Options(), {"lb.internal": ["10.1.1.1", "fd00::1"]}),
        (Options(source_ranges=["10.0.0.0/8"]), PUBLIC),
        (Options(public=True), PUBLIC),
        (Options(), {}),
    ],
)
def test_acceptable_addresses(options: Options, addresses: dict[str, list[str]]) -> None:
    _eastwest.judge_addresses(options, addresses, False)


@pytest.mark.parametrize(
    ("options", "addresses"),
    [
        (Options(), PUBLIC),
        (Options(), {"lb.example.com": ["10.1.1.1", "2600:1::1"]}),
        (Options(source_ranges=["10.0.0.0/8", "0.0.0.0/0"]), PUBLIC),
    ],
)
def test_public_addresses_are_refused(options: Options, addresses: dict[str, list[str]]) -> None:
    with pytest.raises(MeshError, match="is public") as told:
        _eastwest.judge_addresses(options, addresses, False)
    assert "not exposed there yet" in told.value.found
    assert "eastwest_gateway_public" in told.value.next_step
    with pytest.raises(MeshError, match="exposed there already"):
        _eastwest.judge_addresses(options, addresses, True)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (Options(source_ranges=["10.0.0.1/8"]), "has host bits"),
        (Options(internal="oracle"), "internal is 'oracle'"),
        (Options(service_type="NodePort"), "gets no address of its own"),
        (Options(service_type="NodePort", addresses=["10.0.0.1"], internal="gcp"), "internal is set for a Service"),
    ],
)
def test_options_that_can_not_work(options: Options, told: str) -> None:
    with pytest.raises(MeshError, match=told):
        _eastwest.check_options(options)


def test_a_node_port_with_an_address_is_fine() -> None:
    _eastwest.check_options(Options(service_type="NodePort", addresses=["10.0.0.1"]))


def test_a_good_control_plane_lacks_nothing() -> None:
    assert _vm_needs.control_plane_needs(mesh()) == []


def test_what_a_control_plane_lacks() -> None:
    of = mesh(version="1.22.1", auto_registration=False, health_checks=False, entry_grace_period=10.0, istiod_pods=[])
    needs = "\n".join(_vm_needs.control_plane_needs(of))
    for told in ("1.24 or newer", "no Pod that is ready", "AUTOREGISTRATION", "HEALTHCHECKS", "10 s after"):
        assert told in needs


def test_where_a_control_plane_differs() -> None:
    spec = {"values": {"global": {"meshID": "mesh2", "network": "network1", "multiCluster": {"clusterName": "c"}}}}
    assert _vm_needs.differences(mesh(), spec, "1.30.3") == [
        "the version is '1.31.0', not '1.30.3'",
        "the mesh ID is 'mesh1', not 'mesh2'",
        "the cluster name is 'cluster1', not 'c'",
    ]
    assert _vm_needs.differences(mesh(), {}, None) == []


def test_what_a_gateway_lacks() -> None:
    unexposed = exposure(mesh(), reading(Options()), [], [])
    gateway = reading(Options(), cluster_name="Kubernetes", pods=[], addresses=[])
    needs = "\n".join(_vm_needs.gateway_needs(mesh(), gateway, unexposed))
    for told in ("the cluster name", "no Pod that is ready", "has no address", "no Gateway opens port 15012"):
        assert told in needs
    assert "mesh ID" not in needs
