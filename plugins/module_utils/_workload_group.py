# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""WorkloadGroups as data: what the roles' variable stands for, and what is refused. Pure. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._apply import MANAGED_BY, MANAGER
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Object

NETWORKING = "networking.istio.io/v1"

# Which group a Service belongs to, so that one that is no longer declared is found.
GROUP_LABEL = "hybridmesh.istio/workload-group"

Group = t.Mapping[str, t.Any]


def account_of(group: Group) -> str:
    """The group's ServiceAccount: one of its own, unless another is named."""
    return str(group.get("service_account") or group["name"])


def check_groups(groups: t.Sequence[Group]) -> None:
    """Refuses two groups of the same name, and Services that would be one.

    Raises:
        MeshError: two of them are the same object.
    """
    for kind, names in (
        ("WorkloadGroup", [f"{group['namespace']}/{group['name']}" for group in groups]),
        ("Service", [f"{group['namespace']}/{service_name(group)}" for group in groups if group.get("service")]),
    ):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise MeshError(
                f"{kind} {', '.join(twice)} is declared more than once",
                "one group for each, and one group for each Service",
                "correct the list of groups; one Service for several groups goes to one of them, with a selector that"
                " suits all",
            )


def judge_network(group: Group, network: str) -> str:
    """The group's network: the cluster's.

    Raises:
        MeshError: another one is asked for.
    """
    asked = group.get("network")
    if asked in (None, "", network):
        return network
    raise MeshError(
        f"group {group['namespace']}/{group['name']} is declared in network '{asked}', and the cluster is in"
        f" '{network}'; Pods would look for a gateway in front of the virtual machines, and there is none, as Istio's"
        " gateways run in clusters",
        "virtual machines in the cluster's network: Pods and virtual machines reach each other without translation",
        "leave network out, and route between both; virtual machines in a network of their own are not supported yet",
    )


def judge_account(group: Group, rights: t.Sequence[str]) -> None:
    """Refuses a ServiceAccount that gives a virtual machine more than an identity.

    Raises:
        MeshError: it is `default`, or has rights in the cluster, and the group does not allow that.
    """
    if group.get("allow_service_account"):
        return
    name = account_of(group)
    where = f"group {group['namespace']}/{group['name']}"
    if name == "default":
        raise MeshError(
            f"{where} uses the ServiceAccount default, which every Pod without another one has, too",
            "a ServiceAccount of its own, so that policies can tell its virtual machines from Pods",
            "name another one, or set allow_service_account: true for the group",
        )
    if rights:
        raise MeshError(
            f"{where} uses the ServiceAccount {name}, which has rights in the cluster: {'; '.join(rights)}",
            "a ServiceAccount without rights, since everybody with root on a virtual machine gets them",
            "name another one, take the rights away, or set allow_service_account: true for the group",
        )


def service_name(group: Group) -> str:
    """The name of the group's Service."""
    return str((group.get("service") or {}).get("name") or group["name"])


def namespace(group: Group) -> Object:
    """The group's namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": group["namespace"]}}


def service_account(group: Group) -> Object:
    """The group's ServiceAccount."""
    metadata = {"name": account_of(group), "namespace": group["namespace"], "labels": {MANAGED_BY: MANAGER}}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def workload_group(group: Group, network: str) -> Object:
    """The WorkloadGroup itself."""
    entries: Object = {}
    for key in ("labels", "annotations"):
        if group.get(key):
            entries[key] = {name: str(value) for name, value in group[key].items()}
    template: Object = {"serviceAccount": account_of(group)}
    if network:
        template["network"] = network
    for key in ("ports", "locality", "weight"):
        if group.get(key):
            template[key] = group[key]
    spec: Object = {"template": template}
    if entries:
        spec["metadata"] = entries
    if group.get("probe"):
        spec["probe"] = group["probe"]
    return {
        "apiVersion": NETWORKING,
        "kind": "WorkloadGroup",
        "metadata": {"name": group["name"], "namespace": group["namespace"], "labels": {MANAGED_BY: MANAGER}},
        "spec": spec,
    }


def service(group: Group) -> Object | None:
    """The Service that selects the group's entries; None where none is wanted.

    Raises:
        MeshError: it would select nothing, or has no port.
    """
    wanted = group.get("service")
    if not wanted:
        return None
    labels = {key: str(value) for key, value in (group.get("labels") or {}).items()}
    selector = wanted.get("selector") or ({"app": labels["app"]} if "app" in labels else labels)
    where = f"the Service of group {group['namespace']}/{group['name']}"
    if not selector:
        raise MeshError(
            f"{where} has no selector, and the group has no labels",
            "a label that the group's entries carry and the Service selects",
            "give the group a label, such as app",
        )
    if not wanted.get("ports"):
        raise MeshError(f"{where} has no ports", "at least one port", "give name, port and targetPort")
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": service_name(group),
            "namespace": group["namespace"],
            "labels": {MANAGED_BY: MANAGER, GROUP_LABEL: group["name"]},
        },
        "spec": {
            "selector": {key: str(value) for key, value in selector.items()},
            "ports": [
                {
                    "name": port["name"],
                    "port": port["port"],
                    "targetPort": port.get("targetPort") or port["port"],
                    "protocol": port.get("protocol") or "TCP",
                }
                for port in wanted["ports"]
            ],
        },
    }
