# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What mesh_info returns."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.modules import mesh_info

ISTIO = "/api/v1/namespaces/istio-system"


def mesh(cluster: t.Any, service: str = "istio-eastwestgateway") -> dict[str, t.Any]:
    return mesh_info.mesh(cluster, "istio-system", None, service)


def mark(cluster: t.Any, name: str, role: str, revision: str = "") -> None:
    cluster.objects[f"{ISTIO}/configmaps/hybridmesh-{name}"] = {
        "metadata": {"name": f"hybridmesh-{name}", "labels": {"app.kubernetes.io/managed-by": "hybridmesh.istio"}},
        "data": {"name": name, "version": "1.31.0", "revision": revision, "role": role},
    }


def test_nothing_installed(fake_empty: t.Any) -> None:
    assert mesh(fake_empty) == {
        "installed": False,
        "namespace": "istio-system",
        "pod_cidrs": [],
        "server_time": None,
    }


def test_somebody_elses(fake_mesh: t.Any) -> None:
    found = mesh(fake_mesh)
    assert found["installed"]
    assert not found["managed"]
    assert not found["gateway"]["managed"]
    assert found["gateway"]["exposed"]
    assert found["gateway"]["hosts"] == ["istiod.istio-system.svc"]


def test_ours(fake_mesh: t.Any) -> None:
    mark(fake_mesh, "control-plane", "control-plane")
    mark(fake_mesh, "eastwest-gateway", "eastwest-gateway")
    found = mesh(fake_mesh)
    assert found["managed"]
    assert found["gateway"]["managed"]


def test_our_mark_for_another(fake_mesh: t.Any) -> None:
    mark(fake_mesh, "control-plane-canary", "control-plane", "canary")
    mark(fake_mesh, "other-gateway", "eastwest-gateway")
    found = mesh(fake_mesh)
    assert not found["managed"]
    assert not found["gateway"]["managed"]


def test_all_that_is_documented_is_there_and_nothing_else(fake_mesh: t.Any) -> None:
    documented = yaml.safe_load(mesh_info.RETURN)["mesh"]["contains"]
    found = mesh(fake_mesh)
    assert sorted(found) == sorted(documented)
    assert sorted(found["gateway"]) == sorted(documented["gateway"]["contains"])


def test_no_gateway(fake_mesh: t.Any) -> None:
    assert mesh(fake_mesh, "other.edge")["gateway"] is None


def test_nodes_may_not_be_listed(fake_mesh: t.Any) -> None:
    fake_mesh.forbidden.add("/api/v1/nodes")
    assert mesh(fake_mesh)["pod_cidrs"] is None


def test_service_accounts(fake_mesh: t.Any) -> None:
    fake_mesh.objects["/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/ops"] = {
        "metadata": {"name": "ops"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "shop", "name": "payments"}],
        "roleRef": {"kind": "ClusterRole", "name": "view"},
    }
    assert mesh_info.service_accounts(fake_mesh, ["shop/payments", "shop/none"]) == {
        "shop/payments": {"exists": True, "rights": ["ClusterRoleBinding ops -> ClusterRole view"]},
        "shop/none": {"exists": False, "rights": []},
    }
    assert mesh_info.service_accounts(fake_mesh, []) == {}
    with pytest.raises(MeshError, match="NAMESPACE/NAME"):
        mesh_info.service_accounts(fake_mesh, ["payments"])
