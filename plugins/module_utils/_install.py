# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings an installation made by istioctl to what is declared, and no further. Private to the collection.

An installation is known by a marker (a ConfigMap) that is written before anything else of it. What has none was made by
somebody else and is never changed.
"""

from __future__ import annotations

import dataclasses
import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _manifest, _versions
from ansible_collections.hybridmesh.istio.plugins.module_utils._apply import MANAGED_BY, MANAGER, Applier, is_ours
from ansible_collections.hybridmesh.istio.plugins.module_utils._charts import release_of
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._istioctl import Istioctl
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Change, Object, Ref

# The name that `istioctl install` gives to the API server as the owner of the fields that it applies.
ISTIOCTLS_MANAGER = "istio-operator"

REVISION = "istio.io/rev"
TAG_OF_DEFAULT = Ref(
    "admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "", "istio-revision-tag-default"
)

# The role of an installation with an istiod.
CONTROL_PLANE = "control-plane"

# By what something was installed, as its marker says it; one that says nothing was installed by istioctl.
ISTIOCTL, HELM = "istioctl", "helm"


@dataclasses.dataclass
class Wanted:
    """What is asked for.

    Attributes:
        name: the IstioOperator's name, which tells one installation from another.
        role: what it is, as the marker says it: `control-plane`, `eastwest-gateway`, ...
        spec: the IstioOperator's spec.
        namespace: Istio's namespace.
        revision: the control plane's revision, '' for none.
        allow_upgrade: whether its version may change.
        allow_option: how that option is called for the user.
        ignore_precheck: go on where istioctl's pre-check has findings.
        readiness_timeout: seconds until everything must be ready.
        method: `istioctl` or `helm`.
        method_option: how that option is called for the user.
        default: whether the tag `default` is to be this revision's, if it is another's.
    """

    name: str
    role: str
    spec: Object
    namespace: str = "istio-system"
    revision: str = ""
    allow_upgrade: bool = False
    allow_option: str = "allow_upgrade"
    ignore_precheck: bool = False
    readiness_timeout: int = 300
    method: str = ISTIOCTL
    method_option: str = "control_plane_method"
    default: bool = False

    def operator(self) -> Object:
        """The IstioOperator."""
        spec = dict(self.spec)
        if self.revision:
            spec["revision"] = self.revision
        values = dict(spec.get("values") or {})
        values["global"] = dict(values.get("global") or {}, istioNamespace=self.namespace)
        spec["values"] = values
        return {
            "apiVersion": "install.istio.io/v1alpha1",
            "kind": "IstioOperator",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": spec,
        }

    def network(self) -> str:
        """The network of the mesh that the spec names."""
        return str(((self.spec.get("values") or {}).get("global") or {}).get("network") or "")


@dataclasses.dataclass
class Result:
    """What came of it.

    Attributes:
        changes: every object that was, or would be, changed.
        version: the version that was asked for.
        previous_version: the version that was there, '' for none.
        unjudged_proxies: connected proxies whose version can't be told, on a change of version.
        precheck: findings of the pre-check that were ignored.
        here: those of the changes that were made here, where Helm makes the others.
    """

    changes: list[Change]
    version: str
    previous_version: str
    unjudged_proxies: list[str]
    precheck: list[str]
    here: list[Change] = dataclasses.field(default_factory=list)


def marker_name(name: str) -> str:
    """The name of an installation's marker."""
    return f"hybridmesh-{name}"


class Installation:
    """One installation on one cluster, as it is and as it should be."""

    def __init__(self, cluster: Cluster, wanted: Wanted) -> None:
        self.wanted = wanted
        self.version = ""
        self.applier = Applier(cluster)
        marker = self.applier.get(Ref("v1", "ConfigMap", wanted.namespace, marker_name(wanted.name)))
        self.marked = marker is not None and is_ours(marker)
        self._judge_method(t.cast(Object, marker) if self.marked else None)
        self.owned = self.applier.list_kinds(
            _manifest.REMOVABLE_KINDS, _manifest.selector(wanted.name, wanted.namespace)
        )

    def _judge_method(self, marker: Object | None) -> None:
        """Refuses to move from istioctl to Helm or back: what the one made the other does not own."""
        wanted = self.wanted
        markers = [marker] if marker else []
        if wanted.role == CONTROL_PLANE:
            # All revisions share definitions, roles and webhooks.
            markers += [own for own in self.markers() if (own.get("data") or {}).get("role") == CONTROL_PLANE]
        for own in markers:
            data = own.get("data") or {}
            method = data.get("method") or ISTIOCTL
            if method != wanted.method:
                raise MeshError(
                    f"{data.get('name')} in {wanted.namespace} was installed by {method}, and {wanted.method} is asked for",
                    f"{wanted.method_option} as at its installation: of what {method} made, {wanted.method} would own"
                    " nothing, so it could neither change nor remove it",
                    f"set {wanted.method_option} to {method}; to move, bring all workloads and machines out of the mesh,"
                    " remove what is there (see docs/revisions.md), and install anew",
                )

    def markers(self) -> list[Object]:
        """The markers of all installations in Istio's namespace."""
        return self.applier.find("v1", "ConfigMap", f"{MANAGED_BY}={MANAGER}", self.wanted.namespace)

    def previous_version(self) -> str:
        """The version that the workloads of this installation have; '' where there are none."""
        workloads = [item for item in self.owned if _manifest.ref(item).kind in ("Deployment", "DaemonSet")]
        versions = sorted({_manifest.labels(item).get(_manifest.VERSION, "") for item in workloads} - {""})
        return versions[0] if versions else ""

    def judge_version(self, wanted: str) -> str:
        """Refuses a change of version that was not asked for. Returns the version that is there."""
        previous = self.previous_version()
        if previous:
            _versions.judge_change(
                f"the installation {self.wanted.name} in {self.wanted.namespace}",
                previous,
                wanted,
                self.wanted.allow_upgrade,
                self.wanted.allow_option,
            )
        return previous

    def converge(self, istioctl: Istioctl, check: bool) -> Result:
        """Compares, and unless `check`, brings about what is asked for.

        Raises:
            MeshError: it is refused, or it failed.
        """
        version = self.version = istioctl.version
        previous = self.judge_version(version)
        operator = self.wanted.operator()
        declared = [
            _manifest.with_owner(item, self.wanted.name, self.wanted.namespace, self.wanted.revision, version)
            for item in istioctl.generate(operator)
        ]
        own = self.preview_own(version)
        theirs = self._preview_theirs(declared)
        changes = own + theirs
        result = Result([change for change in changes if change.action != "none"], version, previous, [], [])
        has_istiod = any(is_istiod(item) for item in declared)
        new_version = previous != version
        if has_istiod and previous and new_version:
            result.unjudged_proxies = _versions.judge_skew(version, istioctl.proxies())
        if has_istiod and new_version:
            result.precheck = self.precheck(istioctl)
        if check:
            return result
        for change in own:
            if change.action != "none":
                self.applier.apply(t.cast(Object, change.after))
        tag = [change for change in theirs if change.ref == TAG_OF_DEFAULT and change.action == "update"]
        if any(change.action != "none" for change in theirs if change not in tag):
            istioctl.install(operator, self.wanted.readiness_timeout)
        for change in theirs:
            # istioctl forgets what an earlier version of it installed, as that carries another version's label.
            if change.action == "delete":
                self.applier.delete(change.ref)
        self.wait_until_ready(declared)
        if tag:
            # Only now that there is somebody who answers.
            istioctl.set_default(self.wanted.revision or "default")
        return result

    def preview_own(self, version: str) -> list[Change]:
        """The namespace, which is only ever made, and the marker."""
        wanted = self.wanted
        namespace = Ref("v1", "Namespace", "", wanted.namespace)
        changes = []
        if self.applier.get(namespace) is None:
            item: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": wanted.namespace}}
            if wanted.network():
                item["metadata"]["labels"] = {"topology.istio.io/network": wanted.network()}
            changes.append(Change(namespace, "create", None, item))
        marker: Object = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": marker_name(wanted.name),
                "namespace": wanted.namespace,
                "labels": {MANAGED_BY: MANAGER},
            },
            "data": {"name": wanted.name, "version": version, "revision": wanted.revision, "role": wanted.role},
        }
        if wanted.method != ISTIOCTL:
            marker["data"]["method"] = wanted.method
        preview = self.applier.preview(marker)
        # What is applied is our own part; what is shown is the whole.
        changes.append(dataclasses.replace(preview, after=marker) if preview.action != "none" else preview)
        return changes

    def _preview_theirs(self, declared: list[Object]) -> list[Change]:
        """Everything that istioctl installs, and what it once did and is declared no longer."""
        changes = self.applier.preview_all(declared, ISTIOCTLS_MANAGER)
        self._refuse_foreign(changes)
        changes = self._without_newer(changes)
        for item in _manifest.leftovers(self.owned, declared):
            changes.append(Change(_manifest.ref(item), "delete", _manifest.normalised(item), None))
        tags = self.applier.list_kinds(_manifest.WEBHOOK_KINDS, f"{_manifest.TAG}=default")
        if _manifest.tag_webhook_missing(declared, tags, self.wanted.revision, self.wanted.spec):
            changes.append(Change(TAG_OF_DEFAULT, "create", None, self._tag()))
        elif self.wanted.default and self.wanted.role == CONTROL_PLANE:
            held = [item for item in tags if _manifest.ref(item) == TAG_OF_DEFAULT]
            revision = _manifest.labels(held[0]).get(REVISION) if held else None
            if revision and revision != (self.wanted.revision or "default"):
                changes.append(Change(TAG_OF_DEFAULT, "update", self._tag(revision), self._tag(self.wanted.revision)))
        return changes

    @staticmethod
    def _tag(revision: str = "") -> Object:
        """The tag's webhook, without what istioctl makes of it."""
        own = {"name": TAG_OF_DEFAULT.name, "labels": {REVISION: revision or "default"}}
        return {"apiVersion": TAG_OF_DEFAULT.api_version, "kind": TAG_OF_DEFAULT.kind, "metadata": own}

    def _without_newer(self, changes: list[Change]) -> list[Change]:
        """The changes, but for those that would take from a newer revision what all revisions share."""
        newer = {
            str((own.get("data") or {}).get("name"))
            for own in self.markers()
            if _versions.is_newer((own.get("data") or {}).get("version"), self.version)
        } - {self.wanted.name}
        return [
            dataclasses.replace(change, action="none")
            if change.before and _manifest.labels(change.before).get(_manifest.OWNER) in newer
            else change
            for change in changes
        ]

    def _refuse_foreign(self, changes: list[Change]) -> None:
        """Stops where an object of the same name is somebody else's."""
        ours = self._own_installations()
        foreign = []
        for change in changes:
            if change.before is None or change.ref.kind == "CustomResourceDefinition":
                continue
            owner = _manifest.labels(change.before).get(_manifest.OWNER, "")
            if owner not in ours:
                foreign.append(f"{change.ref} ({'of the installation ' + owner if owner else 'of nobody known'})")
        if foreign:
            raise MeshError(
                "objects with the names that {} would use are there, and this collection did not make them: {}".format(
                    self.wanted.name, ", ".join(foreign[:6]) + (", ..." if len(foreign) > 6 else "")
                ),
                "nothing of somebody else's has to be changed",
                "use what is there, choose another name, namespace or revision, or remove it first",
            )

    def _own_installations(self) -> set[str]:
        """The installations whose objects this one may take over.

        Beside itself, a control plane takes what all revisions share from other control planes of this collection.
        """
        ours = {self.wanted.name} if self.marked else set()
        if self.wanted.role == CONTROL_PLANE:
            for marker in self.markers():
                data = marker.get("data") or {}
                if data.get("role") == CONTROL_PLANE and data.get("revision") != self.wanted.revision:
                    ours.add(str(data.get("name")))
        return ours

    def precheck(self, istioctl: Istioctl) -> list[str]:
        findings = istioctl.precheck()
        if findings and not self.wanted.ignore_precheck:
            raise MeshError(
                f"istioctl's pre-check for {istioctl.version} has findings: " + "; ".join(findings),
                "a cluster on which that version can be installed safely",
                "do what the findings say, or go on with ignore_precheck (control_plane_ignore_precheck for the role)",
            )
        return findings

    def wait_until_ready(self, declared: list[Object]) -> None:
        """Waits for workloads that were not changed now, but may have been left half-way by an earlier run."""
        workloads = [item for item in map(_manifest.ref, declared) if item.kind in ("Deployment", "DaemonSet")]
        deadline = time.monotonic() + self.wanted.readiness_timeout
        while True:
            waiting = [text for text in (not_ready(self.applier.get(item), item) for item in workloads) if text]
            if not waiting:
                return
            if time.monotonic() >= deadline:
                raise MeshError(
                    "; ".join(waiting + self._pod_problems()),
                    f"all workloads of {self.wanted.name} are ready within {self.wanted.readiness_timeout} s",
                    f"look at the Pods and events: kubectl -n {self.wanted.namespace} get pods,events; where it was"
                    " only slow, raise the readiness time-out",
                )
            time.sleep(1)

    def _pod_problems(self) -> list[str]:
        problems = []
        for pod in self.applier.find("v1", "Pod", namespace=self.wanted.namespace):
            for status in (pod.get("status") or {}).get("containerStatuses") or []:
                waiting = (status.get("state") or {}).get("waiting") or {}
                if waiting.get("reason"):
                    problems.append(
                        "{}: {} {}".format(_manifest.ref(pod), waiting["reason"], waiting.get("message", "")).strip()
                    )
        return problems[:5]


def remove(installation: Installation, check: bool) -> list[Change]:
    """Takes away everything of an installation that is ours, its marker last, and waits until it is gone."""
    wanted = installation.wanted
    applier = installation.applier
    marker = Ref("v1", "ConfigMap", wanted.namespace, marker_name(wanted.name))
    gone = [*map(_manifest.ref, installation.owned), marker]
    if not check:
        for item in gone[:-1]:
            applier.delete(item)
        applier.wait_until_gone(gone[:-1], wanted.readiness_timeout)
        # Whatever was cut short is still known as ours.
        applier.delete(marker)
    return [Change(item, "delete") for item in gone]


def is_istiod(item: t.Mapping[str, t.Any]) -> bool:
    """Whether this is a control plane's Deployment."""
    return item.get("kind") == "Deployment" and _manifest.labels(item).get("app") == "istiod"


def not_ready(live: t.Mapping[str, t.Any] | None, item: Ref) -> str:
    """What a workload still waits for, as a sentence; '' where it is ready."""
    if live is None:
        return f"{item} is not there"
    status = live.get("status") or {}
    spec = live.get("spec") or {}
    if status.get("observedGeneration", 0) < (live.get("metadata") or {}).get("generation", 0):
        return f"{item} was changed, and no controller has seen it yet"
    if item.kind == "DaemonSet":
        wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
        updated = status.get("updatedNumberScheduled", 0)
    else:
        wanted, ready = spec.get("replicas", 1), status.get("availableReplicas", 0)
        updated = status.get("updatedReplicas", 0)
    if min(ready, updated) < wanted:
        return f"{item} has {min(ready, updated)} of {wanted} replicas ready"
    return ""


@dataclasses.dataclass
class Istiod:
    """A control plane that is in the cluster."""

    namespace: str
    revision: str
    version: str
    marked: bool

    def __str__(self) -> str:
        return "istiod {} in {}{}".format(
            self.version or "of an unknown version",
            self.namespace,
            f" (revision {self.revision})" if self.revision else "",
        )


def istiods(applier: Applier) -> list[Istiod]:
    """Every control plane in the cluster, and whether this collection installed it."""
    result = []
    for item in applier.find("apps/v1", "Deployment", "app=istiod"):
        own = _manifest.ref(item)
        revision = _manifest.labels(item).get("istio.io/rev", "default")
        revision = "" if revision == "default" else revision
        name = _manifest.labels(item).get(_manifest.OWNER, "")
        if release_of(item):
            # A chart knows nothing of names of ours.
            name = "-".join(filter(None, [CONTROL_PLANE, revision]))
        marker = applier.get(Ref("v1", "ConfigMap", own.namespace, marker_name(name))) if name else None
        containers = item["spec"]["template"]["spec"].get("containers") or [{}]
        tag = str(containers[0].get("image", "")).partition("@")[0].rpartition(":")[2]
        result.append(
            Istiod(
                own.namespace,
                revision,
                _manifest.labels(item).get(_manifest.VERSION) or tag,
                marker is not None and is_ours(marker),
            )
        )
    return result
