# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a mesh, finding what is wrong with it, making files and tokens."""

from __future__ import annotations

import json
import socket
import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _material, _served
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._definition import Name
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._material import Wish
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._settings import Settings

GROUP = Name("shop", "payments")
ISTIO = "/api/v1/namespaces/istio-system"
SHOP = "/api/v1/namespaces/shop"
NETWORKING = "/apis/networking.istio.io/v1"
GROUP_PATH = f"{NETWORKING}/namespaces/shop/workloadgroups/payments"
GATEWAY_PATH = f"{ISTIO}/services/istio-eastwestgateway"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


def files(cluster: t.Any, wish: Wish | None = None) -> dict[str, str]:
    (material,) = _material.materials(cluster, [GROUP], wish or Wish())
    assert material is not None
    return material.files


def failure(cluster: t.Any, wish: Wish | None = None) -> str:
    """The error's text; whether it has all three parts is checked on the way."""
    with pytest.raises(MeshError) as caught:
        files(cluster, wish)
    assert caught.value.found
    assert caught.value.expected
    assert caught.value.next_step
    return str(caught.value)


def env_of(cluster: t.Any, wish: Wish | None = None) -> dict[str, str]:
    lines = files(cluster, wish)["cluster.env"].splitlines()
    return {key: value.strip("'") for key, value in (line.split("=", 1) for line in lines)}


def set_gateway_env(fake: t.Any, name: str, value: str) -> None:
    for item in fake.objects[f"{ISTIO}/pods/gateway"]["spec"]["containers"][0]["env"]:
        if item["name"] == name:
            item["value"] = value


def test_all_is_right(fake_mesh: t.Any) -> None:
    made = files(fake_mesh)
    assert sorted(made) == ["cluster.env", "hosts", "mesh.yaml", "root-cert.pem"]
    assert made["hosts"] == "10.88.0.200 istiod.istio-system.svc\n"
    env = env_of(fake_mesh)
    assert env["ISTIO_META_CLUSTER_ID"] == "cluster1"
    assert env["ISTIO_INBOUND_PORTS"] == "443,8080"


def test_few_requests_also_for_many_groups(fake_mesh: t.Any) -> None:
    files(fake_mesh)
    of_one = len(fake_mesh.asked)
    assert of_one <= 13
    for number in range(9):
        fake_mesh.objects[f"{GROUP_PATH}{number}"] = fake_mesh.objects[GROUP_PATH]
    fake_mesh.asked.clear()
    names = [GROUP, *(Name("shop", f"payments{number}") for number in range(9)), GROUP]
    made = _material.materials(fake_mesh, names, Wish())
    assert len(made) == 11
    assert made[0] == made[-1]
    # Only the groups themselves are more: what they share is read once.
    assert len(fake_mesh.asked) == of_one + 9
    assert not any(request.startswith("POST") for request in fake_mesh.asked)


def test_no_mesh(fake_empty: t.Any) -> None:
    text = failure(fake_empty)
    assert "no Istio in namespace istio-system" in text
    assert "role control_plane" in text


def test_no_such_revision(fake_mesh: t.Any) -> None:
    assert "no Istio of revision canary" in failure(fake_mesh, Wish(revision="canary"))


def test_no_such_group_lists_those_that_exist(fake_mesh: t.Any) -> None:
    fake_mesh.objects[f"{NETWORKING}/namespaces/shop/workloadgroups/orders"] = {
        "metadata": {"name": "orders", "namespace": "shop"}
    }
    del fake_mesh.objects[GROUP_PATH]
    assert "there are: shop/orders" in failure(fake_mesh)


def test_group_in_another_namespace(fake_mesh: t.Any) -> None:
    moved = fake_mesh.objects.pop(GROUP_PATH)
    moved["metadata"]["namespace"] = "old"
    fake_mesh.objects[f"{NETWORKING}/namespaces/old/workloadgroups/payments"] = moved
    assert "name the right namespace: old/payments" in failure(fake_mesh)


def test_no_group_at_all(fake_mesh: t.Any) -> None:
    del fake_mesh.objects[GROUP_PATH]
    assert "there is no WorkloadGroup in the cluster" in failure(fake_mesh)


def test_service_account_missing(fake_mesh: t.Any) -> None:
    del fake_mesh.objects[f"{SHOP}/serviceaccounts/payments"]
    assert "no ServiceAccount shop/payments" in failure(fake_mesh)
    assert "no ServiceAccount shop/payments" in failure(fake_mesh, Wish(allow_service_account=True))


@pytest.mark.parametrize("name", ["default", None])
def test_service_account_default(fake_mesh: t.Any, name: str | None) -> None:
    fake_mesh.objects[GROUP_PATH]["spec"]["template"]["serviceAccount"] = name
    assert "has the ServiceAccount 'default'" in failure(fake_mesh)
    assert env_of(fake_mesh, Wish(allow_service_account=True))["SERVICE_ACCOUNT"] == "default"


def test_service_account_with_rights(fake_mesh: t.Any) -> None:
    fake_mesh.objects["/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/ops"] = {
        "metadata": {"name": "ops"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "shop", "name": "payments"}],
        "roleRef": {"kind": "ClusterRole", "name": "admin"},
    }
    assert "ClusterRoleBinding ops -> ClusterRole admin" in failure(fake_mesh)
    fake_mesh.asked.clear()
    assert files(fake_mesh, Wish(allow_service_account=True))
    assert not any("rbac" in request for request in fake_mesh.asked)


def test_network_of_the_group(fake_mesh: t.Any) -> None:
    template = fake_mesh.objects[GROUP_PATH]["spec"]["template"]
    template["network"] = "network2"
    text = failure(fake_mesh)
    assert "is in network 'network2', the cluster in 'network1'" in text
    assert "set the group's network to 'network1'" in text
    template["network"] = ""
    assert env_of(fake_mesh)["ISTIO_META_NETWORK"] == ""


def test_no_gateway(fake_mesh: t.Any) -> None:
    del fake_mesh.objects[GATEWAY_PATH]
    assert "no Service istio-system/istio-eastwestgateway" in failure(fake_mesh)
    assert files(fake_mesh, Wish(ingress_ip="192.0.2.1"))["hosts"].startswith("192.0.2.1 ")


def test_gateway_in_another_namespace(fake_mesh: t.Any) -> None:
    assert "no Service edge/gw" in failure(fake_mesh, Wish(ingress_service="gw.edge"))


def test_gateway_without_address(fake_mesh: t.Any) -> None:
    fake_mesh.objects[GATEWAY_PATH]["status"] = {}
    text = failure(fake_mesh)
    assert "has no address yet" in text
    assert "ingress_ip" in text


@pytest.mark.parametrize(
    ("variable", "what"),
    [("ISTIO_META_CLUSTER_ID", "cluster name"), ("ISTIO_META_MESH_ID", "mesh ID"), ("ISTIO_META_NETWORK", "network")],
)
def test_gateway_of_something_else(fake_mesh: t.Any, variable: str, what: str) -> None:
    set_gateway_env(fake_mesh, variable, "other")
    assert f"has the {what} 'other'" in failure(fake_mesh)
    assert files(fake_mesh, Wish(ingress_ip="192.0.2.1"))


def test_gateway_of_a_mesh_without_id(fake_mesh: t.Any) -> None:
    """Istio's charts then give the gateway the trust domain for its mesh ID."""
    fake_mesh.objects[f"{ISTIO}/configmaps/istio"]["data"]["mesh"] = "trustDomain: example.org\n"
    values = {"global": {"multiCluster": {"clusterName": "cluster1"}, "network": "network1"}}
    fake_mesh.objects[f"{ISTIO}/configmaps/istio-sidecar-injector"]["data"]["values"] = json.dumps(values)
    set_gateway_env(fake_mesh, "ISTIO_META_MESH_ID", "example.org")
    assert files(fake_mesh)
    set_gateway_env(fake_mesh, "ISTIO_META_MESH_ID", "example.com")
    assert "has the mesh ID 'example.com'" in failure(fake_mesh)


def test_not_exposed(fake_mesh: t.Any) -> None:
    del fake_mesh.objects[f"{NETWORKING}/namespaces/istio-system/virtualservices/istiod-vs"]
    text = failure(fake_mesh)
    assert "istiod is not exposed" in text
    assert "no VirtualService leads from port 15012 to istiod" in text


def test_root_certificate(fake_mesh: t.Any, expired_certificate: str) -> None:
    data = fake_mesh.objects[f"{SHOP}/configmaps/istio-ca-root-cert"]["data"]
    valid = data["root-cert.pem"]
    data["root-cert.pem"] = expired_certificate
    assert "expired at 2021-01-01T00:00:00Z" in failure(fake_mesh)
    # While roots are changed there are two, and one of them is enough.
    data["root-cert.pem"] = expired_certificate + valid
    assert files(fake_mesh)["root-cert.pem"] == expired_certificate + valid
    data["root-cert.pem"] = "nothing\n"
    assert "holds no certificate" in failure(fake_mesh)
    del fake_mesh.objects[f"{SHOP}/configmaps/istio-ca-root-cert"]
    assert "no config map istio-ca-root-cert" in failure(fake_mesh)


def test_auto_registration_off(fake_mesh: t.Any) -> None:
    env = fake_mesh.objects[f"{ISTIO}/pods/istiod"]["spec"]["containers"][0]["env"]
    env.append({"name": "PILOT_ENABLE_WORKLOAD_ENTRY_AUTOREGISTRATION", "value": "false"})
    assert "auto-registration is switched off" in failure(fake_mesh)
    assert "ISTIO_META_AUTO_REGISTER_GROUP" not in env_of(fake_mesh, Wish(settings=Settings(autoregister=False)))


@pytest.mark.parametrize(
    ("path", "right"),
    [
        (f"{ISTIO}/configmaps/istio", 'verb "get" on resource "configmaps" in namespace "istio-system"'),
        (f"{ISTIO}/pods", 'verb "list" on resource "pods" in namespace "istio-system"'),
        (
            f"{NETWORKING}/namespaces/istio-system/virtualservices",
            'verb "list" on resource "virtualservices" of the API group "networking.istio.io" in namespace',
        ),
        (GROUP_PATH, 'verb "get" on resource "workloadgroups" of the API group "networking.istio.io"'),
        (
            "/apis/rbac.authorization.k8s.io/v1/rolebindings",
            'verb "list" on resource "rolebindings" of the API group "rbac.authorization.k8s.io"',
        ),
        (
            f"{WEBHOOKS}/istio-revision-tag-default",
            'verb "get" on resource "mutatingwebhookconfigurations"',
        ),
    ],
)
def test_missing_rights_are_named(fake_mesh: t.Any, path: str, right: str) -> None:
    fake_mesh.forbidden.add(path)
    assert right in failure(fake_mesh)


def test_missing_rights_that_one_can_do_without(fake_mesh: t.Any) -> None:
    fake_mesh.forbidden.add("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings")
    assert "set allow_service_account" in failure(fake_mesh)
    assert files(fake_mesh, Wish(allow_service_account=True))
    fake_mesh.forbidden = {f"{WEBHOOKS}/istio-revision-tag-default"}
    assert "set revision ('default'" in failure(fake_mesh)
    assert files(fake_mesh, Wish(revision="default"))


def test_default_tag(fake_mesh: t.Any) -> None:
    fake_mesh.objects[f"{WEBHOOKS}/istio-revision-tag-default"] = {
        "metadata": {"name": "istio-revision-tag-default", "labels": {"istio.io/rev": "1-31"}}
    }
    assert "no Istio in namespace" in failure(fake_mesh)
    for name in ("istio", "istio-sidecar-injector"):
        fake_mesh.objects[f"{ISTIO}/configmaps/{name}-1-31"] = fake_mesh.objects[f"{ISTIO}/configmaps/{name}"]
    route = fake_mesh.objects[f"{NETWORKING}/namespaces/istio-system/virtualservices/istiod-vs"]
    route["spec"]["tls"][0]["match"][0]["sniHosts"] = ["*"]
    assert files(fake_mesh)["hosts"] == "10.88.0.200 istiod-1-31.istio-system.svc\n"
    # Who asks for the one without a revision gets it.
    assert files(fake_mesh, Wish(revision="default"))["hosts"] == "10.88.0.200 istiod.istio-system.svc\n"


def test_ports_of_a_group_without_any(fake_mesh: t.Any) -> None:
    spec = fake_mesh.objects[GROUP_PATH]["spec"]
    del spec["template"]["ports"]
    assert env_of(fake_mesh)["ISTIO_INBOUND_PORTS"] == ""
    spec["probe"] = {"tcpSocket": {"port": 7000}}
    fake_mesh.objects[f"{SHOP}/services/payments"] = {
        "metadata": {"name": "payments"},
        "spec": {"selector": {"app": "payments"}, "ports": [{"port": 80, "targetPort": 8080}, {"port": 9000}]},
    }
    fake_mesh.objects[f"{SHOP}/services/other"] = {
        "metadata": {"name": "other"},
        "spec": {"selector": {"app": "other"}, "ports": [{"port": 1}]},
    }
    assert env_of(fake_mesh)["ISTIO_INBOUND_PORTS"] == "7000,8080,9000"
    everything = Wish(settings=Settings(inbound_ports="*"))
    assert env_of(fake_mesh, everything)["ISTIO_INBOUND_PORTS"] == "*"


def test_missing_ok(fake_empty: t.Any, fake_mesh: t.Any) -> None:
    wish = Wish(missing_ok=True)
    assert _material.materials(fake_empty, [GROUP, GROUP], wish) == [None, None]
    made = _material.materials(fake_mesh, [GROUP, Name("shop", "none")], wish)
    assert made[0] is not None
    assert made[1] is None
    # What is there and wrong stays an error.
    fake_mesh.objects[GATEWAY_PATH]["status"] = {}
    assert "has no address yet" in failure(fake_mesh, wish)


@pytest.mark.parametrize(
    "path", [GATEWAY_PATH, f"{SHOP}/serviceaccounts/payments", f"{SHOP}/configmaps/istio-ca-root-cert"]
)
def test_missing_ok_for_what_a_run_makes(fake_mesh: t.Any, path: str) -> None:
    del fake_mesh.objects[path]
    assert _material.materials(fake_mesh, [GROUP], Wish(missing_ok=True)) == [None]


def test_load_balancer_with_a_name(fake_mesh: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_mesh.objects[GATEWAY_PATH]["status"]["loadBalancer"]["ingress"] = [{"hostname": "lb.example.com"}]
    answers = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.20", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.3", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kw: answers)
    assert files(fake_mesh)["hosts"] == "192.0.2.3 istiod.istio-system.svc\n192.0.2.20 istiod.istio-system.svc\n"

    def no_answer(*_args: t.Any, **_kw: t.Any) -> t.Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_answer)
    assert "the gateway's name lb.example.com has no address" in failure(fake_mesh)


def test_account_of_group(fake_mesh: t.Any) -> None:
    assert _material.account_of_group(fake_mesh, GROUP) == "payments"
    with pytest.raises(MeshError, match="there are: shop/payments"):
        _material.account_of_group(fake_mesh, Name("shop", "none"))


def served(monkeypatch: pytest.MonkeyPatch, answer: _served.Served) -> list[tuple[t.Any, ...]]:
    """Has istiod answer a TLS handshake so; returns the list of whom it was asked of."""
    asked: list[tuple[t.Any, ...]] = []

    def ask(*arguments: t.Any) -> _served.Served:
        asked.append(arguments[:3])
        return answer

    monkeypatch.setattr(_served, "ask", ask)
    return asked


def test_istiod_of_another_ca(fake_mesh: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = served(monkeypatch, _served.Served(False, "self-signed certificate in certificate chain"))
    assert "does not follow from the root certificates" in failure(fake_mesh)
    assert asked == [("10.88.0.200", 15012, "istiod.istio-system.svc")]
    asked.clear()
    assert files(fake_mesh, Wish(verify_istiod=False))
    assert asked == []


def test_one_handshake_for_all_groups_of_a_mesh(fake_mesh: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = served(monkeypatch, _served.Served(True, "", ("istiod.istio-system.svc",)))
    fake_mesh.objects[GROUP_PATH + "2"] = fake_mesh.objects[GROUP_PATH]
    made = _material.materials(fake_mesh, [GROUP, Name("shop", "payments2")], Wish())
    assert all(made)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("istiod.istio-system.svc", "gw.example"), "gw.example:15012"),
        (("istiod.istio-system.svc", "*.example"), "gw.example:15012"),
        (("istiod.istio-system.svc",), "istiod.istio-system.svc:15012"),
        ((), "istiod.istio-system.svc:15012"),
    ],
)
def test_name_of_a_gateway_is_kept_where_istiod_is_certified_for_it(
    fake_mesh: t.Any, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], expected: str
) -> None:
    answer = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.3", 0))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kw: [answer])
    served(monkeypatch, _served.Served(True, "", names))
    made = files(fake_mesh, Wish(ingress_ip="gw.example"))
    assert f"discoveryAddress: {expected}\n" in made["mesh.yaml"]
    assert ("CA_ADDR='gw.example:15012'" in made["cluster.env"]) == expected.startswith("gw")
    assert made["hosts"] == "192.0.2.3 istiod.istio-system.svc\n"


def test_discovery_address(fake_mesh: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wish = Wish(discovery_address="mesh.example:443")
    made = files(fake_mesh, wish)
    assert "discoveryAddress: mesh.example:443\n" in made["mesh.yaml"]
    assert "CA_ADDR='mesh.example:443'" in made["cluster.env"]
    served(monkeypatch, _served.Served(True, "", ("istiod.istio-system.svc",)))
    text = failure(fake_mesh, wish)
    assert "istiod's certificate is not for mesh.example, but for istiod.istio-system.svc" in text
    assert "ISTIOD_CUSTOM_HOST" in text


def node(name: str, addresses: dict[str, str], ready: str = "True", **spec: t.Any) -> dict[str, t.Any]:
    return {
        "metadata": {"name": name},
        "spec": spec,
        "status": {
            "conditions": [{"type": "Ready", "status": ready}],
            "addresses": [{"type": kind, "address": address} for kind, address in addresses.items()],
        },
    }


def test_issue_49045_node_port(fake_mesh: t.Any) -> None:
    service = fake_mesh.objects[GATEWAY_PATH]
    service["spec"].update(type="NodePort", ports=[{"port": 15012, "nodePort": 31012}])
    service["status"] = {}
    assert "has no address yet" in failure(fake_mesh)
    for item in (
        node("n1", {"InternalIP": "10.0.0.1"}),
        node("n2", {"InternalIP": "10.0.0.2", "ExternalIP": "192.0.2.2"}),
        node("n3", {"InternalIP": "10.0.0.3"}, ready="Unknown"),
        node("n4", {"InternalIP": "10.0.0.4"}, unschedulable=True),
        node("n5", {"InternalIP": "10.0.0.5"}),
        node("n6", {"InternalIP": "10.0.0.6"}),
    ):
        fake_mesh.objects["/api/v1/nodes/" + item["metadata"]["name"]] = item
    made = files(fake_mesh)
    assert [line.split()[0] for line in made["hosts"].splitlines()] == ["192.0.2.2", "10.0.0.1", "10.0.0.5"]
    assert "discoveryAddress: istiod.istio-system.svc:31012\n" in made["mesh.yaml"]
    assert "CA_ADDR='istiod.istio-system.svc:31012'" in made["cluster.env"]
    fake_mesh.forbidden.add("/api/v1/nodes")
    assert "or set ingress_ip to a node's address and port, as 192.0.2.1:31012" in failure(fake_mesh)


def test_token_audience_of_istiod(fake_mesh: t.Any) -> None:
    env = fake_mesh.objects[f"{ISTIO}/pods/istiod"]["spec"]["containers"][0]["env"]
    env.append({"name": "TOKEN_AUDIENCES", "value": "api,other"})
    assert "istiod takes tokens with the audience api or other only" in failure(fake_mesh)
    env[-1]["value"] = "api, istio-ca"
    assert files(fake_mesh)


def test_definition_in_place_of_a_group_of_the_cluster(fake_mesh: t.Any) -> None:
    of_cluster = files(fake_mesh)
    definition = fake_mesh.objects.pop(GROUP_PATH)
    (made,) = _material.materials(fake_mesh, [GROUP], Wish(), {GROUP: definition})
    assert made is not None
    assert made.files == of_cluster
