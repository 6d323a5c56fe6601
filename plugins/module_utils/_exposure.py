# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether istiod can be reached through a gateway. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._cluster import NETWORKING, Gateway, Mesh
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster

ISTIOD_PORT = 15012


class Exposure(t.TypedDict):
    """Whether istiod can be reached through a gateway."""

    exposed: bool
    hosts: list[str]  # SNI names that are let through
    reason: str  # why not, '' where it is


def read_exposure(cluster: Cluster, mesh: Mesh, gateway: Gateway) -> Exposure:
    """Whether a Gateway and a VirtualService lead from the gateway's port 15012 to istiod.

    Looked for in the namespaces of istiod and of the gateway.

    Raises:
        ApiError: something can't be read.
    """
    namespaces = sorted({mesh["namespace"], gateway["namespace"]})
    gateways = [item for ns in namespaces for item in cluster.list_all(f"{NETWORKING}/namespaces/{ns}/gateways")]
    routes = [item for ns in namespaces for item in cluster.list_all(f"{NETWORKING}/namespaces/{ns}/virtualservices")]
    return exposure(mesh, gateway, gateways, routes)


def exposure(
    mesh: Mesh,
    gateway: Gateway,
    gateways: t.Iterable[t.Mapping[str, t.Any]],
    routes: t.Iterable[t.Mapping[str, t.Any]],
) -> Exposure:
    """As `read_exposure`, from objects already read."""
    labels = gateway["pod_labels"] or [gateway["selector"]]
    servers: dict[str, list[str]] = {}
    for item in gateways:
        spec = item.get("spec") or {}
        selector = spec.get("selector") or {}
        if not any(selector.items() <= each.items() for each in labels):
            continue
        for server in spec.get("servers") or []:
            if (server.get("port") or {}).get("number") == ISTIOD_PORT:
                metadata = item["metadata"]
                # A host may have a namespace before it ('./*'), which limits VirtualServices, not clients.
                hosts = [str(host).rpartition("/")[2] for host in server.get("hosts") or []]
                servers.setdefault(f"{metadata['namespace']}/{metadata['name']}", []).extend(hosts)
    if ISTIOD_PORT not in gateway["ports"]:
        return {"exposed": False, "hosts": [], "reason": f"the Service has no port {ISTIOD_PORT}"}
    if not servers:
        return {"exposed": False, "hosts": [], "reason": f"no Gateway opens port {ISTIOD_PORT} on it"}
    hosts = sorted({host for route in routes for host in _hosts_to_istiod(mesh, route, servers)})
    if not hosts:
        reason = f"no VirtualService leads from port {ISTIOD_PORT} to istiod"
    elif not any(covers(host, mesh["discovery_host"]) for host in hosts):
        reason = "the VirtualService lets through {}, not {}".format(", ".join(hosts), mesh["discovery_host"])
    else:
        reason = ""
    return {"exposed": not reason, "hosts": hosts, "reason": reason}


def _hosts_to_istiod(mesh: Mesh, route: t.Mapping[str, t.Any], servers: t.Mapping[str, list[str]]) -> t.Iterator[str]:
    """The SNI or HTTP hosts for which a VirtualService leads to istiod."""
    namespace = route["metadata"]["namespace"]
    spec = route.get("spec") or {}
    bound = [name if "/" in name else f"{namespace}/{name}" for name in spec.get("gateways") or []]
    open_hosts = [host for name in bound for host in servers.get(name, [])]
    if not open_hosts:
        return
    for kind in ("tls", "tcp", "http"):
        for rule in spec.get(kind) or []:
            destinations = [target.get("destination") or {} for target in rule.get("route") or []]
            if not any(_is_istiod(mesh, namespace, destination) for destination in destinations):
                continue
            for match in rule.get("match") or [{}]:
                if match.get("port", ISTIOD_PORT) != ISTIOD_PORT:
                    continue
                for host in match.get("sniHosts") or spec.get("hosts") or []:
                    if any(covers(opened, host) or covers(host, opened) for opened in open_hosts):
                        yield str(host)


def _is_istiod(mesh: Mesh, namespace: str, destination: t.Mapping[str, t.Any]) -> bool:
    name, _dot, rest = str(destination.get("host") or "").partition(".")
    where = rest.partition(".")[0] or namespace
    port = (destination.get("port") or {}).get("number", ISTIOD_PORT)
    return name.startswith("istiod") and where == mesh["namespace"] and port == ISTIOD_PORT


def covers(pattern: str, host: str) -> bool:
    """Whether a host or a pattern such as `*.example.com` includes a host."""
    return pattern in ("*", host) or (pattern.startswith("*.") and host.endswith(pattern[1:]))
