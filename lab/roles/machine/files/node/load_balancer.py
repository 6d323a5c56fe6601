# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give every Service of type LoadBalancer an address on the lab's network, and the node that address.

load_balancer.py KUBECONFIG LINK FIRST-LAST. kube-proxy does the balancing as soon as the Service's status names the address;
this only hands addresses out. A Service keeps its address for as long as the cluster exists, also when it is deleted
and made again under the same name.
"""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from kube import Api

MEMORY = Path(os.environ.get("STATE_DIRECTORY", "/var/lib/lab-load-balancer")) / "addresses.json"


class Addresses:
    """Which Service has which address, and which of them the node has."""

    def __init__(self, link: str, pool: str) -> None:
        self.link = link
        first, last = (int(ipaddress.IPv4Address(end)) for end in pool.split("-"))
        self.pool = [str(ipaddress.IPv4Address(number)) for number in range(first, last + 1)]
        self.given: dict[str, str] = json.loads(MEMORY.read_text()) if MEMORY.exists() else {}

    def of(self, name: str, wish: str | None, has: str | None) -> str | None:
        """The address of a Service: what it had, what it has, what it asks for, else the first one that is free."""
        if name not in self.given:
            taken = set(self.given.values())
            free = [address for address in (has, wish, *self.pool) if address in self.pool and address not in taken]
            if not free:
                return None
            self.given[name] = free[0]
            beside = MEMORY.with_suffix(".new")
            beside.write_text(json.dumps(self.given, indent=2) + "\n")
            beside.replace(MEMORY)
        return self.given[name]

    def apply(self, wanted: set[str]) -> None:
        """Put exactly these addresses of the pool on the link."""
        shown = subprocess.run(["ip", "-json", "address", "show", "dev", self.link], capture_output=True, check=True)
        there = {info["local"] for entry in json.loads(shown.stdout) for info in entry["addr_info"]}
        for address in sorted((there & set(self.pool)) - wanted):
            subprocess.run(["ip", "address", "del", f"{address}/32", "dev", self.link], check=True)
        for address in sorted(wanted - there):
            subprocess.run(["ip", "address", "add", f"{address}/32", "dev", self.link], check=True)


def serve(api: Api, addresses: Addresses) -> None:
    """Follow all Services, for ever."""
    services: dict[str, dict[str, Any]] = {}
    for kind, item in api.events("/api/v1/services"):
        if kind == "LISTED":
            services = {name_of(service): service for service in item["items"]}
            changed = list(services)
        else:
            services[name_of(item)] = item
            changed = [name_of(item)]
            if kind == "DELETED":
                del services[name_of(item)]
        # The node answers for the address before anybody is told.
        wanted = {name: address_of(addresses, service) for name, service in services.items() if is_ours(service)}
        addresses.apply({address for address in wanted.values() if address})
        for name in changed:
            if name in services:
                tell(api, services[name], wanted.get(name))


def name_of(service: dict[str, Any]) -> str:
    """NAMESPACE/NAME."""
    return f"{service['metadata']['namespace']}/{service['metadata']['name']}"


def is_ours(service: dict[str, Any]) -> bool:
    """Whether the Service wants an address, and from nobody else."""
    spec = service["spec"]
    gone = "deletionTimestamp" in service["metadata"]
    return spec.get("type") == "LoadBalancer" and not spec.get("loadBalancerClass") and not gone


def ingress(service: dict[str, Any]) -> list[str | None]:
    """The addresses in a Service's status."""
    return [entry.get("ip") for entry in service.get("status", {}).get("loadBalancer", {}).get("ingress", [])]


def address_of(addresses: Addresses, service: dict[str, Any]) -> str | None:
    """The Service's address, or None when there is none left."""
    has = ingress(service)
    return addresses.of(name_of(service), service["spec"].get("loadBalancerIP"), has[0] if has else None)


def tell(api: Api, service: dict[str, Any], address: str | None) -> None:
    """Write the address into the Service's status, or take ours out of it."""
    if not is_ours(service) and (service["spec"].get("loadBalancerClass") or not ingress(service)):
        return
    if ingress(service) == ([address] if address else []):
        if is_ours(service) and not address:
            print(f"{name_of(service)}: no address is left")
        return
    meta = service["metadata"]
    entries = [{"ip": address}] if address else None
    try:
        api.patch(
            f"/api/v1/namespaces/{meta['namespace']}/services/{meta['name']}/status",
            {"status": {"loadBalancer": {"ingress": entries}}},
        )
    except OSError as error:
        # It may have been deleted a moment ago; if not, its next event or the next list brings it back here.
        print(f"{name_of(service)}: {error}")
        return
    print(f"{name_of(service)}: {address or 'no address any more'}")


if __name__ == "__main__":
    serve(Api(sys.argv[1]), Addresses(sys.argv[2], sys.argv[3]))
