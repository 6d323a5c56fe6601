# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where virtual machines reach istiod: addresses of a gateway, whatever kind they are. Private to the collection."""

from __future__ import annotations

import dataclasses
import ipaddress
import socket

from ansible_collections.hybridmesh.istio.plugins.module_utils._cluster import Gateway, node_addresses
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._exposure import ISTIOD_PORT
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import ApiError
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _checks

# So many nodes stand in /etc/hosts where the gateway is a NodePort: enough to outlive some of them.
NODES = 3


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to istiod.

    Attributes:
        addresses: IP addresses, at least one, all of one family.
        port: TCP port there.
        name: the name that the addresses were found by, or ''.
    """

    addresses: tuple[str, ...]
    port: int = ISTIOD_PORT
    name: str = ""


def way_given(text: str, option: str = "ingress_ip") -> Way:
    """The way that a user gives: addresses or a name, joined by commas, each with a port or without.

    Raises:
        MeshError: it is none, the name has no address here, or the ports differ.
    """
    places = [split_port(word.strip(), option) for word in text.split(",") if word.strip()]
    ports = {port for _host, port in places}
    if len(ports) != 1:
        raise MeshError(f"{option} '{text}'", "addresses with one and the same port", f"correct {option}")
    return _way([host for host, _port in places], ports.pop() or ISTIOD_PORT)


def way_through(cluster: Cluster, gateway: Gateway) -> Way:
    """The way through a gateway's Service.

    Raises:
        MeshError: the Service has no address, or its name has none on this machine.
        ApiError: the nodes of a NodePort can't be read.
    """
    if gateway["addresses"]:
        return _way(gateway["addresses"], ISTIOD_PORT)
    port = gateway["node_ports"].get(ISTIOD_PORT)
    if gateway["type"] != "NodePort" or not port:
        raise _checks.no_address(gateway)
    try:
        addresses = node_addresses(cluster)
    except ApiError as error:
        if error.status == 403:
            error.next_step += f"; or set ingress_ip to a node's address and port, as 192.0.2.1:{port}"
        raise
    if not addresses:
        raise _checks.no_address(gateway)
    return _way(addresses[:NODES], port)


def split_port(text: str, option: str) -> tuple[str, int | None]:
    """`host`, `host:port`, `[v6]:port` or a bare IPv6 address, as host and port.

    Raises:
        MeshError: it is none of these.
    """
    try:
        return str(ipaddress.ip_address(text)), None
    except ValueError:
        pass
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, ""
    elif host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    number = int(port) if port.isascii() and port.isdecimal() else 0
    if not host or (":" in host.strip(":") and not _is_address(host)) or (colon and not 0 < number < 65536):
        raise MeshError(
            f"{option} '{text}'",
            "an address or a name, with a port or without: 192.0.2.1, 192.0.2.1:31012, [2001:db8::1]:31012, gw.example",
            f"correct {option}",
        )
    return host, number or None


def resolve(name: str) -> list[str]:
    """The IP addresses of an address or name: IPv4 only where there are any, in a fixed order.

    Raises:
        MeshError: the name has no address.
    """
    if _is_address(name):
        return [str(ipaddress.ip_address(name))]
    try:
        answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise MeshError(
            f"the gateway's name {name} has no address on this machine: {error}",
            "a name that the controller can resolve: VMs find istiod by an address in /etc/hosts",
            "wait until the load balancer's name is in the DNS, or set ingress_ip",
        ) from error
    found = {ipaddress.ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers}
    return [str(ip) for ip in sorted(found, key=lambda ip: (ip.version, int(ip)))]


def _way(hosts: list[str], port: int) -> Way:
    addresses = list(dict.fromkeys(address for host in hosts for address in resolve(host)))
    # A machine without IPv6 must not be sent there for the second address of a gateway, nor the other way round.
    family = ipaddress.ip_address(addresses[0]).version
    name = next((host for host in hosts if not _is_address(host)), "")
    return Way(tuple(a for a in addresses if ipaddress.ip_address(a).version == family), port, name)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
