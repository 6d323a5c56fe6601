# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings a plan about: google.cloud's modules make and remove, the API's own methods change. Private to the collection.

A run that is cut off leaves what it has made; the next one finds it and goes on from there.
"""

from __future__ import annotations

import copy
import random
import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _gcp_auth, _gcp_errors, _gcp_kinds, _gcp_modules
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_api import PATIENCE, Google
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_changes import Call
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_kinds import KINDS
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_plan import Step
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_read import Reader
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_resource import Body, Resource, is_ours

# Runs a module of google.cloud with options and returns its result.
RunModule = t.Callable[[str, Body], t.Mapping[str, t.Any]]

_BUSY = (429, 500, 502, 503, 504)


class Applier:
    """Carries steps out, one by one."""

    def __init__(self, google: Google, reader: Reader, run_module: RunModule, steps: t.Sequence[Step]) -> None:
        self.google = google
        self.reader = reader
        self.project = google.target.project
        self._run_module = run_module
        self._steps = steps

    def apply(self, step: Step) -> None:
        """Carries one step out and sees that it took effect.

        Raises:
            GcpError: it was refused, or failed.
        """
        if step.along:
            return
        if step.action == "change":
            for call in step.calls:
                self.google.done(call, f"changing {step.key}")
        elif step.key.kind == "project_role":
            self._role(step)
        elif step.action == "create":
            self._create(step)
        else:
            self._remove(step)

    def _create(self, step: Step) -> None:
        wanted = t.cast(Resource, step.wanted)
        kind, what = step.key.kind, f"creating {step.key}"
        try:
            if _gcp_kinds.beyond_module(kind, wanted.body):
                body = _gcp_kinds.insert_body(kind, self._with_pool(wanted))
                call = Call("POST", KINDS[kind].api, _gcp_kinds.parent(self.project, step.key), body)
                self.google.done(call, what)
            else:
                self._module(wanted, "present", what)
        except _gcp_errors.GcpError as error:
            if error.status not in (0, 409):
                raise
            # Made in the meantime, by a run that was cut off; or all the same, by a request whose answer got lost.
            there = self.reader.one(step.key)
            if there is None and not error.status:
                raise self._lost(step, what, error) from error
            if there is None or not is_ours(there, self.google.target.name):
                raise
            if kind != "cluster":
                return
        there = self.reader.one(step.key)
        if there is None:
            raise self._lost(step, what)
        if kind == "cluster" and there.body.get("status") not in (None, "RUNNING", "RECONCILING", "PROVISIONING"):
            message = there.body.get("statusMessage") or there.body["status"]
            raise _gcp_errors.failed(what, self.project, {"message": message})

    def _with_pool(self, wanted: Resource) -> Body:
        """A cluster begins with the node pool that it is to have, so that no other one has to be removed."""
        pools = [
            step.wanted.body
            for step in self._steps
            if step.along and step.action == "create" and step.wanted and wanted.key.kind == "cluster"
        ]
        return {**copy.deepcopy(wanted.body), **({"nodePools": pools} if pools else {})}

    def _lost(self, step: Step, what: str, known: _gcp_errors.GcpError | None = None) -> _gcp_errors.GcpError:
        """google.cloud takes an operation that failed for one that succeeded; so what it made is looked for."""
        kind = KINDS[step.key.kind]
        error = self.google.last_error(step.key) if kind.scope else None
        if known is not None and not error:
            return known
        wrong = "there" if step.action == "remove" else "not there"
        return _gcp_errors.failed(what, self.project, error or {"message": f"it is {wrong} afterwards"})

    def _remove(self, step: Step) -> None:
        found = t.cast(Resource, step.found)
        kind, what = step.key.kind, f"removing {step.key}"
        try:
            if KINDS[kind].module is None or kind in ("cluster", "router"):
                # Neither tells when the operation fails.
                self.google.done(Call("DELETE", KINDS[kind].api, _gcp_kinds.path(self.project, step.key)), what)
            else:
                self._module(found, "absent", what)
        except _gcp_errors.GcpError as error:
            if error.status != 404:
                raise
        if self.reader.one(step.key) is not None:
            raise self._lost(step, what)

    def _module(self, resource: Resource, state: str, what: str) -> None:
        deadline, pause = time.monotonic() + PATIENCE, 0.5
        while True:
            with _gcp_auth.nothing_from_environment():
                result = self._run_module(_gcp_kinds.module(resource.key), _gcp_modules.options(resource, state))
            if not result.get("failed"):
                return
            error = _gcp_errors.error_of(str(result.get("msg") or ""))
            status = int(error.get("code") or 0)
            known = {str(item.get("reason")) for item in error.get("errors") or []}
            busy = (status in _BUSY and "quotaExceeded" not in known) or "resourceNotReady" in known
            if not busy or time.monotonic() + pause > deadline:
                if not status:
                    raise _gcp_errors.failed(what, self.project, error)
                raise _gcp_errors.refused(what, KINDS[resource.key.kind].api, self.project, status, error)
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, 10.0)

    def _role(self, step: Step) -> None:
        """The policy is read, changed and written; Google refuses it where somebody else wrote it meanwhile."""
        body = t.cast(Resource, step.wanted or step.found).body
        for again in (True, True, True, True, False):
            policy = self.reader.policy()
            changed = with_member(policy, body["role"], body["member"], step.action == "create")
            call = Call("POST", "cloudresourcemanager", f"projects/{self.project}:setIamPolicy", {"policy": changed})
            try:
                self.google.call(call, f"setting {step.key}")
                return
            except _gcp_errors.GcpError as error:
                # A new service account is not known everywhere at once.
                unknown = error.status == 400 and "does not exist" in error.found
                if not again or not (error.status == 409 or unknown):
                    raise
                time.sleep(1.0)


def with_member(policy: Body, role: str, member: str, there: bool) -> Body:
    """An IAM policy in which a member has, or has no longer, a role."""
    result = copy.deepcopy(policy)
    bindings = result.setdefault("bindings", [])
    own = next((item for item in bindings if item["role"] == role and not item.get("condition")), None)
    if there and own is None:
        bindings.append({"role": role, "members": [member]})
    elif there and own is not None and member not in own["members"]:
        own["members"].append(member)
    elif not there and own is not None:
        own["members"] = [name for name in own["members"] if name != member]
        if not own["members"]:
            bindings.remove(own)
    return result


def told(steps: t.Iterable[Step]) -> list[dict[str, str]]:
    """The steps as a module returns them."""
    return [
        {"action": step.action, "kind": step.key.kind, "name": step.key.name, "location": step.key.location}
        for step in steps
    ]
