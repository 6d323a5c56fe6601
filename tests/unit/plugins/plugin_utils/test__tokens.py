# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens for virtual machines."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _tokens

SHOP = "/api/v1/namespaces/shop"


def test_tokens(fake_mesh: t.Any) -> None:
    tokens = _tokens.request_tokens(fake_mesh, "shop", "payments", 1200, 20)
    assert len({token.token for token in tokens}) == 20
    spec = fake_mesh.bodies[0]["spec"]
    assert spec == {"audiences": ["istio-ca"], "expirationSeconds": 1200}
    assert _tokens.request_tokens(fake_mesh, "shop", "payments", 1200, 0) == []


def test_token_refused_names_the_right(fake_mesh: t.Any) -> None:
    fake_mesh.forbidden.add(f"{SHOP}/serviceaccounts/payments/token")
    with pytest.raises(MeshError, match='verb "create" on resource "serviceaccounts/token" in namespace "shop"'):
        _tokens.request_tokens(fake_mesh, "shop", "payments", 3600, 5)


def test_token_of_short_life() -> None:
    token = _tokens.Token("secret", 1000 + 3600)
    assert _tokens.warning_if_short(token, 3600, 1000.5) is None
    warning = _tokens.warning_if_short(token, 7200, 1000.0)
    assert warning == "The API server allows tokens of 3600 s only; 7200 s were asked for."
    with pytest.raises(MeshError, match="valid for 300 s") as caught:
        _tokens.warning_if_short(token, 3600, 4300.0)
    assert "secret" not in str(caught.value)


def test_token_of_another_audience(fake_mesh: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {
        "spec": {"audiences": ["api"]},
        "status": {"token": "secret", "expirationTimestamp": "2126-01-01T00:00:00Z"},
    }
    monkeypatch.setattr(fake_mesh, "request", lambda *_args, **_kw: answer)
    with pytest.raises(MeshError, match="audience istio-ca") as caught:
        _tokens.request_token(fake_mesh, "shop", "payments", 3600)
    assert "secret" not in str(caught.value)
