# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetches what the files of WorkloadGroups are made of, has it checked, and makes them. Private to the collection."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import datetime
import ipaddress
import socket
import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import ApiError, Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._exposure import read_exposure
from ansible_collections.hybridmesh.istio.plugins.module_utils._rights import rights_of_accounts
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _bootstrap, _checks

TOKEN_AUDIENCE = "istio-ca"
# More connections make the API server's signing no faster.
TOKEN_THREADS = 8
# What Kubernetes itself demands of a token (seconds).
MINIMUM_DURATION = 600


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
        missing_ok: answer with an empty mapping for what is not there, rather than to fail.
        settings: what the files shall say.
    """

    istio_namespace: str = "istio-system"
    revision: str | None = None
    ingress_service: str = "istio-eastwestgateway"
    ingress_ip: str = ""
    cluster_id: str | None = None
    allow_service_account: bool = False
    missing_ok: bool = False
    settings: _bootstrap.Settings = dataclasses.field(default_factory=_bootstrap.Settings)


class Name(t.NamedTuple):
    """A WorkloadGroup's name."""

    namespace: str
    name: str


def parse_name(term: str, namespace: str | None) -> Name:
    """`NAMESPACE/GROUP`, or `GROUP` with the namespace given apart.

    Raises:
        MeshError: there is no namespace, there are two, or a part is empty.
    """
    before, slash, name = term.rpartition("/")
    if slash and namespace not in (None, "", before):
        raise MeshError(
            f"group '{term}' and namespace '{namespace}'", "one namespace", "leave one of them out, or make them equal"
        )
    result = Name(before if slash else namespace or "", name)
    if not result.namespace or not result.name or "/" in result.namespace:
        raise MeshError(
            f"the group '{term}'" + ("" if slash or namespace else " without a namespace"),
            "NAMESPACE/GROUP, or GROUP with the option namespace",
            "name the WorkloadGroup so (mesh_workload_group)",
        )
    return result


def parse_ports(text: t.Any) -> str | None:
    """Ports as text, joined by ',' and in order; `*` for all, '' for none, None where nothing was said.

    Raises:
        MeshError: something in it is no port.
    """
    if text is None or str(text).strip() in ("", "*"):
        return None if text is None else str(text).strip()
    ports = set()
    for word in str(text).split(","):
        if not word.strip().isdecimal() or not 0 < int(word) < 65536:
            raise MeshError(f"inbound_ports '{text}'", "ports from 1 to 65535, joined by commas, or *", "correct it")
        ports.add(int(word))
    return ",".join(map(str, sorted(ports)))


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
def materials(cluster: Cluster, names: t.Sequence[Name], wish: Wish) -> list[Material | None]:
    """The material of each group, in one pass over the API; None for what is missing where `missing_ok` allows it.

    Raises:
        MeshError: a group can't be used as it is; all that is wrong with it is found before any file is made.
    """
    try:
        mesh, base = _mesh(cluster, wish)
    except _checks.NotThere:
        if wish.missing_ok:
            return [None] * len(names)
        raise
    groups: dict[Name, _bootstrap.Group | None] = {}
    certs: dict[str, str] = {}
    accounts: dict[tuple[str, str], bool] = {}
    for name in dict.fromkeys(names):
        try:
            groups[name] = _group(cluster, name, mesh, wish, certs, accounts)
        except _checks.NotThere:
            if not wish.missing_ok:
                raise
            groups[name] = None
    found = [group for group in groups.values() if group]
    rights: dict[tuple[str, str], list[str]] = {}
    if not wish.allow_service_account:
        rights = rights_of_accounts(cluster, {(group.namespace, group.service_account) for group in found})
    result: dict[Name, Material | None] = dict.fromkeys(groups)
    for name, group in groups.items():
        if group is None:
            continue
        account = (group.namespace, group.service_account)
        _checks.service_account(group, accounts[account], rights.get(account, []), wish.allow_service_account)
        result[name] = Material(_bootstrap.files(base, group, wish.settings), group.service_account)
    return [result[name] for name in names]


def _mesh(cluster: Cluster, wish: Wish) -> tuple[_cluster.Mesh, _bootstrap.Mesh]:
    mesh = _cluster.read_mesh(cluster, wish.istio_namespace, wish.revision)
    if mesh is None:
        raise _checks.no_mesh(wish.istio_namespace, wish.revision)
    if wish.settings.autoregister:
        _checks.auto_registration(mesh)
    name, _dot, namespace = wish.ingress_service.partition(".")
    namespace = namespace or wish.istio_namespace
    gateway = _cluster.read_gateway(cluster, namespace, name)
    if gateway is None and not wish.ingress_ip:
        raise _checks.no_gateway(namespace, name)
    # With an address of the user's own there may be anything in between; what can't be seen is not judged.
    if gateway is not None and not wish.ingress_ip:
        _checks.gateway_identity(mesh, gateway)
        _checks.gateway_exposure(gateway, read_exposure(cluster, mesh, gateway))
        if not gateway["addresses"]:
            raise _checks.no_address(gateway)
        address = resolve(gateway["addresses"][0])
    else:
        address = resolve(wish.ingress_ip)
    return mesh, _bootstrap.Mesh(
        istio_namespace=mesh["namespace"],
        revision=mesh["revision"],
        mesh_config=mesh["mesh_config"],
        cluster_id=mesh["injector_cluster_id"] if wish.cluster_id is None else wish.cluster_id,
        gateway_address=address,
    )


def _group(
    cluster: Cluster,
    name: Name,
    mesh: _cluster.Mesh,
    wish: Wish,
    certs: dict[str, str],
    accounts: dict[tuple[str, str], bool],
) -> _bootstrap.Group:
    """Reads and checks one group; what several groups share is kept in `certs` and `accounts`."""
    found = _cluster.read_group(cluster, name.namespace, name.name)
    if found is None:
        raise _checks.no_group(name.namespace, name.name, _cluster.group_names(cluster))
    group = _bootstrap.Group(
        namespace=name.namespace,
        name=name.name,
        annotations=found["metadata"].get("annotations") or {},
        spec=found.get("spec") or {},
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


def resolve(address: str) -> str:
    """The IP address for an address or name; of several the first, IPv4 before IPv6, in a fixed order.

    Raises:
        MeshError: the name has no address.
    """
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        pass
    try:
        answers = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise MeshError(
            f"the gateway's name {address} has no address on this machine: {error}",
            "a name that the controller can resolve: VMs find istiod by an address in /etc/hosts",
            "wait until the load balancer's name is in the DNS, or set ingress_ip",
        ) from error
    found = {ipaddress.ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers}
    return str(min(found, key=lambda ip: (ip.version, int(ip))))


class Token(t.NamedTuple):
    """A ServiceAccount's token and when it ends (seconds since 1970)."""

    token: str
    expires: float


def request_token(cluster: Cluster, namespace: str, account: str, duration: int) -> Token:
    """Has the API server make one token for istiod.

    Raises:
        ApiError: it refuses; the answer that is told holds no secret.
        MeshError: the token is not one for istiod.
    """
    answer = cluster.request(
        "POST",
        f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token",
        body={
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [TOKEN_AUDIENCE], "expirationSeconds": duration},
        },
    )
    status = answer.get("status") or {}
    if not status.get("token") or (answer.get("spec") or {}).get("audiences", [TOKEN_AUDIENCE]) != [TOKEN_AUDIENCE]:
        raise MeshError(
            f"the API server made no token with audience {TOKEN_AUDIENCE} for ServiceAccount {namespace}/{account}",
            "a token that istiod accepts",
            "see whether an admission webhook changes TokenRequests",
        )
    expires = datetime.datetime.fromisoformat(str(status["expirationTimestamp"]).replace("Z", "+00:00"))
    return Token(str(status["token"]), expires.timestamp())


def warning_if_short(token: Token, duration: int, server_time: float | None) -> str | None:
    """What to tell the user of a token that is valid for less than was asked for.

    Raises:
        MeshError: it ends before a VM could use it.
    """
    left = token.expires - (time.time() if server_time is None else server_time)
    if left < MINIMUM_DURATION - 60:
        raise MeshError(
            f"the API server made a token that is valid for {left:.0f} s",
            f"at least {MINIMUM_DURATION} s, so that it reaches the VM in time",
            "see the API server's --service-account-max-token-expiration, and whether a webhook changes TokenRequests",
        )
    # The API server may add to a duration, and its clock has full seconds.
    if left < duration - 60:
        return f"The API server allows tokens of {left:.0f} s only; {duration} s were asked for."
    return None


def request_tokens(cluster: Cluster, namespace: str, account: str, duration: int, count: int) -> list[Token]:
    """Several tokens, requested in parallel; the first failure ends it."""
    if count == 1:
        return [request_token(cluster, namespace, account, duration)]
    with concurrent.futures.ThreadPoolExecutor(max_workers=min(TOKEN_THREADS, max(count, 1))) as pool:
        jobs = [pool.submit(request_token, cluster, namespace, account, duration) for _number in range(count)]
        try:
            return [job.result() for job in jobs]
        finally:
            for job in jobs:
                job.cancel()


def account_of_group(cluster: Cluster, name: Name) -> str:
    """The ServiceAccount that a group's VMs run as.

    Raises:
        NotThere: there is no such group.
    """
    found = _cluster.read_group(cluster, name.namespace, name.name)
    if found is None:
        raise _checks.no_group(name.namespace, name.name, _cluster.group_names(cluster))
    template = (found.get("spec") or {}).get("template") or {}
    return str(template.get("serviceAccount") or "default")
