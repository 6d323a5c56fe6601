# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The east-west gateway as data: what is installed, what leads to istiod, which addresses are acceptable. Pure."""

from __future__ import annotations

import dataclasses
import ipaddress
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _gateway_spec
from ansible_collections.hybridmesh.istio.plugins.module_utils._apply import MANAGED_BY, MANAGER
from ansible_collections.hybridmesh.istio.plugins.module_utils._cluster import Mesh, suffixed
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Object

NETWORKING = "networking.istio.io/v1"
NETWORK_LABEL = "topology.istio.io/network"

# Where an address that the cluster can't know is kept, for everybody who reads the gateway later.
ADDRESS = "hybridmesh.istio/address"

# Which gateway an object opens.
GATEWAY_LABEL = "hybridmesh.istio/gateway"

# What the gateway's objects for istiod and for other networks are called, as in Istio's own samples.
ISTIOD_GATEWAY = "istiod-gateway"
ISTIOD_ROUTE = "istiod-vs"
CROSS_NETWORK_GATEWAY = "cross-network-gateway"


@dataclasses.dataclass
class Options(_gateway_spec.Common):
    """What is asked for; the module's documentation has the meaning of each."""

    name: str = "istio-eastwestgateway"
    addresses: t.Sequence[str] = ()
    public: bool = False
    webhook: bool = False
    cross_network: bool = False
    sni_hosts: t.Sequence[str] = ()
    cluster_domain: str = "cluster.local"


def check_options(options: Options) -> None:
    """Refuses what can't work, before anything is read or done.

    Raises:
        MeshError: an option is no address, no range, or contradicts another.
    """
    _gateway_spec.check_options(options)
    if options.service_type != "LoadBalancer" and not options.addresses:
        raise MeshError(
            f"a Service of type {options.service_type} gets no address of its own, and none is given",
            "an address at which virtual machines reach port 15012 of the gateway",
            "give address, or use type LoadBalancer",
        )


def service_ports(options: Options) -> list[Object]:
    """The Service's ports: what is asked for, and nothing else."""
    ports = [("tls-istiod", 15012)]
    if options.webhook:
        ports.append(("tls-webhook", 15017))
    if options.cross_network:
        ports.append(("tls", 15443))
    return [{"name": name, "port": port, "targetPort": port, "protocol": "TCP"} for name, port in ports]


def spec(options: Options, mesh: Mesh) -> Object:
    """The IstioOperator's spec; mesh ID, cluster name and network are those of istiod."""
    own: Object = {}
    overlays = []
    if options.addresses:
        own["serviceAnnotations"] = {ADDRESS: ",".join(options.addresses)}
    if options.cross_network and mesh["network"]:
        own["env"] = {"ISTIO_META_REQUESTED_NETWORK_VIEW": mesh["network"]}
        # On the Service alone: labels of the component are part of the Deployment's selector, which can't be changed.
        escaped = NETWORK_LABEL.replace(".", "\\.")
        patch = {"path": f"metadata.labels.{escaped}", "value": mesh["network"]}
        overlays.append({"apiVersion": "v1", "kind": "Service", "name": options.name, "patches": [patch]})
    return _gateway_spec.operator_spec(options, mesh, _selector(options), service_ports(options), own, overlays)


def istiod_hosts(options: Options, mesh: Mesh, revisions: t.Iterable[str] = ()) -> dict[str, list[str]]:
    """The names by which proxies ask for istiod, which are the SNI names to let through, for each Service of istiod.

    Args:
        options: what is asked for; further names are the chosen istiod's.
        mesh: the chosen istiod.
        revisions: all control planes of its namespace; machines may be connected to any of them.
    """
    result = {}
    for revision in sorted({mesh["revision"], *revisions}):
        service = suffixed("istiod", revision)
        hosts = {f"{service}.{mesh['namespace']}.svc"}
        if revision == mesh["revision"]:
            hosts |= {mesh["discovery_host"], *options.sni_hosts}
        result[service] = sorted(hosts)
    return result


def exposure(options: Options, mesh: Mesh, revisions: t.Iterable[str] = ()) -> list[Object]:
    """The Gateways and the VirtualService that open the gateway's ports."""
    by_service = istiod_hosts(options, mesh, revisions)
    hosts = sorted({host for names in by_service.values() for host in names})
    ports = [(15012, 15012, "tls-istiod")] + ([(15017, 443, "tls-webhook")] if options.webhook else [])
    servers = [_server(name, port, "PASSTHROUGH", hosts) for port, _target, name in ports]
    routes = [
        _route(port, names, f"{service}.{mesh['namespace']}.svc.{options.cluster_domain}", target)
        for port, target, _name in ports
        for service, names in by_service.items()
    ]
    result = [
        _object(options, "Gateway", ISTIOD_GATEWAY, {"selector": _selector(options), "servers": servers}),
        _object(options, "VirtualService", ISTIOD_ROUTE, {"hosts": hosts, "gateways": [ISTIOD_GATEWAY], "tls": routes}),
    ]
    if options.cross_network:
        servers = [_server("tls", 15443, "AUTO_PASSTHROUGH", ["*.local"])]
        result.append(
            _object(options, "Gateway", CROSS_NETWORK_GATEWAY, {"selector": _selector(options), "servers": servers})
        )
    return result


def _selector(options: Options) -> dict[str, str]:
    return {"app": options.name, "istio": "eastwestgateway"}


def _object(options: Options, kind: str, name: str, content: Object) -> Object:
    labels = {MANAGED_BY: MANAGER, GATEWAY_LABEL: options.name}
    return {
        "apiVersion": NETWORKING,
        "kind": kind,
        "metadata": {"name": name, "namespace": options.namespace, "labels": labels},
        "spec": content,
    }


def _server(name: str, port: int, mode: str, hosts: t.Sequence[str]) -> Object:
    return {"port": {"name": name, "number": port, "protocol": "TLS"}, "tls": {"mode": mode}, "hosts": list(hosts)}


def _route(port: int, hosts: t.Sequence[str], destination: str, target: int) -> Object:
    return {
        "match": [{"port": port, "sniHosts": list(hosts)}],
        "route": [{"destination": {"host": destination, "port": {"number": target}}}],
    }


def is_public(address: str) -> bool:
    """Whether an address is one of the Internet's; names are not judged."""
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def judge_addresses(options: Options, addresses: t.Mapping[str, t.Sequence[str]], exposed: bool) -> None:
    """Refuses an address that everybody reaches, unless that was asked for.

    Args:
        options: what was asked for.
        addresses: the gateway's addresses and names, each with what it resolves to.
        exposed: whether istiod can be reached through the gateway already.

    Raises:
        MeshError: an address is public.
    """
    public = sorted({name for name, resolved in addresses.items() for one in resolved if is_public(one)})
    limited = options.source_ranges and all(ipaddress.ip_network(text).prefixlen for text in options.source_ranges)
    if not public or limited or options.public:
        return
    state = "istiod is exposed there already" if exposed else "istiod is not exposed there yet"
    ranges = f"the source ranges include everybody ({', '.join(options.source_ranges)})"
    raise MeshError(
        "the gateway's address {} is public, and {}; {}".format(
            ", ".join(public), ranges if options.source_ranges else "no source ranges are set", state
        ),
        "an internal address, or one that only the virtual machines' networks reach",
        "set eastwest_gateway_internal (gcp, aws or azure), or eastwest_gateway_source_ranges, or, where everybody may"
        " reach istiod, eastwest_gateway_public: true",
    )
