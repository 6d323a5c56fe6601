# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks by themselves, at their edges. How they come about is tested in test__material.py."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _checks
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._bootstrap import Group

# Within and outside of the validity of the tests' certificates (2026 to 2126, 2020 to 2021).
NOW = 1_800_000_000.0
BEFORE = 1_500_000_000.0


def group(**template: t.Any) -> Group:
    return Group(namespace="shop", name="payments", annotations={}, spec={"template": template}, root_cert="")


@pytest.fixture
def mesh(fake_mesh: t.Any) -> _cluster.Mesh:
    found = _cluster.read_mesh(fake_mesh, "istio-system", None)
    assert found is not None
    return found


@pytest.fixture
def gateway(fake_mesh: t.Any) -> _cluster.Gateway:
    found = _cluster.read_gateway(fake_mesh, "istio-system", "istio-eastwestgateway")
    assert found is not None
    return found


@pytest.fixture
def valid_certificate(fake_mesh: t.Any) -> str:
    return str(fake_mesh.objects["/api/v1/namespaces/shop/configmaps/istio-ca-root-cert"]["data"]["root-cert.pem"])


def test_root_certificate_and_clocks(valid_certificate: str, expired_certificate: str) -> None:
    _checks.root_cert(valid_certificate, "shop", NOW)
    with pytest.raises(MeshError, match="is valid from 2026-01-01T00:00:00Z, and it is 2017") as caught:
        _checks.root_cert(valid_certificate, "shop", BEFORE)
    assert "clock" in caught.value.next_step
    with pytest.raises(MeshError, match="expired at 2021"):
        _checks.root_cert(expired_certificate, "shop", NOW)


def test_root_certificate_that_is_none() -> None:
    pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    with pytest.raises(MeshError, match=r"holds (something|no certificate)"):
        _checks.root_cert(pem, "shop", NOW)


def test_network_of_a_cluster_without_one(mesh: _cluster.Mesh) -> None:
    mesh["network"] = ""
    _checks.group_network(mesh, group())
    with pytest.raises(MeshError, match="remove the group's network"):
        _checks.group_network(mesh, group(network="network1"))


def test_gateway_that_says_nothing(mesh: _cluster.Mesh, gateway: _cluster.Gateway) -> None:
    gateway["cluster_name"] = gateway["mesh_id"] = gateway["network"] = None
    _checks.gateway_identity(mesh, gateway)


def test_gateway_with_a_network_where_the_cluster_has_none(mesh: _cluster.Mesh, gateway: _cluster.Gateway) -> None:
    mesh["network"] = ""
    _checks.gateway_identity(mesh, gateway)


def test_long_lists_are_cut() -> None:
    rights = [f"ClusterRoleBinding b{number} -> ClusterRole r" for number in range(8)]
    with pytest.raises(MeshError, match=r"b4 -> ClusterRole r; and 3 more\."):
        _checks.service_account(group(serviceAccount="payments"), True, rights, False)
    known = [f"shop/g{number}" for number in range(30)]
    assert "shop/g19 and 10 more" in _checks.no_group("shop", "none", known).next_step


def test_what_a_run_might_create_is_told_apart() -> None:
    for error in (
        _checks.no_mesh("istio-system", None),
        _checks.no_gateway("istio-system", "gw"),
        _checks.no_group("shop", "none", []),
        _checks.no_root_cert("shop"),
    ):
        assert isinstance(error, _checks.NotThere)
    with pytest.raises(_checks.NotThere):
        _checks.service_account(group(serviceAccount="payments"), False, [], True)


def test_exposure(gateway: _cluster.Gateway) -> None:
    _checks.gateway_exposure(gateway, {"exposed": True, "hosts": ["*"], "reason": ""})
    with pytest.raises(
        MeshError, match="istiod is not exposed through gateway istio-system/istio-eastwestgateway: why"
    ):
        _checks.gateway_exposure(gateway, {"exposed": False, "hosts": [], "reason": "why"})
