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


def call(name: str, *terms: t.Any, variables: dict[str, t.Any] | None = None, **options: t.Any) -> list[t.Any]:
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
        ("sidecar_bootstrap", {"internal_ip": "10.0.0.1", "external_ip": "192.0.2.1"}, "one of them at most"),
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


def env_of(files: dict[str, str]) -> list[str]:
    return files["cluster.env"].splitlines()


def test_settings_reach_the_files(given: t.Any) -> None:
    (files,) = call(
        "sidecar_bootstrap", "shop/payments", token=False, exclude_inbound_ports="9100,443", exclude_outbound_ports=[25],
        include_outbound_ports=[8080], include_outbound_ip_ranges="10.0.0.0/8", exclude_outbound_ip_ranges=["10.1.0.0/16"],
        exclude_interfaces="docker0", interception_mode="TPROXY", native_nftables="yes", dual_stack=True, concurrency="2",
        proxy_metadata={"OWN": "x"}, discovery_address="mesh.example:443",
    )  # fmt: skip
    env = env_of(files)
    for line in (
        "ISTIO_INBOUND_PORTS='8080'",
        "ISTIO_LOCAL_EXCLUDE_PORTS='22,15090,15021,15020,443,9100'",
        "ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE='25'",
        "ISTIO_OUTBOUND_PORTS='8080'",
        "ISTIO_SERVICE_CIDR='10.0.0.0/8'",
        "ISTIO_SERVICE_EXCLUDE_CIDR='10.1.0.0/16'",
        "ISTIO_EXCLUDE_INTERFACES='docker0'",
        "ISTIO_INBOUND_INTERCEPTION_MODE='TPROXY'",
        "NATIVE_NFTABLES='true'",
        "ISTIO_DUAL_STACK='true'",
        "OWN='x'",
        "CA_ADDR='mesh.example:443'",
    ):
        assert line in env
    assert "  concurrency: 2\n" in files["mesh.yaml"]
    with pytest.raises(AnsibleError, match="interception_mode"):
        call("sidecar_bootstrap", "shop/payments", interception_mode="tproxy")


def test_options_as_istioctl_spells_them(given: t.Any, fake_mesh: t.Any) -> None:
    flags = {"clusterID": "other", "ingressIP": "192.0.2.1", "externalIP": "192.0.2.9", "tokenDuration": 7200}
    (files,) = call("sidecar_bootstrap", "shop/payments", **flags)
    assert "ISTIO_META_CLUSTER_ID='other'" in env_of(files)
    assert "ISTIO_SVC_IP='192.0.2.9'" in env_of(files)
    assert files["hosts"].startswith("192.0.2.1 ")
    assert fake_mesh.bodies[-1]["spec"]["expirationSeconds"] == 7200


def test_a_group_as_a_whole_beside_one_by_name(given: t.Any) -> None:
    definition = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadGroup",
        "metadata": {"name": "new"},
        "spec": {"template": {"serviceAccount": "payments", "network": "network1", "ports": {"http": 81}}},
    }
    named, whole = call("sidecar_bootstrap", "payments", definition, namespace="shop", token=False)
    assert "ISTIO_SERVICE='payments.shop'" in env_of(named)
    assert "ISTIO_SERVICE='new.shop'" in env_of(whole)
    assert "ISTIO_INBOUND_PORTS='81'" in env_of(whole)
    with pytest.raises(AnsibleError, match="two definitions"):
        call("sidecar_bootstrap", definition, {**definition, "spec": {}}, namespace="shop")
    with pytest.raises(AnsibleError, match="kind 'None'"):
        call("sidecar_bootstrap", {"metadata": {}}, namespace="shop")


def test_settings_of_the_mesh_from_variables_and_environment(
    given: t.Any, fake_mesh: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {
        "mesh_ingress_ip": "192.0.2.1",
        "mesh_token_duration": 7200,
        "mesh_revision": trust_as_template("{{ r }}"),
        "r": "default",
    }
    (files,) = call("sidecar_bootstrap", "shop/payments", variables=variables)
    assert files["hosts"].startswith("192.0.2.1 ")
    assert fake_mesh.bodies[-1]["spec"]["expirationSeconds"] == 7200
    call("sidecar_token", "shop/payments", variables=variables)
    assert fake_mesh.bodies[-1]["spec"]["expirationSeconds"] == 7200
    # Variables come before the environment, arguments before both.
    monkeypatch.setenv("HYBRIDMESH_INGRESS_IP", "192.0.2.3")
    assert call("sidecar_bootstrap", "shop/payments", token=False)[0]["hosts"].startswith("192.0.2.3 ")
    assert call("sidecar_bootstrap", "shop/payments", token=False, variables=variables)[0]["hosts"] == files["hosts"]
    (files,) = call("sidecar_bootstrap", "shop/payments", token=False, variables=variables, ingress_ip="192.0.2.4")
    assert files["hosts"].startswith("192.0.2.4 ")
