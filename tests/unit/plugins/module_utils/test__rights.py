# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What gives a ServiceAccount rights, and what doesn't."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _rights

ACCOUNT = ("shop", "payments")


def binding(subject: dict[str, str], **metadata: t.Any) -> dict[str, t.Any]:
    return {
        "metadata": {"name": "b", **metadata},
        "subjects": [{"kind": "User", "name": "jane"}, subject],
        "roleRef": {"kind": "ClusterRole", "name": "edit"},
    }


@pytest.mark.parametrize(
    "subject",
    [
        {"kind": "ServiceAccount", "namespace": "shop", "name": "payments"},
        {"kind": "User", "name": "system:serviceaccount:shop:payments"},
        {"kind": "Group", "name": "system:serviceaccounts"},
        {"kind": "Group", "name": "system:serviceaccounts:shop"},
    ],
)
def test_rights(subject: dict[str, str]) -> None:
    assert _rights.bindings_of(ACCOUNT, [binding(subject)]) == ["ClusterRoleBinding b -> ClusterRole edit"]
    in_namespace = binding(subject, namespace="other")
    assert _rights.bindings_of(ACCOUNT, [in_namespace]) == ["RoleBinding other/b -> ClusterRole edit"]


def test_a_role_binding_without_a_namespace_in_its_subject_means_its_own() -> None:
    subject = {"kind": "ServiceAccount", "name": "payments"}
    assert _rights.bindings_of(ACCOUNT, [binding(subject, namespace="shop")])
    assert not _rights.bindings_of(ACCOUNT, [binding(subject, namespace="other")])


@pytest.mark.parametrize(
    "subject",
    [
        {"kind": "ServiceAccount", "namespace": "other", "name": "payments"},
        {"kind": "ServiceAccount", "namespace": "shop", "name": "orders"},
        {"kind": "Group", "name": "system:authenticated"},
        {"kind": "Group", "name": "system:serviceaccounts:other"},
        {"kind": "User", "name": "payments"},
    ],
)
def test_no_rights(subject: dict[str, str]) -> None:
    assert _rights.bindings_of(ACCOUNT, [binding(subject)]) == []


def test_what_kubernetes_comes_with_is_no_finding() -> None:
    subject = {"kind": "Group", "name": "system:serviceaccounts"}
    own = binding(subject, labels={"kubernetes.io/bootstrapping": "rbac-defaults"})
    assert _rights.bindings_of(ACCOUNT, [own, {"metadata": {"name": "empty"}, "roleRef": {}}]) == []


def test_read_once_for_all(fake_mesh: t.Any) -> None:
    base = "/apis/rbac.authorization.k8s.io/v1"
    fake_mesh.objects[f"{base}/namespaces/shop/rolebindings/b"] = binding(
        {"kind": "ServiceAccount", "name": "payments"}, namespace="shop"
    )
    rights = _rights.rights_of_accounts(fake_mesh, [ACCOUNT, ("shop", "orders")])
    assert rights == {ACCOUNT: ["RoleBinding shop/b -> ClusterRole edit"], ("shop", "orders"): []}
    assert len(fake_mesh.asked) == 2
    assert _rights.rights_of_accounts(fake_mesh, []) == {}
    assert len(fake_mesh.asked) == 2
