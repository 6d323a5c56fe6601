# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all gateways have in common."""

from __future__ import annotations

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _gateway_spec
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

from .test__eastwest import mesh


def test_the_gateway_follows_istiod_and_is_never_newer() -> None:
    def version(asked: str | None, **of: str | None) -> str:
        return _gateway_spec.gateway_version(asked, mesh(**of), "ingress_gateway")

    assert version(None) == "1.31.0"
    assert version("1.30.4") == "1.30.4"
    with pytest.raises(MeshError, match="upgrade istiod first"):
        version("1.32.0")
    with pytest.raises(MeshError, match="can't be told") as told:
        version(None, version=None)
    assert "ingress_gateway_version" in told.value.next_step


def test_settings_are_laid_over_each_other_key_by_key() -> None:
    assert _gateway_spec.merged({"a": {"b": 1, "c": [1]}, "d": 1}, {"a": {"c": [2]}, "d": {"e": 2}}) == {
        "a": {"b": 1, "c": [2]},
        "d": {"e": 2},
    }
