# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Istio's routing objects that a declaration of traffic stands for. Pure. Private to the collection.

Nothing is judged here: what a declaration lacks is left out of its object, and told by `_traffic_declared` and
`_traffic_checks`.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._apply import MANAGED_BY, MANAGER
from ansible_collections.hybridmesh.istio.plugins.module_utils._gateway_spec import merged
from ansible_collections.hybridmesh.istio.plugins.module_utils._lost import principal
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Object
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_names import (
    KINDS,
    MESH,
    TRAFFIC_LABEL,
    gateway_name,
    service_host,
)

Entry = t.Mapping[str, t.Any]

# What a rule may have instead of backends, in its `spec`.
ANSWERS = ("redirect", "directResponse", "delegate")


@dataclasses.dataclass(frozen=True)
class Context:
    """What holds for all objects of a declaration.

    Attributes:
        name: the declaration's.
        domain: the cluster's DNS domain.
        trust_domain: the mesh's, which identities begin with.
    """

    name: str = "traffic"
    domain: str = "cluster.local"
    trust_domain: str = "cluster.local"


def build(rules: Entry, context: Context) -> list[Object]:
    """All objects of a declaration, in the order in which they are made."""
    makers: tuple[tuple[str, t.Callable[[Entry, Context], Object]], ...] = (
        ("destinations", destination),
        ("mtls", mtls),
        ("access", access),
        ("sidecars", sidecar),
        ("gateways", gateway),
        ("routes", route),
    )
    return [make(entry, context) for key, make in makers for entry in rules.get(key) or []]


def destination(entry: Entry, context: Context) -> Object:
    """A DestinationRule."""
    host = _host(entry, entry.get("namespace") or "", context)
    # Without another one it lies beside its Service, where clients in all namespaces see it.
    namespace = str(entry.get("namespace") or (host.split(".")[1] if entry.get("service") and host else ""))
    policy: Object = {}
    if entry.get("tls"):
        names = {"mode": "mode", "secret": "credentialName", "sni": "sni", "subject_alt_names": "subjectAltNames"}
        policy["tls"] = _renamed(entry["tls"], names)
    if entry.get("load_balancing"):
        policy["loadBalancer"] = {"simple": entry["load_balancing"]}
    if entry.get("connections"):
        policy["connectionPool"] = _pool(entry["connections"])
    if entry.get("outliers"):
        asked = entry["outliers"]
        policy["outlierDetection"] = _given(
            {
                "consecutive5xxErrors": asked.get("errors"),
                "interval": _duration(asked.get("interval")),
                "baseEjectionTime": _duration(asked.get("ejection_time")),
                "maxEjectionPercent": asked.get("max_percent"),
            }
        )
    subsets = [{"name": name, "labels": _texts(labels)} for name, labels in (entry.get("subsets") or {}).items()]
    spec = _given({"host": host, "subsets": subsets or None, "trafficPolicy": policy or None})
    plain = host.partition(".")[0] if entry.get("service") else host.replace("*", "any").replace(".", "-")
    return _object("DestinationRule", str(entry.get("name") or plain), namespace, spec, entry, context)


def mtls(entry: Entry, context: Context) -> Object:
    """A PeerAuthentication."""
    spec: Object = {"mtls": {"mode": entry.get("mode") or "STRICT"}}
    if entry.get("selector"):
        spec["selector"] = {"matchLabels": _texts(entry["selector"])}
    if entry.get("ports"):
        spec["portLevelMtls"] = {str(port): {"mode": str(mode)} for port, mode in entry["ports"].items()}
    return _object("PeerAuthentication", _named(entry), str(entry["namespace"]), spec, entry, context)


def access(entry: Entry, context: Context) -> Object:
    """An AuthorizationPolicy. One that allows and has no rules lets nobody in."""
    denies = entry.get("deny") is not None
    spec: Object = {"action": "DENY" if denies else "ALLOW"}
    if entry.get("selector"):
        spec["selector"] = {"matchLabels": _texts(entry["selector"])}
    rules = [_access_rule(rule, context) for rule in (entry.get("deny") if denies else entry.get("allow")) or []]
    if rules:
        spec["rules"] = rules
    return _object("AuthorizationPolicy", str(entry["name"]), str(entry["namespace"]), spec, entry, context)


def sidecar(entry: Entry, context: Context) -> Object:
    """A Sidecar."""
    spec: Object = {}
    if entry.get("selector"):
        spec["workloadSelector"] = {"labels": _texts(entry["selector"])}
    if entry.get("egress"):
        spec["egress"] = [{"hosts": list(entry["egress"])}]
    if entry.get("outbound"):
        spec["outboundTrafficPolicy"] = {"mode": entry["outbound"]}
    return _object("Sidecar", _named(entry), str(entry["namespace"]), spec, entry, context)


def gateway(entry: Entry, context: Context) -> Object:
    """A Gateway."""
    servers: list[Object] = []
    taken: set[str] = set()
    for server in entry.get("servers") or []:
        # Istio wants names that differ, also where two servers share a port and differ in their hosts.
        plain = str(server.get("name") or "{}-{}".format(str(server["protocol"]).lower(), server["port"]))
        name, count = plain, 1
        while name in taken and not server.get("name"):
            count += 1
            name = f"{plain}-{count}"
        taken.add(name)
        made: Object = {
            "port": {"number": server["port"], "name": name, "protocol": server["protocol"]},
            "hosts": list(server.get("hosts") or []),
        }
        asked = server.get("tls") or {}
        names = {
            "mode": "mode",
            "secret": "credentialName",
            "redirect": "httpsRedirect",
            "min_version": "minProtocolVersion",
        }
        tls = _renamed(asked, names)
        if tls.get("credentialName") and not tls.get("mode"):
            tls["mode"] = "SIMPLE"
        if tls:
            made["tls"] = tls
        servers.append(made)
    selector = entry.get("selector")
    spec = {"selector": _texts({"istio": "ingressgateway"} if selector is None else selector), "servers": servers}
    return _object("Gateway", str(entry["name"]), str(entry["namespace"]), spec, entry, context)


def route(entry: Entry, context: Context) -> Object:
    """A VirtualService."""
    namespace = str(entry["namespace"])
    # A name that is no Service's stays as it is here, and is told by `_traffic_declared`.
    services = [service_host(name, namespace, context.domain) or name for name in entry.get("services") or []]
    spec: Object = {"hosts": [*(entry.get("hosts") or []), *services]}
    gateways = [gateway_name(str(name), namespace) for name in entry.get("gateways") or []]
    if gateways and gateways != [MESH]:
        spec["gateways"] = gateways
    protocol = str(entry.get("protocol") or "http")
    rules = [_rule(rule, protocol, spec["hosts"], namespace, context) for rule in entry.get("rules") or []]
    if rules:
        spec[protocol] = rules
    return _object("VirtualService", str(entry["name"]), namespace, spec, entry, context)


def _rule(rule: Entry, protocol: str, hosts: list[str], namespace: str, context: Context) -> Object:
    made: Object = {}
    if rule.get("name") and protocol == "http":
        made["name"] = rule["name"]
    matches = [_match(match) for match in rule.get("match") or []]
    if protocol == "tls":
        # Istio wants to be told the names that clients ask for; these are the route's own, unless others are given.
        matches = [dict({"sniHosts": list(hosts)}, **match) for match in matches or [{}]]
    if matches:
        made["match"] = matches
    targets = []
    for backend in rule.get("backends") or []:
        target: Object = {"destination": _destination(backend, namespace, context)}
        if backend.get("weight") is not None:
            target["weight"] = backend["weight"]
        targets.append(target)
    if targets:
        made["route"] = targets
    if rule.get("timeout") is not None:
        made["timeout"] = _duration(rule["timeout"])
    if rule.get("retries"):
        asked = rule["retries"]
        made["retries"] = _given(
            {
                "attempts": asked.get("attempts"),
                "perTryTimeout": _duration(asked.get("per_try_timeout")),
                "retryOn": ",".join(asked.get("conditions") or []) or None,
            }
        )
    mirrors = []
    for mirror in rule.get("mirrors") or []:
        percent = 100 if mirror.get("percent") is None else mirror["percent"]
        mirrors.append(
            {
                "destination": _destination(mirror, namespace, context),
                "percentage": {"value": int(percent) if percent == int(percent) else percent},
            }
        )
    if mirrors:
        made["mirrors"] = mirrors
    if rule.get("rewrite"):
        made["rewrite"] = _renamed(rule["rewrite"], {"path": "uri", "host": "authority"})
    return merged(made, rule.get("spec") or {})


def _match(match: Entry) -> Object:
    made = _given({"port": match.get("port"), "sourceNamespace": match.get("source_namespace")})
    for key, kind in (("path", "exact"), ("path_prefix", "prefix"), ("path_regex", "regex")):
        if match.get(key) is not None:
            made["uri"] = {kind: match[key]}
    if match.get("method"):
        made["method"] = {"exact": match["method"]}
    for key, field in (("headers", "headers"), ("query", "queryParams")):
        if match.get(key):
            made[field] = {str(name): _text_match(value) for name, value in match[key].items()}
    if match.get("sni"):
        made["sniHosts"] = list(match["sni"])
    if match.get("source_labels"):
        made["sourceLabels"] = _texts(match["source_labels"])
    return made


def _text_match(value: t.Any) -> Object:
    """A plain value is to be exactly that; `present` becomes Istio's way of saying so, which is to say nothing."""
    if not isinstance(value, t.Mapping):
        return {"exact": _text(value)}
    return {str(kind): _text(wanted) for kind, wanted in value.items() if kind != "present"}


def _destination(target: Entry, namespace: str, context: Context) -> Object:
    made: Object = {"host": _host(target, namespace, context)}
    if target.get("port") is not None:
        made["port"] = {"number": target["port"]}
    if target.get("subset"):
        made["subset"] = target["subset"]
    return made


def _host(target: Entry, namespace: str, context: Context) -> str:
    if target.get("service"):
        return service_host(str(target["service"]), namespace, context.domain) or ""
    return str(target.get("host") or "")


def _pool(asked: Entry) -> Object:
    tcp = _given({"maxConnections": asked.get("max"), "connectTimeout": _duration(asked.get("connect_timeout"))})
    http = _given(
        {
            "http1MaxPendingRequests": asked.get("max_pending"),
            "http2MaxRequests": asked.get("max_requests"),
            "maxRequestsPerConnection": asked.get("max_requests_per_connection"),
            "idleTimeout": _duration(asked.get("idle_timeout")),
        }
    )
    return _given({"tcp": tcp or None, "http": http or None})


def _access_rule(rule: Entry, context: Context) -> Object:
    identities = rule.get("identities")
    source = _given(
        {
            "principals": None if identities is None else [identity(str(text), context) for text in identities],
            "namespaces": rule.get("namespaces"),
        }
    )
    ports = rule.get("ports")
    operation = _given(
        {
            "methods": rule.get("methods"),
            "paths": rule.get("paths"),
            "ports": None if ports is None else [str(port) for port in ports],
        }
    )
    made: Object = {}
    if source:
        made["from"] = [{"source": source}]
    if operation:
        made["to"] = [{"operation": operation}]
    return made


def identity(text: str, context: Context) -> str:
    """An identity as AuthorizationPolicies name it, from `namespace/service-account` or from a whole one."""
    plain = text[len("spiffe://") :] if text.startswith("spiffe://") else text
    namespace, slash, account = plain.partition("/")
    return principal(context.trust_domain, namespace, account) if slash and "/" not in account else plain


def names_identities(rules: Entry) -> bool:
    """Whether a declaration names identities, for which the mesh's trust domain must be known."""
    return any(
        rule.get("identities")
        for entry in rules.get("access") or []
        for rule in [*(entry.get("allow") or []), *(entry.get("deny") or [])]
    )


def _object(kind: str, name: str, namespace: str, spec: Object, entry: Entry, context: Context) -> Object:
    return {
        "apiVersion": next(api_version for api_version, known in KINDS if known == kind),
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {MANAGED_BY: MANAGER, TRAFFIC_LABEL: context.name},
        },
        "spec": merged(spec, entry.get("spec") or {}),
    }


def _named(entry: Entry) -> str:
    return str(entry.get("name") or "default")


def _given(fields: Entry) -> Object:
    return {key: value for key, value in fields.items() if value is not None}


def _renamed(asked: Entry, names: t.Mapping[str, str]) -> Object:
    return {new: asked[old] for old, new in names.items() if asked.get(old) is not None}


def _duration(seconds: t.Any) -> str | None:
    """Seconds as Istio writes them, in whole milliseconds at least."""
    if seconds is None:
        return None
    return f"{int(seconds)}s" if seconds == int(seconds) else f"{round(seconds * 1000)}ms"


def _text(value: t.Any) -> str:
    """Text, as YAML had it: `true` is no Python's True."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _texts(labels: Entry) -> dict[str, str]:
    return {str(key): _text(value) for key, value in labels.items()}
