# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Google refused, in words that say what to do. Pure. Private to the collection."""

from __future__ import annotations

import ast
import json
import re
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_kinds import ROLES

Answer = t.Mapping[str, t.Any]


class GcpError(MeshError):
    """Google refused a request, or an operation failed.

    Attributes:
        status: the HTTP status; 0 where there was none.
    """

    def __init__(self, found: str, expected: str, next_step: str, status: int = 0) -> None:
        super().__init__(found, expected, next_step)
        self.status = status


def error_of(text: str) -> Answer:
    """The error in an answer's body, or in what a module of google.cloud printed of it."""
    start = text.find("{")
    for read in (json.loads, ast.literal_eval):
        try:
            answer = read(text[start:] if start >= 0 else text)
        except (ValueError, SyntaxError):
            continue
        if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
            return t.cast(Answer, answer["error"])
    return {"message": text.strip()[:500]}


def _reasons(error: Answer) -> set[str]:
    found = {str(item.get("reason")) for item in error.get("errors") or []}
    found |= {str(item.get("reason")) for item in error.get("details") or [] if item.get("reason")}
    return found | {str(error.get("status"))}


def refused(what: str, api: str, project: str, status: int, error: Answer) -> GcpError:
    """The error for an answer of 400 and above.

    Args:
        what: what was tried, such as `creating network mesh1`.
        api: which API was asked.
        project: the project.
        status: the HTTP status.
        error: the answer's error.
    """
    message = str(error.get("message") or f"HTTP {status}").rstrip(".")
    reasons = _reasons(error)
    found = f"{what} in project {project}: Google answered {status}: {message}"
    if reasons & {"SERVICE_DISABLED", "accessNotConfigured"}:
        return GcpError(
            found,
            f"the API {api}.googleapis.com to be enabled in project {project}",
            f"gcloud services enable {api}.googleapis.com --project {project} and try again a minute later",
            status,
        )
    if reasons & {"quotaExceeded", "QUOTA_EXCEEDED"} or ("uota" in message and status in (403, 429)):
        return _quota(found, project, status)
    if status == 429 or reasons & {"rateLimitExceeded", "userRateLimitExceeded"}:
        return GcpError(found, "an API that has time for a request", "try again later; what was done is kept", status)
    if status == 403:
        right = re.search(
            r"[Pp]ermission\(?s?\)?:? '?([a-z]+(?:\.[A-Za-z]+)+)|'([a-z]+\.[A-Za-z.]+)' permission", message
        )
        name = next((group for group in right.groups() if group), "") if right else ""
        role = "roles/iam.serviceAccountUser" if "actAs" in name else ROLES[api]
        return GcpError(
            found,
            f"the right {name or 'for it'} in project {project}",
            f"gcloud projects add-iam-policy-binding {project} --member MEMBER --role {role}",
            status,
        )
    if status == 401:
        return GcpError(
            found,
            "credentials that Google accepts",
            "see gcp_infra_auth_kind and what it needs; GCP_ACCESS_TOKEN lives for an hour",
            status,
        )
    if status == 409:
        return GcpError(
            found,
            "a name that is free",
            "choose another gcp_infra_name (or name of the VMs, of the cluster), or remove what is there",
            status,
        )
    if status == 404 and re.search(r"'projects/[^/']+' was not found", message):
        return GcpError(found, "a project that is there, and may be seen", "check gcp_infra_project", status)
    return GcpError(found, "an answer without an error", "read Google's message above", status)


def _quota(found: str, project: str, status: int = 0) -> GcpError:
    return GcpError(
        found,
        f"enough quota in project {project}",
        f"gcloud compute project-info describe --project {project} shows what is used;"
        f" gcloud beta quotas preferences create --project {project} asks for more; or make less",
        status,
    )


def failed(what: str, project: str, error: t.Any) -> GcpError:
    """The error for an operation that was accepted and failed later."""
    items = error.get("errors") if isinstance(error, dict) else None
    first: Answer = items[0] if items else error if isinstance(error, dict) else {"message": str(error)}
    code, message = str(first.get("code") or ""), str(first.get("message") or first).rstrip(".")
    found = f"{what} in project {project} failed: {code + ': ' if code else ''}{message}"
    if "QUOTA" in code.upper() or "Quota" in message:
        return _quota(found, project)
    if "RESOURCE_POOL_EXHAUSTED" in code or "STOCKOUT" in code.upper() or "does not have enough resources" in message:
        return GcpError(
            found,
            "a zone that has such machines to give",
            "try again later, or another gcp_infra_zone or machine_type:"
            f" gcloud compute machine-types list --project {project} --filter name=MACHINE_TYPE shows which zones know it",
        )
    if "IN_USE_BY_ANOTHER_RESOURCE" in code.upper() or "already being used" in message:
        return GcpError(found, "nothing else that needs it", "remove what the message names, then run this again")
    return GcpError(found, "an operation that succeeds", "read Google's message above; run this again to go on")
