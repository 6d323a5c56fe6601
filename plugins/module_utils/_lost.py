# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done about a virtual machine that is gone or stolen, and what that leaves open. Pure. Private."""

from __future__ import annotations

import hashlib
import ipaddress
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._apply import MANAGED_BY, MANAGER

Mapping = t.Mapping[str, t.Any]

API_VERSION = "security.istio.io/v1"
KIND = "AuthorizationPolicy"


def principal(trust_domain: str, namespace: str, account: str) -> str:
    """An identity as AuthorizationPolicies name it."""
    return f"{trust_domain}/ns/{namespace}/sa/{account}"


def policy_name(vm: str, identity: str) -> str:
    """A name for the policy about a machine, legal whatever the machine is called."""
    plain = "".join(character if character.isalnum() else "-" for character in vm.lower()).strip("-")[:40]
    return f"hybridmesh-lost-{plain or 'vm'}-{hashlib.sha256(f'{vm} {identity}'.encode()).hexdigest()[:8]}"


def policy(vm: str, identity: str, address: str | None, root_namespace: str) -> dict[str, t.Any]:
    """Denies an identity everywhere in the mesh.

    Args:
        vm: the machine's name.
        identity: as `principal` gives it.
        address: where given, the identity is denied at this address alone.
        root_namespace: the mesh's; a policy there holds for all namespaces.
    """
    source: dict[str, t.Any] = {"principals": [identity]}
    if address:
        network = ipaddress.ip_network(address)
        source["ipBlocks"] = [str(network)]
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": policy_name(vm, identity),
            "namespace": root_namespace,
            "labels": {MANAGED_BY: MANAGER},
            "annotations": {"hybridmesh.istio/lost-vm": vm},
        },
        "spec": {"action": "DENY", "rules": [{"from": [{"source": source}]}]},
    }


def left_open(identity: str, deny: str, address: str | None) -> list[str]:
    """What whoever has the machine can still do."""
    told = [
        f"Whoever holds its certificate can go on renewing it as {identity}: istiod asks for nothing else, and can revoke nothing. "
        "That ends only when the mesh's certificate authority is changed (a new root, and the old one taken out of the bundle).",
        "It can connect to istiod and read the configuration of its namespace, and register itself anew, as long as it reaches the "
        "gateway: block its address at the firewall.",
    ]
    if deny == "address":
        told.append(f"From another address than {address} it is let in as any machine of its group.")
    if deny == "none":
        told.append("Workloads of the mesh let it in as before.")
    if deny != "none":
        told.append(
            "Workloads without a sidecar, and those with PERMISSIVE mutual TLS, still take its connections in plain text."
        )
    return told
