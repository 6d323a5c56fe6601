# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would keep a virtual machine from joining the mesh, found before it costs an hour. Private to the collection.

Pure: each check takes what was read and raises a MeshError, or returns.
"""

from __future__ import annotations

import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._certificate import parse_certificate, pem_blocks
from ansible_collections.hybridmesh.istio.plugins.module_utils._cluster import Gateway, Mesh, is_revisioned
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._exposure import Exposure
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._bootstrap import Group
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._tokens import TOKEN_AUDIENCE


class NotThere(MeshError):
    """Something is missing altogether; a run that installs it first would put it there."""


def no_mesh(istio_namespace: str, revision: str | None) -> NotThere:
    of_revision = f" of revision {revision}" if revision and is_revisioned(revision) else ""
    return NotThere(
        f"no Istio{of_revision} in namespace {istio_namespace} (its config maps istio and istio-sidecar-injector)",
        f"an istiod{of_revision} in that namespace",
        "install Istio (role control_plane), or set istio_namespace or revision to what is installed",
    )


def no_gateway(namespace: str, name: str) -> NotThere:
    return NotThere(
        f"no Service {namespace}/{name}",
        "an east-west gateway that VMs reach istiod through",
        "make one (role eastwest_gateway), or set ingress_service to yours, or ingress_ip to an address that leads"
        " to istiod",
    )


def no_group(namespace: str, name: str, known: t.Sequence[str]) -> NotThere:
    elsewhere = [group for group in known if group.split("/")[1] == name]
    shown = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
    if elsewhere:
        step = "name the right namespace: " + ", ".join(elsewhere)
    elif known:
        step = f"correct the name, or create the group (role workload_group); there are: {shown}"
    else:
        step = "create it (role workload_group); there is no WorkloadGroup in the cluster"
    return NotThere(f"no WorkloadGroup {namespace}/{name}", "the group that the VMs belong to", step)


def no_root_cert(namespace: str) -> NotThere:
    return NotThere(
        f"no config map istio-ca-root-cert with a key root-cert.pem in namespace {namespace}",
        "istiod writes it into every namespace that it watches",
        "see that istiod runs, and that discoverySelectors or the namespace's labels don't leave this namespace out",
    )


def auto_registration(mesh: Mesh) -> None:
    if not mesh["auto_registration"]:
        raise MeshError(
            "auto-registration is switched off in istiod (PILOT_ENABLE_WORKLOAD_ENTRY_AUTOREGISTRATION=false)",
            "istiod makes a WorkloadEntry for each VM that connects",
            "switch it on in istiod, or set autoregister to false and create the WorkloadEntries yourself",
        )


def token_audience(mesh: Mesh) -> None:
    audiences = mesh["token_audiences"]
    if TOKEN_AUDIENCE not in audiences:
        raise MeshError(
            "istiod takes tokens with the audience {} only (TOKEN_AUDIENCES)".format(" or ".join(audiences) or "''"),
            f"{TOKEN_AUDIENCE}, which the tokens of VMs have",
            f"add {TOKEN_AUDIENCE} to istiod's environment variable TOKEN_AUDIENCES (values.pilot.env)",
        )


def group_network(mesh: Mesh, group: Group) -> None:
    if group.network and group.network != mesh["network"]:
        raise MeshError(
            f"WorkloadGroup {group.namespace}/{group.name} is in network '{group.network}', the cluster in"
            f" '{mesh['network']}'",
            "VMs in the cluster's own network, which pods reach directly; other networks are not supported yet",
            f"set the group's network to '{mesh['network']}'"
            if mesh["network"]
            else "remove the group's network, or give the cluster one (global.network)",
        )


def service_account(group: Group, exists: bool, rights: t.Sequence[str], allowed: bool) -> None:
    name = f"{group.namespace}/{group.service_account}"
    if not exists:
        raise NotThere(
            f"no ServiceAccount {name}, which WorkloadGroup {group.namespace}/{group.name} names",
            "the identity of the group's VMs",
            "create it (role workload_group does), or correct the group's serviceAccount",
        )
    if allowed:
        return
    if group.service_account == "default":
        raise MeshError(
            f"WorkloadGroup {group.namespace}/{group.name} has the ServiceAccount 'default'",
            "a ServiceAccount of its own: 'default' is the identity of every Pod in the namespace that names no other",
            "set the group's serviceAccount, or set allow_service_account if it is meant so",
        )
    if rights:
        shown = "; ".join(rights[:5]) + (f"; and {len(rights) - 5} more" if len(rights) > 5 else "")
        raise MeshError(
            f"ServiceAccount {name} has rights in the cluster: {shown}",
            "one without: root on a VM can use whatever its ServiceAccount may do",
            "give the group a ServiceAccount without bindings, or set allow_service_account if it is meant so",
        )


def gateway_identity(mesh: Mesh, gateway: Gateway) -> None:
    """A gateway of another mesh, cluster or network can't lead to this istiod."""
    where = f"gateway {gateway['namespace']}/{gateway['name']}"
    # istiod calls a mesh without an ID by its trust domain.
    for what, found, expected in (
        ("cluster name", gateway["cluster_name"], mesh["cluster_name"]),
        ("mesh ID", gateway["mesh_id"], mesh["mesh_id"] or mesh["trust_domain"]),
        ("network", gateway["network"], mesh["network"]),
    ):
        if found is not None and expected and found != expected:
            raise MeshError(
                f"{where} has the {what} '{found}'",
                f"istiod's {what}, '{expected}'",
                "install the gateway again with istiod's mesh ID, cluster name and network (role eastwest_gateway"
                " reads them), or set ingress_service to a gateway of this mesh",
            )


def gateway_exposure(gateway: Gateway, exposure: Exposure) -> None:
    if not exposure["exposed"]:
        raise MeshError(
            f"istiod is not exposed through gateway {gateway['namespace']}/{gateway['name']}: {exposure['reason']}",
            "a Gateway and a VirtualService that lead from its port 15012 to istiod",
            "expose istiod (role eastwest_gateway), or set ingress_ip to an address that leads to it",
        )


def no_address(gateway: Gateway) -> MeshError:
    return MeshError(
        f"Service {gateway['namespace']}/{gateway['name']} (type {gateway['type']}) has no address yet",
        "a load balancer's address in its status, externalIPs, or type NodePort and a node that is ready",
        "see why the load balancer gives none (kubectl describe service), or set ingress_ip to what VMs shall use",
    )


def root_cert(pem: str, namespace: str, now: float | None = None) -> None:
    """At least one certificate of the bundle must be valid: during a change of roots there are two."""
    where = f"config map {namespace}/istio-ca-root-cert"
    step = "see istiod's log, and its CA (secret cacerts or istio-ca-secret)"
    now = time.time() if now is None else now
    try:
        certificates = [parse_certificate(der) for der in pem_blocks(pem)]
    except ValueError as error:
        raise MeshError(f"{where} holds something that is {error}", "root certificates (PEM)", step) from error
    if not certificates:
        raise MeshError(f"{where} holds no certificate", "the mesh's root certificate (PEM)", step)
    if any(certificate.not_before <= now < certificate.not_after for certificate in certificates):
        return
    latest = max(certificates, key=lambda certificate: certificate.not_after)
    if latest.not_after <= now:
        raise MeshError(
            f"the root certificate in {where} expired at {_utc(latest.not_after)}", "a valid root certificate", step
        )
    raise MeshError(
        f"the root certificate in {where} is valid from {_utc(latest.not_before)}, and it is {_utc(now)} here",
        "a root certificate that is valid now",
        "set this machine's clock, or istiod's",
    )


def served_root(mesh: Mesh, address: str, port: int, fault: str) -> None:
    """What istiod shows must lead to the root certificates that the VMs are given."""
    if fault:
        raise MeshError(
            f"what answers at {address}:{port} has a certificate that does not follow from the root certificates in the"
            f" config map istio-ca-root-cert: {fault}",
            f"istiod of namespace {mesh['namespace']}, with a certificate of the mesh's own CA",
            "see whether that address leads to another mesh's gateway, and whether istiod was restarted after its CA"
            " (secret cacerts) was changed; with a CA of your own for istiod's certificate set verify_istiod to false",
        )


def served_name(name: str, answered_to: str, known: t.Sequence[str], certified: bool) -> None:
    """VMs need an istiod that answers to the name they know it by, and is certified for it."""
    if answered_to != name:
        raise MeshError(
            f"nobody answers to the name {name} at the gateway, where istiod answers to {answered_to}",
            "a discovery address that the gateway lets through to istiod",
            f"add {name} to the sniHosts of the VirtualService and the hosts of the Gateway that expose istiod, or leave"
            " discovery_address out",
        )
    if not certified:
        raise MeshError(
            f"istiod's certificate is not for {name}, but for {', '.join(known)}",
            "a discovery address that istiod is certified for",
            f"set istiod's environment variable ISTIOD_CUSTOM_HOST to {name}, or leave discovery_address out",
        )


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
