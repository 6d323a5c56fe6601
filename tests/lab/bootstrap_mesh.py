# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Meshes made of objects alone, in namespaces of their own: an API server with Istio's CRDs is enough for them."""

from __future__ import annotations

import copy
import json
import time
import typing as t

import bootstrap_cases
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import ApiError
from bootstrap_cases import Case

NETWORKING = "/apis/networking.istio.io/v1"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


def overlay(base: t.Any, over: t.Mapping[str, t.Any]) -> t.Any:
    """`over` laid over `base`; null removes."""
    result = copy.deepcopy(base)
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, t.Mapping) and isinstance(result.get(key), dict) and key != "ports":
            result[key] = overlay(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def group_of(case: Case, vms: str) -> dict[str, t.Any]:
    """The case's WorkloadGroup."""
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadGroup",
        "metadata": {"name": "envoydummy", "namespace": vms, "annotations": {**case.annotations}},
        "spec": overlay(bootstrap_cases.GROUP, case.group),
    }


class Bench:
    """Makes the objects of a mesh."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.cleanup: list[str] = []

    def create(self, path: str, body: dict[str, t.Any], status: dict[str, t.Any] | None = None) -> None:
        try:
            self.cluster.request("POST", path, body=body)
        except ApiError as error:
            if error.status != 409:
                raise
            self.cluster.request("PUT", f"{path}/{body['metadata']['name']}", body=body)
        if status is not None:
            self.cluster.request(
                "PATCH",
                f"{path}/{body['metadata']['name']}/status",
                body={"status": status},
                content_type="application/merge-patch+json",
            )

    def namespace(self, name: str) -> str:
        path = "/api/v1/namespaces"
        self.create(path, {"metadata": {"name": name}})
        self.cleanup.append(f"{path}/{name}")
        return f"{path}/{name}"

    def pod(self, where: str, name: str, labels: dict[str, str], container: str, env: dict[str, str]) -> None:
        """A Pod that says that it runs; a scheduling gate keeps every kubelet from trying."""
        self.create(
            where + "/pods",
            {
                "metadata": {"name": name, "labels": labels},
                "spec": {
                    "schedulingGates": [{"name": "hybridmesh.example/never"}],
                    "containers": [
                        {
                            "name": container,
                            "image": "docker.io/istio/pilot:1.31.0",
                            "env": [{"name": key, "value": value} for key, value in env.items()],
                        }
                    ],
                },
            },
            {"phase": "Running", "podIP": "10.89.0.9", "conditions": [{"type": "Ready", "status": "True"}]},
        )

    def mesh(self, case: Case, istio: str, vms: str) -> None:
        suffix = f"-{case.revision}" if case.revision else ""
        where = self.namespace(istio)
        group_where = self.namespace(vms)
        values = {"global": {"multiCluster": {"clusterName": "cluster1"}, "network": case.network, "meshID": "mesh1"}}
        self.create(
            where + "/configmaps",
            {"metadata": {"name": "istio" + suffix}, "data": {"mesh": case.mesh.format(istio=istio)}},
        )
        self.create(
            where + "/configmaps",
            {"metadata": {"name": "istio-sidecar-injector" + suffix}, "data": {"values": json.dumps(values)}},
        )
        service, _dot, service_namespace = case.service.format(istio=istio).partition(".")
        service_where = self.namespace(service_namespace) if service_namespace else where
        gateway = {"istio": f"ew-{istio}"}
        ports = [{"name": f"p{port}", "port": port} for port in (15021, 15012)]
        # Nobody's, so that no load balancer of the cluster minds it.
        nobodys = {"loadBalancerClass": "hybridmesh.example/none"} if case.service_type == "LoadBalancer" else {}
        self.create(
            service_where + "/services",
            {
                "metadata": {"name": service},
                "spec": {
                    "type": case.service_type,
                    **nobodys,
                    "selector": gateway,
                    "ports": ports,
                    "externalIPs": [*case.external_ips],
                },
            },
            {"loadBalancer": {"ingress": [*case.ingress]}},
        )
        self.pod(where, "istiod", {"app": "istiod", "istio.io/rev": case.revision or "default"}, "discovery", {})
        self.pod(service_where, "gateway", gateway, "istio-proxy", {
            "ISTIO_META_CLUSTER_ID": "cluster1",
            **({"ISTIO_META_MESH_ID": "mesh1"} if "mesh1" in case.mesh else {}),
            "ISTIO_META_NETWORK": case.network,
        })  # fmt: skip
        networking = f"{NETWORKING}/namespaces/{istio}"
        tls = {"number": 15012, "name": "tls-istiod", "protocol": "TLS"}
        self.create(
            networking + "/gateways",
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "Gateway",
                "metadata": {"name": "istiod-gateway"},
                "spec": {
                    "selector": gateway,
                    "servers": [{"port": tls, "tls": {"mode": "PASSTHROUGH"}, "hosts": ["*"]}],
                },
            },
        )
        target = {"host": f"istiod{suffix}.{istio}.svc.cluster.local", "port": {"number": 15012}}
        self.create(
            networking + "/virtualservices",
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "VirtualService",
                "metadata": {"name": "istiod-vs"},
                "spec": {
                    "hosts": ["*"],
                    "gateways": ["istiod-gateway"],
                    "tls": [{"match": [{"port": 15012, "sniHosts": ["*"]}], "route": [{"destination": target}]}],
                },
            },
        )
        if case.tag:
            name = f"istio-revision-tag-{case.tag}-{istio}"
            labels = {"istio.io/rev": case.revision, "istio.io/tag": case.tag}
            self.create(WEBHOOKS, {"metadata": {"name": name, "labels": labels}})
            self.cleanup.append(f"{WEBHOOKS}/{name}")
        self.root_certificate(group_where)
        self.create(group_where + "/serviceaccounts", {"metadata": {"name": "chapter10-sa"}})
        if not case.file:
            self.create(f"{NETWORKING}/namespaces/{vms}/workloadgroups", group_of(case, vms))

    def again(self, case: Case, istio: str, vms: str) -> None:
        """Has the mesh config and the group of another case take the place of those that are there."""
        suffix = f"-{case.revision}" if case.revision else ""
        config_map = {"metadata": {"name": "istio" + suffix}, "data": {"mesh": case.mesh.format(istio=istio)}}
        self.create(f"/api/v1/namespaces/{istio}/configmaps", config_map)
        path = f"{NETWORKING}/namespaces/{vms}/workloadgroups"
        self.cluster.request("DELETE", path + "/envoydummy")
        self.create(path, group_of(case, vms))

    def root_certificate(self, namespace: str) -> None:
        """An istiod that runs writes the config map; without one, the API server's own CA does."""
        if self.cluster.get("/api/v1/namespaces/istio-system/services/istiod"):
            deadline = time.monotonic() + 30
            while not self.cluster.get(namespace + "/configmaps/istio-ca-root-cert"):
                assert time.monotonic() < deadline, "istiod does not write its root certificate"
                time.sleep(0.2)
            return
        with open(self.cluster.configuration.ssl_ca_cert, encoding="utf-8") as stream:
            data = {"root-cert.pem": stream.read()}
        self.create(namespace + "/configmaps", {"metadata": {"name": "istio-ca-root-cert"}, "data": data})

    def remove(self) -> None:
        for path in self.cleanup:
            self.cluster.request("DELETE", path)
