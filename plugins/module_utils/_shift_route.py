# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The route whose weights are shifted: read, judged and changed, and never past what somebody else did. Private."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _manifest, _shift_plan, _traffic_names
from ansible_collections.hybridmesh.istio.plugins.module_utils._apply import MANAGED_BY, MANAGER, Applier, is_ours
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Object, Ref
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import ApiError
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_names import NETWORKING, TRAFFIC_LABEL
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_scene import some

# Who owns the weights of a route that somebody else made.
_SHIFTER = "hybridmesh.istio.shift"
# Seconds for which a change is offered again while the webhook that judges it does not answer.
_WEBHOOK_PATIENCE = 20.0


class Changed(MeshError):
    """Somebody else changed the route in the meantime."""


def ref_of(name: str) -> Ref:
    """The VirtualService `namespace/name`.

    Raises:
        MeshError: that is no such name.
    """
    namespace, slash, own = name.partition("/")
    if not slash or not namespace or not own or "/" in own:
        raise MeshError(
            f"the route is given as {name!r}", "namespace/name of a VirtualService", "correct traffic_shift_route"
        )
    return Ref(NETWORKING, "VirtualService", namespace, own)


class Route:
    """One rule of a VirtualService in the cluster.

    Attributes:
        ref: which one.
        live: it, as it was last seen or set.
        number: the number of the rule.
    """

    def __init__(self, applier: Applier, name: str, number: int = 1) -> None:
        self.ref = ref_of(name)
        self.number = number
        self._applier = applier
        live = applier.get(self.ref)
        if live is None:
            known = (
                f"{item.namespace}/{item.name}"
                for item in map(_manifest.ref, applier.find(NETWORKING, "VirtualService", namespace=self.ref.namespace))
            )
            raise MeshError(
                f"there is no route {name}{some(known)}",
                "a VirtualService in the cluster",
                "correct traffic_shift_route, or have the role traffic make the route first",
            )
        self.live = dict(live, apiVersion=NETWORKING, kind="VirtualService")

    @property
    def weights(self) -> list[int]:
        """The rule's weights."""
        return _shift_plan.weights_of(_shift_plan.rules_in(self.live)[self.number - 1])

    def must_be_ours(self, foreign: bool) -> None:
        """Sees whose the route is.

        Raises:
            MeshError: somebody else made it, and that was not allowed.
        """
        if not is_ours(self.live) and not foreign:
            raise MeshError(
                f"{self.ref} was not made by the role traffic",
                "a route of that role, or leave to change somebody else's",
                "if nobody sets its weights again behind this run's back (GitOps does), give traffic_shift_foreign: true",
            )

    def set(self, weights: t.Sequence[int]) -> None:
        """Changes the weights, if the route is still as it was last seen.

        Raises:
            Changed: it is not.
        """
        wanted = _shift_plan.with_weights(self.live, self.number, weights)
        version = str(self.live["metadata"].get("resourceVersion") or "")
        path = str(self._applier.path(self.ref))
        if is_ours(self.live):
            # As the role traffic does, so that what it applies next removes what it no longer declares.
            own = _manifest.labels(self.live)
            labels = {key: own[key] for key in (MANAGED_BY, TRAFFIC_LABEL) if key in own}
            metadata = {"name": self.ref.name, "namespace": self.ref.namespace, "labels": labels}
            body: t.Any = {
                "apiVersion": NETWORKING,
                "kind": "VirtualService",
                "metadata": dict(metadata, resourceVersion=version),
                "spec": wanted["spec"],
            }
            query = {"fieldManager": MANAGER, "force": "true"}
            content = "application/apply-patch+yaml"
        else:
            base = f"/spec/http/{self.number - 1}/route"
            # Its value is compared with the object's own, which makes it a condition.
            body = [{"op": "replace", "path": "/metadata/resourceVersion", "value": version}]
            body += [
                {"op": "add", "path": f"{base}/{place}/weight", "value": weight} for place, weight in enumerate(weights)
            ]
            query, content = {"fieldManager": _SHIFTER}, "application/json-patch+json"
        self.live = dict(self._patch(path, query, body, content), apiVersion=NETWORKING, kind="VirtualService")

    def _patch(self, path: str, query: dict[str, str], body: t.Any, content: str) -> Object:
        deadline = time.monotonic() + _WEBHOOK_PATIENCE
        while True:
            try:
                return self._applier.cluster.request("PATCH", path, query, body, content)
            except ApiError as error:
                if "failed calling webhook" in error.found and time.monotonic() < deadline:
                    time.sleep(1)
                    continue
                if error.status == 409:
                    raise self._changed() from error
                raise

    def _changed(self) -> Changed:
        return Changed(
            f"somebody else changed {_traffic_names.said(self.live)} at the same time",
            "one who changes a route at a time: another shift, a run of the role traffic, GitOps",
            "see what the other wants, let it end, and start the shift again: it goes on from the weights it finds",
        )

    def see(self) -> None:
        """Looks at it again.

        Raises:
            Changed: it is not as it was set.
        """
        live = self._applier.get(self.ref)
        if live is None or live.get("spec") != self.live.get("spec"):
            raise self._changed()
        self.live = dict(live, apiVersion=NETWORKING, kind="VirtualService")

    def put_back(self, weights: t.Sequence[int]) -> None:
        """Changes the weights back, unless somebody else has changed the route since."""
        for more in (True, True, False):
            self.see()
            try:
                self.set(weights)
                return
            except Changed:
                # Its status may have changed alone.
                if not more:
                    raise
