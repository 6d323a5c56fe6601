# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a mesh from the API."""

from __future__ import annotations

import copy
import json
import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

ISTIO = "/api/v1/namespaces/istio-system"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
INJECTOR = f"{ISTIO}/configmaps/istio-sidecar-injector"


def read(cluster: t.Any, revision: str | None = None) -> _cluster.Mesh:
    mesh = _cluster.read_mesh(cluster, "istio-system", revision)
    assert mesh is not None
    return mesh


def env_of_istiod(cluster: t.Any) -> list[dict[str, str]]:
    found: list[dict[str, str]] = cluster.objects[f"{ISTIO}/pods/istiod"]["spec"]["containers"][0]["env"]
    return found


def test_a_mesh(fake_mesh: t.Any) -> None:
    mesh = read(fake_mesh)
    assert mesh.pop("mesh_config").startswith("defaultConfig:")  # type: ignore[misc]
    assert mesh == {
        "namespace": "istio-system",
        "revision": "",
        "version": "1.31.0",
        "injector_cluster_id": "cluster1",
        "cluster_name": "cluster1",
        "mesh_id": "mesh1",
        "network": "network1",
        "trust_domain": "cluster.local",
        "discovery_host": "istiod.istio-system.svc",
        "auto_registration": True,
        "health_checks": True,
        "entry_grace_period": 300.0,
        "token_audiences": ["istio-ca"],
        "istiod_pods": ["10.89.0.2"],
        "istiod_images": ["docker.io/istio/pilot:1.31.0-distroless"],
    }


def test_nothing_there(fake_empty: t.Any) -> None:
    assert _cluster.read_mesh(fake_empty, "istio-system", None) is None
    assert _cluster.read_gateway(fake_empty, "istio-system", "istio-eastwestgateway") is None
    assert _cluster.group_names(fake_empty) == []
    assert _cluster.read_marks(fake_empty, "istio-system") == []
    assert _cluster.read_pod_cidrs(fake_empty) == []


def test_what_istiod_assumes_where_nothing_is_said(fake_mesh: t.Any) -> None:
    fake_mesh.objects[f"{ISTIO}/configmaps/istio"]["data"]["mesh"] = ""
    fake_mesh.objects[INJECTOR]["data"]["values"] = "{}"
    env_of_istiod(fake_mesh).clear()
    mesh = read(fake_mesh)
    assert mesh["injector_cluster_id"] == ""
    assert mesh["cluster_name"] == "Kubernetes"
    assert (mesh["mesh_id"], mesh["network"], mesh["trust_domain"]) == ("", "", "")
    assert mesh["discovery_host"] == "istiod.istio-system.svc"
    assert mesh["entry_grace_period"] == 10.0


def test_network_of_the_namespace(fake_mesh: t.Any) -> None:
    values = json.loads(fake_mesh.objects[INJECTOR]["data"]["values"])
    del values["global"]["network"]
    fake_mesh.objects[INJECTOR]["data"]["values"] = json.dumps(values)
    fake_mesh.objects[ISTIO] = {"metadata": {"labels": {"topology.istio.io/network": "net-of-label"}}}
    assert read(fake_mesh)["network"] == "net-of-label"


@pytest.mark.parametrize(("value", "expected"), [("false", False), ("FALSE", False), ("0", False), ("true", True)])
def test_switches(fake_mesh: t.Any, value: str, expected: bool) -> None:
    for name in ("AUTOREGISTRATION", "HEALTHCHECKS"):
        env_of_istiod(fake_mesh).append({"name": f"PILOT_ENABLE_WORKLOAD_ENTRY_{name}", "value": value})
    mesh = read(fake_mesh)
    assert mesh["auto_registration"] is expected
    assert mesh["health_checks"] is expected


def test_no_istiod_runs(fake_mesh: t.Any) -> None:
    del fake_mesh.objects[f"{ISTIO}/pods/istiod"]
    mesh = read(fake_mesh)
    assert mesh["version"] is None
    assert mesh["istiod_pods"] == []
    assert mesh["auto_registration"] is True


def test_the_pod_that_stays_speaks_for_istiod(fake_mesh: t.Any) -> None:
    old = fake_mesh.objects[f"{ISTIO}/pods/istiod"]
    new = copy.deepcopy(old)
    old["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z"
    new["spec"]["containers"][0]["env"] = [{"name": "PILOT_WORKLOAD_ENTRY_GRACE_PERIOD", "value": "1m"}]
    new["status"]["podIP"] = "10.89.0.99"
    fake_mesh.objects[f"{ISTIO}/pods/istiod-new"] = new
    mesh = read(fake_mesh)
    assert mesh["entry_grace_period"] == 60.0
    assert mesh["istiod_pods"] == ["10.89.0.99"]


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("docker.io/istio/pilot:1.31.0", "1.31.0"),
        ("docker.io/istio/pilot:1.31.0-lab", "1.31.0-lab"),
        ("registry.example:5000/pilot:1.30.4-distroless@sha256:0123", "1.30.4"),
        ("registry.example:5000/pilot:1.30.4-debug", "1.30.4"),
        ("registry.example:5000/pilot@sha256:0123", None),
        ("registry.example:5000/pilot", None),
    ],
)
def test_version_of_image(image: str, version: str | None) -> None:
    assert _cluster.version_of_image(image) == version


@pytest.mark.parametrize(("name", "text"), [("istio", "{"), ("istio", "- a"), ("istio-sidecar-injector", "{")])
def test_config_maps_with_something_else(fake_mesh: t.Any, name: str, text: str) -> None:
    key = "mesh" if name == "istio" else "values"
    fake_mesh.objects[f"{ISTIO}/configmaps/{name}"]["data"][key] = text
    with pytest.raises(MeshError, match=f"config map istio-system/{name}"):
        read(fake_mesh)


def test_revisions_and_tags(fake_mesh: t.Any) -> None:
    def resolve(asked: str | None, namespace: str = "istio-system") -> str:
        return _cluster.resolve_revision(fake_mesh, namespace, asked)

    assert resolve(None) == ""
    assert resolve("default") == ""
    assert resolve("none") == "none"
    fake_mesh.objects[f"{ISTIO}/configmaps/istio-1-31"] = fake_mesh.objects[f"{ISTIO}/configmaps/istio"]
    assert resolve("1-31") == "1-31"
    fake_mesh.objects[f"{WEBHOOKS}/istio-revision-tag-prod"] = {"metadata": {"labels": {"istio.io/rev": "1-31"}}}
    assert resolve("prod") == "1-31"
    fake_mesh.objects[f"{WEBHOOKS}/istio-revision-tag-default"] = {"metadata": {"labels": {"istio.io/rev": "default"}}}
    assert resolve(None) == ""
    fake_mesh.objects[f"{WEBHOOKS}/istio-revision-tag-default-mesh2"] = {"metadata": {"labels": {"istio.io/rev": "x"}}}
    assert resolve(None, "mesh2") == "x"


def test_a_gateway(fake_mesh: t.Any) -> None:
    gateway = _cluster.read_gateway(fake_mesh, "istio-system", "istio-eastwestgateway")
    assert gateway is not None
    assert gateway["addresses"] == ["10.88.0.200"]
    assert (gateway["cluster_name"], gateway["mesh_id"], gateway["network"]) == ("cluster1", "mesh1", "network1")
    assert gateway["pods"] == ["10.89.0.3"]
    assert gateway["ports"] == [15021, 15012]


def test_a_gateway_with_its_network_in_a_label_or_nowhere(fake_mesh: t.Any) -> None:
    pod = fake_mesh.objects[f"{ISTIO}/pods/gateway"]
    env = pod["spec"]["containers"][0]["env"]
    env[:] = [item for item in env if item["name"] != "ISTIO_META_NETWORK"]

    def network() -> str | None:
        gateway = _cluster.read_gateway(fake_mesh, "istio-system", "istio-eastwestgateway")
        assert gateway is not None
        return gateway["network"]

    assert network() is None
    pod["metadata"]["labels"]["topology.istio.io/network"] = "net-of-label"
    assert network() == "net-of-label"


def test_a_gateway_without_pods_says_nothing(fake_mesh: t.Any) -> None:
    del fake_mesh.objects[f"{ISTIO}/pods/gateway"]
    gateway = _cluster.read_gateway(fake_mesh, "istio-system", "istio-eastwestgateway")
    assert gateway is not None
    assert (gateway["cluster_name"], gateway["mesh_id"], gateway["network"], gateway["pods"]) == (None, None, None, [])


@pytest.mark.parametrize(
    ("annotation", "ingress", "external", "expected"),
    [
        (None, [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}], [], ["192.0.2.1", "192.0.2.2"]),
        (None, [{"hostname": "lb.example"}], ["192.0.2.9"], ["lb.example"]),
        (None, [{"hostname": "lb.example"}, {"ip": "192.0.2.1"}], [], ["192.0.2.1", "lb.example"]),
        (None, [{"hostname": "lb.example", "ip": "192.0.2.1"}], [], ["192.0.2.1"]),
        (None, [], ["192.0.2.9"], ["192.0.2.9"]),
        ("198.51.100.1, lb.example", [{"ip": "192.0.2.1"}], [], ["198.51.100.1", "lb.example"]),
        (None, [], [], []),
    ],
)
def test_service_addresses(annotation: str | None, ingress: t.Any, external: list[str], expected: list[str]) -> None:
    service = {
        "metadata": {"annotations": {"hybridmesh.istio/address": annotation} if annotation else None},
        "spec": {"externalIPs": external},
        "status": {"loadBalancer": {"ingress": ingress}},
    }
    assert _cluster.service_addresses(service) == expected


def test_service_ports(fake_mesh: t.Any) -> None:
    def service(name: str, **spec: t.Any) -> None:
        fake_mesh.objects[f"/api/v1/namespaces/shop/services/{name}"] = {"metadata": {"name": name}, "spec": spec}

    service("a", selector={"app": "x"}, ports=[{"port": 80, "targetPort": 8080}, {"port": 90}])
    service("named", selector={"app": "x"}, ports=[{"port": 1, "targetPort": "web"}, {"port": 2, "targetPort": "none"}])
    service("other", selector={"app": "y"}, ports=[{"port": 3}])
    service("without-selector", ports=[{"port": 4}])
    assert _cluster.service_ports(fake_mesh, "shop", {"app": "x", "v": "1"}, {"web": 7000}) == [90, 7000, 8080]


def test_pod_cidrs(fake_mesh: t.Any) -> None:
    fake_mesh.objects["/api/v1/nodes/a"] = {"metadata": {}, "spec": {"podCIDR": "10.0.0.0/24"}}
    fake_mesh.objects["/api/v1/nodes/b"] = {
        "metadata": {},
        "spec": {"podCIDR": "10.0.1.0/24", "podCIDRs": ["10.0.1.0/24", "fd00::/64"]},
    }
    fake_mesh.objects["/api/v1/nodes/c"] = {"metadata": {}, "spec": {}}
    assert _cluster.read_pod_cidrs(fake_mesh) == ["10.0.0.0/24", "10.0.1.0/24", "fd00::/64"]
