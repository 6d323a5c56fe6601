# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an API server refused, in words."""

from __future__ import annotations

import json

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _refused


@pytest.mark.parametrize(
    ("method", "path", "right"),
    [
        ("GET", "/api/v1/namespaces/a/pods", 'verb "list" on resource "pods" in namespace "a"'),
        ("GET", "/api/v1/namespaces/a", 'verb "get" on resource "namespaces"'),
        ("GET", "/api/v1/nodes", 'verb "list" on resource "nodes"'),
        ("POST", "/api/v1/namespaces/a/serviceaccounts/s/token",
         'verb "create" on resource "serviceaccounts/token" in namespace "a"'),
        ("PATCH", "/apis/apps/v1/namespaces/a/deployments/d",
         'verb "patch" on resource "deployments" of the API group "apps" in namespace "a"'),
        ("DELETE", "/apis/networking.istio.io/v1/namespaces/a/workloadgroups/g?x=y",
         'verb "delete" on resource "workloadgroups" of the API group "networking.istio.io" in namespace "a"'),
        ("GET", "/version", 'verb "get" on the non-resource URL "/version"'),
    ],
)  # fmt: skip
def test_rights_of(method: str, path: str, right: str) -> None:
    assert _refused.rights_of(method, path) == right


@pytest.mark.parametrize(
    ("status", "message", "said"),
    [
        (403, "ValidatingAdmissionPolicy 'p' with binding 'p' denied request: no", "admission policies allow"),
        (400, 'admission webhook "w" denied the request: no', "admission policies allow"),
        (403, 'pods is forbidden: User "u" cannot list', 'verb "list" on resource "pods"'),
        (429, "too many requests", "has time for a request"),
        (401, "Unauthorized", "credentials that the API server accepts"),
        (422, "ValidatingAdmissionPolicyBinding is invalid", "an answer without an error"),
    ],
)
def test_what_was_expected(status: int, message: str, said: str) -> None:
    body = json.dumps({"message": message}).encode()
    error = _refused.refused("GET", "/api/v1/pods", status, body)
    assert said in error.expected
    assert message in error.found
    assert error.next_step
    assert error.status == status
