# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of resources: in which order they are made, where they live in Google's APIs, who makes them. Pure. Private."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_resource import Body, Key

# The names under which Google serves each API.
ROOTS = {
    "compute": "https://compute.googleapis.com/compute/v1/",
    "container": "https://container.googleapis.com/v1/",
    "iam": "https://iam.googleapis.com/v1/",
    "cloudresourcemanager": "https://cloudresourcemanager.googleapis.com/v1/",
}
# A role that is enough to make what an API has.
ROLES = {
    "compute": "roles/compute.admin",
    "container": "roles/container.admin",
    "iam": "roles/iam.serviceAccountAdmin",
    "cloudresourcemanager": "roles/resourcemanager.projectIamAdmin",
}


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of resource.

    Attributes:
        api: which API.
        collection: what it is called in a path.
        scope: `global`, `regions` or `zones` for Compute Engine, else ''.
        module: the module of google.cloud that makes and removes it; None where there is none that can.
        regional: the one for a resource that may be in a region instead of a zone; None where none may.
        own_insert: whether making it is beyond that module.
    """

    api: str
    collection: str
    scope: str = ""
    module: str | None = None
    regional: str | None = None
    own_insert: bool = False


# The order is the one in which things are made; they are removed in the opposite one.
KINDS: dict[str, Kind] = {
    "service_account": Kind("iam", "serviceAccounts", module="gcp_iam_service_account"),
    "project_role": Kind("cloudresourcemanager", ""),
    "network": Kind("compute", "networks", "global", "gcp_compute_network"),
    "subnetwork": Kind("compute", "subnetworks", "regions", "gcp_compute_subnetwork"),
    # google.cloud's has no NAT.
    "router": Kind("compute", "routers", "regions", "gcp_compute_router", own_insert=True),
    "address": Kind("compute", "addresses", "regions", "gcp_compute_address"),
    "firewall": Kind("compute", "firewalls", "global", "gcp_compute_firewall"),
    # google.cloud's know neither workload identity nor a cluster that begins with the node pool that it is to have.
    "cluster": Kind("container", "clusters", module="gcp_container_cluster", own_insert=True),
    "node_pool": Kind("container", "nodePools", own_insert=True),
    # google.cloud's wants a zone for the type of a disk, which a template does not have.
    "instance_template": Kind(
        "compute", "instanceTemplates", "global", "gcp_compute_instance_template", own_insert=True
    ),
    "instance": Kind("compute", "instances", "zones", "gcp_compute_instance"),
    "instance_group": Kind(
        "compute",
        "instanceGroupManagers",
        "zones",
        "gcp_compute_instance_group_manager",
        regional="gcp_compute_region_instance_group_manager",
    ),
    "autoscaler": Kind(
        "compute", "autoscalers", "zones", "gcp_compute_autoscaler", regional="gcp_compute_region_autoscaler"
    ),
}
ORDER = list(KINDS)


def in_region(location: str) -> bool:
    """Whether a location is a region, such as australia-southeast1, and no zone of one."""
    return location.count("-") == 1


def scope(key: Key) -> str:
    """Where a resource of Compute Engine is: `global`, `regions` or `zones`."""
    kind = KINDS[key.kind]
    return "regions" if kind.regional and in_region(key.location) else kind.scope


def module(key: Key) -> str:
    """The module of google.cloud that makes and removes a resource."""
    kind = KINDS[key.kind]
    return f"google.cloud.{kind.regional if kind.regional and in_region(key.location) else kind.module}"


def parent(project: str, key: Key) -> str:
    """The path of the collection that a resource is in, which insert is sent to."""
    kind = KINDS[key.kind]
    if kind.api == "compute":
        where = scope(key) if kind.scope == "global" else f"{scope(key)}/{key.location}"
        return f"projects/{project}/{where}/{kind.collection}"
    if kind.api == "container":
        location, _slash, cluster = key.location.partition("/")
        inside = f"/{cluster}/nodePools" if cluster else ""
        return f"projects/{project}/locations/{location}/clusters{inside}"
    return f"projects/{project}/{kind.collection}"


def path(project: str, key: Key) -> str:
    """The path of a resource."""
    return f"{parent(project, key)}/{key.name}"


def insert_body(resource_kind: str, body: Body) -> Body:
    """What insert takes."""
    if resource_kind == "cluster":
        return {"cluster": body}
    if resource_kind == "node_pool":
        return {"nodePool": body}
    return body


def beyond_module(kind: str, body: t.Mapping[str, t.Any]) -> bool:
    """Whether google.cloud's module can't make a resource as it is wanted."""
    # It drops each 0: the priority of a rule, the size of a group, the fewest machines of an autoscaler.
    zero = {
        "firewall": body.get("priority"),
        "instance_group": body.get("targetSize"),
        "autoscaler": (body.get("autoscalingPolicy") or {}).get("minNumReplicas"),
    }
    return KINDS[kind].module is None or KINDS[kind].own_insert or zero.get(kind) == 0
