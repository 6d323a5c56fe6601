# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Envoy's admin interface says about a request: who got it, over what, as whom. Pure. Private to the collection.

A request counts as one through the mesh where Envoy's own counters of an outbound endpoint moved with it, the
endpoint's transport is mutual TLS, and Envoy verified the peer's SPIFFE identity against the list returned here.
"""

from __future__ import annotations

import datetime
import re
import typing as t
import urllib.parse

# cluster -> endpoint (`ip:port`) -> counter -> value; health flags are text.
Clusters = t.Dict[str, t.Dict[str, t.Dict[str, t.Any]]]

COUNTERS = ("cx_total", "cx_connect_fail", "rq_total", "rq_success", "rq_error")
_STATS = re.compile(r"^(?P<cluster>.+?)::(?P<endpoint>\[.+\]:\d+|[^\[]+?:\d+)::(?P<stat>[a-z_]+)::(?P<value>.*)$")

# Where traffic goes that belongs to no Service of the mesh.
OUTSIDE = ("PassthroughCluster", "BlackHoleCluster")


def parse_clusters(text: str) -> Clusters:
    """The endpoints' counters in `/clusters` (as text: a quarter of the JSON's size, and `grep` can thin it)."""
    clusters: Clusters = {}
    for line in text.splitlines():
        match = _STATS.match(line)
        if not match:
            continue
        stat = match.group("stat")
        if stat in COUNTERS:
            endpoint = clusters.setdefault(match.group("cluster"), {}).setdefault(match.group("endpoint"), {})
            endpoint[stat] = int(match.group("value") or 0)
        elif stat == "health_flags":
            endpoint = clusters.setdefault(match.group("cluster"), {}).setdefault(match.group("endpoint"), {})
            endpoint[stat] = match.group("value")
    return clusters


def moved(before: Clusters, after: Clusters) -> Clusters:
    """The counters that grew, and nothing else. Counters that began anew (Envoy restarted) count from zero."""
    grown: Clusters = {}
    for cluster, endpoints in after.items():
        for endpoint, stats in endpoints.items():
            old = before.get(cluster, {}).get(endpoint, {})
            delta = {}
            for name in COUNTERS:
                was, now = old.get(name, 0), stats.get(name, 0)
                grew = now - was if now >= was else now
                if grew:
                    delta[name] = grew
            if delta:
                grown.setdefault(cluster, {})[endpoint] = delta
    return grown


def host_of(cluster: str) -> str:
    """The service's host name in an outbound cluster's name (`outbound|80|subset|host`), else ''."""
    parts = cluster.split("|")
    return parts[3] if len(parts) == 4 and parts[0] == "outbound" else ""


def clusters_for(url: str, names: t.Iterable[str]) -> list[str]:
    """The outbound clusters that a URL's host and port mean, however short the host is written."""
    split = urllib.parse.urlsplit(url)
    host, port = split.hostname or "", split.port or (443 if split.scheme == "https" else 80)
    found = []
    for name in names:
        parts = name.split("|")
        service = host_of(name)
        if service and parts[1] == str(port) and (service == host or service.startswith(host + ".")):
            found.append(name)
    return sorted(found)


def endpoint_address(endpoint: str) -> str:
    """`10.0.0.1` of `10.0.0.1:80`, `fd00::1` of `[fd00::1]:80`."""
    return endpoint.rpartition(":")[0].strip("[]")


class Transport(t.NamedTuple):
    """How Envoy talks to an endpoint."""

    tls: bool
    identities: list[str]


def transports(cluster_dump: t.Mapping[str, t.Any], endpoint_dump: t.Mapping[str, t.Any]) -> dict[str, Transport]:
    """Endpoint -> transport, of one cluster.

    Args:
        cluster_dump: `/config_dump?resource=dynamic_active_clusters&name_regex=...`.
        endpoint_dump: `/config_dump?include_eds&resource=dynamic_endpoint_configs&name_regex=...`.
    """
    cluster: t.Mapping[str, t.Any] = {}
    for item in cluster_dump.get("configs") or []:
        cluster = item.get("cluster") or {}
    result = {}
    for item in endpoint_dump.get("configs") or []:
        for locality in (item.get("endpoint_config") or {}).get("endpoints") or []:
            for endpoint in locality.get("lb_endpoints") or []:
                address = ((endpoint.get("endpoint") or {}).get("address") or {}).get("socket_address") or {}
                metadata = (endpoint.get("metadata") or {}).get("filter_metadata") or {}
                wants = metadata.get("envoy.transport_socket_match") or {}
                host = address.get("address") or ""
                key = "{}:{}".format(f"[{host}]" if ":" in host else host, address.get("port_value", ""))
                result[key] = _transport(cluster, wants)
    return result


def _transport(cluster: t.Mapping[str, t.Any], wants: t.Mapping[str, t.Any]) -> Transport:
    socket = cluster.get("transport_socket")
    for candidate in cluster.get("transport_socket_matches") or []:
        match = candidate.get("match") or {}
        if all(wants.get(key) == value for key, value in match.items()):
            socket = candidate.get("transport_socket")
            break
    config = (socket or {}).get("typed_config") or {}
    if not str(config.get("@type", "")).endswith(".UpstreamTlsContext"):
        return Transport(False, [])
    common = config.get("common_tls_context") or {}
    validation = (common.get("combined_validation_context") or {}).get("default_validation_context") or {}
    validation = validation or common.get("validation_context") or {}
    matchers = [item.get("matcher") or {} for item in validation.get("match_typed_subject_alt_names") or []]
    matchers += validation.get("match_subject_alt_names") or []
    identities = []
    for matcher in matchers:
        if matcher.get("exact"):
            identities.append(str(matcher["exact"]))
        elif matcher.get("prefix"):
            identities.append(str(matcher["prefix"]) + "*")
    return Transport(True, identities)


def identity_matches(expected: str, identities: t.Iterable[str]) -> bool:
    """Whether an expected identity (a SPIFFE ID, or `namespace/service-account`) is among those that Envoy accepts."""
    for identity in identities:
        if identity == expected:
            return True
        namespace, slash, account = expected.partition("/")
        if slash and not expected.startswith("spiffe:") and identity.endswith(f"/ns/{namespace}/sa/{account}"):
            return True
    return False


def answered(stats: t.Mapping[str, int], every_request: bool) -> bool:
    """Whether an endpoint's grown counters show an answer, and not only an attempt.

    Args:
        stats: what the counters did.
        every_request: whether every request of that time was answered. Of TCP, Envoy counts connections only.
    """
    if stats.get("rq_success"):
        return True
    tried = stats.get("cx_total", 0) - stats.get("cx_connect_fail", 0)
    return every_request and tried > 0 and not stats.get("rq_error")


class Node(t.NamedTuple):
    """What a sidecar says of itself."""

    state: str
    version: str
    node_id: str
    address: str
    namespace: str
    network: str
    group: str
    service_account: str


def parse_server_info(info: t.Mapping[str, t.Any]) -> Node:
    """The Node in `/server_info`; the address is the one that istiod knows it by."""
    node = info.get("node") or {}
    metadata = node.get("metadata") or {}
    parts = str(node.get("id") or "").split("~")
    return Node(
        state=str(info.get("state") or ""),
        version=str(metadata.get("ISTIO_VERSION") or ""),
        node_id=str(node.get("id") or ""),
        address=parts[1] if len(parts) == 4 else "",
        namespace=str(metadata.get("NAMESPACE") or ""),
        network=str(metadata.get("NETWORK") or ""),
        group=str(metadata.get("AUTO_REGISTER_GROUP") or ""),
        service_account=str(metadata.get("SERVICE_ACCOUNT") or ""),
    )


def parse_certificate(certs: t.Mapping[str, t.Any], now: datetime.datetime, max_age: float = 0.6) -> dict[str, t.Any]:
    """The workload's certificate in `/certs`, judged.

    Args:
        certs: the answer of `/certs`.
        now: the time on the machine.
        max_age: share of its lifetime after which a certificate should have been renewed.

    Returns:
        verdict (ok, missing, expired, not_yet_valid, rotation_broken), evidence, next_step, identity, not_before,
        expires, remaining_seconds, age (share of its lifetime).
    """
    best: dict[str, t.Any] | None = None
    for item in certs.get("certificates") or []:
        for link in item.get("cert_chain") or []:
            uris = [name.get("uri") or "" for name in link.get("subject_alt_names") or []]
            identity = next((uri for uri in uris if uri.startswith("spiffe://")), "")
            if identity and (best is None or link.get("expiration_time", "") > best["expires"]):
                best = {
                    "identity": identity,
                    "not_before": str(link.get("valid_from") or ""),
                    "expires": str(link.get("expiration_time") or ""),
                }
    if best is None:
        return {
            "verdict": "missing",
            "evidence": "Envoy holds no workload certificate",
            "next_step": "see /var/log/istio/istio.log for the answer of the CA (token expired, unknown cluster ID)",
            "identity": None,
            "not_before": None,
            "expires": None,
            "remaining_seconds": None,
            "age": None,
        }
    begins, ends = _time(best["not_before"]), _time(best["expires"])
    life = max((ends - begins).total_seconds(), 1.0)
    best["remaining_seconds"] = int((ends - now).total_seconds())
    best["age"] = round((now - begins).total_seconds() / life, 3)
    best.update(_judge_certificate(best, max_age))
    return best


def _judge_certificate(certificate: t.Mapping[str, t.Any], max_age: float) -> dict[str, str]:
    expires, age = certificate["expires"], certificate["age"]
    if certificate["remaining_seconds"] <= 0:
        return {
            "verdict": "expired",
            "evidence": f"the certificate expired at {expires}",
            "next_step": "give the VM a new token (role vm_sidecar); it is taken up without a restart",
        }
    if age < 0:
        return {
            "verdict": "not_yet_valid",
            "evidence": "the certificate is valid from {} only, by this machine's clock".format(
                certificate["not_before"]
            ),
            "next_step": "set the machine's clock (chrony or systemd-timesyncd)",
        }
    if age > max_age:
        return {
            "verdict": "rotation_broken",
            "evidence": f"{age:.0%} of the certificate's life is over, and it was not renewed",
            "next_step": "see /var/log/istio/istio.log for the answer of the CA",
        }
    return {"verdict": "ok", "evidence": "", "next_step": ""}


def _time(text: str) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(re.sub(r"\.\d+", "", text).replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)


def judge_target(
    target: t.Mapping[str, t.Any],
    answer: t.Mapping[str, t.Any],
    grown: Clusters,
    security: t.Callable[[str], t.Mapping[str, Transport]],
) -> dict[str, t.Any]:
    """The verdict on one GET.

    Args:
        target: `url`, and optionally `identity` and `status` (a list).
        answer: `status` (None where nothing came), `error`.
        grown: what Envoy's counters did meanwhile.
        security: cluster -> its endpoints' transports; asked only for the clusters that matter.
    """
    mine = clusters_for(target["url"], grown)
    if not mine and not any(name in grown for name in OUTSIDE):
        # A route may have sent the request to another Service than the one named: believed where only one moved.
        others = [name for name in sorted(grown) if host_of(name)]
        mine = others if len(others) == 1 else []
    endpoints = {endpoint: (cluster, stats) for cluster in mine for endpoint, stats in grown[cluster].items()}
    known = {cluster: security(cluster) for cluster in mine}
    secured = {
        endpoint: known[cluster].get(endpoint, Transport(False, []))
        for endpoint, (cluster, stats) in endpoints.items()
        if answered(stats, answer.get("status") is not None)
    }
    identities = sorted({identity for transport in secured.values() for identity in transport.identities})
    verdict, evidence, next_step = _judge_request(target, answer, grown, endpoints, secured, identities)
    return {
        "url": target["url"],
        "verdict": verdict,
        "ok": verdict == "ok",
        "status": answer.get("status"),
        "through_mesh": bool(secured) and all(transport.tls for transport in secured.values()),
        "cluster": mine[0] if mine else None,
        "endpoints": sorted(secured or endpoints),
        "peer_identity": identities[0] if len(identities) == 1 else None,
        "peer_identities": identities,
        "evidence": evidence,
        "next_step": next_step,
    }


def _judge_request(
    target: t.Mapping[str, t.Any],
    answer: t.Mapping[str, t.Any],
    grown: Clusters,
    endpoints: t.Mapping[str, tuple[str, t.Mapping[str, int]]],
    secured: t.Mapping[str, Transport],
    identities: t.Sequence[str],
) -> tuple[str, str, str]:
    status = answer.get("status")
    failing = sorted(endpoint for endpoint, (_name, stats) in endpoints.items() if stats.get("cx_connect_fail"))
    if not secured and failing:
        return (
            "connection_failed",
            "Envoy could not connect to {}".format(", ".join(failing)),
            "check the route and the firewall between this machine and the pod network",
        )
    if status is None:
        step = "check the name and that capture is on (systemctl status istio-capture)"
        return ("request_failed", str(answer.get("error") or "no answer"), step)
    accepted = target.get("status") or range(200, 400)
    if status not in accepted and endpoints:
        return ("bad_status", f"the answer was {status}", "see the Service behind the URL, and its policies")
    if not endpoints:
        outside = [name for name in OUTSIDE if name in grown]
        found = "it went out by Envoy's " + outside[0] if outside else "no outbound endpoint of Envoy counted it"
        return (
            "not_through_mesh",
            f"status {status}, but {found}",
            "check that capture is on (systemctl status istio-capture) and that the host is a Service of the mesh",
        )
    if status not in accepted:
        return ("bad_status", f"the answer was {status}", "see the Service behind the URL, and its policies")
    if not secured:
        return ("bad_status", f"status {status}, but no endpoint answered", "see Envoy's log on this machine")
    plain = sorted(endpoint for endpoint, transport in secured.items() if not transport.tls)
    if plain:
        return (
            "plaintext",
            "{} was reached without mutual TLS".format(", ".join(plain)),
            "have the workload injected, and look for a DestinationRule that switches TLS off",
        )
    expected = target.get("identity")
    if not identities:
        return ("no_identity", "Envoy verifies no SPIFFE identity of the peer", "look for a DestinationRule with TLS")
    if expected and not identity_matches(expected, identities):
        return (
            "wrong_identity",
            "the peer is {}, expected {}".format(", ".join(identities), expected),
            "correct the target's identity, or see who serves that host",
        )
    return ("ok", "", "")
