# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus as Kubernetes objects, with the discovery of virtual machines beside it. Pure. Private to the collection."""

from __future__ import annotations

import posixpath
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _observability_config, _observability_rules
from ansible_collections.hybridmesh.istio.plugins.module_utils._apply import MANAGED_BY, MANAGER
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Object

# Which objects belong to which installation, so that what is declared no more is found.
LABEL = "hybridmesh.istio/observability"
NAME = "prometheus"
RBAC = "rbac.authorization.k8s.io/v1"

# Nobody, as in upstream's image. Both containers have it, so that the one may signal the other.
_USER = 65534

Params = t.Mapping[str, t.Any]

CONTAINER_SECURITY: dict[str, t.Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def metadata(params: Params, name: str, namespaced: bool = True) -> dict[str, t.Any]:
    """What each object begins with."""
    found: dict[str, t.Any] = {"name": name}
    if namespaced:
        found["namespace"] = params["namespace"]
    found["labels"] = {MANAGED_BY: MANAGER, LABEL: params["namespace"], "app": name.rpartition(":")[2]}
    return found


def namespace(params: Params) -> Object:
    """The namespace. Sidecars have no place in it: what is scraped is scraped from outside of the mesh."""
    found = metadata(params, params["namespace"], namespaced=False)
    del found["labels"]["app"]
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": found}


def account(params: Params, name: str, rules: list[dict[str, t.Any]]) -> list[Object]:
    """A ServiceAccount, and what it may do in all namespaces."""
    # Not namespaced, so several installations need several names.
    role = f"hybridmesh:{params['namespace']}:{name}"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(params, name)},
        {"apiVersion": RBAC, "kind": "ClusterRole", "metadata": metadata(params, role, False), "rules": rules},
        {
            "apiVersion": RBAC,
            "kind": "ClusterRoleBinding",
            "metadata": metadata(params, role, False),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": params["namespace"]}],
        },
    ]


def service(params: Params, name: str, port: int) -> Object:
    """A Service within the cluster. It has no door of its own to the outside."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(params, name),
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": port, "targetPort": "http"}]},
    }


def pod_spec(params: Params, account_name: str) -> dict[str, t.Any]:
    """What both Pods have in common."""
    found: dict[str, t.Any] = {
        "serviceAccountName": account_name,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    if params["image_pull_secrets"]:
        found["imagePullSecrets"] = [{"name": name} for name in params["image_pull_secrets"]]
    if params["node_selector"]:
        found["nodeSelector"] = {key: str(value) for key, value in params["node_selector"].items()}
    if params["tolerations"]:
        found["tolerations"] = list(params["tolerations"])
    return found


def deployment(params: Params, name: str, spec: dict[str, t.Any], annotations: dict[str, str]) -> Object:
    """A Deployment of one Pod that is no part of the mesh."""
    labels = {MANAGED_BY: MANAGER, LABEL: params["namespace"], "app": name, "sidecar.istio.io/inject": "false"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(params, name),
        "spec": {
            "replicas": 1,
            # Two of them at once would write to one volume.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec},
        },
    }


def _config_maps(params: Params) -> list[Object]:
    rules = {"groups": _observability_rules.groups(params)}
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(params, NAME),
            "data": {
                "prometheus.yml": _observability_config.text(_observability_config.config(params)),
                _observability_config.RULES_FILE: _observability_config.text(rules),
            },
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(params, "mesh-discovery"),
            "data": {"mesh_machines.py": params["discovery_script"]},
        },
    ]


def _volume_claim(params: Params) -> list[Object]:
    if not params["storage_size"]:
        return []
    spec: dict[str, t.Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": params["storage_size"]}},
    }
    if params["storage_class"]:
        spec["storageClassName"] = params["storage_class"]
    return [{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata(params, NAME), "spec": spec}]


def _prometheus(params: Params) -> dict[str, t.Any]:
    folder = _observability_config.CONFIG_FOLDER
    arguments = [
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={_observability_config.DATA_FOLDER}",
        f"--storage.tsdb.retention.time={params['retention']}",
        f"--web.listen-address=:{_observability_config.PORT}",
    ]
    if params["retention_size"]:
        arguments.append(f"--storage.tsdb.retention.size={params['retention_size']}")
    return {
        "name": NAME,
        "image": params["prometheus_image"],
        "imagePullPolicy": params["image_pull_policy"],
        "args": arguments,
        "ports": [{"name": "http", "containerPort": _observability_config.PORT}],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": "http"}, "periodSeconds": 2},
        # To read what is on the volume may take its time.
        "startupProbe": {
            "httpGet": {"path": "/-/healthy", "port": "http"},
            "periodSeconds": 2,
            "failureThreshold": 300,
        },
        "livenessProbe": {"httpGet": {"path": "/-/healthy", "port": "http"}, "periodSeconds": 15},
        "resources": params["resources"],
        "securityContext": CONTAINER_SECURITY,
        # The last lines of its log, where it can't start.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "config", "mountPath": folder, "readOnly": True},
            {"name": "data", "mountPath": _observability_config.DATA_FOLDER},
            {"name": "targets", "mountPath": posixpath.dirname(_observability_config.TARGETS_FILE), "readOnly": True},
        ],
    }


def _discovery(params: Params) -> dict[str, t.Any]:
    config = _observability_config
    return {
        "name": "discovery",
        "image": params["discovery_image"],
        "imagePullPolicy": params["image_pull_policy"],
        "command": [
            "python3",
            "-u",
            "/usr/local/share/mesh/mesh_machines.py",
            config.TARGETS_FILE,
            str(config.DISCOVERY_PORT),
            str(params["sidecar_port"]),
            config.CONFIG_FOLDER,
        ],
        "resources": {"requests": {"cpu": "5m", "memory": "32Mi"}},
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "config", "mountPath": config.CONFIG_FOLDER, "readOnly": True},
            {"name": "script", "mountPath": "/usr/local/share/mesh", "readOnly": True},
            {"name": "targets", "mountPath": posixpath.dirname(config.TARGETS_FILE)},
        ],
    }


def _rules() -> list[dict[str, t.Any]]:
    return [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["networking.istio.io"], "resources": ["workloadentries"], "verbs": ["list", "watch"]},
    ]


def prometheus(params: Params) -> list[Object]:
    """All objects of Prometheus, each after those that it needs."""
    spec = pod_spec(params, NAME)
    spec["securityContext"] = dict(
        spec["securityContext"], runAsUser=_USER, runAsGroup=_USER, fsGroup=_USER, fsGroupChangePolicy="OnRootMismatch"
    )
    # The discovery tells Prometheus when its configuration has changed.
    spec["shareProcessNamespace"] = True
    spec["containers"] = [_prometheus(params), _discovery(params)]
    data: dict[str, t.Any] = {"name": "data", "emptyDir": {}}
    if params["storage_size"]:
        data = {"name": "data", "persistentVolumeClaim": {"claimName": NAME}}
    spec["volumes"] = [
        {"name": "config", "configMap": {"name": NAME}},
        {"name": "script", "configMap": {"name": "mesh-discovery"}},
        {"name": "targets", "emptyDir": {}},
        data,
    ]
    # A changed configuration is read while Prometheus runs; a changed script needs a new process.
    digest = _observability_config.digest(params["discovery_script"])
    return [
        *account(params, NAME, _rules()),
        *_config_maps(params),
        *_volume_claim(params),
        service(params, NAME, _observability_config.PORT),
        deployment(params, NAME, spec, {"hybridmesh.istio/discovery": digest}),
    ]


def prometheus_url(params: Params) -> str:
    """Where Prometheus is: ours, or the one that is named."""
    return str(params["prometheus_url"] or f"http://{NAME}.{params['namespace']}:{_observability_config.PORT}")
