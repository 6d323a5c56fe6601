# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pods of a mesh, and what their proxies do: which there are, which are read, and reading them. Private."""

from __future__ import annotations

import concurrent.futures
import json
import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _graph_sample
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._exec import Session
from ansible_collections.hybridmesh.istio.plugins.module_utils._pod_reach import SIDECAR

if t.TYPE_CHECKING:
    from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster

Mapping = t.Mapping[str, t.Any]

# Each is a connection of its own through the API server to a kubelet.
THREADS = 8


def pod_from(resource: Mapping) -> dict[str, t.Any] | None:
    """What a graph needs of a pod; None for one without a proxy of the mesh, or that is at its end.

    Returns:
        name, namespace, workload (its Deployment or other owner), kind (`gateway` or `pod`), address, labels, running,
        ready, proxy_version, mesh (`id` and `cluster`, as its proxy is told).
    """
    metadata, spec, status = resource["metadata"], resource.get("spec") or {}, resource.get("status") or {}
    # A native sidecar is an init container.
    containers = (spec.get("containers") or []) + (spec.get("initContainers") or [])
    proxy = next((item for item in containers if item["name"] == SIDECAR), None)
    phase = status.get("phase")
    if proxy is None or phase in ("Succeeded", "Failed") or metadata.get("deletionTimestamp"):
        return None
    environment = {item["name"]: item.get("value") or "" for item in proxy.get("env") or []}
    conditions = {item["type"]: item["status"] for item in status.get("conditions") or []}
    labels = metadata.get("labels") or {}
    return {
        "name": metadata["name"],
        "namespace": metadata["namespace"],
        "workload": _owner(metadata, labels),
        # What a proxy is for is the second word of its command.
        "kind": "gateway" if {"router", "waypoint"} & set(proxy.get("args") or []) else "pod",
        "address": status.get("podIP") or "",
        "labels": dict(labels),
        "running": phase == "Running",
        "ready": conditions.get("Ready") == "True",
        "proxy_version": str(proxy.get("image") or "").partition("@")[0].rpartition("/")[2].partition(":")[2],
        "mesh": {
            "id": environment.get("ISTIO_META_MESH_ID", ""),
            "cluster": environment.get("ISTIO_META_CLUSTER_ID", ""),
        },
    }


def _owner(metadata: Mapping, labels: Mapping) -> str:
    owner = next((item for item in metadata.get("ownerReferences") or [] if item.get("controller")), None)
    if owner is None:
        return str(metadata["name"])
    name, mark = str(owner["name"]), "-" + str(labels.get("pod-template-hash") or "")
    # A ReplicaSet is named after its Deployment.
    return name[: -len(mark)] if owner.get("kind") == "ReplicaSet" and len(mark) > 1 and name.endswith(mark) else name


def service_from(resource: Mapping) -> dict[str, t.Any]:
    """What a graph needs of a Service: name, namespace, type, selector, ports (number, name, target)."""
    metadata, spec = resource["metadata"], resource.get("spec") or {}
    return {
        "name": metadata["name"],
        "namespace": metadata["namespace"],
        "type": spec.get("type") or "ClusterIP",
        "selector": dict(spec.get("selector") or {}),
        "ports": [
            {"port": port["port"], "name": port.get("name") or "", "target": port.get("targetPort", port["port"])}
            for port in spec.get("ports") or []
        ],
    }


def choose(pods: t.Iterable[Mapping], most: int) -> list[Mapping]:
    """The pods to read: of each workload so many at most, ready ones first, then by name. 0 means all."""
    taken: dict[tuple[str, str], int] = {}
    chosen = []
    for pod in sorted(pods, key=lambda item: (not item["ready"], item["namespace"], item["name"])):
        key = (pod["namespace"], pod["workload"])
        if pod["running"] and (not most or taken.get(key, 0) < most):
            taken[key] = taken.get(key, 0) + 1
            chosen.append(pod)
    return sorted(chosen, key=lambda item: (item["namespace"], item["name"]))


class Reader:
    """Reads proxies twice, all of them at about the same time, until a deadline."""

    def __init__(self, cluster: Cluster, admin_port: int, seconds: float) -> None:
        self._cluster = cluster
        self._admin_port = admin_port
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds

    def read(self, pods: t.Sequence[Mapping], interval: float) -> list[dict[str, t.Any]]:
        """One for each pod: `namespace`, `pod`, `sample` (or null), `unread` (why there is none, or only half of one).

        The second readings are made in the order of the first ones, so that about `interval` seconds lie between
        the two of each, however many there are; what really lay between is in each sample.
        """
        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            started = time.monotonic()
            first = list(pool.map(self._reading, pods))
            time.sleep(max(0.0, interval - (time.monotonic() - started)))
            return list(pool.map(self._rest, pods, first))

    def ask(self, pod: Mapping, path: str) -> str:
        """An answer of Envoy's admin interface, by way of the agent beside it: that is in every proxy's image."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise MeshError(f"it was not its turn within {self._seconds:.0f} s", "time for all", "raise timeout")
        command = ["pilot-agent", "request", f"--debug-port={self._admin_port}", "GET", path]
        session = Session(self._cluster, pod["namespace"], pod["name"], SIDECAR, command, min(left, 20))
        try:
            return session.read_all(min(left, 30))
        finally:
            session.close()

    def _reading(self, pod: Mapping) -> tuple[float, _graph_sample.Reading] | str:
        try:
            text = self.ask(pod, "clusters")
        except MeshError as error:
            return error.found
        return time.monotonic(), _graph_sample.parse(text)

    def _rest(self, pod: Mapping, first: tuple[float, _graph_sample.Reading] | str) -> dict[str, t.Any]:
        result: dict[str, t.Any] = {"namespace": pod["namespace"], "pod": pod["name"], "sample": None, "unread": None}
        second = self._reading(pod) if not isinstance(first, str) else first
        if isinstance(first, str) or isinstance(second, str):
            return dict(result, unread=second)
        sample = _graph_sample.sample(first[1], second[1], second[0] - first[0])
        result["sample"] = sample
        try:
            for clusters, endpoints in _graph_sample.dump_paths(sample):
                answers = [json.loads(self.ask(pod, path) or "{}") for path in (clusters, endpoints)]
                _graph_sample.add_security(sample, *answers)
        except (MeshError, ValueError) as error:
            result["unread"] = f"Envoy does not tell its configuration: {getattr(error, 'found', error)}"
        return result
