# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts declared objects into the cluster by server-side apply, or says what that would change. Private.

Why not kubernetes.core.k8s: its check mode fails for objects whose namespace or kind the same run would make first, and
each of its tasks costs a process, a client and a discovery of all kinds.
"""

from __future__ import annotations

import concurrent.futures
import time
import typing as t
import urllib.parse

from ansible_collections.hybridmesh.istio.plugins.module_utils import _lock, _manifest
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Change, Object, Ref
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import ApiError

# Who made an object, told by a label, and who owns its fields, told by the API server.
MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "hybridmesh.istio"

# More at a time gains nothing on a small API server.
_THREADS = 8

# Seconds for which an object is offered again while the webhook that judges it does not answer.
_WEBHOOK_PATIENCE = 20.0

_Item = t.TypeVar("_Item")
_Result = t.TypeVar("_Result")


def is_ours(item: t.Mapping[str, t.Any]) -> bool:
    """Whether a role of this collection made the object."""
    return _manifest.labels(item).get(MANAGED_BY) == MANAGER


class Applier:
    """Compares and applies objects on one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._kinds: dict[str, dict[str, t.Any]] = {}

    def _group(self, api_version: str) -> dict[str, t.Any]:
        if api_version not in self._kinds:
            prefix = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
            answer = self.cluster.get(prefix) or {}
            self._kinds[api_version] = {
                resource["kind"]: (f"{prefix}/", resource["name"], bool(resource["namespaced"]))
                for resource in answer.get("resources", [])
                if "/" not in resource["name"]
            }
        return self._kinds[api_version]

    def collection_path(self, api_version: str, kind: str, namespace: str = "") -> str | None:
        """The path to list a kind, in one namespace or in all; None where the API server does not know the kind."""
        known = self._group(api_version).get(kind)
        if known is None:
            return None
        prefix, plural, namespaced = known
        place = f"namespaces/{urllib.parse.quote(namespace)}/" if namespaced and namespace else ""
        return f"{prefix}{place}{plural}"

    def path(self, item: Ref) -> str | None:
        """The path of one object; None where the API server does not know its kind."""
        path = self.collection_path(item.api_version, item.kind, item.namespace)
        return None if path is None else f"{path}/{urllib.parse.quote(item.name)}"

    def get(self, item: Ref) -> Object | None:
        """The object as it is in the cluster."""
        path = self.path(item)
        return None if path is None else self.cluster.get(path)

    def find(self, api_version: str, kind: str, selector: str = "", namespace: str = "") -> list[Object]:
        """All objects of a kind that a label selector selects; none where the kind is unknown."""
        path = self.collection_path(api_version, kind, namespace)
        if path is None:
            return []
        items = self.cluster.list_all(path, {"labelSelector": selector} if selector else None)
        return [dict(item, apiVersion=api_version, kind=kind) for item in items]

    def list_kinds(self, kinds: t.Sequence[tuple[str, str]], selector: str) -> list[Object]:
        """As `find`, for several kinds at once."""
        found = in_parallel(lambda kind: self.find(kind[0], kind[1], selector), kinds)
        return [item for items in found for item in items]

    def preview(self, item: Object, manager: str = MANAGER, force: bool = True) -> Change:
        """What applying the object would change; asks the API server, changes nothing."""
        own = _manifest.ref(item)
        path = self.path(own)
        if path is None:
            return Change(own, "create", None, _manifest.normalised(item))
        before = self.cluster.get(path)
        try:
            after = self._patch(path, item, manager, force, dry_run=True)
        except ApiError as error:
            if error.status == 404 and before is None:
                # The namespace is not there yet.
                return Change(own, "create", None, _manifest.normalised(item))
            raise
        return _manifest.compare(before, after, own)

    def preview_all(self, items: t.Sequence[Object], manager: str = MANAGER, force: bool = True) -> list[Change]:
        """As `preview`, for several objects at once, in their order."""
        for api_version in {str(item.get("apiVersion")) for item in items}:
            self._group(api_version)
        return in_parallel(lambda item: self.preview(item, manager, force), items)

    def apply(self, item: Object, manager: str = MANAGER, force: bool = True) -> Object:
        """Creates or updates the object."""
        _lock.need()
        own = _manifest.ref(item)
        path = self.path(own)
        if path is None:
            # A definition may have been made since the kinds were read.
            self._kinds.pop(own.api_version, None)
            path = self.path(own)
        if path is None:
            raise MeshError(
                f"the API server does not know the kind {own.kind} of {own.api_version}",
                "its definition is in the cluster",
                "install Istio first (role control_plane), or see why its definitions are missing",
            )
        return self._patch(path, item, manager, force, dry_run=False)

    def delete(self, item: Ref) -> None:
        """Deletes the object, if it is there."""
        _lock.need()
        path = self.path(item)
        if path is None:
            return
        try:
            self.cluster.request("DELETE", path, body={"propagationPolicy": "Foreground"})
        except ApiError as error:
            if error.status != 404:
                raise

    def wait_until_gone(self, items: t.Iterable[Ref], timeout: float) -> None:
        """Waits until objects that were deleted are not there any more.

        Raises:
            MeshError: some are still there.
        """
        deadline = time.monotonic() + timeout
        left = list(items)
        while True:
            left = [item for item, found in zip(left, in_parallel(self.get, left)) if found is not None]
            if not left:
                return
            if time.monotonic() >= deadline:
                raise MeshError(
                    "{} {} to be deleted, and still there after {:g} s".format(
                        ", ".join(map(str, left[:6])), "was" if len(left) == 1 else "were", timeout
                    ),
                    "objects that are deleted go",
                    f"see what holds them: kubectl get {left[0].kind.lower()} {left[0].name} -o yaml (finalizers, and for a"
                    " namespace its conditions)",
                )
            time.sleep(0.5)

    def preview_ours(self, item: Object) -> Change:
        """As `preview`, for what is changed only where this collection made it.

        Raises:
            MeshError: somebody else made it, and it differs.
        """
        own = _manifest.ref(item)
        live = self.get(own)
        if live is None or is_ours(live):
            return self.preview(item)
        change = self.preview(dict(item, metadata={"name": own.name, "namespace": own.namespace}))
        if change.action != "none":
            raise MeshError(
                f"{own} is there, somebody else made it, and it differs from what is declared: "
                + "; ".join(_manifest.differences(change)),
                "what is declared, or an object that this collection made",
                f"declare what is there, or hand it over: kubectl -n {own.namespace} label {own.kind.lower()}"
                f" {own.name} --overwrite {MANAGED_BY}={MANAGER}",
            )
        return change

    def _patch(self, path: str, item: Object, manager: str, force: bool, dry_run: bool) -> Object:
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        if manager == MANAGER:
            # What the roles' users declare: a field that the API server does not know is a slip of the pen.
            query["fieldValidation"] = "Strict"
        if dry_run:
            query["dryRun"] = "All"
        deadline = time.monotonic() + _WEBHOOK_PATIENCE
        while True:
            try:
                return self.cluster.request("PATCH", path, query, item, "application/apply-patch+yaml", timeout=60.0)
            except ApiError as error:
                # istiod judges its own kinds, and may have been restarted a moment ago.
                if "failed calling webhook" in error.found and time.monotonic() < deadline:
                    time.sleep(1)
                    continue
                if error.status != 409:
                    raise
                own = _manifest.ref(item)
                raise MeshError(
                    f"{own} has fields that somebody else set otherwise: {error.found.split(': ', 1)[-1]}",
                    "the object is as declared, or nobody else sets these fields",
                    "declare what is in the cluster, or take the other's setting away",
                ) from error


def in_parallel(function: t.Callable[[_Item], _Result], items: t.Sequence[_Item]) -> list[_Result]:
    """The function's result for each item, in order, a few at a time."""
    if len(items) < 2:
        return [function(item) for item in items]
    with concurrent.futures.ThreadPoolExecutor(max_workers=min(_THREADS, len(items))) as pool:
        return list(pool.map(function, items))
