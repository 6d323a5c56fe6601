# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a graph of the mesh is of: services, pods, virtual machines. Pure. Private to the collection."""

from __future__ import annotations

import collections.abc
import dataclasses
import typing as t

from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _tables

Mapping = collections.abc.Mapping

# Virtual machines of one group are drawn one by one up to so many, and as one box above.
MOST_SINGLE = 8

# What can be said of a pod's or a machine's health -> the words for it, and their tone.
HEALTH = {
    "healthy": ("healthy", "good"),
    "ready": ("ready", "good"),
    "not_checked": ("no health check", "dim"),
    "unhealthy": ("unhealthy", "bad"),
    "not_ready": ("not ready", "bad"),
    "disconnected": ("not connected", "bad"),
    "not_registered": ("not registered", "bad"),
    "unknown": ("unknown", "dim"),
}


@dataclasses.dataclass
class Member:
    """One pod or virtual machine.

    Attributes:
        name: the pod's name, or the machine's in the inventory (else its WorkloadEntry's).
        health: a key of HEALTH.
        version: the label `version` of its workload.
        proxy_version: Istio's version in its proxy.
        unread: why its proxy was not read, '' where it was.
        receives, fails: requests a second that it was handed, and those of them that it failed; None where not read.
    """

    name: str
    namespace: str
    address: str
    health: str = "unknown"
    version: str = ""
    proxy_version: str = ""
    unread: str = ""
    receives: float | None = None
    fails: float | None = None


@dataclasses.dataclass
class Node:
    """A box of the graph.

    Attributes:
        id: unique and stable.
        kind: gateway, pods, vm, vms; service, external (a host that is no Service of the cluster), outside (addresses
            that the mesh does not know), refused; unseen (callers whose proxies were not read).
        name, namespace: what it is called.
        group: of virtual machines, their WorkloadGroup.
        members: the pods or machines in it.
        sampled: it has more pods than were to be read.
    """

    id: str
    kind: str
    name: str
    namespace: str = ""
    group: str = ""
    members: list[Member] = dataclasses.field(default_factory=list)
    sampled: bool = False

    @property
    def bad(self) -> int:
        """How many of its members are not well."""
        return sum(HEALTH[member.health][1] == "bad" for member in self.members)

    @property
    def read(self) -> int:
        """How many of its members' proxies were read."""
        return sum(not member.unread for member in self.members)

    @property
    def versions(self) -> list[str]:
        """The versions of its members."""
        return sorted({member.version for member in self.members if member.version}, key=_tables.natural)

    @property
    def receives(self) -> float | None:
        """Requests a second that those members were handed whose proxies were read; None where none was."""
        known = [member.receives for member in self.members if member.receives is not None]
        return sum(known) if known else None


@dataclasses.dataclass
class Cast:
    """All nodes, and how what proxies say leads to them.

    Attributes:
        nodes: by ID.
        by_address: a pod's or machine's address -> (its node's ID, the member).
        pods: (namespace, pod) -> (node ID, member).
        machines: (namespace, machine or WorkloadEntry) -> (node ID, member).
        hosts: a machine's name in the inventory -> (node ID, member).
        backends: a Service's ID -> the IDs of the nodes behind it.
        unread: (proxy, why), of those that were to be read and were not.
    """

    nodes: dict[str, Node] = dataclasses.field(default_factory=dict)
    by_address: dict[str, tuple[str, Member]] = dataclasses.field(default_factory=dict)
    pods: dict[tuple[str, str], tuple[str, Member]] = dataclasses.field(default_factory=dict)
    machines: dict[tuple[str, str], tuple[str, Member]] = dataclasses.field(default_factory=dict)
    hosts: dict[str, tuple[str, Member]] = dataclasses.field(default_factory=dict)
    backends: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    unread: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def node(self, kind: str, name: str, namespace: str = "", **more: t.Any) -> Node:
        """The node of that kind and name, made where it is not there yet."""
        identifier = "/".join(part for part in (kind, namespace, name) if part)
        return self.nodes.setdefault(identifier, Node(identifier, kind, name, namespace, **more))

    def put(self, node: Node, member: Member) -> tuple[str, Member]:
        """Adds a member to a node."""
        node.members.append(member)
        if member.address:
            self.by_address[member.address] = (node.id, member)
        return (node.id, member)


def build(known: Mapping[str, t.Any], machines: t.Sequence[Mapping[str, t.Any]]) -> Cast:
    """All pods, machines and Services.

    Args:
        known: what the module graph_info returned.
        machines: of each virtual machine of the inventory `name`, `address` (or null), and `result`, what the module
            graph_sample_info returned or how it failed (null where it did not run).
    """
    cast = Cast()
    _add_pods(cast, known)
    labels = {("pod", pod["namespace"], pod["name"]): pod["labels"] for pod in known["pods"]}
    _add_machines(cast, known["workload_entries"], machines, labels)
    _add_services(cast, known["services"], labels)
    for node in cast.nodes.values():
        node.members.sort(key=lambda member: _tables.natural(member.name))
    return cast


def _add_pods(cast: Cast, known: Mapping[str, t.Any]) -> None:
    chosen = {(item["namespace"], item["pod"]): item for item in known["samples"]}
    for pod in known["pods"]:
        key = (pod["namespace"], pod["name"])
        node = cast.node("gateway" if pod["kind"] == "gateway" else "pods", pod["workload"], pod["namespace"])
        unread = ""
        if key not in chosen:
            unread = "not among those chosen" if pod["running"] else "not running"
            node.sampled = node.sampled or pod["running"]
        elif chosen[key]["sample"] is None:
            unread = str(chosen[key]["unread"])
        if key in chosen and chosen[key]["unread"]:
            cast.unread.append(("pod {}/{}".format(*key), str(chosen[key]["unread"])))
        member = Member(
            name=pod["name"],
            namespace=pod["namespace"],
            address=pod["address"],
            health="ready" if pod["ready"] else "not_ready",
            version=_version(pod["labels"]),
            proxy_version=pod["proxy_version"],
            unread=unread,
        )
        cast.pods[key] = cast.put(node, member)


def _version(labels: Mapping[str, str]) -> str:
    return str(labels.get("version") or labels.get("app.kubernetes.io/version") or "")


def _add_machines(
    cast: Cast,
    entries: t.Sequence[Mapping[str, t.Any]],
    machines: t.Sequence[Mapping[str, t.Any]],
    labels: dict[tuple[str, str, str], t.Any],
) -> None:
    free = {(entry["namespace"], entry["address"]): entry for entry in entries}
    groups: dict[tuple[str, str], list[Member]] = {}
    for machine in sorted(machines, key=lambda item: _tables.natural(item["name"])):
        result = result_of(machine)
        sidecar = result.get("sidecar") or {}
        entry = _entry_of(free, sidecar, machine.get("address"))
        namespace, group = (entry or sidecar).get("namespace") or "", (entry or sidecar).get("group") or ""
        member = Member(
            name=machine["name"],
            namespace=namespace,
            address=sidecar.get("address") or (entry or {}).get("address") or machine.get("address") or "",
            health=_health(entry) if entry else "not_registered" if sidecar else "unknown",
            version=_version(entry["labels"]) if entry else "",
            proxy_version=sidecar.get("version") or "",
            unread="" if result.get("sample") else _why(result),
        )
        if result.get("unread") or member.unread:
            cast.unread.append((f"machine {member.name}", member.unread or str(result["unread"])))
        if entry:
            labels["vm", namespace, member.name] = entry["labels"]
        groups.setdefault((namespace, group), []).append(member)
    strangers: dict[tuple[str, str], int] = {}
    for (namespace, address), entry in free.items():
        key = (namespace, entry["group"])
        version, why = _version(entry["labels"]), "no machine of this run"
        member = Member(entry["name"], namespace, address, _health(entry), version, unread=why)
        labels["vm", namespace, member.name] = entry["labels"]
        groups.setdefault(key, []).append(member)
        strangers[key] = strangers.get(key, 0) + 1
    for (namespace, group), count in sorted(strangers.items()):
        what = f"group {namespace}/{group}" if group else f"namespace {namespace}"
        entries_of = "1 WorkloadEntry" if count == 1 else f"{count} WorkloadEntries"
        cast.unread.append((f"{entries_of} of the {what}", "no machine of this run, so no more is known of it"))
    for (namespace, group), members in sorted(groups.items()):
        for member in members:
            if len(members) > MOST_SINGLE:
                node = cast.node("vms", group or "machines without a group", namespace, group=group)
            else:
                node = cast.node("vm", member.name, namespace, group=group)
            cast.machines[namespace, member.name] = cast.put(node, member)
    hosts = {machine["name"] for machine in machines}
    cast.hosts = {found[1].name: found for found in cast.machines.values() if found[1].name in hosts}


def result_of(machine: Mapping[str, t.Any]) -> Mapping[str, t.Any]:
    """What graph_sample_info said of a machine; {} where it did not run."""
    result = machine.get("result")
    return result if isinstance(result, Mapping) else {}


def _entry_of(
    free: dict[tuple[str, str], Mapping[str, t.Any]], sidecar: Mapping[str, t.Any], address: str | None
) -> Mapping[str, t.Any] | None:
    """Takes the WorkloadEntry of a machine out of those that are left."""
    key = (sidecar.get("namespace") or "", sidecar.get("address") or "")
    if key in free:
        return free.pop(key)
    fitting = [key for key in free if address and key[1] == address and not sidecar]
    return free.pop(fitting[0]) if len(fitting) == 1 else None


def _health(entry: Mapping[str, t.Any]) -> str:
    # Only istiod's own entries say whether their sidecar is connected.
    if entry["group"] and not entry["connected"]:
        return "disconnected"
    return str(entry["health"])


def _why(result: Mapping[str, t.Any]) -> str:
    if result.get("unread"):
        return str(result["unread"])
    if result.get("unreachable"):
        return "the machine can't be reached: {}".format(result.get("msg") or "no connection")
    if result.get("failed") or result.get("msg"):
        return str(result.get("msg") or "the module failed")
    return "the run did not get to it"


def _add_services(
    cast: Cast, services: t.Sequence[Mapping[str, t.Any]], labels: Mapping[tuple[str, str, str], t.Any]
) -> None:
    """Services with something of the mesh behind them; others come in when somebody calls them."""
    workloads: dict[str, list[tuple[str, Mapping[str, str]]]] = {}
    for (kind, namespace, name), found in labels.items():
        node, _member = (cast.pods if kind == "pod" else cast.machines)[namespace, name]
        workloads.setdefault(namespace, []).append((node, found))
    for service in services:
        selector = service["selector"]
        behind = {
            node
            for node, found in workloads.get(service["namespace"], [])
            if selector and all(found.get(key) == value for key, value in selector.items())
        }
        # A gateway's own Service is how the world reaches it, not something that the mesh calls.
        behind = {node for node in behind if cast.nodes[node].kind != "gateway"}
        if behind:
            identifier = cast.node("service", service["name"], service["namespace"]).id
            cast.backends[identifier] = sorted(behind, key=_tables.natural)
