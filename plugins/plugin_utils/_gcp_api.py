# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Google's APIs: calls with patience, operations that are waited for, and what there is. Private to the collection."""

from __future__ import annotations

import random
import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _gcp_auth, _gcp_errors
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_changes import Call
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_kinds import KINDS, ROOTS, scope
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_resource import Body, Key, Target

# So long an API is waited for that is busy or ill (seconds).
PATIENCE = 60.0
# One request (seconds).
REQUEST_TIMEOUT = 60
_BUSY = (429, 500, 502, 503, 504)


class Google:
    """Google's APIs for one project."""

    def __init__(
        self, options: t.Mapping[str, t.Any], target: Target, timeout: float, credentials: t.Any = None
    ) -> None:
        self.target = target
        self.timeout = timeout
        self._session = _gcp_auth.session(credentials or _gcp_auth.credentials(options))

    def call(self, call: Call, what: str) -> Body:
        """Makes a call and returns its answer; what it begins is not waited for.

        Args:
            call: the call.
            what: what it is for, for errors: `creating network mesh1`.

        Raises:
            GcpError: Google refused it.
            MeshError: Google was not reached, or we are not who we say.
        """
        started, pause = time.monotonic(), 0.5
        while True:
            status, error, after = self._once(call)
            if error is None:
                return t.cast(Body, after)
            known = {str(item.get("reason")) for item in error.get("errors") or []}
            not_ready = "resourceNotReady" in known or "incompatible operation" in str(error.get("message"))
            quota = "quotaExceeded" in known
            limit = self.timeout if not_ready else PATIENCE
            wait = max(float(t.cast(float, after)), pause * random.uniform(0.5, 1.5))
            busy = status in _BUSY and not quota
            if not (busy or not_ready) or time.monotonic() + wait > started + limit:
                raise _gcp_errors.refused(what, call.api, self.target.project, status, error)
            time.sleep(wait)
            pause = min(pause * 2, 10.0)

    def _once(self, call: Call) -> tuple[int, _gcp_errors.Answer | None, Body | float]:
        """(status, error or None, answer or the seconds that Google asks us to wait)."""
        try:
            answer = self._session.request(
                call.verb,
                ROOTS[call.api] + call.path,
                json=call.body,
                params=dict(call.params),
                timeout=REQUEST_TIMEOUT,
            )
        except _gcp_auth.AUTH_ERRORS as error:
            raise MeshError(
                f"Google gave no token ({type(error).__name__})",
                "credentials that it accepts",
                "check gcp_infra_auth_kind and what it needs; a token that is handed over (accesstoken) lives for an hour",
            ) from None
        except _gcp_auth.WAY_ERRORS as error:
            raise MeshError(
                f"{ROOTS[call.api]} was not reached ({type(error).__name__})",
                "a way to googleapis.com from where ansible-playbook runs",
                "check the network, HTTPS_PROXY and REQUESTS_CA_BUNDLE",
            ) from None
        if answer.status_code < 400:
            return answer.status_code, None, answer.json() if answer.content else {}
        after = answer.headers.get("Retry-After", "")
        return answer.status_code, _gcp_errors.error_of(answer.text), float(after) if after.isdecimal() else 0.0

    def get(self, api: str, path: str, what: str, **params: str) -> Body | None:
        """Reads one thing; None where it is not there."""
        try:
            return self.call(Call("GET", api, path, params=tuple(params.items())), what)
        except _gcp_errors.GcpError as error:
            # A project that is not there is no thing that is not there.
            if error.status == 404 and "gcp_infra_project" not in error.next_step:
                return None
            raise

    def pages(self, api: str, path: str, what: str, **params: str) -> t.Iterator[Body]:
        """Reads all pages of a list."""
        token = ""
        while True:
            page = self.call(
                Call("GET", api, path, params=tuple({**params, **({"pageToken": token} if token else {})}.items())),
                what,
            )
            yield page
            token = page.get("nextPageToken") or ""
            if not token:
                return

    def done(self, call: Call, what: str) -> Body:
        """Makes a call and waits until what it began has ended.

        Raises:
            GcpError: it was refused, or failed.
        """
        answer = self.call(call, what)
        return self.wait(call.api, answer, what) if is_operation(answer) else answer

    def wait(self, api: str, operation: Body, what: str) -> Body:
        """Waits until an operation has ended.

        Raises:
            GcpError: it failed.
        """
        deadline, pause = time.monotonic() + self.timeout, 0.3
        while operation.get("status") != "DONE":
            if time.monotonic() > deadline:
                raise _gcp_errors.GcpError(
                    f"{what} in project {self.target.project} is not done after {self.timeout:.0f} s",
                    "an operation that ends",
                    "run this again, which goes on where this ended, or raise gcp_infra_timeout",
                )
            time.sleep(pause)
            pause = min(pause * 1.5, 5.0)
            operation = self.call(Call("GET", api, self._operation_path(api, operation)), f"waiting for {what}")
        if operation.get("error"):
            raise _gcp_errors.failed(what, self.target.project, operation["error"])
        return operation

    def _operation_path(self, api: str, operation: Body) -> str:
        project, name = self.target.project, operation["name"]
        if api == "container":
            return f"projects/{project}/locations/{operation.get('zone') or operation['location']}/operations/{name}"
        for place in ("zone", "region"):
            if operation.get(place):
                return f"projects/{project}/{place}s/{operation[place].rsplit('/', 1)[-1]}/operations/{name}"
        return f"projects/{project}/global/operations/{name}"

    def last_error(self, key: Key) -> t.Any:
        """Why the newest operation on a resource of Compute Engine failed; None where none is known to."""
        where = scope(key) if scope(key) == "global" else f"{scope(key)}/{key.location}"
        path = f"projects/{self.target.project}/{where}/operations"
        operations = [
            item for page in self.pages("compute", path, "reading operations") for item in page.get("items") or []
        ]
        own = [
            item
            for item in operations
            if str(item.get("targetLink", "")).endswith(f"/{KINDS[key.kind].collection}/{key.name}")
            and item.get("error")
        ]
        return max(own, key=lambda item: str(item.get("insertTime", "")))["error"] if own else None


def is_operation(answer: t.Mapping[str, t.Any]) -> bool:
    """Whether an answer says that something has begun."""
    return "operationType" in answer
