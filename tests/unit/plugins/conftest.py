# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An API server made of a dictionary, and a mesh to put into it."""

from __future__ import annotations

import copy
import itertools
import json
import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import refused

# Valid until 2126, and expired since 2021; both made for these tests, and nobody has their keys.
VALID_CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBRzCB7aADAgECAhRTr3AQRDiAcGEmABNVag2D/pCsCjAKBggqhkjOPQQDAjAY
MRYwFAYDVQQKDA1jbHVzdGVyLmxvY2FsMCAXDTI2MDEwMTAwMDAwMFoYDzIxMjYw
MTAxMDAwMDAwWjAYMRYwFAYDVQQKDA1jbHVzdGVyLmxvY2FsMFkwEwYHKoZIzj0C
AQYIKoZIzj0DAQcDQgAE7H7lgJmp1GctTD14dsm1dFAf2kKNE00LhVPg2+zTB6KC
rFfE4gs946u+AfMWCA62sHE4TBFr1c9/400n0i9/gaMTMBEwDwYDVR0TAQH/BAUw
AwEB/zAKBggqhkjOPQQDAgNJADBGAiEA7eA+mCbYH55LyN3dBdGlCcW2fyRTzTux
NpHXkKfLh/4CIQD9VZlqVQr7Z5V0xbxIb8EzGB1TqcwQCvJIVWn6NyrvLg==
-----END CERTIFICATE-----
"""
EXPIRED_CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBRDCB66ADAgECAhQ0+GCdko5wyeewF7GY2vZEqFTHYDAKBggqhkjOPQQDAjAY
MRYwFAYDVQQKDA1jbHVzdGVyLmxvY2FsMB4XDTIwMDEwMTAwMDAwMFoXDTIxMDEw
MTAwMDAwMFowGDEWMBQGA1UECgwNY2x1c3Rlci5sb2NhbDBZMBMGByqGSM49AgEG
CCqGSM49AwEHA0IABHgfpq4c+YQE4S7sDA9PzFIk3Ef8G1MtC3Pv+VGbdt+xFxXs
TWbMzAi2gaq3ftF98TpYbR8gKSVpivSsmDZIknCjEzARMA8GA1UdEwEB/wQFMAMB
Af8wCgYIKoZIzj0EAwIDSAAwRQIhAK2U/dos+xLhZL4LBYtvwCnAA69KHIZ2OXQx
Bo9pflomAiAmCGuzFgUQWtqGhouO+njoe6OPz85R3RRM9jsuMQUgCA==
-----END CERTIFICATE-----
"""

MESH_CONFIG = """\
defaultConfig:
  discoveryAddress: istiod.istio-system.svc:15012
  meshId: mesh1
trustDomain: cluster.local
"""
ISTIO = "/api/v1/namespaces/istio-system"
SHOP = "/api/v1/namespaces/shop"
NETWORKING = "/apis/networking.istio.io/v1"


class FakeCluster(Cluster):
    """Answers from `objects` (path -> object); a path that is none is a collection of those below it.

    Attributes:
        objects: what there is.
        forbidden: paths that are answered with 403.
        asked: the requests so far, as `GET /path`.
        bodies: what was sent with them.
    """

    def __init__(self, objects: dict[str, dict[str, t.Any]]) -> None:
        self.objects = objects
        self.forbidden: set[str] = set()
        self.asked: list[str] = []
        self.bodies: list[t.Any] = []
        self.server = "https://fake.example"
        self.server_time = None
        self.options = {}
        self.expires = "2126-01-01T00:00:00Z"
        # Several threads ask at the same time.
        self.numbers = itertools.count()

    def request(
        self, method: str, path: str, query: t.Any = None, body: t.Any = None, *_rest: t.Any
    ) -> dict[str, t.Any]:
        self.asked.append(f"{method} {path}")
        self.bodies.append(body)
        if path in self.forbidden:
            raise refused(method, path, 403, b'{"reason": "Forbidden", "message": "it is forbidden"}')
        if method == "POST" and path.endswith("/token"):
            if path[: -len("/token")] not in self.objects:
                raise refused(method, path, 404, b'{"reason": "NotFound", "message": "no such account"}')
            token = f"secret-{next(self.numbers)}"
            return {"spec": body["spec"], "status": {"token": token, "expirationTimestamp": self.expires}}
        if path in self.objects:
            return copy.deepcopy(self.objects[path])
        parts = path.split("/")
        if parts[-1] not in COLLECTIONS:
            raise refused(method, path, 404, b'{"reason": "NotFound", "message": "not found"}')
        items = [
            copy.deepcopy(found)
            for where, found in sorted(self.objects.items())
            if self._in_collection(where, parts) and self._selected(found, query)
        ]
        return {"items": items}

    @staticmethod
    def _in_collection(where: str, parts: list[str]) -> bool:
        """Whether an object's path is in the collection, which may be of one namespace or of all."""
        found = where.split("/")
        if found[:-1] == parts:
            return True
        return "namespaces" not in parts and parts[:-1] == found[: len(parts) - 1] and found[-2] == parts[-1]

    @staticmethod
    def _selected(found: dict[str, t.Any], query: t.Any) -> bool:
        wanted = [pair.split("=") for pair in ((query or {}).get("labelSelector") or "").split(",") if pair]
        labels = found["metadata"].get("labels") or {}
        return all(labels.get(key) == value for key, value in wanted)


COLLECTIONS = {
    "pods",
    "services",
    "configmaps",
    "nodes",
    "gateways",
    "virtualservices",
    "workloadgroups",
    "rolebindings",
    "clusterrolebindings",
}


def config_map(name: str, data: dict[str, str]) -> dict[str, t.Any]:
    return {"metadata": {"name": name}, "data": data}


def pod(
    name: str, container: str, labels: dict[str, str], ip: str, env: dict[str, str], **extra: t.Any
) -> dict[str, t.Any]:
    return {
        "metadata": {"name": name, "labels": labels, "creationTimestamp": "2026-01-01T00:00:00Z", **extra},
        "spec": {
            "containers": [
                {
                    "name": container,
                    "image": "docker.io/istio/pilot:1.31.0-distroless",
                    "env": [
                        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                        *({"name": key, "value": value} for key, value in env.items()),
                    ],
                }
            ]
        },
        "status": {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]},
    }


def mesh_objects() -> dict[str, dict[str, t.Any]]:
    """A mesh in which everything is right, with one group, shop/payments."""
    values = {"global": {"multiCluster": {"clusterName": "cluster1"}, "network": "network1", "meshID": "mesh1"}}
    gateway_labels = {"istio": "eastwestgateway", "app": "istio-eastwestgateway"}
    return {
        f"{ISTIO}/configmaps/istio": config_map("istio", {"mesh": MESH_CONFIG}),
        f"{ISTIO}/configmaps/istio-sidecar-injector": config_map("", {"values": json.dumps(values)}),
        f"{ISTIO}/services/istio-eastwestgateway": {
            "metadata": {
                "name": "istio-eastwestgateway",
                "labels": {"install.operator.istio.io/owning-resource": "eastwest-gateway"},
            },
            "spec": {
                "type": "LoadBalancer",
                "selector": {"istio": "eastwestgateway"},
                "ports": [{"port": 15021}, {"port": 15012}],
            },
            "status": {"loadBalancer": {"ingress": [{"ip": "10.88.0.200"}]}},
        },
        f"{ISTIO}/pods/istiod": pod(
            "istiod",
            "discovery",
            {"app": "istiod", "istio.io/rev": "default"},
            "10.89.0.2",
            {"CLUSTER_ID": "cluster1", "PILOT_WORKLOAD_ENTRY_GRACE_PERIOD": "5m"},
        ),
        f"{ISTIO}/pods/gateway": pod(
            "gateway",
            "istio-proxy",
            gateway_labels,
            "10.89.0.3",
            {"ISTIO_META_CLUSTER_ID": "cluster1", "ISTIO_META_MESH_ID": "mesh1", "ISTIO_META_NETWORK": "network1"},
        ),
        f"{NETWORKING}/namespaces/istio-system/gateways/istiod-gateway": {
            "metadata": {"name": "istiod-gateway", "namespace": "istio-system"},
            "spec": {
                "selector": {"istio": "eastwestgateway"},
                "servers": [{"port": {"number": 15012}, "tls": {"mode": "PASSTHROUGH"}, "hosts": ["*"]}],
            },
        },
        f"{NETWORKING}/namespaces/istio-system/virtualservices/istiod-vs": {
            "metadata": {"name": "istiod-vs", "namespace": "istio-system"},
            "spec": {
                "hosts": ["*"],
                "gateways": ["istiod-gateway"],
                "tls": [
                    {
                        "match": [{"port": 15012, "sniHosts": ["istiod.istio-system.svc"]}],
                        "route": [{"destination": {"host": "istiod.istio-system.svc.cluster.local",
                                                   "port": {"number": 15012}}}],
                    }
                ],
            },
        },
        f"{NETWORKING}/namespaces/shop/workloadgroups/payments": {
            "metadata": {"name": "payments", "namespace": "shop"},
            "spec": {
                "metadata": {"labels": {"app": "payments"}},
                "template": {"serviceAccount": "payments", "network": "network1", "ports": {"http": 8080, "grpc": 443}},
            },
        },
        f"{SHOP}/serviceaccounts/payments": {"metadata": {"name": "payments"}},
        f"{SHOP}/serviceaccounts/default": {"metadata": {"name": "default"}},
        f"{SHOP}/configmaps/istio-ca-root-cert": config_map("istio-ca-root-cert", {"root-cert.pem": VALID_CERTIFICATE}),
    }  # fmt: skip


@pytest.fixture(autouse=True)
def nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The addresses in these tests are nobody's: no TLS handshake with istiod leaves this machine."""
    from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _served

    monkeypatch.setattr(_served, "ask", lambda *_args: _served.Served(None, "nobody is there"))


@pytest.fixture
def fake_mesh() -> FakeCluster:
    """A mesh in which everything is right."""
    return FakeCluster(mesh_objects())


@pytest.fixture
def fake_empty() -> FakeCluster:
    """A cluster with nothing in it."""
    return FakeCluster({})


@pytest.fixture
def expired_certificate() -> str:
    return EXPIRED_CERTIFICATE


# Kind -> its API version, its plural, and whether it has a namespace.
KINDS = {
    "Namespace": ("v1", "namespaces", False),
    "ServiceAccount": ("v1", "serviceaccounts", True),
    "Service": ("v1", "services", True),
    "ConfigMap": ("v1", "configmaps", True),
    "PersistentVolumeClaim": ("v1", "persistentvolumeclaims", True),
    "Pod": ("v1", "pods", True),
    "Event": ("v1", "events", True),
    "Deployment": ("apps/v1", "deployments", True),
    "MutatingWebhookConfiguration": ("admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations", False),
    "ValidatingWebhookConfiguration": ("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations", False),
    "ClusterRole": ("rbac.authorization.k8s.io/v1", "clusterroles", False),
    "ClusterRoleBinding": ("rbac.authorization.k8s.io/v1", "clusterrolebindings", False),
    "RoleBinding": ("rbac.authorization.k8s.io/v1", "rolebindings", True),
    "ValidatingAdmissionPolicy": ("admissionregistration.k8s.io/v1", "validatingadmissionpolicies", False),
    "ValidatingAdmissionPolicyBinding": ("admissionregistration.k8s.io/v1", "validatingadmissionpolicybindings", False),
    "Gateway": ("networking.istio.io/v1", "gateways", True),
    "VirtualService": ("networking.istio.io/v1", "virtualservices", True),
    "WorkloadGroup": ("networking.istio.io/v1", "workloadgroups", True),
    "WorkloadEntry": ("networking.istio.io/v1", "workloadentries", True),
    "ServiceEntry": ("networking.istio.io/v1", "serviceentries", True),
    "DestinationRule": ("networking.istio.io/v1", "destinationrules", True),
    "Sidecar": ("networking.istio.io/v1", "sidecars", True),
    "PeerAuthentication": ("security.istio.io/v1", "peerauthentications", True),
    "AuthorizationPolicy": ("security.istio.io/v1", "authorizationpolicies", True),
    "Secret": ("v1", "secrets", True),
}


class ApplyingCluster(FakeCluster):
    """As FakeCluster, and objects can be applied and deleted.

    Applying replaces what an object has at its top level. Objects in a namespace need that namespace to be there.

    Attributes:
        unknown: API versions that the server does not know (yet).
    """

    def __init__(self, objects: dict[str, dict[str, t.Any]]) -> None:
        super().__init__(objects)
        self.unknown: set[str] = set()

    def put(self, *items: dict[str, t.Any]) -> None:
        """Adds objects, with their namespaces."""
        for item in items:
            namespace = item["metadata"].get("namespace")
            if namespace:
                self.objects.setdefault(f"/api/v1/namespaces/{namespace}", {"metadata": {"name": namespace}})
            self.objects[self.path(item)] = item

    @staticmethod
    def path(item: dict[str, t.Any]) -> str:
        api_version, plural, namespaced = KINDS[item["kind"]]
        prefix = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        place = f"/namespaces/{item['metadata']['namespace']}" if namespaced else ""
        return f"{prefix}{place}/{plural}/{item['metadata']['name']}"

    def changes(self) -> list[str]:
        """The requests so far that changed something."""
        return [request for request in self.asked if request.split()[0] in ("APPLY", "DELETE")]

    def request(
        self, method: str, path: str, query: t.Any = None, body: t.Any = None, *_rest: t.Any, **_more: t.Any
    ) -> dict[str, t.Any]:
        version = path.partition("/apis/")[2] or path.partition("/api/")[2]
        if method == "GET" and version in {"v1", *(known[0] for known in KINDS.values())}:
            if version in self.unknown:
                raise refused(method, path, 404, b'{"reason": "NotFound"}')
            own = [(kind, known) for kind, known in KINDS.items() if known[0] == version]
            return {"resources": [{"kind": kind, "name": name, "namespaced": ns} for kind, (_v, name, ns) in own]}
        if method == "GET" and path.rpartition("/")[2] in {known[1] for known in KINDS.values()}:
            found = [
                item
                for where, item in sorted(self.objects.items())
                if self._in_collection(where, path.split("/")) and self._chosen(item, query)
            ]
            return {"items": copy.deepcopy(found)}
        if method == "PATCH":
            namespace, within, _rest_of_path = path.partition("/namespaces/")[2].partition("/")
            if within and f"/api/v1/namespaces/{namespace}" not in self.objects:
                raise refused(method, path, 404, b'{"reason": "NotFound", "message": "namespace not found"}')
            result = {**copy.deepcopy(self.objects.get(path, {})), **copy.deepcopy(body)}
            if query.get("dryRun") != "All":
                self.asked.append(f"APPLY {path}")
                self.objects[path] = result
            return result
        if method == "DELETE":
            self.asked.append(f"DELETE {path}")
            del self.objects[path]
            return {}
        return super().request(method, path, query, body)

    @staticmethod
    def _chosen(found: dict[str, t.Any], query: t.Any) -> bool:
        labels = (found.get("metadata") or {}).get("labels") or {}
        for part in ((query or {}).get("labelSelector") or "").split(","):
            key, equals, value = part.partition("=")
            if key and (labels.get(key) != value if equals else key not in labels):
                return False
        return True


@pytest.fixture
def empty_cluster() -> ApplyingCluster:
    """A cluster in which nothing is."""
    return ApplyingCluster({})


@pytest.fixture
def applying_mesh() -> ApplyingCluster:
    """A mesh in which everything is right, and objects can be applied."""
    return ApplyingCluster(mesh_objects())
