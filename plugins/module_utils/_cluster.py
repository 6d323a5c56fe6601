# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the cluster knows about the mesh, read from the API in few requests. Private to the collection.

Everything returned is plain data. Nothing is judged here but whether it is there.
"""

from __future__ import annotations

import contextlib
import json
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._durations import seconds
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

# A missing one is told by Cluster, which needs it as well (it comes with the kubernetes client).
with contextlib.suppress(ImportError):
    import yaml

NETWORKING = "/apis/networking.istio.io/v1"
NETWORK_LABEL = "topology.istio.io/network"
REVISION_LABEL = "istio.io/rev"
MANAGED_BY = "app.kubernetes.io/managed-by"
OUR_MARK = "hybridmesh.istio"
# Left by the role eastwest_gateway where the address that VMs use is another than the Service's own.
ADDRESS_ANNOTATION = "hybridmesh.istio/address"


class Mesh(t.TypedDict):
    """Istio in a cluster, as its config maps and istiod's Pods have it."""

    namespace: str
    revision: str  # '' where istiod has none
    version: str | None  # of istiod's image
    mesh_config: str  # the text of the mesh config
    injector_cluster_id: str  # the cluster's name in the injector's values; may be ''
    cluster_name: str  # the name that istiod goes by
    mesh_id: str
    network: str
    trust_domain: str
    discovery_host: str  # where proxies look for istiod
    auto_registration: bool
    health_checks: bool
    entry_grace_period: float  # seconds
    token_audiences: list[str]  # of the tokens that istiod takes
    istiod_pods: list[str]  # addresses of those that are ready
    istiod_images: list[str]


class Gateway(t.TypedDict):
    """The Service that VMs reach istiod through, and what runs behind it."""

    namespace: str
    name: str
    type: str
    labels: dict[str, str]
    selector: dict[str, str]
    ports: list[int]
    node_ports: dict[int, int]  # by the Service's own port
    addresses: list[str]  # see service_addresses; IP addresses or names
    cluster_name: str | None  # None: its Pods don't say
    mesh_id: str | None
    network: str | None
    pods: list[str]  # addresses of those that are ready
    pod_labels: list[dict[str, str]]


def is_revisioned(revision: str) -> bool:
    return revision not in ("", "default")


def suffixed(name: str, revision: str) -> str:
    """`istio` -> `istio-REVISION`, as the objects of a revisioned istiod are called."""
    return f"{name}-{revision}" if is_revisioned(revision) else name


def resolve_revision(cluster: Cluster, istio_namespace: str, asked: str | None) -> str:
    """The revision to use: '' for an istiod without one.

    Without one asked for it is what the tag `default` stands for. What is asked for may be a revision or a tag.
    """
    if asked == "default" or (asked and _config_map(cluster, istio_namespace, suffixed("istio", asked)) is not None):
        return "" if asked == "default" else asked
    tag = asked or "default"
    name = f"istio-revision-tag-{tag}"
    if istio_namespace != "istio-system":
        name += f"-{istio_namespace}"
    webhook = cluster.get(f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{name}")
    if webhook is None:
        return asked or ""
    revision = ((webhook.get("metadata") or {}).get("labels") or {}).get(REVISION_LABEL) or ""
    return revision if is_revisioned(revision) else ""


def read_mesh(cluster: Cluster, istio_namespace: str, revision: str | None) -> Mesh | None:
    """The mesh, or None where no Istio (of that revision) is installed in that namespace.

    Raises:
        ApiError: something can't be read.
        MeshError: the config maps hold what is no configuration of Istio.
    """
    resolved = resolve_revision(cluster, istio_namespace, revision)
    config_map = _config_map(cluster, istio_namespace, suffixed("istio", resolved))
    injector = _config_map(cluster, istio_namespace, suffixed("istio-sidecar-injector", resolved))
    if config_map is None or injector is None:
        return None
    text = str((config_map.get("data") or {}).get("mesh") or "")
    where = f"config map {istio_namespace}/{suffixed('istio', resolved)}"
    config = _mapping(lambda: yaml.safe_load(text), f"the key mesh of {where}")
    default_config = config.get("defaultConfig") or config.get("default_config") or {}
    values = _mapping(
        lambda: json.loads((injector.get("data") or {}).get("values") or "{}"),
        f"the key values of config map {istio_namespace}/{suffixed('istio-sidecar-injector', resolved)}",
    )
    pods = _istiod_pods(cluster, istio_namespace, resolved)
    env = _environment(pods[0], "discovery") if pods else {}
    of_mesh = values.get("global") or {}
    cluster_id = str((of_mesh.get("multiCluster") or {}).get("clusterName") or "")
    images = sorted({image for pod in pods for image in [_image(pod, "discovery")] if image})
    address = str(default_config.get("discoveryAddress") or default_config.get("discovery_address") or "")
    network = str(of_mesh.get("network") or "")
    return {
        "namespace": istio_namespace,
        "revision": resolved,
        # Of the Pod that stays: others may be about to go after an upgrade.
        "version": version_of_image(_image(pods[0], "discovery")) if pods else None,
        "mesh_config": text,
        "injector_cluster_id": cluster_id,
        "cluster_name": cluster_id or env.get("CLUSTER_ID") or "Kubernetes",
        "mesh_id": str(default_config.get("meshId") or default_config.get("mesh_id") or of_mesh.get("meshID") or ""),
        "network": network or _namespace_network(cluster, istio_namespace),
        "trust_domain": str(config.get("trustDomain") or config.get("trust_domain") or ""),
        "discovery_host": address.rpartition(":")[0] or f"{suffixed('istiod', resolved)}.{istio_namespace}.svc",
        "auto_registration": _flag(env, "PILOT_ENABLE_WORKLOAD_ENTRY_AUTOREGISTRATION"),
        "health_checks": _flag(env, "PILOT_ENABLE_WORKLOAD_ENTRY_HEALTHCHECKS"),
        "entry_grace_period": _grace_period(env),
        "token_audiences": [word.strip() for word in env.get("TOKEN_AUDIENCES", "istio-ca").split(",")],
        "istiod_pods": [ip for ip in map(_ready_address, pods) if ip],
        "istiod_images": images,
    }


def read_gateway(cluster: Cluster, namespace: str, name: str) -> Gateway | None:
    """The gateway's Service and Pods, or None where there is no such Service.

    Raises:
        ApiError: something can't be read.
    """
    service = cluster.get(f"/api/v1/namespaces/{namespace}/services/{name}")
    if service is None:
        return None
    spec = service.get("spec") or {}
    selector = {str(key): str(value) for key, value in (spec.get("selector") or {}).items()}
    pods = _pods(cluster, namespace, selector) if selector else []
    # A Pod that is about to go says what was; one that is ready says what is.
    speaking = sorted(pods, key=lambda pod: _ready_address(pod) is None)
    env = _environment(speaking[0], "istio-proxy") if speaking else {}
    labels = [dict((pod.get("metadata") or {}).get("labels") or {}) for pod in speaking]
    return {
        "namespace": namespace,
        "name": name,
        "type": str(spec.get("type") or "ClusterIP"),
        "labels": dict((service.get("metadata") or {}).get("labels") or {}),
        "selector": selector,
        "ports": [int(port["port"]) for port in spec.get("ports") or []],
        "node_ports": {
            int(port["port"]): int(port["nodePort"]) for port in spec.get("ports") or [] if port.get("nodePort")
        },
        "addresses": service_addresses(service),
        "cluster_name": env.get("ISTIO_META_CLUSTER_ID"),
        "mesh_id": env.get("ISTIO_META_MESH_ID"),
        "network": env.get("ISTIO_META_NETWORK") or (labels[0].get(NETWORK_LABEL) if labels else None),
        "pods": [ip for ip in map(_ready_address, pods) if ip],
        "pod_labels": labels,
    }


def service_addresses(service: t.Mapping[str, t.Any]) -> list[str]:
    """Where a Service is reached from outside.

    What its annotation says, else its load balancer's IPs, then its names, else its external IPs.
    """
    said = ((service.get("metadata") or {}).get("annotations") or {}).get(ADDRESS_ANNOTATION) or ""
    if said:
        return [address.strip() for address in said.split(",") if address.strip()]
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    found = [str(item["ip"]) for item in ingress if item.get("ip")]
    found += [str(item["hostname"]) for item in ingress if item.get("hostname") and not item.get("ip")]
    return found or [str(ip) for ip in (service.get("spec") or {}).get("externalIPs") or []]


def node_addresses(cluster: Cluster) -> list[str]:
    """An address of each Node that is ready: its external one, else its internal one; external ones first."""
    found = []
    for node in cluster.list_all("/api/v1/nodes"):
        status = node.get("status") or {}
        ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or [])
        if not ready or (node.get("spec") or {}).get("unschedulable"):
            continue
        by_kind = {address["type"]: str(address["address"]) for address in reversed(status.get("addresses") or [])}
        for rank, kind in enumerate(("ExternalIP", "InternalIP")):
            if kind in by_kind:
                found.append((rank, by_kind[kind]))
                break
    return [address for _rank, address in sorted(found)]


def istiod_names(cluster: Cluster, namespace: str) -> list[str]:
    """The names of istiod's Pods, of all revisions, by which entries name the istiod that they belong to."""
    return sorted(str(pod["metadata"]["name"]) for pod in _pods(cluster, namespace, {"app": "istiod"}))


def read_marks(cluster: Cluster, istio_namespace: str) -> list[dict[str, str]]:
    """The marks that our own roles left when they installed something: one mapping each, `name` being the object's."""
    items = cluster.list_all(
        f"/api/v1/namespaces/{istio_namespace}/configmaps", {"labelSelector": f"{MANAGED_BY}={OUR_MARK}"}
    )
    return [{**(item.get("data") or {}), "object": item["metadata"]["name"]} for item in items]


def read_pod_cidrs(cluster: Cluster) -> list[str]:
    """The address ranges that nodes give to Pods, as far as Nodes record them."""
    found: list[str] = []
    for node in cluster.list_all("/api/v1/nodes"):
        spec = node.get("spec") or {}
        found += spec.get("podCIDRs") or [spec[key] for key in ("podCIDR",) if spec.get(key)]
    return sorted(set(found))


def read_group(cluster: Cluster, namespace: str, name: str) -> dict[str, t.Any] | None:
    """A WorkloadGroup, or None."""
    return cluster.get(f"{NETWORKING}/namespaces/{namespace}/workloadgroups/{name}")


def group_names(cluster: Cluster) -> list[str]:
    """`namespace/name` of all WorkloadGroups."""
    groups = cluster.list_all(f"{NETWORKING}/workloadgroups")
    return sorted("{namespace}/{name}".format(**group["metadata"]) for group in groups)


def service_ports(
    cluster: Cluster, namespace: str, labels: t.Mapping[str, str], named: t.Mapping[str, int]
) -> list[int]:
    """The target ports of the namespace's Services that select the labels; `named` gives the numbers of names."""
    found: set[int] = set()
    for service in cluster.list_all(f"/api/v1/namespaces/{namespace}/services"):
        spec = service.get("spec") or {}
        selector = spec.get("selector") or {}
        if not selector or not selector.items() <= labels.items():
            continue
        for port in spec.get("ports") or []:
            target = port.get("targetPort", port.get("port"))
            number = target if isinstance(target, int) else named.get(str(target))
            if number:
                found.add(int(number))
    return sorted(found)


def version_of_image(image: str) -> str | None:
    """`docker.io/istio/pilot:1.31.0-distroless` -> `1.31.0`; None where the image has no tag."""
    name = image.partition("@")[0].rpartition("/")[2]
    tag = name.partition(":")[2]
    for variant in ("-distroless", "-debug"):
        if tag.endswith(variant):
            tag = tag[: -len(variant)]
    return tag or None


def _config_map(cluster: Cluster, namespace: str, name: str) -> dict[str, t.Any] | None:
    return cluster.get(f"/api/v1/namespaces/{namespace}/configmaps/{name}")


def _pods(cluster: Cluster, namespace: str, labels: t.Mapping[str, str]) -> list[dict[str, t.Any]]:
    selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    pods = cluster.list_all(f"/api/v1/namespaces/{namespace}/pods", {"labelSelector": selector})
    return [pod for pod in pods if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]


def _istiod_pods(cluster: Cluster, namespace: str, revision: str) -> list[dict[str, t.Any]]:
    pods = _pods(cluster, namespace, {"app": "istiod", REVISION_LABEL: revision or "default"})
    # Those that are ready first, and of these the youngest: after an upgrade it has the settings that will stay.
    pods.sort(key=lambda pod: str((pod.get("metadata") or {}).get("creationTimestamp") or ""), reverse=True)
    pods.sort(key=lambda pod: _ready_address(pod) is None)
    return pods


def _container(pod: t.Mapping[str, t.Any], name: str) -> dict[str, t.Any]:
    spec = pod.get("spec") or {}
    # A sidecar may also be an init container that goes on running.
    containers = [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
    return next((item for item in containers if item.get("name") == name), containers[0] if containers else {})


def _environment(pod: t.Mapping[str, t.Any], container: str) -> dict[str, str]:
    """The variables that stand in the Pod as they are (not those taken from fields, Secrets, ...)."""
    env = _container(pod, container).get("env") or []
    return {item["name"]: str(item.get("value") or "") for item in env if "valueFrom" not in item}


def _image(pod: t.Mapping[str, t.Any], container: str) -> str:
    return str(_container(pod, container).get("image") or "")


def _ready_address(pod: t.Mapping[str, t.Any]) -> str | None:
    status = pod.get("status") or {}
    ready = any(item.get("type") == "Ready" and item.get("status") == "True" for item in status.get("conditions") or [])
    going = (pod.get("metadata") or {}).get("deletionTimestamp")
    return str(status["podIP"]) if ready and not going and status.get("podIP") else None


def _flag(env: t.Mapping[str, str], name: str) -> bool:
    """A switch of istiod that is on unless it is switched off (as of Istio 1.24)."""
    return env.get(name, "true").lower() not in ("false", "0", "f")


def _grace_period(env: t.Mapping[str, str]) -> float:
    try:
        return seconds(env["PILOT_WORKLOAD_ENTRY_GRACE_PERIOD"])
    except (KeyError, ValueError):
        # istiod, too, takes its default for what it can't read.
        return 10.0


def _namespace_network(cluster: Cluster, namespace: str) -> str:
    """The network that a label on Istio's namespace gives to the cluster."""
    found = cluster.get(f"/api/v1/namespaces/{namespace}")
    return str((((found or {}).get("metadata") or {}).get("labels") or {}).get(NETWORK_LABEL) or "")


def _mapping(read: t.Callable[[], t.Any], what: str) -> dict[str, t.Any]:
    try:
        document = read()
    except (ValueError, yaml.YAMLError) as error:
        raise MeshError(
            f"{what} can't be read: {error}", "what Istio's installation writes there", "correct it"
        ) from error
    if not isinstance(document, (dict, type(None))):
        raise MeshError(f"{what} is no mapping", "what Istio's installation writes there", "correct it")
    return document or {}
