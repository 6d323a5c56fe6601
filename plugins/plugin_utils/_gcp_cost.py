# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a declaration costs money for, thing by thing, so that it can be priced. Pure. Private to the collection.

Prices differ by region and change; so there are none here.
"""

from __future__ import annotations

import collections
import typing as t

from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_resource import Resource, short

# The zones that a regional cluster has nodes in, unless told otherwise.
ZONES_OF_A_REGION = 3


def lines(wanted: t.Sequence[Resource]) -> list[str]:
    """What is charged for, then what is not."""
    charged: list[str] = []
    free: collections.Counter[str] = collections.Counter()
    machines: collections.Counter[str] = collections.Counter()
    public = 0
    sizes = {
        resource.key.name: resource.body["autoscalingPolicy"]
        for resource in wanted
        if resource.key.kind == "autoscaler"
    }
    for resource in wanted:
        kind, body = resource.key.kind, resource.body
        if kind == "cluster":
            regional = resource.key.location.count("-") == 1
            charged.append(
                f"1 GKE cluster, {'regional' if regional else 'zonal'} - {resource.key.name}, {resource.key.location}"
            )
            charged.append("1 load balancer of the east-west gateway, which the cluster makes (forwarding rule, data)")
        elif kind == "node_pool":
            charged.append(_nodes(resource))
        elif kind == "instance":
            disk = body["disks"][0]["initializeParams"]
            size = f"{disk['diskSizeGb']} GB {short(disk['diskType'])}"
            machines[f"VM {short(body['machineType'])} with {size} - {resource.key.location}"] += 1
            public += bool(body["networkInterfaces"][0].get("accessConfigs"))
        elif kind == "instance_group":
            policy = sizes[resource.key.name]
            template = next(item for item in wanted if item.key.name == short(body["instanceTemplate"]))
            properties = template.body["properties"]
            disk = properties["disks"][0]["initializeParams"]
            many = f"{policy['minNumReplicas']} to {policy['maxNumReplicas']}"
            kind_of = f"{properties['machineType']} with {disk['diskSizeGb']} GB {disk['diskType']}"
            charged.append(f"{many} VM {kind_of} each, autoscaled - {resource.key.location}")
        elif kind == "router":
            charged.append("1 Cloud NAT gateway (hours, data, an address)")
        elif kind == "address" and body["addressType"] == "EXTERNAL":
            charged.append("1 external address, reserved")
        else:
            free[kind] += 1
    charged += [f"{number} {what}" for what, number in machines.items()]
    if public:
        charged.append(f"{public} external addresses of VMs")
    rest = ", ".join(f"{number} {kind.replace('_', ' ')}" for kind, number in free.items())
    return charged + ([f"no charge by itself - {rest}"] if rest else [])


def _nodes(pool: Resource) -> str:
    config, scale = pool.body["config"], pool.body.get("autoscaling")
    location = pool.key.location.split("/")[0]
    times = ZONES_OF_A_REGION if location.count("-") == 1 else 1
    many = str(pool.body["initialNodeCount"] * times)
    if scale:
        many = f"{scale['minNodeCount'] * times} to {scale['maxNodeCount'] * times}"
    return f"{many} nodes {config['machineType']} with {config['diskSizeGb']} GB {config['diskType']} each - {location}"
