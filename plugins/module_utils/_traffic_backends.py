# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where declared routes send to: Services, ServiceEntries, their ports, and subsets of them. Pure. Private."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _manifest, _traffic_names
from ansible_collections.hybridmesh.istio.plugins.module_utils._exposure import covers
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Object
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_names import MESH, said
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_scene import (
    Problem,
    Problems,
    Scene,
    rule_name,
    some,
)


@dataclasses.dataclass(frozen=True)
class Target:
    """Something that requests can be sent to.

    Attributes:
        name: what it is called in messages.
        ports: its ports; none where they are not known.
    """

    name: str
    ports: tuple[int, ...]


def target_of(scene: Scene, host: str) -> Target | None:
    """The Service or ServiceEntry of a full host; None where there is none."""
    own = _traffic_names.service_of(host, scene.domain)
    service = scene.facts.services.get(own) if own else None
    if own and service is not None:
        return Target(f"Service {own[0]}/{own[1]}", _ports((service.get("spec") or {}).get("ports"), "port"))
    for entry in scene.facts.entries:
        spec = entry.get("spec") or {}
        if any(covers(str(known), host) for known in spec.get("hosts") or []):
            return Target(str(_manifest.ref(entry)), _ports(spec.get("ports"), "number"))
    return None


def _ports(ports: t.Sequence[Object] | None, key: str) -> tuple[int, ...]:
    return tuple(sorted({int(port[key]) for port in ports or [] if port.get(key)}))


def _unknown(scene: Scene, where: str, host: str) -> Problem:
    own = _traffic_names.service_of(host, scene.domain)
    if own is None:
        known = (str(name) for entry in scene.facts.entries for name in (entry.get("spec") or {}).get("hosts") or [])
        return Problem(
            f"{where} {host}, which no ServiceEntry has",
            "a host of a ServiceEntry, or a Service of the cluster",
            "correct it, make a ServiceEntry for it, or name a Service under service"
            + some(known, "ServiceEntries have"),
            pending=not scene.facts.istio,
        )
    there = (name for space, name in scene.facts.services if space == own[0])
    return Problem(
        f"{where} the Service {own[0]}/{own[1]}, which is not in the cluster",
        "a Service of that name",
        "correct it, or make the Service first; those of virtual machines are the role workload_group's"
        + some(there, f"in {own[0]} are"),
        pending=scene.absent(own[0]),
    )


def backends(scene: Scene) -> Problems:
    """Backends that are not there, or not as they are spoken of."""
    for item in scene.of("VirtualService"):
        space = _manifest.ref(item).namespace
        outside = any(name != MESH for name in _traffic_names.gateways_of(item))
        for _protocol, number, rule in _traffic_names.rules_of(item):
            told: set[str] = set()
            for asked in _traffic_names.destinations_of(rule):
                host = _traffic_names.resolved(str(asked.get("host") or ""), space, scene.domain)
                # What names no host at all was told before there were objects.
                if not host or str(asked) in told:
                    continue
                told.add(str(asked))
                where = f"{rule_name(item, number, rule)} sends to"
                target = target_of(scene, host)
                if target is None:
                    yield _unknown(scene, where, host)
                else:
                    yield from _port(where, (asked.get("port") or {}).get("number"), target, outside)
                if asked.get("subset"):
                    yield from _subset(scene, where, host, str(asked["subset"]))


def _port(where: str, port: t.Any, target: Target, outside: bool) -> Problems:
    ports = some(map(str, target.ports), "it has")
    if port is not None and target.ports and port not in target.ports:
        yield Problem(
            f"{where} port {port} of {target.name}, which has no such port" + ports,
            "a port of the Service, which need not be that of its workloads",
            "correct port",
        )
    elif port is None and len(target.ports) > 1 and outside:
        # Within the mesh Istio goes by the port that was called. At a gateway that is the gateway's.
        yield Problem(
            f"{where} {target.name} and does not say to which port" + ports,
            "a port, as the route is on a gateway and the Service has several",
            "give port",
        )


def _subset(scene: Scene, where: str, host: str, subset: str) -> Problems:
    rules = [*scene.of("DestinationRule"), *scene.others("DestinationRule")]
    known = [
        name
        for rule in rules
        if covers(_traffic_names.rule_host(rule, scene.domain), host)
        for name in _traffic_names.subset_names(rule)
    ]
    if subset not in known:
        yield Problem(
            f"{where} the subset {subset} of {host}, which no destination declares",
            "a subset of that name",
            f"declare it under destinations, in subsets: {{{subset}: {{...labels...}}}}" + some(known),
        )


def destinations(scene: Scene) -> Problems:
    """Destinations for hosts that are not there."""
    for item in scene.of("DestinationRule"):
        host = _traffic_names.rule_host(item, scene.domain)
        # A pattern may be for what comes later.
        if host and "*" not in host and target_of(scene, host) is None:
            yield _unknown(scene, f"{said(item)} is for", host)


def subsets_kept(scene: Scene) -> Problems:
    """Subsets that would go, and that somebody else's route sends to."""
    declared = {_manifest.ref(item): item for item in scene.of("DestinationRule")}
    rules = {_manifest.ref(item) for item in [*declared.values(), *scene.leftovers()]}
    stay = {
        (_traffic_names.rule_host(rule, scene.domain), name)
        for rule in [*declared.values(), *scene.others("DestinationRule")]
        for name in _traffic_names.subset_names(rule)
    }
    go = {
        (_traffic_names.rule_host(live, scene.domain), name)
        for live in scene.facts.live
        if live["kind"] == "DestinationRule" and _manifest.ref(live) in rules
        for name in _traffic_names.subset_names(live)
    } - stay
    for route in scene.others("VirtualService"):
        for host, subset in sorted(_traffic_names.subsets_used(route, scene.domain) & go):
            yield Problem(
                f"the subset {subset} of {host} is no longer declared, and {_manifest.ref(route)}, which is not part of"
                f" the declaration {scene.name}, sends to it",
                "subsets that nobody uses any more before they go",
                "declare it further, or have that route changed first",
            )


CHECKS = (destinations, backends, subsets_kept)
