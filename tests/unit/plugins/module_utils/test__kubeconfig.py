# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding and reading kubeconfigs."""

from __future__ import annotations

import os
import pathlib

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _kubeconfig
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError


def test_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/jane")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert _kubeconfig.default_kubeconfig() == "/home/jane/.kube/config"
    monkeypatch.setenv("KUBECONFIG", "/a:/b")
    assert _kubeconfig.default_kubeconfig() == "/a:/b"


def test_several_are_merged_and_the_first_wins(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").write_text("current-context: a\nusers: [{name: x, user: {token: of-a}}]\n")
    (tmp_path / "b").write_text("current-context: b\nusers: [{name: x, user: {token: of-b}}, {name: y}]\n")
    found = _kubeconfig.load_kubeconfig(os.pathsep.join(str(tmp_path / name) for name in ("none", "a", "b")))
    assert found == {"current-context": "a", "users": [{"name": "x", "user": {"token": "of-a"}}, {"name": "y"}]}


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not valid YAML"), ("- a", "holds no mapping"), (None, "can't be read")]
)
def test_what_is_none(tmp_path: pathlib.Path, text: str | None, message: str) -> None:
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)
    with pytest.raises(MeshError, match=message):
        _kubeconfig.load_kubeconfig(str(path))


def test_of_context() -> None:
    document = {
        "current-context": "a",
        "contexts": [
            {"name": "a", "context": {"cluster": "x", "user": "u"}},
            {"name": "b", "context": {"cluster": "y", "user": "none"}},
        ],
        "clusters": [{"name": "x", "cluster": {"server": "X"}}, {"name": "y", "cluster": {"server": "Y"}}],
        "users": [{"name": "u", "user": {"token": "T"}}],
    }
    assert _kubeconfig.of_context(document, None) == ({"token": "T"}, {"server": "X"})
    assert _kubeconfig.of_context(document, "b") == ({}, {"server": "Y"})
    assert _kubeconfig.of_context(document, "none") == ({}, {})
    assert _kubeconfig.of_context({}, None) == ({}, {})


def test_secrets_of_a_kubeconfig_given_as_a_dictionary_are_hidden() -> None:
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "https://example"}}],
        "users": [
            {"name": "u", "user": {"client-key-data": "a2V5", "client-certificate-data": "Y2VydA=="}},
            {"name": "v", "user": {"token": "ey.J", "auth-provider": {"config": {"id-token": "ey.K"}}}},
        ],
    }
    assert _kubeconfig.secrets_of(config) == {"a2V5", "ey.J", "ey.K"}
    assert _kubeconfig.secrets_of("/home/me/.kube/config") == set()
    assert _kubeconfig.secrets_of(None) == set()


def test_a_kubeconfig_may_be_given_as_text() -> None:
    text = "current-context: a\nusers: [{name: x, user: {token: secret-x}}]\n"
    document = _kubeconfig.inline(text)
    assert document["current-context"] == "a"
    assert _kubeconfig.secrets_of(text) == {"secret-x"}
    assert _kubeconfig.inline('{"current-context": "b"}') == {"current-context": "b"}
    for other in (None, "/a/path", "/a:/b", document):
        assert _kubeconfig.inline(other) == other


@pytest.mark.parametrize("text", ["{token: secret-x\n", "- secret-x\n- b"])
def test_text_that_is_no_kubeconfig_is_not_told(text: str) -> None:
    with pytest.raises(MeshError, match="given as text") as caught:
        _kubeconfig.inline(text)
    assert "secret-x" not in str(caught.value)
    assert _kubeconfig.secrets_of(text) == set()
