# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all gateways have in common, as data: options, and the IstioOperator that installs one. Pure."""

from __future__ import annotations

import dataclasses
import ipaddress
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _versions
from ansible_collections.hybridmesh.istio.plugins.module_utils._cluster import Mesh
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Object

INTERNAL = {
    "gcp": {"networking.gke.io/load-balancer-type": "Internal"},
    "aws": {
        # The first is read by the controller within Kubernetes, the second by AWS's own.
        "service.beta.kubernetes.io/aws-load-balancer-internal": "true",
        "service.beta.kubernetes.io/aws-load-balancer-scheme": "internal",
    },
    "azure": {"service.beta.kubernetes.io/azure-load-balancer-internal": "true"},
}


@dataclasses.dataclass
class Common:
    """What is asked for of any gateway; the modules' documentation has the meaning of each."""

    name: str
    namespace: str = "istio-system"
    replicas: int = 2
    service_type: str = "LoadBalancer"
    internal: str | None = None
    source_ranges: t.Sequence[str] = ()
    annotations: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    hub: str | None = None
    resources: t.Mapping[str, t.Any] | None = None
    spec: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)


def check_options(options: Common) -> None:
    """Refuses what can't work, before anything is read or done.

    Raises:
        MeshError: an option is no range, or contradicts another.
    """
    for text in options.source_ranges:
        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            raise MeshError(
                f"the source range {text} is none: {error}", "ranges such as 10.0.0.0/8", "correct source_ranges"
            ) from error
    if options.internal and options.internal not in INTERNAL:
        raise MeshError(
            f"internal is '{options.internal}'",
            "one of {}, or null".format(", ".join(sorted(INTERNAL))),
            "correct it, or give another cloud's own annotations in annotations",
        )
    if options.service_type == "LoadBalancer":
        return
    for option, value in (("internal", options.internal), ("source_ranges", options.source_ranges)):
        if value:
            raise MeshError(
                f"{option} is set for a Service of type {options.service_type}",
                "a Service of type LoadBalancer, which alone honours it",
                f"leave {option} out, or the type",
            )


def operator_spec(
    options: Common,
    mesh: Mesh,
    labels: t.Mapping[str, str],
    ports: t.Sequence[Object],
    own: t.Mapping[str, t.Any] | None = None,
    overlays: t.Sequence[Object] = (),
) -> Object:
    """The IstioOperator's spec of one gateway; mesh ID, cluster name and network are those of istiod.

    Args:
        options: what was asked for; its `spec` is laid on top of all.
        mesh: the istiod that it belongs to.
        labels: of its Pods, by which Istio's Gateways select it.
        ports: of its Service.
        own: further values of this kind of gateway.
        overlays: as IstioOperator has them.
    """
    settings: Object = {
        "type": options.service_type,
        "serviceAnnotations": dict(INTERNAL.get(options.internal or "", {}), **options.annotations),
        "loadBalancerSourceRanges": list(options.source_ranges),
        "ports": list(ports),
        "autoscaleEnabled": False,
        "replicaCount": options.replicas,
    }
    if options.resources:
        settings["resources"] = dict(options.resources)
    settings = merged(settings, own or {})
    apart = {
        "weight": 100,
        "podAffinityTerm": {"labelSelector": {"matchLabels": dict(labels)}, "topologyKey": "kubernetes.io/hostname"},
    }
    component: Object = {
        "name": options.name,
        "namespace": options.namespace,
        "enabled": True,
        "label": dict(labels),
        # Two of them on one node are better than one of them nowhere, hence no hard rule.
        "k8s": {"affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [apart]}}},
    }
    if overlays:
        component["k8s"]["overlays"] = list(overlays)
    values: Object = {
        "global": {
            "meshID": mesh["mesh_id"],
            "network": mesh["network"],
            "multiCluster": {"clusterName": mesh["cluster_name"]},
            # Else istioctl would make the webhooks of the default tag anew, as the gateway's, whoever they belong to.
            "operatorManageWebhooks": True,
            # Made by the chart where there is more than one replica.
            "defaultPodDisruptionBudget": {"enabled": True},
        },
        "gateways": {"istio-ingressgateway": settings},
    }
    result: Object = {"profile": "empty", "components": {"ingressGateways": [component]}, "values": values}
    if options.hub:
        result["hub"] = options.hub
    return merged(result, options.spec)


def merged(base: t.Mapping[str, t.Any], over: t.Mapping[str, t.Any]) -> Object:
    """`base` with the mapping `over` laid on it, key by key; lists are replaced."""
    result: Object = dict(base)
    for key, value in over.items():
        known = result.get(key)
        result[key] = merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return result


def gateway_version(asked: str | None, mesh: Mesh, role: str) -> str:
    """The version of the gateway: istiod's, unless an older one is asked for.

    Raises:
        MeshError: istiod's is not known, or the one asked for is newer.
    """
    version = asked or mesh["version"]
    if not version:
        raise MeshError(
            f"the version of istiod in {mesh['namespace']} can't be told, as none of its Pods is there",
            "a running istiod",
            f"repair it, or give the version ({role}_version)",
        )
    new, istiods = _versions.parse(version), _versions.parse(mesh["version"])
    if new and istiods and new.numbers[:2] > istiods.numbers[:2]:
        raise MeshError(
            f"version {version} is asked for the gateway, and istiod has {mesh['version']}",
            "a gateway that is not newer than istiod",
            "upgrade istiod first (role control_plane)",
        )
    return version
