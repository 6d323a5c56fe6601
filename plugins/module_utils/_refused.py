# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an API server refused, in words that say what to do. Pure. Private to the collection."""

from __future__ import annotations

import json

from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

# So long an API server is waited for that asks for patience (seconds).
PATIENCE = 30.0


class ApiError(MeshError):
    """The API server refused or did not answer a request.

    Attributes:
        status: the HTTP status, 0 where there was no answer at all.
        reason: the API's own reason (`NotFound`, `Forbidden`, `Expired`, ...), or ''.
    """

    def __init__(self, found: str, expected: str, next_step: str, status: int, reason: str = "") -> None:
        super().__init__(found, expected, next_step)
        self.status = status
        self.reason = reason


# What kubernetes.core calls the request methods when it speaks of RBAC verbs.
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def refused(method: str, path: str, status: int, body: bytes) -> ApiError:
    """The error for an answer of 400 and above; names the missing verb and resource where rights are missing."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = {}
    message = str(answer.get("message") or body[:300].decode("utf-8", "replace") or f"HTTP {status}")
    reason = str(answer.get("reason") or "")
    found = "the API server answered {} to {} {}: {}".format(status, method, path.split("?", maxsplit=1)[0], message)
    if "denied request: " in message or "denied the request: " in message:
        return ApiError(
            found,
            "a request that the cluster's admission policies allow",
            "change what is asked for, or the policy that the message names",
            status,
            reason,
        )
    if status == 403:
        return ApiError(
            found,
            f"the kubeconfig's user may {rights_of(method, path)}",
            "have a Role or ClusterRole with that verb and resource bound to the user, or use another kubeconfig",
            status,
            reason,
        )
    if status == 429:
        return ApiError(
            found,
            f"an API server that has time for a request within {PATIENCE:.0f} s",
            "see which requests keep it busy (metrics apiserver_flowcontrol_*), and try again",
            status,
            reason,
        )
    if status == 401:
        return ApiError(
            found,
            "credentials that the API server accepts",
            "renew the kubeconfig or the token (kubectl auth whoami)",
            status,
            reason,
        )
    return ApiError(found, "an answer without an error", "read the API server's message above", status, reason)


def rights_of(method: str, path: str) -> str:
    """`verb "v" on resource "r" (group "g") in namespace "n"` for a request, as RBAC would name it."""
    parts = [part for part in path.split("?", maxsplit=1)[0].split("/") if part]
    if parts[:1] not in (["api"], ["apis"]):
        return f'verb "{method.lower()}" on the non-resource URL "{path}"'
    group = "" if parts[:1] == ["api"] else parts[1] if len(parts) > 1 else ""
    rest = parts[2:] if parts[:1] == ["api"] else parts[3:]
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    verb = _VERBS.get(method, method.lower())
    if verb == "get" and len(rest) < 2:
        verb = "list"
    resource = "/".join(rest[:1] + rest[2:3]) or path
    of_group = f' of the API group "{group}"' if group else ""
    in_namespace = f' in namespace "{namespace}"' if namespace else ""
    return f'verb "{verb}" on resource "{resource}"{of_group}{in_namespace}'
