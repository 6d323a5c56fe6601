# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sample application's objects in the cluster, as data. Pure."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _manifest
from ansible_collections.hybridmesh.istio.plugins.module_utils._apply import MANAGED_BY, MANAGER
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Object
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_names import TRAFFIC_LABEL

# Which application an object belongs to.
DEMO_LABEL = "hybridmesh.istio/demo-app"

# Of the image's own users none is needed: the number is nobody's.
_USER = 65532
_FOLDER = "/etc/demo-app"

# What every namespace has without anybody's doing.
_EVERYWHERE = (
    ("ConfigMap", "kube-root-ca.crt"),
    ("ConfigMap", "istio-ca-root-cert"),
    ("ConfigMap", "istio-ca-crl"),
    ("ServiceAccount", "default"),
)

# What somebody would miss if a namespace went.
PRECIOUS: tuple[tuple[str, str], ...] = (
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("batch/v1", "Job"),
    ("batch/v1", "CronJob"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "ServiceAccount"),
    ("v1", "PersistentVolumeClaim"),
    ("networking.istio.io/v1", "WorkloadGroup"),
    ("networking.istio.io/v1", "ServiceEntry"),
    ("networking.istio.io/v1", "Gateway"),
    ("networking.istio.io/v1", "VirtualService"),
    ("networking.istio.io/v1", "DestinationRule"),
    ("security.istio.io/v1", "AuthorizationPolicy"),
    ("security.istio.io/v1", "PeerAuthentication"),
)


@dataclasses.dataclass
class Options:
    """What is asked for; the module's documentation has the meaning of each."""

    name: str
    namespace: str
    version: str
    image: str
    command: t.Sequence[str]
    config: str
    port: int = 10000
    service_port: int = 80
    replicas: int = 1
    revision: str | None = None
    resources: t.Mapping[str, t.Any] | None = None

    @property
    def selector(self) -> dict[str, str]:
        """What the Service selects: all versions."""
        return {"app": self.name}


def check_options(options: Options) -> None:
    """Refuses what can't work, before anything is read or done.

    Raises:
        MeshError: a port is none, or a name is none that Kubernetes takes.
    """
    for what, port in (("port", options.port), ("service_port", options.service_port)):
        if not 0 < port < 65536:
            raise MeshError(f"{what} is {port}", "a number from 1 to 65535", f"correct demo_app_{what}")
    for what, name in (("name", options.name), ("namespace", options.namespace), ("version", options.version)):
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name):
            raise MeshError(
                f"{what} is '{name}'",
                "a name as Kubernetes has them: small letters, digits and -, at most 63, a letter first",
                f"correct demo_app_{what}",
            )


def namespace(options: Options) -> Object:
    """The namespace, whose Pods get a sidecar."""
    injection = {"istio.io/rev": options.revision} if options.revision else {"istio-injection": "enabled"}
    item = _object(options, "v1", "Namespace")
    item["metadata"] = {"name": options.namespace, "labels": {**item["metadata"]["labels"], **injection}}
    return item


def objects(options: Options) -> list[Object]:
    """The application's objects in its namespace, in the order in which they are made."""
    config_map = dict(_object(options, "v1", "ConfigMap"), data={"envoy.yaml": options.config})
    account = dict(_object(options, "v1", "ServiceAccount"), automountServiceAccountToken=False)
    service = _object(options, "v1", "Service")
    service["spec"] = {
        "selector": options.selector,
        "ports": [{"name": "http", "port": options.service_port, "targetPort": options.port, "protocol": "TCP"}],
    }
    return [account, config_map, _deployment(options), service]


def _object(options: Options, api_version: str, kind: str) -> Object:
    labels = {MANAGED_BY: MANAGER, DEMO_LABEL: options.name}
    metadata = {"name": options.name, "namespace": options.namespace, "labels": labels}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def _deployment(options: Options) -> Object:
    # By label, so that it is injected in a namespace that somebody else made, too.
    injection = {"sidecar.istio.io/inject": "true"}
    if options.revision:
        injection["istio.io/rev"] = options.revision
    container: Object = {
        "name": "envoy",
        "image": options.image,
        "command": [*options.command, "-c", f"{_FOLDER}/envoy.yaml", "--concurrency", "1", "--disable-hot-restart"],
        "ports": [{"name": "http", "containerPort": options.port, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/", "port": options.port}, "periodSeconds": 2},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "config", "mountPath": _FOLDER, "readOnly": True}],
    }
    if options.resources:
        container["resources"] = dict(options.resources)
    item = _object(options, "apps/v1", "Deployment")
    item["spec"] = {
        "replicas": options.replicas,
        "selector": {"matchLabels": options.selector},
        "template": {
            "metadata": {
                "labels": {**options.selector, "version": options.version, **injection},
                # Another text or port starts other Pods.
                "annotations": {"hybridmesh.istio/config": hashlib.sha256(options.config.encode()).hexdigest()[:16]},
            },
            "spec": {
                "serviceAccountName": options.name,
                "automountServiceAccountToken": False,
                "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                "terminationGracePeriodSeconds": 5,
                "containers": [container],
                "volumes": [{"name": "config", "configMap": {"name": options.name}}],
            },
        },
    }
    return item


def others_in(items: t.Iterable[t.Mapping[str, t.Any]], name: str) -> list[str]:
    """What of a namespace's objects is not the application's, nor what leads requests to it, nor what each namespace has."""
    found = []
    for item in items:
        own = _manifest.ref(item)
        labels = _manifest.labels(item)
        if (own.kind, own.name) in _EVERYWHERE or labels.get(DEMO_LABEL) == name or TRAFFIC_LABEL in labels:
            continue
        # Made by a controller for something that is here or that is gone with it.
        if (item.get("metadata") or {}).get("ownerReferences"):
            continue
        found.append(f"{own.kind} {own.name}")
    return found


def without_sidecar(pods: t.Iterable[t.Mapping[str, t.Any]]) -> list[str]:
    """The names of Pods that have no sidecar."""
    found = []
    for pod in pods:
        spec = pod.get("spec") or {}
        names = [item.get("name") for key in ("containers", "initContainers") for item in spec.get(key) or []]
        if "istio-proxy" not in names and not (pod.get("metadata") or {}).get("deletionTimestamp"):
            found.append(str(pod["metadata"]["name"]))
    return found
