# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names in routing objects: what a short one stands for, and what an object is called to its author. Pure. Private."""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _manifest
from ansible_collections.hybridmesh.istio.plugins.module_utils._apply import MANAGED_BY, MANAGER
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Object, Ref

NETWORKING = "networking.istio.io/v1"
SECURITY = "security.istio.io/v1"

# Which declaration an object belongs to, so that several of them live side by side.
TRAFFIC_LABEL = "hybridmesh.istio/traffic"

# In this order they are made: clients know subsets and TLS first, then who is let in, and at the end the ways in.
KINDS: tuple[tuple[str, str], ...] = (
    (NETWORKING, "DestinationRule"),
    (SECURITY, "PeerAuthentication"),
    (SECURITY, "AuthorizationPolicy"),
    (NETWORKING, "Sidecar"),
    (NETWORKING, "Gateway"),
    (NETWORKING, "VirtualService"),
)

# The part of the variable that each kind comes from, as its author knows it.
_WORDS = {
    "DestinationRule": "destination",
    "PeerAuthentication": "mtls",
    "AuthorizationPolicy": "access",
    "Sidecar": "sidecar",
    "Gateway": "gateway",
    "VirtualService": "route",
}

# What Istio calls all sidecars where it speaks of gateways.
MESH = "mesh"


def said(item: t.Mapping[str, t.Any]) -> str:
    """`route chapter10/mockshop`: a declared object, in the words of the declaration."""
    own = _manifest.ref(item)
    return f"{_WORDS[own.kind]} {own.namespace}/{own.name}"


def is_of(item: t.Mapping[str, t.Any], name: str) -> bool:
    """Whether an object was made for the declaration of that name."""
    labels = _manifest.labels(item)
    return labels.get(MANAGED_BY) == MANAGER and labels.get(TRAFFIC_LABEL) == name


def service_host(service: str, namespace: str, domain: str) -> str | None:
    """The full host of a Service given as name, name.namespace, ... .svc or in full; None for what is no Service.

    Istio itself completes only names without a dot: it takes `name.namespace` for a host of that name, and sends its
    traffic nowhere.
    """
    name, *rest = service.split(".")
    where, suffix = (rest[0], ".".join(rest[1:])) if rest else (namespace, "")
    if not name or not where or suffix not in ("", "svc", f"svc.{domain}"):
        return None
    return f"{name}.{where}.svc.{domain}"


def resolved(host: str, namespace: str, domain: str) -> str:
    """A host as Istio reads it in an object of that namespace."""
    return host if "." in host or host in ("", "*") else f"{host}.{namespace}.svc.{domain}"


def service_of(host: str, domain: str) -> tuple[str, str] | None:
    """(namespace, name) of the Service that a full host stands for; None for other hosts."""
    suffix = f".svc.{domain}"
    parts = host[: -len(suffix)].split(".") if host.endswith(suffix) else []
    return (parts[1], parts[0]) if len(parts) == 2 and parts[0] != "*" else None


def gateway_name(name: str, namespace: str) -> str:
    """`namespace/name` of a Gateway that an object of that namespace names."""
    return name if name == MESH or "/" in name else f"{namespace}/{name}"


def gateways_of(route: t.Mapping[str, t.Any]) -> list[str]:
    """The Gateways of a VirtualService, as `namespace/name`, and `mesh`."""
    own = _manifest.ref(route)
    return [gateway_name(str(name), own.namespace) for name in (route.get("spec") or {}).get("gateways") or [MESH]]


def destinations_of(rule: t.Mapping[str, t.Any]) -> list[Object]:
    """The destinations of one rule of a VirtualService, mirrors included."""
    targets = [*(rule.get("route") or []), *(rule.get("mirrors") or [])]
    found = [target.get("destination") or {} for target in targets]
    return found + ([rule["mirror"]] if rule.get("mirror") else [])


def rules_of(route: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, int, Object]]:
    """(protocol, number, rule) of each rule of a VirtualService; numbers begin at 1."""
    for protocol in ("http", "tls", "tcp"):
        for number, rule in enumerate((route.get("spec") or {}).get(protocol) or [], 1):
            yield protocol, number, rule


def subsets_used(route: t.Mapping[str, t.Any], domain: str) -> set[tuple[str, str]]:
    """(host, subset) of all that a VirtualService sends to."""
    own = _manifest.ref(route)
    return {
        (resolved(str(target.get("host") or ""), own.namespace, domain), str(target["subset"]))
        for _protocol, _number, rule in rules_of(route)
        for target in destinations_of(rule)
        if target.get("subset")
    }


def subset_names(rule: t.Mapping[str, t.Any] | None) -> list[str]:
    """The subsets of a DestinationRule, in their order."""
    return [str(subset.get("name")) for subset in ((rule or {}).get("spec") or {}).get("subsets") or []]


def rule_host(rule: t.Mapping[str, t.Any], domain: str) -> str:
    """The full host of a DestinationRule."""
    own: Ref = _manifest.ref(rule)
    return resolved(str((rule.get("spec") or {}).get("host") or ""), own.namespace, domain)
