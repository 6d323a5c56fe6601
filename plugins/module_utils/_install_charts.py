# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same as `_install`, for an installation made of Helm's releases. Private to the collection.

What has to be released is only told: the role has kubernetes.core.helm release it, and then asks again, which waits until
all is ready. What differs in the cluster though it was released as declared is put right here: Helm would not see it.
"""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _charts, _manifest, _versions
from ansible_collections.hybridmesh.istio.plugins.module_utils._charts import HELMS_MANAGER, Release
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._helm import Helm
from ansible_collections.hybridmesh.istio.plugins.module_utils._install import (
    CONTROL_PLANE,
    Installation,
    Result,
    Wanted,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._istioctl import Istioctl
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Change, Object, Ref


class ChartInstallation(Installation):
    """One installation by Helm on one cluster, as it is and as it should be."""

    def __init__(self, cluster: Cluster, wanted: Wanted, helm: Helm, namespace: str | None = None) -> None:
        """Looks at what is there.

        Args:
            cluster: the cluster.
            wanted: what is asked for.
            helm: Helm, for that cluster.
            namespace: where the releases are; None for Istio's namespace.
        """
        super().__init__(cluster, wanted)
        self.helm = helm
        self.found = helm.released(namespace or wanted.namespace)
        self.releases = self._releases()

    def _releases(self) -> list[Release]:
        wanted = self.wanted
        if wanted.role != CONTROL_PLANE:
            return _charts.gateway(wanted.spec, wanted.revision, wanted.method_option.removesuffix("_method"))
        default, tagged = wanted.revision, True
        others = [own for own in self.markers() if (own.get("data") or {}).get("revision") != wanted.revision]
        if any((own.get("data") or {}).get("role") == CONTROL_PLANE for own in others) and _charts.BASE in self.found:
            shared = self.helm.values(Release(_charts.BASE, wanted.namespace, "base", {}))
            default = str(shared.get("defaultRevision") or "default")
            tagged = default == wanted.revision
        return _charts.control_plane(wanted.spec, wanted.namespace, wanted.revision, default, tagged)

    def previous_version(self) -> str:
        """The version of the chart that was released last; '' where none was."""
        own = self.releases[-1]
        return self.found[own.name].version(own.chart) if own.name in self.found else ""

    def converge_charts(self, istioctl: t.Callable[[], Istioctl], check: bool) -> tuple[Result, list[dict[str, t.Any]]]:
        """Compares, and unless `check`, prepares what is asked for.

        Args:
            istioctl: finds the istioctl that judges a new version.
            check: change nothing.

        Returns:
            What came of it, and the options of kubernetes.core.helm for each release that has to be made. Where there is
            none, everything is ready.

        Raises:
            MeshError: it is refused, or it failed.
        """
        version = self.helm.charts.version
        previous = self.judge_version(version)
        own = self.preview_own(version)
        mended: list[Object] = []
        tasks: list[dict[str, t.Any]] = []
        declared: list[Object] = []
        changes = list(own)
        for release in self.releases:
            objects, theirs, todo = self._preview_release(release, version)
            declared += objects
            changes += theirs
            if todo:
                tasks.append(self.helm.task(release, todo == "again"))
                mended += [_charts.adopted(item, release) for item in objects if self._is_abandoned(item, theirs)]
            else:
                differs = {change.ref for change in theirs if change.action != "none"}
                mended += [item for item in objects if _manifest.ref(item) in differs]
        result = Result([change for change in changes if change.action != "none"], version, previous, [], [])
        if self.wanted.role == CONTROL_PLANE and previous != version:
            judge = istioctl()
            if previous:
                result.unjudged_proxies = _versions.judge_skew(version, judge.proxies())
            result.precheck = self.precheck(judge)
        if check:
            return result, tasks
        for change in own:
            if change.action != "none":
                self.applier.apply(t.cast(Object, change.after))
        for item in mended:
            self.applier.apply(item, HELMS_MANAGER)
        made = {_manifest.ref(item) for item in mended} | {change.ref for change in own}
        result.here = [change for change in result.changes if change.ref in made]
        if not tasks:
            self.wait_until_ready(declared)
        return result, tasks

    def _preview_release(self, release: Release, version: str) -> tuple[list[Object], list[Change], str]:
        """The release's objects, what would change in the cluster, and what has to be done."""
        found = self.found.get(release.name)
        shared = release.chart == "base" and found is not None
        if found and shared and _versions.is_newer(found.version("base"), version):
            # All revisions share it, and the newest made it.
            return [], [], ""
        if found and not (self.marked or (shared and self._own_installations())):
            raise MeshError(
                f"Helm's release {release.namespace}/{release.name} is there, and this collection did not make it",
                "nothing of somebody else's has to be changed",
                "use what is there, choose another name, namespace or revision, or remove it first",
            )
        self.helm.check_version(release)
        values = self.helm.values(release) if found else {}
        todo = _charts.what_to_do(release, found, values, version)
        objects = [_charts.owned(item, release) for item in self.helm.template(release, found is not None)]
        changes = self.applier.preview_all(objects, HELMS_MANAGER)
        self._refuse_others(release, changes)
        if todo:
            before = {"chart": found.chart, "values": values} if found else None
            after = {"chart": f"{release.chart}-{version}", "values": release.values}
            own = Ref("helm.sh/v3", "Release", release.namespace, release.name)
            changes.insert(0, Change(own, "update" if found else "create", before, after))
        if todo and found:
            wanted = {_manifest.ref(item) for item in objects}
            for item in self.helm.manifest(release):
                if _manifest.ref(item) not in wanted and item.get("kind") != "CustomResourceDefinition":
                    changes.append(Change(_manifest.ref(item), "delete", _manifest.normalised(item), None))
        return objects, changes, todo

    def _refuse_others(self, release: Release, changes: list[Change]) -> None:
        """Stops where an object of the same name belongs to somebody else."""
        own = f"{release.namespace}/{release.name}"
        foreign = []
        for change in changes:
            owner = _charts.release_of(change.before or {})
            if change.before is None or owner == own:
                continue
            if change.ref.kind != "CustomResourceDefinition" or owner:
                foreign.append(f"{change.ref} ({'of the release ' + owner if owner else 'of no release'})")
        if foreign:
            raise MeshError(
                "objects with the names that Helm's release {} would use are there, and it did not make them: {}".format(
                    own, ", ".join(foreign[:6]) + (", ..." if len(foreign) > 6 else "")
                ),
                "nothing of somebody else's has to be changed",
                "use what is there, choose another name, namespace or revision, or remove it first",
            )

    @staticmethod
    def _is_abandoned(item: Object, changes: t.Sequence[Change]) -> bool:
        """Whether it is a definition that stayed when an earlier Istio was removed, which Helm would not touch."""
        own = _manifest.ref(item)
        before = next((change.before for change in changes if change.ref == own), None)
        return own.kind == "CustomResourceDefinition" and before is not None and not _charts.release_of(before)
