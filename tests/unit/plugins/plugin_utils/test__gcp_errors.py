# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Google refuses, told with the project, the right or API, and the command that helps."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _gcp_errors


def answer(status: int, message: str, reason: str, **more: t.Any) -> str:
    return json.dumps({"error": {"code": status, "message": message, "errors": [{"reason": reason}], **more}})


CASES: dict[str, tuple[int, str, str, list[str]]] = {
    "API": (
        403,
        "Compute Engine API has not been used in project 1 before",
        "accessNotConfigured",
        ["gcloud services enable compute.googleapis.com --project p"],
    ),
    "right": (
        403,
        "Required 'compute.networks.create' permission for 'projects/p'",
        "forbidden",
        ["the right compute.networks.create in project p", "roles/compute.admin"],
    ),
    "right of IAM's wording": (
        403,
        "Permission 'iam.serviceAccounts.create' denied on resource",
        "forbidden",
        ["the right iam.serviceAccounts.create"],
    ),
    "account": (
        403,
        "The user does not have access to service account 'x'. Missing permission: iam.serviceAccounts.actAs",
        "forbidden",
        ["roles/iam.serviceAccountUser"],
    ),
    "quota": (403, "Quota 'CPUS' exceeded. Limit: 8.0", "quotaExceeded", ["enough quota in project p"]),
    "rate": (429, "Too many", "rateLimitExceeded", ["try again later"]),
    "name": (409, "The resource 'n' already exists", "alreadyExists", ["choose another gcp_infra_name"]),
    "project": (404, "The resource 'projects/p' was not found", "notFound", ["check gcp_infra_project"]),
    "credentials": (401, "Request had invalid authentication credentials", "authError", ["gcp_infra_auth_kind"]),
    "else": (400, "Invalid value", "invalid", ["read Google's message"]),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(case: str) -> None:
    status, message, reason, words = CASES[case]
    error = _gcp_errors.error_of(answer(status, message, reason))
    said = str(_gcp_errors.refused("creating network n", "compute", "p", status, error))
    for word in [*words, message, "creating network n in project p"]:
        assert word in said


def test_what_a_module_prints_is_read_as_well() -> None:
    printed = f"GCP returned error: {json.loads(answer(403, 'm', 'quotaExceeded'))}"
    assert _gcp_errors.error_of(printed)["code"] == 403
    assert _gcp_errors.error_of("no error at all") == {"message": "no error at all"}
    assert _gcp_errors.error_of("{'half': ") == {"message": "{'half':"}


@pytest.mark.parametrize(
    ("error", "word"),
    [
        ({"errors": [{"code": "ZONE_RESOURCE_POOL_EXHAUSTED", "message": "m"}]}, "another gcp_infra_zone"),
        ({"errors": [{"code": "QUOTA_EXCEEDED", "message": "m"}]}, "enough quota"),
        (
            {"errors": [{"code": "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE", "message": "m"}]},
            "remove what the message names",
        ),
        ({"code": 9, "message": "m"}, "run this again"),
        ("words", "words"),
    ],
)
def test_failed_late(error: t.Any, word: str) -> None:
    said = str(_gcp_errors.failed("creating instance i", "p", error))
    assert word in said
    assert "creating instance i in project p failed" in said
