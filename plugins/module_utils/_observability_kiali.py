# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kiali as Kubernetes objects. Pure. Private to the collection."""

from __future__ import annotations

import base64
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _observability_config
from ansible_collections.hybridmesh.istio.plugins.module_utils._cluster import suffixed
from ansible_collections.hybridmesh.istio.plugins.module_utils._gateway_spec import merged
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Object
from ansible_collections.hybridmesh.istio.plugins.module_utils._observability_objects import (
    CONTAINER_SECURITY,
    account,
    deployment,
    metadata,
    pod_spec,
    prometheus_url,
    service,
)

NAME = "kiali"
PORT = 20001
# What Kiali signs its sessions with. It is made once, and never shown.
KEY_NAME = "kiali-signing-key"

_ROOT = "/kiali"
_KEY_FOLDER = "/kiali-override-secrets/login-token-signing-key"

Params = t.Mapping[str, t.Any]


def config(params: Params) -> dict[str, t.Any]:
    """Kiali's configuration; what the user gives lies over it."""
    revision = params["revision"] or ""
    own: dict[str, t.Any] = {
        "auth": {"strategy": params["kiali_auth"]},
        "deployment": {
            "cluster_wide_access": True,
            "instance_name": NAME,
            "namespace": params["namespace"],
            "view_only_mode": params["kiali_view_only"],
        },
        "external_services": {
            "istio": {
                "config_map_name": suffixed("istio", revision),
                "istio_sidecar_injector_config_map_name": suffixed("istio-sidecar-injector", revision),
                "istiod_deployment_name": suffixed("istiod", revision),
                "root_namespace": params["istio_namespace"],
            },
            "prometheus": {"url": prometheus_url(params)},
            # What isn't there is not looked for.
            "grafana": {"enabled": False},
            "tracing": {"enabled": False},
        },
        "istio_namespace": params["istio_namespace"],
        "server": {"port": PORT, "web_root": _ROOT},
    }
    return merged(own, params["kiali_config"])


def _rules(view_only: bool) -> list[dict[str, t.Any]]:
    """What Kiali reads; and changes, where it may."""
    read = ["get", "list", "watch"]
    change = [] if view_only else ["patch"]
    make = [] if view_only else ["create", "delete", "patch"]
    mesh = [
        "extensions.istio.io",
        "gateway.networking.k8s.io",
        "networking.istio.io",
        "security.istio.io",
        "telemetry.istio.io",
    ]
    return [
        {"apiGroups": [""], "resources": ["configmaps", "endpoints", "pods/log"], "verbs": read},
        {
            "apiGroups": [""],
            "resources": ["namespaces", "pods", "replicationcontrollers", "services"],
            "verbs": read + change,
        },
        # It asks proxies and istiod for their configuration.
        {"apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["create"]},
        {
            "apiGroups": ["apps"],
            "resources": ["daemonsets", "deployments", "replicasets", "statefulsets"],
            "verbs": read + change,
        },
        {"apiGroups": ["batch"], "resources": ["cronjobs", "jobs"], "verbs": read + change},
        {"apiGroups": mesh, "resources": ["*"], "verbs": read + make},
        {
            "apiGroups": ["admissionregistration.k8s.io"],
            "resources": ["mutatingwebhookconfigurations"],
            "verbs": read,
        },
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
    ]


def signing_key(params: Params, key: str) -> Object:
    """The Secret with the key.

    Args:
        params: the module's options.
        key: 32 characters.
    """
    data = {"value.txt": base64.b64encode(key.encode()).decode()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(params, KEY_NAME),
        "type": "Opaque",
        "data": data,
    }


def _container(params: Params) -> dict[str, t.Any]:
    def probe(**more: int) -> dict[str, t.Any]:
        return dict({"httpGet": {"path": f"{_ROOT}/healthz", "port": "http"}}, **more)

    return {
        "name": NAME,
        "image": params["kiali_image"],
        "imagePullPolicy": params["image_pull_policy"],
        "command": ["/opt/kiali/kiali", "-config", "/kiali-configuration/config.yaml"],
        "ports": [{"name": "http", "containerPort": PORT}],
        "env": [{"name": "ACTIVE_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}],
        "readinessProbe": probe(periodSeconds=10),
        "livenessProbe": probe(periodSeconds=30),
        "startupProbe": probe(periodSeconds=5, failureThreshold=60),
        "resources": params["kiali_resources"],
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "config", "mountPath": "/kiali-configuration", "readOnly": True},
            {"name": "signing-key", "mountPath": _KEY_FOLDER, "readOnly": True},
        ],
    }


def kiali(params: Params) -> list[Object]:
    """All objects of Kiali but its key, each after those that it needs."""
    spec = pod_spec(params, NAME)
    spec["containers"] = [_container(params)]
    spec["volumes"] = [
        {"name": "config", "configMap": {"name": NAME}},
        {"name": "signing-key", "secret": {"secretName": KEY_NAME}},
    ]
    text = _observability_config.text(config(params))
    return [
        *account(params, NAME, _rules(params["kiali_view_only"])),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(params, NAME), "data": {"config.yaml": text}},
        service(params, NAME, PORT),
        # It reads its configuration when it starts.
        deployment(params, NAME, spec, {"hybridmesh.istio/config": _observability_config.digest(text)}),
    ]
