# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How each field is changed on a resource that is there: by which of the API's methods, or not at all. Pure. Private."""

from __future__ import annotations

import dataclasses
import ipaddress
import typing as t

from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_kinds import parent, path
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_resource import Body, Resource, Target, short
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_views import view


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of an API.

    Attributes:
        verb: the HTTP method.
        api: which API.
        path: below the API's root.
        body: what is sent, None for nothing.
        params: of the URL.
    """

    verb: str
    api: str
    path: str
    body: Body | None = None
    params: tuple[tuple[str, str], ...] = ()


class Refused(Exception):
    """A field that can't be changed in place; the text says what to do instead."""


@dataclasses.dataclass(frozen=True)
class Scene:
    """A resource of which fields differ."""

    target: Target
    wanted: Resource
    found: Resource
    fields: tuple[str, ...]
    allow_stop: bool = False

    @property
    def url(self) -> str:
        """Its path."""
        return path(self.target.project, self.found.key)

    def compute(self, method: str, body: Body | None, verb: str = "POST") -> Call:
        """A call of a method of its own."""
        return Call(verb, "compute", f"{self.url}/{method}" if method else self.url, body)


def changes(scene: Scene) -> list[Call]:
    """The calls that bring all differing fields about.

    Raises:
        Refused: a field can't be changed.
    """
    refused = []
    calls: list[Call] = []
    table = _FIELDS[scene.found.key.kind]
    for field in scene.fields:
        try:
            method = table.get(field)
            if method is None:
                raise Refused(_ANEW)
            calls += [call for call in method(scene) if call not in calls]
        except Refused as error:
            refused.append(f"{field}: {error}")
    if refused:
        raise Refused("; ".join(refused))
    return calls


_ANEW = "can't be changed on what is there; remove it first (state absent, or take it out of the declaration), then make it anew"


def _network_routing(scene: Scene) -> list[Call]:
    return [scene.compute("", {"routingConfig": scene.wanted.body["routingConfig"]}, "PATCH")]


def _subnet_range(scene: Scene) -> list[Call]:
    old, new = scene.found.body["ipCidrRange"], scene.wanted.body["ipCidrRange"]
    if not ipaddress.IPv4Network(old).subnet_of(ipaddress.IPv4Network(new)):
        raise Refused(f"{old} can only grow, to a range that holds it; {new} does not")
    return [scene.compute("expandIpCidrRange", {"ipCidrRange": new})]


def _subnet_access(scene: Scene) -> list[Call]:
    return [
        scene.compute("setPrivateIpGoogleAccess", {"privateIpGoogleAccess": scene.wanted.body["privateIpGoogleAccess"]})
    ]


def _subnet_secondary(scene: Scene) -> list[Call]:
    old, new = view(scene.found)["secondaryIpRanges"], view(scene.wanted)["secondaryIpRanges"]
    moved = sorted(name for name in old if name in new and old[name] != new[name])
    if moved:
        raise Refused(f"the range {', '.join(moved)} is used by the cluster; " + _ANEW)
    body = {
        "secondaryIpRanges": scene.wanted.body["secondaryIpRanges"],
        "fingerprint": scene.found.body.get("fingerprint"),
    }
    return [scene.compute("", body, "PATCH")]


def _router_nats(scene: Scene) -> list[Call]:
    return [scene.compute("", {"nats": scene.wanted.body["nats"]}, "PATCH")]


def _firewall(scene: Scene) -> list[Call]:
    # Put, not patch: what the new rule does not have any more must go.
    return [scene.compute("", scene.wanted.body, "PUT")]


def _display_name(scene: Scene) -> list[Call]:
    body = {"serviceAccount": {"displayName": scene.wanted.body["displayName"]}, "updateMask": "displayName"}
    return [Call("PATCH", "iam", scene.url, body)]


def _update_cluster(wish: t.Callable[[Scene], Body]) -> t.Callable[[Scene], list[Call]]:
    # GKE takes one wish in an update.
    return lambda scene: [Call("PUT", "container", scene.url, {"update": wish(scene)})]


def _channel(scene: Scene) -> Body:
    return {"desiredReleaseChannel": scene.wanted.body["releaseChannel"]}


def _authorized(scene: Scene) -> Body:
    return {"desiredMasterAuthorizedNetworksConfig": scene.wanted.body["masterAuthorizedNetworksConfig"]}


def _workload_pool(scene: Scene) -> Body:
    pool = (scene.wanted.body.get("workloadIdentityConfig") or {}).get("workloadPool")
    return {"desiredWorkloadIdentityConfig": {"workloadPool": pool} if pool else {}}


def _private_endpoint(scene: Scene) -> Body:
    return {"desiredEnablePrivateEndpoint": view(scene.wanted)["privateEndpoint"]}


def _cluster_labels(scene: Scene) -> list[Call]:
    theirs = {
        key: value for key, value in (scene.found.body.get("resourceLabels") or {}).items() if key.startswith("goog")
    }
    body = {
        "resourceLabels": {**theirs, **scene.wanted.body["resourceLabels"]},
        "labelFingerprint": scene.found.body.get("labelFingerprint"),
    }
    return [Call("POST", "container", f"{scene.url}:setResourceLabels", body)]


def _pool_size(scene: Scene) -> list[Call]:
    if view(scene.wanted)["nodes"] is None:
        return []
    return [Call("POST", "container", f"{scene.url}:setSize", {"nodeCount": view(scene.wanted)["nodes"]})]


def _pool_autoscaling(scene: Scene) -> list[Call]:
    body = {"autoscaling": scene.wanted.body.get("autoscaling") or {"enabled": False}}
    return [Call("POST", "container", f"{scene.url}:setAutoscaling", body)]


def _pool_management(scene: Scene) -> list[Call]:
    return [Call("POST", "container", f"{scene.url}:setManagement", {"management": scene.wanted.body["management"]})]


def _pool_update(wish: t.Callable[[Body], Body]) -> t.Callable[[Scene], list[Call]]:
    return lambda scene: [Call("PUT", "container", scene.url, wish(scene.wanted.body["config"]))]


def _instance_labels(scene: Scene) -> list[Call]:
    theirs = {key: value for key, value in (scene.found.body.get("labels") or {}).items() if key.startswith("goog-")}
    body = {
        "labels": {**theirs, **scene.wanted.body["labels"]},
        "labelFingerprint": scene.found.body.get("labelFingerprint"),
    }
    return [scene.compute("setLabels", body)]


def _instance_metadata(scene: Scene) -> list[Call]:
    fingerprint = (scene.found.body.get("metadata") or {}).get("fingerprint")
    items = scene.wanted.body["metadata"]["items"]
    return [scene.compute("setMetadata", {"items": items, "fingerprint": fingerprint})]


def _instance_tags(scene: Scene) -> list[Call]:
    fingerprint = (scene.found.body.get("tags") or {}).get("fingerprint")
    return [scene.compute("setTags", {"items": scene.wanted.body["tags"]["items"], "fingerprint": fingerprint})]


def _instance_stopped(scene: Scene) -> list[Call]:
    """Machine type and service account are changed on a machine that is off."""
    if not scene.allow_stop:
        raise Refused("needs the machine to be stopped; set gcp_infra_allow_stop: true to have it stopped and started")
    calls = [] if scene.found.body.get("status") == "TERMINATED" else [scene.compute("stop", None)]
    if "machineType" in scene.fields:
        calls.append(scene.compute("setMachineType", {"machineType": scene.wanted.body["machineType"]}))
    if "serviceAccount" in scene.fields:
        calls.append(scene.compute("setServiceAccount", scene.wanted.body["serviceAccounts"][0]))
    return [*calls, scene.compute("start", None)]


def _instance_running(scene: Scene) -> list[Call]:
    if {"machineType", "serviceAccount"} & set(scene.fields):
        # These end with a start.
        return []
    return [scene.compute("resume" if scene.found.body.get("status") == "SUSPENDED" else "start", None)]


def _instance_disk(scene: Scene) -> list[Call]:
    old, new = view(scene.found)["diskSizeGb"], view(scene.wanted)["diskSizeGb"]
    if new < old:
        raise Refused(f"a disk of {old} GB can only grow, not shrink to {new}")
    disk = short(scene.found.body["disks"][0].get("source"))
    where = f"projects/{scene.target.project}/zones/{scene.found.key.location}/disks/{disk}/resize"
    return [Call("POST", "compute", where, {"sizeGb": str(new)})]


def _instance_address(scene: Scene) -> list[Call]:
    interface = scene.found.body["networkInterfaces"][0]
    name = interface.get("name", "nic0")
    if view(scene.wanted)["publicAddress"]:
        body = scene.wanted.body["networkInterfaces"][0]["accessConfigs"][0]
        return [Call("POST", "compute", f"{scene.url}/addAccessConfig", body, (("networkInterface", name),))]
    config = interface["accessConfigs"][0]["name"]
    params = (("accessConfig", config), ("networkInterface", name))
    return [Call("POST", "compute", f"{scene.url}/deleteAccessConfig", None, params)]


def _group_template(scene: Scene) -> list[Call]:
    return [scene.compute("", {"instanceTemplate": scene.wanted.body["instanceTemplate"]}, "PATCH")]


def _autoscaler(scene: Scene) -> list[Call]:
    where = parent(scene.target.project, scene.found.key)
    return [Call("PUT", "compute", where, scene.wanted.body, (("autoscaler", scene.found.key.name),))]


Method = t.Callable[[Scene], list[Call]]
_OF_FIREWALL = (
    *("priority", "disabled", "allowed", "denied", "description"),
    *("sourceRanges", "sourceTags", "targetTags", "destinationRanges"),
)
_FIELDS: dict[str, dict[str, Method]] = {
    "service_account": {"displayName": _display_name},
    "project_role": {},
    "network": {"routingMode": _network_routing},
    "subnetwork": {
        "ipCidrRange": _subnet_range,
        "privateIpGoogleAccess": _subnet_access,
        "secondaryIpRanges": _subnet_secondary,
    },
    "router": {"nats": _router_nats},
    "address": {},
    "firewall": dict.fromkeys(_OF_FIREWALL, _firewall),
    "cluster": {
        "releaseChannel": _update_cluster(_channel),
        "authorizedRanges": _update_cluster(_authorized),
        "workloadPool": _update_cluster(_workload_pool),
        "privateEndpoint": _update_cluster(_private_endpoint),
        "resourceLabels": _cluster_labels,
    },
    "node_pool": {
        "autoscaling": _pool_autoscaling,
        "nodes": _pool_size,
        "autoRepair": _pool_management,
        "autoUpgrade": _pool_management,
        "machineType": _pool_update(lambda config: {"machineType": config["machineType"]}),
        "diskSizeGb": _pool_update(lambda config: {"diskSizeGb": str(config["diskSizeGb"])}),
        "diskType": _pool_update(lambda config: {"diskType": config["diskType"]}),
        "labels": _pool_update(lambda config: {"labels": {"labels": config["labels"]}}),
        "tags": _pool_update(lambda config: {"tags": {"tags": config["tags"]}}),
        "workloadMetadata": _pool_update(
            lambda config: {"workloadMetadataConfig": config.get("workloadMetadataConfig") or {"mode": "GCE_METADATA"}}
        ),
    },
    "instance": {
        "labels": _instance_labels,
        "metadata": _instance_metadata,
        "tags": _instance_tags,
        "machineType": _instance_stopped,
        "serviceAccount": _instance_stopped,
        "diskSizeGb": _instance_disk,
        "publicAddress": _instance_address,
        "running": _instance_running,
    },
    "instance_template": {},
    "instance_group": {"instanceTemplate": _group_template},
    "autoscaler": {"minNumReplicas": _autoscaler, "maxNumReplicas": _autoscaler, "cpu": _autoscaler},
}
