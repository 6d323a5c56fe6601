# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookups as Ansible loads and calls them."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import lookup_loader
from ansible.template import Templar
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _options

try:
    from ansible.template import trust_as_template
except ImportError:  # pragma: no cover
    trust_as_template = str


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, fake_mesh: t.Any) -> list[dict[str, t.Any]]:
    """The connection options that the lookups came to; the connection itself is to the fake mesh."""
    seen: list[dict[str, t.Any]] = []

    def connect(options: dict[str, t.Any]) -> t.Any:
        seen.append(options)
        return fake_mesh

    monkeypatch.setattr(_options, "Cluster", connect)
    for name in ("K8S_AUTH_KUBECONFIG", "K8S_AUTH_CONTEXT", "K8S_AUTH_VERIFY_SSL"):
        monkeypatch.delenv(name, raising=False)
    return seen


def call(name: str, *terms: str, variables: dict[str, t.Any] | None = None, **options: t.Any) -> list[t.Any]:
    templar = Templar(loader=DataLoader(), variables=variables or {})
    plugin = lookup_loader.get(f"hybridmesh.istio.{name}", loader=DataLoader(), templar=templar)
    found: list[t.Any] = plugin.run(list(terms), variables=variables or {}, **options)
    return found


def test_bootstrap(given: t.Any) -> None:
    (files,) = call("sidecar_bootstrap", "shop/payments", token=False)
    assert sorted(files) == ["cluster.env", "hosts", "mesh.yaml", "root-cert.pem"]
    (same,) = call("sidecar_bootstrap", "payments", namespace="shop", token=False)
    assert same == files


def test_bootstrap_with_a_token(given: t.Any, fake_mesh: t.Any) -> None:
    (files,) = call("sidecar_bootstrap", "shop/payments", token_duration=7200)
    assert files["istio-token"].startswith("secret-")
    assert fake_mesh.bodies[-1]["spec"]["expirationSeconds"] == 7200


def test_options_reach_the_files(given: t.Any) -> None:
    (files,) = call(
        "sidecar_bootstrap", "shop/payments", token=False, autoregister=False, capture_dns="no", inbound_ports="90,80",
        ingress_ip="192.0.2.1", cluster_id="other", internal_ip="10.0.0.1",
    )  # fmt: skip
    assert files["hosts"].startswith("192.0.2.1 ")
    env = files["cluster.env"]
    for line in ("ISTIO_INBOUND_PORTS='80,90'", "ISTIO_META_CLUSTER_ID='other'", "ISTIO_SVC_IP='10.0.0.1'"):
        assert line in env
    assert "DNS_CAPTURE" not in env
    assert "AUTO_REGISTER" not in env


def test_no_token_in_check_mode(given: t.Any, fake_mesh: t.Any) -> None:
    variables = {"ansible_check_mode": True}
    (files,) = call("sidecar_bootstrap", "shop/payments", variables=variables)
    assert "istio-token" not in files
    assert call("sidecar_token", "shop/payments", variables=variables) == [""]
    assert call("sidecar_token", "shop/payments", variables=variables, vms=["a", "b"]) == [{"a": "", "b": ""}]
    assert not any(request.startswith("POST") for request in fake_mesh.asked)


def test_missing_ok_only_in_check_mode(given: t.Any) -> None:
    terms = ("shop/none", "shop/payments")
    found = call("sidecar_bootstrap", *terms, variables={"ansible_check_mode": True}, missing_ok=True)
    assert found[0] == {}
    assert found[1]["hosts"]
    for variables, missing_ok in (({"ansible_check_mode": True}, False), ({}, True)):
        with pytest.raises(AnsibleError, match="no WorkloadGroup shop/none"):
            call("sidecar_bootstrap", *terms, variables=variables, missing_ok=missing_ok)


def test_token(given: t.Any) -> None:
    (token,) = call("sidecar_token", "shop/payments")
    assert token.startswith("secret-")
    (tokens,) = call("sidecar_token", "payments", namespace="shop", vms=["vm1", "vm2", "vm3"])
    assert sorted(tokens) == ["vm1", "vm2", "vm3"]
    assert len(set(tokens.values())) == 3
    assert call("sidecar_token", "shop/payments", vms=[]) == [{}]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sidecar_token", {"duration": 60}, "600 s at least"),
        ("sidecar_bootstrap", {"token_duration": 60}, "600 s at least"),
        ("sidecar_bootstrap", {"internal_ip": "a", "external_ip": "b"}, "one of them at most"),
        ("sidecar_bootstrap", {"inbound_ports": "http"}, "ports from 1 to 65535"),
        ("sidecar_bootstrap", {"namespace": "other"}, "one namespace"),
    ],
)
def test_refused(given: t.Any, name: str, options: dict[str, t.Any], message: str) -> None:
    with pytest.raises(AnsibleError, match=message):
        call(name, "shop/payments", **options)


def test_a_failure_holds_no_secret(given: t.Any, fake_mesh: t.Any) -> None:
    fake_mesh.expires = "2020-01-01T00:00:00Z"
    with pytest.raises(AnsibleError, match="valid for") as caught:
        call("sidecar_token", "shop/payments")
    assert "secret-" not in str(caught.value)


def test_connection_options_from_variables(given: t.Any) -> None:
    """Ansible hands variables over as they are written; a template has no type until it is resolved."""
    variables = {
        "mesh_kubeconfig": trust_as_template("{{ folder }}/config"),
        "folder": "/somewhere",
        "mesh_validate_certs": trust_as_template("{{ 1 == 1 }}"),
        "mesh_context": None,
        "mesh_host": "",
    }
    call("sidecar_bootstrap", "shop/payments", variables=variables, token=False)
    assert given[-1]["kubeconfig"] == "/somewhere/config"
    assert given[-1]["validate_certs"] is True
    assert given[-1]["context"] is None
    assert given[-1]["host"] is None


def test_arguments_before_variables_before_the_environment(given: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K8S_AUTH_CONTEXT", "of-environment")
    call("sidecar_token", "shop/payments", context=None)
    assert given[-1]["context"] == "of-environment"
    variables = {"mesh_context": "of-variable"}
    call("sidecar_token", "shop/payments", variables=variables)
    assert given[-1]["context"] == "of-variable"
    call("sidecar_token", "shop/payments", variables=variables, context="of-argument")
    assert given[-1]["context"] == "of-argument"
