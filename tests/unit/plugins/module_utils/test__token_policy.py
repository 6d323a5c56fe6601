# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy as an object. What it refuses is tested with a real API server (tests/lab/test_4_rights.py)."""

from __future__ import annotations

from ansible_collections.hybridmesh.istio.plugins.module_utils import _token_policy
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _tokens


def test_the_audience_is_the_one_that_tokens_are_made_with() -> None:
    assert _token_policy.AUDIENCE == _tokens.TOKEN_AUDIENCE


def test_the_cap_is_in_the_rule_and_in_the_message() -> None:
    rule = _token_policy.policy(7200)["spec"]["validations"][1]
    assert rule["expression"].endswith("<= 7200")
    assert "7200 s at most" in rule["messageExpression"]


def test_the_binding_belongs_to_the_policy() -> None:
    assert _token_policy.binding()["spec"]["policyName"] == _token_policy.policy(600)["metadata"]["name"]
