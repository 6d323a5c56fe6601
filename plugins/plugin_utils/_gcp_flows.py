# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which traffic a mesh with virtual machines needs, and the firewall rules for it. Pure. Private to the collection.

The flows come from what is switched on; each rule is made of one flow. A rule without a reason can't be written.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_resource import (
    Body,
    Key,
    Resource,
    Target,
    link,
    mark,
)

# Where Identity-Aware Proxy comes from (Google's documentation).
IAP_RANGE = "35.235.240.0/20"
GATEWAY_PORT = 15012
INJECTION_PORT = 15017


@dataclasses.dataclass(frozen=True)
class Flow:
    """One kind of traffic that must pass.

    Attributes:
        name: short; part of the rule's name.
        reason: what does not work without it.
        ports: ports or ranges of ports.
        source_ranges: who begins, by address.
        source_tags: who begins, by network tag.
        target_tags: who is called (for egress: who calls), by network tag.
        destination_ranges: who is called, by address; only for egress.
        protocol: tcp or another.
        priority: of the rule.
    """

    name: str
    reason: str
    ports: tuple[str, ...]
    source_ranges: tuple[str, ...] = ()
    source_tags: tuple[str, ...] = ()
    target_tags: tuple[str, ...] = ()
    destination_ranges: tuple[str, ...] = ()
    protocol: str = "tcp"
    priority: int = 1000


def node_tag(name: str) -> str:
    """The network tag of the cluster's nodes."""
    return f"{name}-node"


def vm_tag(name: str, group: str) -> str:
    """The network tag of a group of machines."""
    return f"{name}-{group}"


def _ports(numbers: t.Iterable[int]) -> tuple[str, ...]:
    return tuple(str(number) for number in sorted(set(numbers)))


def flows(declared: t.Mapping[str, t.Any]) -> list[Flow]:
    """The traffic that a declaration needs."""
    name, cluster = declared["name"], declared["cluster"]
    groups = [(group["name"], vm_tag(name, group["name"]), _ports(group["ports"])) for group in declared["vms"]]
    tags = tuple(tag for _group, tag, _numbers in groups)
    nodes = (node_tag(name),)
    found = []
    for group, tag, numbers in groups:
        if not numbers:
            continue
        if cluster:
            reason = f"pods call the application of the VMs {group}"
            found.append(Flow(f"pods-to-{group}", reason, numbers, (declared["pod_range"],), target_tags=(tag,)))
        reason = f"VMs call the application of the VMs {group}"
        found.append(Flow(f"vms-to-{group}", reason, numbers, source_tags=tags, target_tags=(tag,)))
    if cluster and tags:
        numbers = _ports(declared["pod_ports"])
        if numbers:
            reason = "VMs call the applications of pods"
            found.append(Flow("vms-to-pods", reason, numbers, source_tags=tags, target_tags=nodes))
        reason = "VMs get certificates and configuration from istiod through the east-west gateway"
        found.append(Flow("vms-to-gateway", reason, (str(GATEWAY_PORT),), source_tags=tags, target_tags=nodes))
        numbers = _ports(declared["metrics_ports"])
        if numbers:
            reason = "Prometheus in the cluster reads the metrics of VMs"
            found.append(Flow("pods-to-metrics", reason, numbers, (declared["pod_range"],), target_tags=tags))
    if cluster and cluster["private_nodes"]:
        reason = "the control plane calls istiod's webhook; without it no pod gets a sidecar"
        ranges = (cluster["control_plane_range"],)
        found.append(Flow("control-plane-to-istiod", reason, (str(INJECTION_PORT),), ranges, target_tags=nodes))
    if cluster and tags and declared["vms_join"]:
        reason = "VMs that join by themselves ask the Kubernetes API server"
        # The address of a public endpoint is only known once the cluster is there.
        ranges = (cluster["control_plane_range"] if cluster["private_nodes"] else "0.0.0.0/0",)
        found.append(Flow("vms-to-api-server", reason, ("443",), target_tags=tags, destination_ranges=ranges))
    if tags and declared["iap"]:
        reason = "ssh to VMs through Identity-Aware Proxy"
        found.append(Flow("iap-to-ssh", reason, ("22",), (IAP_RANGE,), target_tags=tags))
    if tags and declared["ssh_ranges"]:
        reason = "ssh to VMs from where Ansible runs"
        found.append(Flow("ssh", reason, ("22",), tuple(declared["ssh_ranges"]), target_tags=tags))
    return found + [
        Flow(
            rule["name"],
            rule["reason"],
            tuple(rule["ports"]),
            tuple(rule["source_ranges"]),
            tuple(rule["source_tags"]),
            tuple(rule["target_tags"]),
            protocol=rule["protocol"],
            priority=rule["priority"],
        )
        for rule in declared["firewall_rules"]
    ]


def rule(flow: Flow, target: Target, network: str) -> Resource:
    """The firewall rule that lets a flow pass."""
    body: Body = {
        "name": f"{target.name}-{flow.name}",
        "description": f"{mark(target.name)}{flow.reason}",
        "network": link(target.project, f"global/networks/{network}"),
        "direction": "EGRESS" if flow.destination_ranges else "INGRESS",
        "priority": flow.priority,
        "allowed": [{"IPProtocol": flow.protocol, "ports": list(flow.ports)}],
    }
    if flow.protocol not in ("tcp", "udp", "sctp"):
        del body["allowed"][0]["ports"]
    lists = {
        "sourceRanges": flow.source_ranges,
        "sourceTags": flow.source_tags,
        "targetTags": flow.target_tags,
        "destinationRanges": flow.destination_ranges,
    }
    body.update({key: list(values) for key, values in lists.items() if values})
    return Resource(Key("firewall", "", body["name"]), body, flow.reason)
