# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether declared traffic would flow in this cluster: objects and facts in, problems out. Pure. Private.

Istio takes objects that lead nowhere without a word: a backend that is not there, a gateway without Pods. What the API
server's schema and Istio's webhook judge by themselves is left to them.
"""

from __future__ import annotations

from ansible_collections.hybridmesh.istio.plugins.module_utils import (
    _manifest,
    _traffic_backends,
    _traffic_gateways,
    _traffic_names,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Object
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_facts import workload_labels
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_names import said
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_scene import (
    Problem,
    Problems,
    Scene,
    rule_name,
)


def problems(scene: Scene) -> list[Problem]:
    """All problems, the most fundamental first."""
    found: list[Problem] = []
    for check in (
        namespaces,
        names,
        whole_namespaces,
        one_rule_a_host,
        weights,
        order,
        *_traffic_gateways.CHECKS,
        *_traffic_backends.CHECKS,
    ):
        found += check(scene)
    return found


def namespaces(scene: Scene) -> Problems:
    """Namespaces that are not there."""
    wanted: dict[str, list[str]] = {}
    for item in scene.declared:
        namespace = _manifest.ref(item).namespace
        if namespace and namespace not in scene.facts.namespaces:
            wanted.setdefault(namespace, []).append(said(item))
    for namespace, items in wanted.items():
        yield Problem(
            f"there is no namespace {namespace} for {', '.join(items)}",
            "the namespace, which belongs to its workloads and is not made here",
            f"correct it, or make it first: kubectl create namespace {namespace}",
            pending=True,
        )


def names(scene: Scene) -> Problems:
    """Objects of one kind that have one name."""
    refs = [_manifest.ref(item) for item in scene.declared]
    for own, item in {_manifest.ref(item): item for item in scene.declared}.items():
        if refs.count(own) > 1:
            yield Problem(
                f"{said(item)} is declared more than once",
                "one of each name in a namespace",
                "name them apart (name), or make one of them",
            )


def whole_namespaces(scene: Scene) -> Problems:
    """What is for a whole namespace, twice. Istio goes by the oldest alone."""
    for kind in ("Sidecar", "PeerAuthentication"):
        declared = [item for item in scene.of(kind) if not workload_labels(item)]
        there = declared + [item for item in scene.others(kind) if not workload_labels(item)]
        for item in declared:
            own = _manifest.ref(item)
            rival = next(
                (r for r in map(_manifest.ref, there) if r.namespace == own.namespace and r.name != own.name), None
            )
            if rival:
                yield Problem(
                    f"{said(item)} is for all of the namespace {own.namespace}, and so is {rival}",
                    f"one {kind} without a selector in a namespace, as Istio goes by one of them alone",
                    "give it a selector, or take one of them away",
                )


def one_rule_a_host(scene: Scene) -> Problems:
    """DestinationRules for the same host. Istio merges them, and which settings win nobody sees."""
    declared = scene.of("DestinationRule")
    found: dict[tuple[str, str], list[Object]] = {}
    for item in [*declared, *scene.others("DestinationRule")]:
        if not (item.get("spec") or {}).get("workloadSelector"):
            key = (_manifest.ref(item).namespace, _traffic_names.rule_host(item, scene.domain))
            found.setdefault(key, []).append(item)
    for (_namespace, host), items in found.items():
        told = [said(item) if item in declared else str(_manifest.ref(item)) for item in items]
        if host and len(set(told)) > 1 and any(item in declared for item in items):
            yield Problem(
                f"{' and '.join(told)} are for the same host, {host}",
                "one DestinationRule for a host in a namespace",
                "put their subsets and settings into one",
            )


def weights(scene: Scene) -> Problems:
    """Weights that do not add up. Istio would take them for shares of whatever they add up to."""
    for item in scene.of("VirtualService"):
        for _protocol, number, rule in _traffic_names.rules_of(item):
            given = [target.get("weight") for target in rule.get("route") or []]
            # A single backend gets all, also without a weight.
            if not given or given == [None]:
                continue
            total = sum(weight or 0 for weight in given)
            if total != 100 or any(weight is None or weight < 0 for weight in given):
                words = " + ".join("none" if weight is None else str(weight) for weight in given)
                yield Problem(
                    f"{rule_name(item, number, rule)}: the weights of its backends are {words}, which makes {total}",
                    "a weight for each backend, 100 in all",
                    "correct the weights",
                )


def order(scene: Scene) -> Problems:
    """Rules that no request comes to."""
    for item in scene.of("VirtualService"):
        rules = item["spec"].get("http") or []
        for number, rule in enumerate(rules[:-1], 1):
            if not rule.get("match"):
                yield Problem(
                    f"{rule_name(item, number, rule)} matches every request, and rules come after it",
                    "rules that can be reached: the first that matches decides",
                    "give it a match, or put it last",
                )
                break
