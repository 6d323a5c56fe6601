# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetches what the files of WorkloadGroups are made of, has it checked, and makes them. Private to the collection."""

from __future__ import annotations

import contextlib
import dataclasses
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._exposure import ISTIOD_PORT, read_exposure
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import ApiError
from ansible_collections.hybridmesh.istio.plugins.module_utils._rights import rights_of_accounts
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _bootstrap, _checks, _gateway, _served
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._definition import Name
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._settings import Settings

Definitions = t.Mapping[Name, t.Mapping[str, t.Any]]


@dataclasses.dataclass(frozen=True)
class Wish:
    """What the user asked for, the same for all groups.

    Attributes:
        istio_namespace: where istiod runs.
        revision: a revision or tag of istiod; None for the default one.
        ingress_service: the gateway, as `name` or `name.namespace`.
        ingress_ip: an address or name that leads to istiod, instead of the gateway's own; '' for none.
        cluster_id: the cluster's name instead of the one that istiod's injector has; None for that one.
        allow_service_account: take ServiceAccounts that are `default` or have rights.
        discovery_address: `host:port` where VMs look for istiod; '' leaves it to the mesh and the gateway.
        verify_istiod: compare istiod's certificate with the root certificates that the VMs get.
        missing_ok: answer with an empty mapping for what is not there, rather than to fail.
        settings: what the files shall say.
    """

    istio_namespace: str = "istio-system"
    revision: str | None = None
    ingress_service: str = "istio-eastwestgateway"
    ingress_ip: str = ""
    cluster_id: str | None = None
    allow_service_account: bool = False
    discovery_address: str = ""
    verify_istiod: bool = True
    missing_ok: bool = False
    settings: Settings = dataclasses.field(default_factory=Settings)


# What can be asked for without a right that few have.
_OTHER_WAYS = {
    "mutatingwebhookconfigurations": "set revision ('default' for the istiod without one), so that no tag is read",
    "rolebindings": "set allow_service_account, so that the rights of ServiceAccounts are not read",
}


@contextlib.contextmanager
def _other_ways() -> t.Iterator[None]:
    """Where a right is missing, tells how to do without it as well."""
    try:
        yield
    except ApiError as error:
        if error.status == 403:
            for resource, way in _OTHER_WAYS.items():
                if resource in error.expected:
                    error.next_step += f"; or {way}"
        raise


class Material(t.NamedTuple):
    """What a group's VMs start from."""

    files: dict[str, str]
    service_account: str


@_other_ways()
def materials(
    cluster: Cluster, names: t.Sequence[Name], wish: Wish, definitions: Definitions | None = None
) -> list[Material | None]:
    """The material of each group, in one pass over the API; None for what is missing where `missing_ok` allows it.

    Args:
        cluster: whom to ask.
        names: the groups.
        wish: what the user asked for.
        definitions: groups that are not read from the API.

    Raises:
        MeshError: a group can't be used as it is; all that is wrong with it is found before any file is made.
    """
    try:
        mesh, way = _mesh(cluster, wish)
    except _checks.NotThere:
        if wish.missing_ok:
            return [None] * len(names)
        raise
    groups: dict[Name, _bootstrap.Group | None] = {}
    certs: dict[str, str] = {}
    accounts: dict[tuple[str, str], bool] = {}
    for name in dict.fromkeys(names):
        try:
            resource = (definitions or {}).get(name) or _read_group(cluster, name)
            groups[name] = _group(cluster, name, resource, mesh, wish, certs, accounts)
        except _checks.NotThere:
            if not wish.missing_ok:
                raise
            groups[name] = None
    found = [group for group in groups.values() if group]
    rights: dict[tuple[str, str], list[str]] = {}
    if not wish.allow_service_account:
        rights = rights_of_accounts(cluster, {(group.namespace, group.service_account) for group in found})
    base = _base(mesh, way, wish, list(dict.fromkeys(group.root_cert for group in found)))
    result: dict[Name, Material | None] = dict.fromkeys(groups)
    for name, group in groups.items():
        if group is None:
            continue
        account = (group.namespace, group.service_account)
        _checks.service_account(group, accounts[account], rights.get(account, []), wish.allow_service_account)
        result[name] = Material(_bootstrap.files(base, group, wish.settings), group.service_account)
    return [result[name] for name in names]


def _mesh(cluster: Cluster, wish: Wish) -> tuple[_cluster.Mesh, _gateway.Way]:
    mesh = _cluster.read_mesh(cluster, wish.istio_namespace, wish.revision)
    if mesh is None:
        raise _checks.no_mesh(wish.istio_namespace, wish.revision)
    if wish.settings.autoregister:
        _checks.auto_registration(mesh)
    _checks.token_audience(mesh)
    # With an address of the user's own there may be anything in between; what can't be seen is not judged.
    if wish.ingress_ip:
        return mesh, _gateway.way_given(wish.ingress_ip)
    name, _dot, namespace = wish.ingress_service.partition(".")
    namespace = namespace or wish.istio_namespace
    gateway = _cluster.read_gateway(cluster, namespace, name)
    if gateway is None:
        raise _checks.no_gateway(namespace, name)
    _checks.gateway_identity(mesh, gateway)
    _checks.gateway_exposure(gateway, read_exposure(cluster, mesh, gateway))
    return mesh, _gateway.way_through(cluster, gateway)


def _base(mesh: _cluster.Mesh, way: _gateway.Way, wish: Wish, roots: t.Sequence[str]) -> _bootstrap.Mesh:
    """What all groups share, once istiod's own certificate has been looked at."""
    return _bootstrap.Mesh(
        istio_namespace=mesh["namespace"],
        revision=mesh["revision"],
        mesh_config=mesh["mesh_config"],
        cluster_id=mesh["injector_cluster_id"] if wish.cluster_id is None else wish.cluster_id,
        gateway_addresses=way.addresses,
        discovery_address=_discovery_address(mesh, way, wish, roots),
    )


def _discovery_address(mesh: _cluster.Mesh, way: _gateway.Way, wish: Wish, roots: t.Sequence[str]) -> str:
    """Where VMs look for istiod, '' for where the mesh config says.

    The name of a load balancer is kept only where istiod's certificate is known to be one for that name, too
    (ISTIOD_CUSTOM_HOST): a VM would refuse any other.
    """
    host, port = mesh["discovery_host"], way.port
    if wish.discovery_address:
        host, asked = _gateway.split_port(wish.discovery_address, "discovery_address")
        port = asked or way.port
    names = [host] if wish.discovery_address or not way.name else [way.name, host]
    certified = ""
    if wish.verify_istiod and roots:
        certified = _certified(mesh, way, names, roots, strict=bool(wish.discovery_address))
    if wish.discovery_address:
        return f"{host}:{port}"
    if certified and certified != host:
        return f"{certified}:{port}"
    return f"{host}:{port}" if port != ISTIOD_PORT else ""


def _certified(
    mesh: _cluster.Mesh, way: _gateway.Way, names: t.Sequence[str], roots: t.Sequence[str], strict: bool
) -> str:
    """The first of the names that istiod answers to and is certified for; '' where the controller can't see that.

    Raises:
        MeshError: istiod shows a certificate that VMs would refuse, or with `strict` does not go by the first name.
    """
    found = ""
    for bundle in roots:
        # A gateway may let through istiod's own name alone.
        asked = list(dict.fromkeys([*names, mesh["discovery_host"]]))
        answers = ((name, _served.ask(way.addresses[0], way.port, name, bundle)) for name in asked)
        name, served = next(((name, answer) for name, answer in answers if answer.trusted is not None), ("", None))
        if served is None:
            return ""
        _checks.served_root(mesh, way.addresses[0], way.port, served.detail if not served.trusted else "")
        if strict:
            _checks.served_name(names[0], name, served.names, served.covers(names[0]))
        found = name if name in names and served.covers(name) else ""
    return found


def _group(
    cluster: Cluster,
    name: Name,
    resource: t.Mapping[str, t.Any],
    mesh: _cluster.Mesh,
    wish: Wish,
    certs: dict[str, str],
    accounts: dict[tuple[str, str], bool],
) -> _bootstrap.Group:
    """Checks one group and reads what belongs to it; what several groups share is kept in `certs` and `accounts`."""
    group = _bootstrap.Group(
        namespace=name.namespace,
        name=name.name,
        annotations=resource["metadata"].get("annotations") or {},
        spec=resource.get("spec") or {},
        root_cert="",
    )
    _checks.group_network(mesh, group)
    account = (name.namespace, group.service_account)
    if account not in accounts:
        path = f"/api/v1/namespaces/{name.namespace}/serviceaccounts/{group.service_account}"
        accounts[account] = cluster.get(path) is not None
    if not accounts[account]:
        _checks.service_account(group, False, [], wish.allow_service_account)
    if name.namespace not in certs:
        certs[name.namespace] = _root_cert(cluster, name.namespace)
    ports: tuple[int, ...] = ()
    if not group.ports and wish.settings.inbound_ports is None:
        ports = tuple(_cluster.service_ports(cluster, name.namespace, group.labels, group.ports))
    return dataclasses.replace(group, root_cert=certs[name.namespace], service_ports=ports)


def _root_cert(cluster: Cluster, namespace: str) -> str:
    config_map = cluster.get(f"/api/v1/namespaces/{namespace}/configmaps/istio-ca-root-cert")
    pem = str(((config_map or {}).get("data") or {}).get("root-cert.pem") or "")
    if not pem:
        raise _checks.no_root_cert(namespace)
    _checks.root_cert(pem, namespace)
    return pem


def _read_group(cluster: Cluster, name: Name) -> dict[str, t.Any]:
    found = _cluster.read_group(cluster, name.namespace, name.name)
    if found is None:
        raise _checks.no_group(name.namespace, name.name, _cluster.group_names(cluster))
    return found


def account_of_group(cluster: Cluster, name: Name) -> str:
    """The ServiceAccount that a group's VMs run as.

    Raises:
        NotThere: there is no such group.
    """
    template = (_read_group(cluster, name).get("spec") or {}).get("template") or {}
    return str(template.get("serviceAccount") or "default")
