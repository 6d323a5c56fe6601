# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways in: gateways that declared routes are on, their Pods, certificates and hosts. Pure. Private."""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _manifest, _traffic_names
from ansible_collections.hybridmesh.istio.plugins.module_utils._exposure import covers
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Object
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_facts import (
    full_name,
    gateway_selector,
    gateways_used,
    secrets_wanted,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_names import MESH, said
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_scene import Problem, Problems, Scene, some


def gateways(scene: Scene) -> Problems:
    """Routes on gateways that are nowhere, or that do not serve their hosts."""
    others = scene.others("Gateway")
    used = gateways_used(scene.declared, others)
    for item in scene.of("VirtualService"):
        named = [name for name in _traffic_names.gateways_of(item) if name != MESH]
        missing = [name for name in named if name not in used]
        for name in missing:
            yield Problem(
                f"{said(item)} is on gateway {name}, which is neither declared nor in the cluster",
                "a Gateway of that name",
                "declare it under gateways, or correct its name (namespace/name where it is in another namespace)"
                + some(full_name(gateway) for gateway in [*scene.of("Gateway"), *others]),
                pending=scene.absent(name.partition("/")[0]),
            )
        if named and not missing:
            yield from _unserved(item, {name: used[name] for name in named})


def _unserved(route: Object, used: t.Mapping[str, Object]) -> Problems:
    """Hosts that no gateway of a route serves, and gateways that serve none of its hosts."""
    space = _manifest.ref(route).namespace
    hosts = [str(host) for host in route["spec"].get("hosts") or []]
    served = {name: {host for host in hosts if _serves(gateway, space, host)} for name, gateway in used.items()}
    opened = {host for gateway in used.values() for _space, host in _served(gateway)}
    in_mesh = MESH in _traffic_names.gateways_of(route)
    lost = [host for host in hosts if not in_mesh and not any(host in known for known in served.values())]
    for host in lost:
        yield Problem(
            f"{said(route)} has the host {host}, for which gateway {' or '.join(used)} has no server",
            "a server of the gateway with this host",
            f"add {host} to the hosts of a server of it, or correct the host" + some(opened, "it has"),
        )
    for name, known in served.items():
        if hosts and not known and set(lost) != set(hosts):
            yield Problem(
                f"{said(route)} is on gateway {name}, which has a server for none of its hosts",
                "a server of the gateway with one of these hosts: " + ", ".join(hosts),
                "add it, or take the route off the gateway"
                + some((host for _space, host in _served(used[name])), "it has"),
            )


def _serves(gateway: Object, space: str, host: str) -> bool:
    return any(
        for_space in ("*", space) and (covers(opened, host) or covers(host, opened))
        for for_space, opened in _served(gateway)
    )


def _served(gateway: Object) -> t.Iterator[tuple[str, str]]:
    """(namespace of routes that may use it, or `*`; host) for all hosts of a Gateway."""
    for server in (gateway.get("spec") or {}).get("servers") or []:
        for text in server.get("hosts") or []:
            space, _slash, host = str(text).rpartition("/")
            yield (_manifest.ref(gateway).namespace if space == "." else space or "*"), host


def pods(scene: Scene) -> Problems:
    """Gateways that no Pod is there for."""
    facts = scene.facts
    for name, gateway in gateways_used(scene.declared, scene.others("Gateway")).items():
        selector = gateway_selector(gateway)
        if selector and not facts.gateway_pods.get(selector):
            labels = ", ".join("=".join(pair) for pair in selector)
            yield Problem(
                f"gateway {name} selects Pods with the labels {labels}, and there is none in any namespace",
                "a gateway that runs, with these labels",
                "correct its selector"
                + some(facts.gateway_labels, "of Pods, the label istio is")
                + ", or install the gateway",
                pending=not facts.istio
                or not facts.gateway_labels
                or any(dict(selector).items() <= labels.items() for labels in scene.coming),
            )


def secrets(scene: Scene) -> Problems:
    """Certificates that are not where the gateway's Pods look for them."""
    facts = scene.facts
    for item in scene.of("Gateway"):
        spaces = {_manifest.ref(pod).namespace for pod in facts.gateway_pods.get(gateway_selector(item), [])}
        for name, mutual in secrets_wanted(item):
            for space in sorted(spaces):
                keys = facts.secrets.get((space, name), set())
                if keys is None:
                    yield Problem(
                        f"{said(item)} takes its certificate from the Secret {space}/{name}, which is not there",
                        f"a Secret with tls.crt and tls.key in {space}, where the gateway's Pods run",
                        f"make it: kubectl -n {space} create secret tls {name} --cert=... --key=...",
                        pending=scene.absent(space),
                    )
                elif (space, name) in facts.secrets:
                    beside = (space, f"{name}-cacert")
                    asked = mutual and beside not in facts.unreadable
                    yield from _content(item, f"{space}/{name}", keys, asked, facts.secrets.get(beside) or set())


def _content(item: Object, name: str, keys: set[str], mutual: bool, authority: set[str]) -> Problems:
    if not ({"tls.crt", "tls.key"} <= keys or {"cert", "key"} <= keys):
        yield Problem(
            f"the Secret {name}, from which {said(item)} takes its certificate, has no certificate with its key"
            + some(keys, "it has"),
            "the keys tls.crt and tls.key",
            "make it anew, by kubectl create secret tls",
        )
    if mutual and not {"ca.crt", "cacert"} & (keys | authority):
        yield Problem(
            f"{said(item)} asks clients for certificates, and the Secret {name} has no authority to check them by",
            f"the key ca.crt in it, or in a Secret {name}-cacert",
            "add it",
        )


def hosts(scene: Scene) -> Problems:
    """Services under a name that Istio does not know them by."""
    for item in scene.of("VirtualService"):
        if MESH not in _traffic_names.gateways_of(item):
            # Clients outside the mesh may well call any name.
            continue
        for host in map(str, item["spec"].get("hosts") or []):
            service, _dot, rest = host.partition(".")
            space, _dot, suffix = rest.partition(".")
            if suffix in ("", "svc") and (space, service) in scene.facts.services:
                yield Problem(
                    f"{said(item)} has the host {host}, and there is a Service {space}/{service}: Istio takes the host as it"
                    " stands, so that calls of the Service would not be routed",
                    "names of Services under services",
                    f"write services: [{service}.{space}]",
                )


def claims(scene: Scene) -> Problems:
    """Two routes for one host on one gateway."""
    declared = scene.of("VirtualService")
    claimed: dict[tuple[str, str, str], list[str]] = {}
    for item in [*declared, *scene.others("VirtualService")]:
        ours = item in declared
        if not ours and not _is_public(item):
            continue
        name = said(item) if ours else str(_manifest.ref(item))
        for key in _claims(item, scene.domain):
            if ours or key in claimed:
                claimed.setdefault(key, []).append(name)
    for (gateway, host, _protocol), names in claimed.items():
        if len(set(names)) > 1:
            where = "in the mesh" if gateway == MESH else f"on gateway {gateway}"
            yield Problem(
                f"{' and '.join(names)} are all for the host {host} {where}",
                "one route for a host, as Istio follows one of several, or joins them in an order that nobody sees",
                "put their rules into one route, or take the host out of all others",
            )


def _is_public(route: Object) -> bool:
    """Whether clients of all namespaces see a route; one of others that few see is their own affair."""
    visible = (route.get("spec") or {}).get("exportTo") or ["*"]
    return "*" in visible


def _claims(route: Object, domain: str) -> set[tuple[str, str, str]]:
    space = _manifest.ref(route).namespace
    protocols = {protocol for protocol, _number, _rule in _traffic_names.rules_of(route)}
    return {
        (gateway, _traffic_names.resolved(str(host), space, domain), protocol)
        for gateway in _traffic_names.gateways_of(route)
        for host in (route.get("spec") or {}).get("hosts") or []
        for protocol in protocols
    }


CHECKS = (gateways, pods, secrets, hosts, claims)
