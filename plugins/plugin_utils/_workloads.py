# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""WorkloadGroups and WorkloadEntries as hosts of an inventory. Pure. Private to the collection."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._workload_entry import Entry, entry_from

HEALTHS = ("healthy", "unhealthy", "not_checked")
# Written by kubectl, and as large as the object itself.
_NOISE = ("kubectl.kubernetes.io/last-applied-configuration",)
_HOSTNAME = re.compile(r"name|address|(label|annotation):.+")
# What a VM says of itself must be no pattern, and not the controller's own name: tasks delegated to it would go to the VM.
_FIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")
_CONTROLLER = ("localhost", "127.0.0.1", "::1")

Resource = t.Mapping[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Wish:
    """What the user wants to see.

    Attributes:
        namespaces: only these; empty for all.
        groups: only these WorkloadGroups, as `namespace/name` or `name`; empty for all.
        health: only entries of one of these (HEALTHS); empty for all.
        disconnected: whether VMs whose sidecar is not connected now count.
        manual: whether entries count that belong to no WorkloadGroup, because people wrote them.
        hostnames: what a host is called: `name`, `address`, `label:KEY`, `annotation:KEY`; the first that there is.
    """

    namespaces: t.Sequence[str] = ()
    groups: t.Sequence[str] = ()
    health: t.Sequence[str] = ()
    disconnected: bool = True
    manual: bool = False
    hostnames: t.Sequence[str] = ("name",)

    def check(self) -> None:
        """
        Raises:
            MeshError: something of it means nothing.
        """
        for rule in self.hostnames:
            if not _HOSTNAME.fullmatch(rule):
                raise MeshError(
                    f"the hostname rule '{rule}'", "name, address, label:KEY or annotation:KEY", "correct hostnames"
                )
        if not self.hostnames:
            raise MeshError("no hostname rule", "one at least", "leave hostnames out, or give it a rule")
        for health in self.health:
            if health not in HEALTHS:
                raise MeshError(f"the health '{health}'", "one of " + ", ".join(HEALTHS), "correct health")
        for group in self.groups:
            if not group.strip("/") or group.count("/") > 1 or group != group.strip("/"):
                raise MeshError(f"the group '{group}'", "NAMESPACE/GROUP or GROUP", "correct workload_groups")


@dataclasses.dataclass(frozen=True)
class Host:
    """One VM.

    Attributes:
        name: its name in the inventory.
        group: its WorkloadGroup as `namespace/name`; '' where there is none.
        variables: what is known of it.
    """

    name: str
    group: str
    variables: t.Mapping[str, t.Any]


def paths(wish: Wish, kind: str) -> list[str]:
    """Where to list a kind (`workloadgroups`, `workloadentries`): once for all, or once for each namespace."""
    root = "/apis/networking.istio.io/v1"
    if wish.namespaces:
        return [f"{root}/namespaces/{namespace}/{kind}" for namespace in dict.fromkeys(wish.namespaces)]
    return [f"{root}/{kind}"]


def wants_group(wish: Wish, namespace: str, name: str) -> bool:
    """Whether a WorkloadGroup is among those asked for."""
    return not wish.groups or name in wish.groups or f"{namespace}/{name}" in wish.groups


def group_names(groups: t.Iterable[Resource], wish: Wish) -> list[str]:
    """`namespace/name` of the WorkloadGroups asked for, sorted; also of those that no VM is in."""
    named = [(str(group["metadata"]["namespace"]), str(group["metadata"]["name"])) for group in groups]
    return sorted(f"{namespace}/{name}" for namespace, name in named if wants_group(wish, namespace, name))


def hosts(entries: t.Iterable[Resource], wish: Wish) -> list[Host]:
    """The hosts, sorted by name.

    Where a VM has two entries (it has moved to another group, and istiod has not deleted the old one yet), the one that
    is connected stands for it, else the one that was connected last.

    Raises:
        MeshError: two VMs would have the same name.
    """
    found: dict[str, tuple[Entry, Host]] = {}
    for resource in entries:
        entry = entry_from(resource)
        if not _wanted(entry, wish):
            continue
        host = Host(
            name_of(resource, wish.hostnames),
            f"{entry.namespace}/{entry.group}" if entry.group else "",
            _variables(entry, resource),
        )
        other = found.get(host.name)
        if other is None:
            found[host.name] = (entry, host)
            continue
        if (other[0].address, other[0].network) != (entry.address, entry.network):
            raise MeshError(
                f"{other[0].namespace}/{other[0].name} and {entry.namespace}/{entry.name} would both be called "
                f"'{host.name}'",
                "a name of its own for each VM",
                "choose other hostnames: name is unique in a namespace, address in a network",
            )
        found[host.name] = max(other, (entry, host), key=lambda item: (item[0].connected, item[0].connected_at))
    return [host for _name, (_entry, host) in sorted(found.items())]


def _wanted(entry: Entry, wish: Wish) -> bool:
    # An address may also be the path of a socket.
    if not entry.address or entry.address.startswith("unix:"):
        return False
    if entry.group:
        if not wants_group(wish, entry.namespace, entry.group):
            return False
        if not wish.disconnected and not entry.connected:
            return False
    elif not wish.manual or wish.groups:
        return False
    return not wish.health or entry.health in wish.health


def name_of(resource: Resource, rules: t.Sequence[str]) -> str:
    """What a VM is called: by the first rule that gives something fit for a name, else its entry's name."""
    metadata = resource.get("metadata") or {}
    spec = resource.get("spec") or {}
    for rule in rules:
        kind, _colon, key = rule.partition(":")
        if kind == "address":
            value = spec.get("address")
        elif kind == "label":
            value = (metadata.get("labels") or {}).get(key) or (spec.get("labels") or {}).get(key)
        elif kind == "annotation":
            value = (metadata.get("annotations") or {}).get(key)
        else:
            value = metadata.get("name")
        if value and _FIT.fullmatch(str(value)) and str(value) not in _CONTROLLER:
            return str(value)
    return str(metadata.get("name") or "")


def group_variable_name(group: str) -> str:
    """`shop/orders-v2` -> `mesh_group_shop__orders_v2`: the inventory's group of a WorkloadGroup."""
    return "mesh_group_" + "__".join(re.sub(r"[^A-Za-z0-9_]", "_", part) for part in group.split("/"))


def _variables(entry: Entry, resource: Resource) -> dict[str, t.Any]:
    metadata = resource.get("metadata") or {}
    spec = resource.get("spec") or {}
    labels = {**(metadata.get("labels") or {}), **entry.labels}
    region, zone, subzone = [*entry.locality.split("/"), "", "", ""][:3]
    variables: dict[str, t.Any] = {
        "ansible_host": entry.address,
        "mesh_entry_name": entry.name,
        "mesh_entry_namespace": entry.namespace,
        "mesh_entry_group": entry.group,
        "mesh_entry_address": entry.address,
        "mesh_entry_health": entry.health,
        "mesh_entry_health_message": entry.health_message,
        "mesh_entry_connected": entry.connected,
        "mesh_entry_connected_at": entry.connected_at,
        "mesh_entry_disconnected_at": entry.disconnected_at,
        "mesh_entry_istiod": entry.controller,
        "mesh_entry_version": labels.get("version") or labels.get("service.istio.io/canonical-revision") or "",
        "mesh_entry_app": labels.get("service.istio.io/canonical-name") or labels.get("app") or "",
        "mesh_entry_network": entry.network,
        "mesh_entry_locality": entry.locality,
        "mesh_entry_region": region,
        "mesh_entry_zone": zone,
        "mesh_entry_subzone": subzone,
        "mesh_entry_service_account": entry.service_account,
        "mesh_entry_ports": dict(entry.ports),
        "mesh_entry_weight": spec.get("weight"),
        "mesh_entry_labels": labels,
        "mesh_entry_annotations": {
            key: value for key, value in (metadata.get("annotations") or {}).items() if key not in _NOISE
        },
        "mesh_entry_created_at": str(metadata.get("creationTimestamp") or ""),
    }
    if entry.group:
        variables["mesh_workload_group"] = f"{entry.namespace}/{entry.group}"
    return variables


def kept(resource: Resource) -> dict[str, t.Any]:
    """What of a WorkloadEntry or WorkloadGroup is worth caching: all that `hosts` and `group_names` read."""
    metadata = resource.get("metadata") or {}
    names = ("name", "namespace", "labels", "annotations", "creationTimestamp")
    result = {"metadata": {name: metadata[name] for name in names if name in metadata}}
    annotations = result["metadata"].get("annotations") or {}
    if annotations:
        result["metadata"]["annotations"] = {key: annotations[key] for key in annotations if key not in _NOISE}
    for part in ("spec", "status"):
        if resource.get(part):
            result[part] = resource[part]
    return result
