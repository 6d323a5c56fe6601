#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the API server takes a token."""

from __future__ import annotations

DOCUMENTATION = r"""
module: token_review_info
short_description: Whether the API server takes a token
version_added: 0.1.0
description:
  - Asks the API server by a TokenReview whether it takes a token, and whose it is. istiod asks the same.
  - Without the right to ask, RV(reviewed) is V(false).
author:
  - hybridmesh.istio contributors (@hybridmesh)
extends_documentation_fragment:
  - hybridmesh.istio.attributes
  - hybridmesh.istio.attributes.cluster
  - hybridmesh.istio.cluster
options:
  token:
    description: The token.
    type: str
    required: true
  audiences:
    description: Audiences that it has to be for.
    type: list
    elements: str
    default: [istio-ca]
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Is this token any good
  hybridmesh.istio.token_review_info:
    token: "{{ token }}"
  no_log: true
  delegate_to: localhost
"""

RETURN = r"""
reviewed:
  description: Whether the API server answered.
  returned: always
  type: bool
authenticated:
  description: Whether it takes the token for one of the audiences.
  returned: always
  type: bool
user:
  description: Whose token it is, null where it is not taken.
  returned: always
  type: str
error:
  description: Why it is not taken, or why it could not be asked.
  returned: always
  type: str
"""

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _cluster_module
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import ApiError


def run(module: _cluster_module.Task, cluster: Cluster) -> dict[str, t.Any]:
    """Asks."""
    result: dict[str, t.Any] = {"changed": False, "reviewed": False, "authenticated": False, "user": None, "error": ""}
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": module.params["token"].strip(), "audiences": module.params["audiences"]},
    }
    try:
        answer = cluster.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body=body)
    except ApiError as error:
        if error.status != 403:
            raise
        return dict(result, error="no right to create tokenreviews.authentication.k8s.io")
    status = answer.get("status") or {}
    return dict(
        result,
        reviewed=True,
        authenticated=bool(status.get("authenticated")),
        user=(status.get("user") or {}).get("username"),
        error=status.get("error", ""),
    )


OPTIONS: dict[str, t.Any] = {
    "token": {"type": "str", "required": True, "no_log": True},
    "audiences": {"type": "list", "elements": "str", "default": ["istio-ca"]},
}


DEFINITION = _cluster_module.Definition(OPTIONS, run)


def main() -> None:
    """Runs the module."""
    _cluster_module.main(DEFINITION)


if __name__ == "__main__":
    main()
