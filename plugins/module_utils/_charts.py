# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Istio as releases of its Helm charts: which, with which values, and what has to be released. Pure. Private."""

from __future__ import annotations

import copy
import dataclasses
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _manifest
from ansible_collections.hybridmesh.istio.plugins.module_utils._eastwest import NETWORK_LABEL
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._gateway_spec import merged
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Object

# Each chart, and where it may lie in a folder of charts, such as the one of Istio's releases.
CHARTS = {"base": ("base",), "istiod": ("istio-control/istio-discovery", "istiod"), "gateway": ("gateway",)}
BASE = "istio-base"

RELEASE_NAME = "meta.helm.sh/release-name"
RELEASE_NAMESPACE = "meta.helm.sh/release-namespace"
MANAGED_BY = "app.kubernetes.io/managed-by"

# The name that Helm gives to the API server as the owner of the fields that it sets.
HELMS_MANAGER = "helm"

# Profiles of istioctl that stand for what the charts install anyway.
_PLAIN_PROFILES = ("minimal", "default", "empty")


@dataclasses.dataclass(frozen=True)
class Release:
    """What is to be released.

    Attributes:
        name: of the release.
        namespace: where.
        chart: `base`, `istiod` or `gateway`.
        values: for the chart.
    """

    name: str
    namespace: str
    chart: str
    values: Object


@dataclasses.dataclass(frozen=True)
class Released:
    """What was released.

    Attributes:
        status: in Helm's words: deployed, failed, pending-install, ...
        chart: the chart's name and version, with a hyphen between.
    """

    status: str
    chart: str

    def version(self, chart: str) -> str:
        """The version of that chart; '' if it is another chart."""
        return self.chart[len(chart) + 1 :] if self.chart.startswith(f"{chart}-") else ""


def is_url(place: str) -> bool:
    """Whether charts lie in a repository, and not in a folder."""
    return "://" in place


def control_plane(
    spec: t.Mapping[str, t.Any], namespace: str, revision: str, default: str, tagged: bool
) -> list[Release]:
    """The releases of a control plane, in their order.

    Args:
        spec: an IstioOperator's spec, as for istioctl.
        namespace: Istio's.
        revision: of the control plane, '' for none.
        default: the revision that validates what is for all revisions; '' for the one without a name.
        tagged: whether this revision is to be the one of the tag `default`.

    Raises:
        MeshError: the spec has parts that charts know nothing of.
    """
    unknown = sorted(set(spec) - {"profile", "hub", "tag", "values", "meshConfig"})
    if unknown:
        raise MeshError(
            f"the spec has {', '.join(unknown)}, which Istio's charts do not know",
            "profile, hub, tag, meshConfig and values",
            "say the same by the charts' values (control_plane_spec.values), or install by istioctl",
        )
    profile = spec.get("profile") or "minimal"
    everywhere: Object = {"istioNamespace": namespace}
    everywhere.update({key: spec[key] for key in ("hub", "tag") if spec.get(key)})
    values = merged(spec.get("values") or {}, {"global": everywhere})
    if profile not in _PLAIN_PROFILES:
        values["profile"] = profile
    if spec.get("meshConfig"):
        values["meshConfig"] = merged(values.get("meshConfig") or {}, spec["meshConfig"])
    if revision:
        values["revision"] = revision
        if tagged and "revisionTags" not in values:
            values["revisionTags"] = ["default"]
    base = {"global": {"istioNamespace": namespace}, "defaultRevision": default or "default"}
    return [
        Release(BASE, namespace, "base", base),
        Release(f"istiod-{revision}" if revision else "istiod", namespace, "istiod", values),
    ]


def gateway(spec: t.Mapping[str, t.Any], revision: str, role: str) -> list[Release]:
    """The release of a gateway, from the IstioOperator's spec that stands for it with istioctl.

    Args:
        spec: that spec.
        revision: of the gateway's control plane, '' for none.
        role: whose variables messages name.

    Raises:
        MeshError: the spec has parts that the chart knows nothing of.
    """
    component = spec["components"]["ingressGateways"][0]
    settings = next(iter(spec["values"]["gateways"].values()))
    unknown = sorted(set(component["k8s"]) - {"affinity", "overlays"})
    if unknown or set(spec) - {"profile", "components", "values"} or len(spec["components"]) > 1:
        raise MeshError(
            "the gateway has settings that Istio's chart of a gateway does not know: {}".format(
                ", ".join(
                    unknown
                    or sorted({*spec, *spec["components"]} - {"profile", "values", "components", "ingressGateways"})
                )
            ),
            f"no {role}_hub (the image is the one that istiod injects), and no {role}_spec but for values.gateways",
            f"leave them out, or have the gateway installed by istioctl ({role}_method)",
        )
    env = dict(settings.get("env") or {})
    values: Object = {
        "labels": dict(component["label"]),
        # As by istioctl, so that its identity, which policies name, is the same.
        "serviceAccount": {"name": f"{component['name']}-service-account"},
        # As by istioctl; the chart's image has no tag before it is injected, which would stand for Always.
        "imagePullPolicy": "IfNotPresent",
        "replicaCount": settings["replicaCount"],
        "autoscaling": {"enabled": bool(settings.get("autoscaleEnabled"))},
        "podDisruptionBudget": {"minAvailable": 1},
        "affinity": component["k8s"]["affinity"],
        "service": {
            "type": settings["type"],
            "annotations": settings["serviceAnnotations"],
            "loadBalancerSourceRanges": settings["loadBalancerSourceRanges"],
            "ports": settings["ports"],
        },
    }
    if component["k8s"].get("overlays"):
        # Of the Service alone for istioctl; the chart has no other way, and the same network on Pods does no harm.
        network = component["k8s"]["overlays"][0]["patches"][0]["value"]
        values["labels"][NETWORK_LABEL] = network
    if env:
        values["env"] = env
    if settings.get("resources"):
        values["resources"] = settings["resources"]
    if revision:
        values["revision"] = revision
    return [Release(component["name"], component["namespace"], "gateway", values)]


def owned(item: Object, release: Release) -> Object:
    """The object with what Helm adds to what a chart makes."""
    result: Object = copy.deepcopy(item)
    metadata = result.setdefault("metadata", {})
    metadata["labels"] = dict(metadata.get("labels") or {}, **{MANAGED_BY: "Helm"})
    own = {RELEASE_NAME: release.name, RELEASE_NAMESPACE: release.namespace}
    metadata["annotations"] = dict(metadata.get("annotations") or {}, **own)
    return result


def release_of(item: t.Mapping[str, t.Any]) -> str:
    """The release that an object belongs to, as namespace/name; '' for none."""
    annotations = (item.get("metadata") or {}).get("annotations") or {}
    name = annotations.get(RELEASE_NAME)
    return f"{annotations.get(RELEASE_NAMESPACE, '')}/{name}" if name else ""


def adopted(item: Object, release: Release) -> Object:
    """Of a definition that nobody has removed with its Istio, what makes it the release's."""
    own = _manifest.ref(item)
    return owned({"apiVersion": own.api_version, "kind": own.kind, "metadata": {"name": own.name}}, release)


def what_to_do(release: Release, found: Released | None, values: t.Mapping[str, t.Any], version: str) -> str:
    """Whether a release has to be made: `install`, `upgrade`, `again` (it failed), or '' where it is as declared.

    Raises:
        MeshError: a run of Helm was cut off in the middle of it, or still goes on.
    """
    if found is None:
        return "install"
    if found.status not in ("deployed", "failed"):
        raise MeshError(
            f"Helm's release {release.namespace}/{release.name} is {found.status}: a run of Helm works on it, or was cut off",
            "no other run, and releases that are deployed",
            f"wait for the other run; where there is none: helm -n {release.namespace} rollback {release.name}, or"
            f" helm -n {release.namespace} uninstall {release.name} where it was never deployed",
        )
    if found.status == "failed":
        return "again"
    if found.chart != f"{release.chart}-{version}" or dict(values) != dict(release.values):
        return "upgrade"
    return ""
