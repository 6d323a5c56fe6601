# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a ServiceAccount may do in the cluster. Private to the collection.

Whoever holds a VM's token or certificate speaks for its ServiceAccount. One that has rights in the cluster would hand
them to everybody with root on the VM.
"""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster

_RBAC = "/apis/rbac.authorization.k8s.io/v1"

Account = t.Tuple[str, str]


def rights_of_accounts(cluster: Cluster, accounts: t.Iterable[Account]) -> dict[Account, list[str]]:
    """For each (namespace, name) the bindings that give it rights; read once for all of them.

    Raises:
        ApiError: the bindings can't be read.
    """
    wanted = list(accounts)
    if not wanted:
        return {}
    bindings = cluster.list_all(_RBAC + "/clusterrolebindings")
    bindings += cluster.list_all(_RBAC + "/rolebindings")
    return {account: bindings_of(account, bindings) for account in wanted}


def bindings_of(account: Account, bindings: t.Iterable[t.Mapping[str, t.Any]]) -> list[str]:
    """The bindings that name the account or a group of accounts that it is in, as `kind name -> kind name`.

    What every account has anyway is no finding: bindings of all authenticated users, and those that Kubernetes itself
    comes with.
    """
    namespace, name = account
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    user = f"system:serviceaccount:{namespace}:{name}"
    found = []
    for binding in bindings:
        metadata = binding.get("metadata") or {}
        if (metadata.get("labels") or {}).get("kubernetes.io/bootstrapping") == "rbac-defaults":
            continue
        for subject in binding.get("subjects") or []:
            kind = subject.get("kind")
            if (
                (
                    kind == "ServiceAccount"
                    and subject.get("name") == name
                    and (subject.get("namespace") or metadata.get("namespace")) == namespace
                )
                or (kind == "User" and subject.get("name") == user)
                or (kind == "Group" and subject.get("name") in groups)
            ):
                found.append(_told(metadata, binding.get("roleRef") or {}))
                break
    return sorted(found)


def _told(metadata: t.Mapping[str, t.Any], role: t.Mapping[str, t.Any]) -> str:
    where = metadata.get("namespace")
    kind = "RoleBinding" if where else "ClusterRoleBinding"
    name = "{}/{}".format(where, metadata.get("name")) if where else metadata.get("name")
    return "{} {} -> {} {}".format(kind, name, role.get("kind"), role.get("name"))
