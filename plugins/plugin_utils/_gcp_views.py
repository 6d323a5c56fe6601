# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a resource is compared: the same few fields of what is wanted and of what was found. Pure. Private.

google.cloud compares requests with answers, and does not see what a list has lost. Here both are brought to one form first.
"""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_resource import Body, Resource, short

View = dict[str, t.Any]

# What Google says of a machine that is off, or about to be.
OFF = ("TERMINATED", "STOPPED", "STOPPING", "SUSPENDED", "SUSPENDING")


def view(resource: Resource) -> View:
    """The fields of a resource that are compared."""
    return _VIEWS[resource.key.kind](resource.body)


def _network(body: Body) -> View:
    return {
        "autoCreateSubnetworks": bool(body.get("autoCreateSubnetworks")),
        "routingMode": (body.get("routingConfig") or {}).get("routingMode"),
    }


def _subnetwork(body: Body) -> View:
    return {
        "network": short(body.get("network")),
        "ipCidrRange": body.get("ipCidrRange"),
        "privateIpGoogleAccess": bool(body.get("privateIpGoogleAccess")),
        "secondaryIpRanges": {
            item["rangeName"]: item.get("ipCidrRange") for item in body.get("secondaryIpRanges") or []
        },
    }


def _router(body: Body) -> View:
    keys = ("natIpAllocateOption", "sourceSubnetworkIpRangesToNat")
    nats = body.get("nats") or []
    return {
        "network": short(body.get("network")),
        "nats": {nat["name"]: {key: nat.get(key) for key in keys} for nat in nats},
    }


def _address(body: Body) -> View:
    return {"addressType": body.get("addressType") or "EXTERNAL", "subnetwork": short(body.get("subnetwork"))}


def _firewall(body: Body) -> View:
    allowed = body.get("allowed") or []
    lists = ("sourceRanges", "sourceTags", "targetTags", "destinationRanges")
    return {
        "network": short(body.get("network")),
        "direction": body.get("direction") or "INGRESS",
        "priority": body.get("priority", 1000),
        "disabled": bool(body.get("disabled")),
        "allowed": sorted(
            [str(rule.get("IPProtocol")), *sorted(str(port) for port in rule.get("ports") or [])] for rule in allowed
        ),
        "denied": sorted(str(rule.get("IPProtocol")) for rule in body.get("denied") or []),
        "description": body.get("description"),
        **{key: sorted(body.get(key) or []) for key in lists},
    }


def _service_account(body: Body) -> View:
    return {"displayName": body.get("displayName")}


def _project_role(body: Body) -> View:
    return {"role": body.get("role"), "member": body.get("member")}


def _cluster(body: Body) -> View:
    private = body.get("privateClusterConfig") or {}
    authorized = body.get("masterAuthorizedNetworksConfig") or {}
    labels = body.get("resourceLabels") or {}
    return {
        "network": short(body.get("network")),
        "subnetwork": short(body.get("subnetwork")),
        "releaseChannel": (body.get("releaseChannel") or {}).get("channel"),
        "privateNodes": bool(private.get("enablePrivateNodes")),
        "privateEndpoint": bool(private.get("enablePrivateEndpoint")),
        # Google says something of it for public nodes, too.
        "controlPlaneRange": private.get("masterIpv4CidrBlock") if private.get("enablePrivateNodes") else None,
        "authorizedRanges": sorted(block["cidrBlock"] for block in authorized.get("cidrBlocks") or [])
        if authorized.get("enabled")
        else None,
        "workloadPool": (body.get("workloadIdentityConfig") or {}).get("workloadPool"),
        "resourceLabels": {key: value for key, value in labels.items() if not key.startswith("goog")},
    }


def _node_pool(body: Body) -> View:
    config = body.get("config") or {}
    scale = body.get("autoscaling") or {}
    scaled = bool(scale.get("enabled"))
    management = body.get("management") or {}
    return {
        # A pool that grows and shrinks has the size that it has.
        "nodes": None if scaled else body.get("currentNodeCount", body.get("initialNodeCount", 0)),
        "autoscaling": {key: int(scale.get(key) or 0) for key in ("minNodeCount", "maxNodeCount")} if scaled else None,
        "machineType": config.get("machineType"),
        "diskSizeGb": int(config.get("diskSizeGb") or 0),
        "diskType": config.get("diskType"),
        "serviceAccount": config.get("serviceAccount"),
        "labels": {key: value for key, value in (config.get("labels") or {}).items() if not key.startswith("goog")},
        "tags": sorted(config.get("tags") or []),
        "workloadMetadata": (config.get("workloadMetadataConfig") or {}).get("mode") == "GKE_METADATA",
        "autoRepair": bool(management.get("autoRepair")),
        "autoUpgrade": bool(management.get("autoUpgrade")),
    }


def _instance(body: Body) -> View:
    interface = (body.get("networkInterfaces") or [{}])[0]
    disk = (body.get("disks") or [{}])[0]
    account = (body.get("serviceAccounts") or [{}])[0]
    return {
        "machineType": short(body.get("machineType")),
        "diskSizeGb": int(disk.get("diskSizeGb") or (disk.get("initializeParams") or {}).get("diskSizeGb") or 0),
        "labels": {key: value for key, value in (body.get("labels") or {}).items() if not key.startswith("goog-")},
        "metadata": {item["key"]: item.get("value") for item in (body.get("metadata") or {}).get("items") or []},
        "subnetwork": short(interface.get("subnetwork")),
        "publicAddress": bool(interface.get("accessConfigs")),
        "serviceAccount": account.get("email"),
        "tags": sorted((body.get("tags") or {}).get("items") or []),
        # A run that was cut off may have stopped it for a change. Nothing is declared of it.
        "running": body.get("status") not in OFF,
    }


def _instance_template(body: Body) -> View:
    # The name holds a digest of the content.
    return {"name": body.get("name")}


def _instance_group(body: Body) -> View:
    return {"baseInstanceName": body.get("baseInstanceName"), "instanceTemplate": short(body.get("instanceTemplate"))}


def _autoscaler(body: Body) -> View:
    policy = body.get("autoscalingPolicy") or {}
    return {
        "target": short(body.get("target")),
        "minNumReplicas": int(policy.get("minNumReplicas") or 0),
        "maxNumReplicas": int(policy.get("maxNumReplicas") or 0),
        "cpu": float((policy.get("cpuUtilization") or {}).get("utilizationTarget") or 0),
    }


_VIEWS: dict[str, t.Callable[[Body], View]] = {
    "network": _network,
    "subnetwork": _subnetwork,
    "router": _router,
    "address": _address,
    "firewall": _firewall,
    "service_account": _service_account,
    "project_role": _project_role,
    "cluster": _cluster,
    "node_pool": _node_pool,
    "instance": _instance,
    "instance_template": _instance_template,
    "instance_group": _instance_group,
    "autoscaler": _autoscaler,
}
