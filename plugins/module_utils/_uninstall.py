# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removes a control plane that nobody is connected to any more. Private to the collection.

Definitions stay, as with them every object of their kinds would go, and so does the namespace, with the authority's key.
"""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _charts, _manifest
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._install import (
    CONTROL_PLANE,
    REVISION,
    Installation,
    istiods,
    marker_name,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._install_charts import ChartInstallation
from ansible_collections.hybridmesh.istio.plugins.module_utils._istioctl import Istioctl
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Change, Object, Ref


def remove(
    installation: Installation, istioctl: t.Callable[[], Istioctl], check: bool
) -> tuple[list[Change], list[dict[str, t.Any]]]:
    """Removes the installation, unless somebody needs it.

    Args:
        installation: what is to go; what is not ours stays.
        istioctl: finds an istioctl, which asks istiod who is connected to it.
        check: change nothing.

    Returns:
        What was, or would be removed, and the options of kubernetes.core.helm for each release that is to go first.

    Raises:
        MeshError: proxies are connected to it, or other revisions need it.
    """
    wanted = installation.wanted
    if not installation.marked:
        return [], []
    others = [
        own
        for own in installation.markers()
        if (own.get("data") or {}).get("role") == CONTROL_PLANE and (own.get("data") or {}).get("name") != wanted.name
    ]
    tags = [
        item
        for item in installation.applier.list_kinds((*_manifest.WEBHOOK_KINDS, ("v1", "Service")), _manifest.TAG)
        if _manifest.labels(item).get(REVISION) == (wanted.revision or "default")
    ]
    name = f"the control plane {wanted.name} in {wanted.namespace}"
    if others and tags:
        held = ", ".join(sorted({_manifest.labels(item)[_manifest.TAG] for item in tags}))
        raise MeshError(
            f"{name} has the tag {held}: namespaces with that tag are injected, and configuration is judged, by it",
            "a revision without tags is removed, as long as there is another one",
            "give the tag to the revision that stays (control_plane_default: true for it; by Helm its revisionTags)",
        )
    running = [
        own
        for own in istiods(installation.applier)
        if own.namespace == wanted.namespace and own.revision == wanted.revision
    ]
    connected = istioctl().proxies(wanted.revision) if running else {}
    if connected:
        raise MeshError(
            f"{len(connected)} proxies are connected to {name}: " + ", ".join(sorted(connected)),
            "nobody is connected to a control plane that is removed",
            "move machines (vm_sidecar_revision), gateways (eastwest_gateway_revision) and Pods (the namespaces' label"
            " istio.io/rev or the tag, then a restart) to the revision that stays",
        )
    releases, gone = [], []
    if isinstance(installation, ChartInstallation):
        for release in reversed(installation.releases):
            if release.name in installation.found and not (release.chart == "base" and others):
                releases.append({"name": release.name, "namespace": release.namespace})
                gone.append(Ref("helm.sh/v3", "Release", release.namespace, release.name))
    changes = [Change(item, "delete", {"metadata": {"name": item.name}}, None) for item in gone]
    # A tag carries the labels of the revision that had it first, wherever it leads to by now.
    doomed = [item for item in installation.owned if _manifest.TAG not in _manifest.labels(item)]
    doomed += [item for item in tags if not _charts.release_of(item)]
    changes += [Change(_manifest.ref(item), "delete", _manifest.normalised(item), None) for item in _once(doomed)]
    marker = Ref("v1", "ConfigMap", wanted.namespace, marker_name(wanted.name))
    changes.append(Change(marker, "delete", _manifest.normalised(installation.applier.get(marker)), None))
    if check or releases:
        return changes, releases
    for change in changes:
        # The marker last: what was cut off is ours until it is gone.
        installation.applier.delete(change.ref)
    return changes, []


def _once(items: t.Iterable[Object]) -> list[Object]:
    return list({_manifest.ref(item): item for item in items}.values())
