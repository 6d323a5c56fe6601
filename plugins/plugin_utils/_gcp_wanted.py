# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one table of what a declaration stands for: every resource, in the order in which it is made. Pure. Private."""

from __future__ import annotations

import hashlib
import json
import typing as t

from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _gcp_flows as _flows
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_resource import (
    GROUP_LABEL,
    LABEL,
    NAMESPACE_LABEL,
    Body,
    Key,
    Resource,
    Target,
    email,
    link,
    mark,
)

Declared = t.Mapping[str, t.Any]

SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
NODE_ROLE = "roles/container.defaultNodeServiceAccount"
PODS, SERVICES = "pods", "services"


def target(declared: Declared) -> Target:
    """Where a declaration is about."""
    zone = declared["zone"] or f"{declared['region']}-a"
    return Target(declared["name"], declared["project"], declared["region"], zone)


def cluster_location(declared: Declared) -> str:
    """The region of a regional cluster, the zone of a zonal one."""
    where = target(declared)
    return where.region if declared["cluster"]["regional"] else where.zone


def wanted(declared: Declared) -> list[Resource]:
    """All resources of a declaration, each after those that it needs."""
    builder = _Builder(declared)
    found = [*builder.accounts(), *builder.network(), *builder.access()]
    if declared["cluster"]:
        found += builder.cluster()
    return found + [resource for group in declared["vms"] for resource in builder.machines(group)]


class _Builder:
    def __init__(self, declared: Declared) -> None:
        self.declared = declared
        self.target = target(declared)
        self.name = self.target.name
        self.network_name = declared["network"] or self.name
        self.subnet_name = declared["subnet"] or self.name
        self.subnet_link = link(self.target.project, f"regions/{self.target.region}/subnetworks/{self.subnet_name}")

    def _resource(self, kind: str, location: str, name: str, reason: str, **body: t.Any) -> Resource:
        said = {"description": mark(self.name) + reason}
        return Resource(Key(kind, location, name), {"name": name, **said, **body}, reason)

    def accounts(self) -> t.Iterator[Resource]:
        """Service accounts with no more rights than are needed."""
        uses = {"nodes": "the cluster's nodes"} if self.declared["cluster"] else {}
        if self.declared["vms"]:
            uses["vms"] = "the virtual machines"
        for suffix, use in uses.items():
            name = email(f"{self.name}-{suffix}", self.target.project)
            body = {"name": name, "displayName": f"{mark(self.name)}{use}"}
            yield Resource(Key("service_account", "", name), body, f"who {use} are")
        if self.declared["cluster"]:
            member = "serviceAccount:" + email(f"{self.name}-nodes", self.target.project)
            body = {"role": NODE_ROLE, "member": member}
            yield Resource(Key("project_role", "", f"{NODE_ROLE} {member}"), body, "logs and metrics of the nodes")

    def network(self) -> t.Iterator[Resource]:
        """Network, subnet and the way out of them, where no existing ones are used."""
        declared, region = self.declared, self.target.region
        network = link(self.target.project, f"global/networks/{self.network_name}")
        if not declared["network"]:
            routing = {"routingMode": "REGIONAL"}
            reason = "nodes, pods and virtual machines in one flat network"
            yield self._resource(
                "network", "", self.network_name, reason, autoCreateSubnetworks=False, routingConfig=routing
            )
        if not declared["subnet"]:
            ranges = [
                {"rangeName": PODS, "ipCidrRange": declared["pod_range"]},
                {"rangeName": SERVICES, "ipCidrRange": declared["service_range"]},
            ]
            yield self._resource(
                "subnetwork",
                region,
                self.subnet_name,
                "addresses of nodes, pods, Services and virtual machines",
                network=network,
                ipCidrRange=declared["subnet_range"],
                privateIpGoogleAccess=True,
                secondaryIpRanges=ranges if declared["cluster"] else [],
            )
        if declared["nat"]:
            nat = {
                "name": "nat",
                "natIpAllocateOption": "AUTO_ONLY",
                "sourceSubnetworkIpRangesToNat": "ALL_SUBNETWORKS_ALL_IP_RANGES",
            }
            reason = "packages and images for machines without a public address"
            yield self._resource("router", region, f"{self.name}-nat", reason, network=network, nats=[nat])
        if declared["gateway_address"] and declared["cluster"]:
            kind: Body = {"addressType": "EXTERNAL"}
            if declared["gateway_internal"]:
                kind = {"addressType": "INTERNAL", "purpose": "GCE_ENDPOINT", "subnetwork": self.subnet_link}
            reason = "the address of the east-west gateway, for as long as this is here"
            yield self._resource("address", region, f"{self.name}-gateway", reason, **kind)

    def access(self) -> t.Iterator[Resource]:
        """Firewall rules."""
        for flow in _flows.flows(self.declared):
            yield _flows.rule(flow, self.target, self.network_name)

    def cluster(self) -> t.Iterator[Resource]:
        """The cluster, and its nodes."""
        declared, cluster = self.declared, self.declared["cluster"]
        location, name = cluster_location(declared), cluster["name"]
        policy: Body = {"useIpAliases": True}
        if declared["subnet"]:
            policy.update(clusterIpv4CidrBlock=declared["pod_range"], servicesIpv4CidrBlock=declared["service_range"])
        else:
            policy.update(clusterSecondaryRangeName=PODS, servicesSecondaryRangeName=SERVICES)
        body: Body = {
            "network": self.network_name,
            "subnetwork": self.subnet_name,
            "ipAllocationPolicy": policy,
            "releaseChannel": {"channel": cluster["release_channel"]},
            "resourceLabels": {LABEL: self.name},
            "masterAuthorizedNetworksConfig": {
                "enabled": bool(cluster["authorized_ranges"]),
                "cidrBlocks": [{"cidrBlock": text} for text in cluster["authorized_ranges"]],
            },
        }
        if cluster["private_nodes"]:
            body["privateClusterConfig"] = {
                "enablePrivateNodes": True,
                "enablePrivateEndpoint": cluster["private_endpoint"],
                "masterIpv4CidrBlock": cluster["control_plane_range"],
            }
        if cluster["workload_identity"]:
            body["workloadIdentityConfig"] = {"workloadPool": f"{self.target.project}.svc.id.goog"}
        yield self._resource("cluster", location, name, "the mesh's Kubernetes cluster", **body)
        yield Resource(Key("node_pool", f"{location}/{name}", declared["nodes"]["name"]), self._nodes(), "its nodes")

    def _nodes(self) -> Body:
        nodes = self.declared["nodes"]
        config: Body = {
            "machineType": nodes["machine_type"],
            "diskSizeGb": nodes["disk_gb"],
            "diskType": nodes["disk_type"],
            "serviceAccount": email(f"{self.name}-nodes", self.target.project),
            "oauthScopes": SCOPES,
            "labels": {str(key): str(value) for key, value in nodes["labels"].items()},
            "tags": [_flows.node_tag(self.name)],
            "resourceLabels": {LABEL: self.name},
        }
        if self.declared["cluster"]["workload_identity"]:
            config["workloadMetadataConfig"] = {"mode": "GKE_METADATA"}
        body: Body = {
            "name": nodes["name"],
            "initialNodeCount": nodes["count"],
            "config": config,
            "management": {"autoRepair": True, "autoUpgrade": True},
        }
        scale = nodes["autoscale"]
        if scale:
            body["autoscaling"] = {"enabled": True, "minNodeCount": scale["min"], "maxNodeCount": scale["max"]}
            body["initialNodeCount"] = min(max(nodes["count"], scale["min"]), scale["max"])
        return body

    def machines(self, group: Declared) -> t.Iterator[Resource]:
        """A group of virtual machines: either each by itself, or a managed group that grows and shrinks."""
        zone = group["zone"] or self.target.zone
        where = self.target.region if group["regional"] else zone
        properties = self._machine(group)
        name = f"{self.name}-{group['name']}"
        reason = f"VMs of {group['workload_group']}"
        if not group["autoscale"]:
            for number in range(1, group["count"] + 1):
                body = {
                    **properties,
                    "machineType": f"zones/{zone}/machineTypes/{group['machine_type']}",
                    "disks": _disks(group, f"zones/{zone}/diskTypes/{group['disk_type']}"),
                }
                yield self._resource("instance", zone, f"{name}-{number}", reason, **body)
            return
        digest = hashlib.sha256(json.dumps(properties, sort_keys=True).encode()).hexdigest()[:8]
        # A template can't be changed: another content is another template, and the group is led to it.
        yield self._resource("instance_template", "", f"{name}-{digest}", reason, properties=properties)
        template = link(self.target.project, f"global/instanceTemplates/{name}-{digest}")
        yield self._resource(
            "instance_group",
            where,
            name,
            reason,
            baseInstanceName=name,
            instanceTemplate=template,
            targetSize=group["autoscale"]["min"],
        )
        yield self._resource(
            "autoscaler",
            where,
            name,
            reason,
            target=link(
                self.target.project,
                f"{'regions' if group['regional'] else 'zones'}/{where}/instanceGroupManagers/{name}",
            ),
            autoscalingPolicy={
                "minNumReplicas": group["autoscale"]["min"],
                "maxNumReplicas": group["autoscale"]["max"],
                "coolDownPeriodSec": 60,
                "cpuUtilization": {"utilizationTarget": group["autoscale"]["cpu"]},
            },
        )

    def _machine(self, group: Declared) -> Body:
        metadata = {str(key): str(value) for key, value in group["metadata"].items()}
        if self.declared["os_login"]:
            metadata["enable-oslogin"] = "TRUE"
        if self.declared["ssh_keys"]:
            metadata["ssh-keys"] = "\n".join(self.declared["ssh_keys"])
        namespace, _slash, workload_group = group["workload_group"].partition("/")
        labels = {LABEL: self.name, NAMESPACE_LABEL: namespace, GROUP_LABEL: workload_group}
        interface: Body = {"subnetwork": self.subnet_link}
        if group["public_address"]:
            interface["accessConfigs"] = [{"name": "External NAT", "type": "ONE_TO_ONE_NAT"}]
        return {
            "machineType": group["machine_type"],
            "disks": _disks(group, group["disk_type"]),
            "labels": {**{str(key): str(value) for key, value in group["labels"].items()}, **labels},
            "metadata": {"items": [{"key": key, "value": metadata[key]} for key in sorted(metadata)]},
            "networkInterfaces": [interface],
            "serviceAccounts": [{"email": email(f"{self.name}-vms", self.target.project), "scopes": SCOPES}],
            "tags": {"items": [_flows.vm_tag(self.name, group["name"]), *group["tags"]]},
        }


def _disks(group: Declared, disk_type: str) -> list[Body]:
    params = {"sourceImage": group["image"], "diskSizeGb": str(group["disk_gb"]), "diskType": disk_type}
    return [{"boot": True, "autoDelete": True, "initializeParams": params}]
