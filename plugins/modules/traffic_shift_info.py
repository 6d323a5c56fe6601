#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a shift of a route's weights would take."""

from __future__ import annotations

DOCUMENTATION = r"""
module: traffic_shift_info
short_description: What it takes to shift a route's weights step by step
version_added: 0.1.0
description:
  - Works out the steps from the weights that a rule of a VirtualService has to those that it is to have, and sees that the shift can
    be made and watched - the backends are the rule's, each one that gains has healthy endpoints in the proxies that send to it, and
    these proxies can be read.
  - Weights come from O(backends), or else from what O(rules) declare of the route, where only weights may differ.
  - Changes nothing.
author:
  - hybridmesh.istio contributors (@hybridmesh)
extends_documentation_fragment:
  - hybridmesh.istio.attributes
  - hybridmesh.istio.attributes.cluster
  - hybridmesh.istio.cluster
  - hybridmesh.istio.traffic
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  route:
    description: The VirtualService, as C(namespace/name).
    type: str
    required: true
  rule:
    description: Name of one of its rules about HTTP, or its number from 1 on. Null where one rule alone can be meant.
    type: str
  backends:
    description:
      - Whom the rule is to send to in the end. Those of its backends that are not named get nothing. A single one needs no weight.
      - Null for the weights that O(rules) declare.
    type: list
    elements: dict
    suboptions:
      service:
        description: A Service, as C(name), C(name.namespace) or in full.
        type: str
      host:
        description: A host of a ServiceEntry, in place of O(backends[].service).
        type: str
      port:
        description: The port, where the rule has the same backend with several.
        type: int
      subset:
        description: The subset, where the rule has the same backend with several.
        type: str
      weight:
        description: Its share in percent.
        type: int
  steps:
    description: >-
      Percents of the requests that those that gain are to have, one after the other. What lies behind or beyond is left out; the
      final weights are always the last step.
    type: list
    elements: int
    default: [10, 25, 50, 100]
  foreign:
    description: Whether a VirtualService may be changed that the role traffic did not make.
    type: bool
    default: false
  max_latency:
    description: The limit that latency will have, in milliseconds. Where there is one, proxies must be seen to count latencies.
    type: float
  namespaces:
    description: Where a route is for sidecars, namespaces of the Pods to read. Empty means all.
    type: list
    elements: str
    default: []
  pods_per_workload:
    description: Pods to read of each workload at most. V(0) reads all.
    type: int
    default: 3
  admin_port:
    description: Port of Envoy's admin interface on the Pods' loopback address.
    type: int
    default: 15000
  name:
    description: The declaration's name, for O(rules).
    type: str
    default: traffic
  cluster_domain:
    description: The cluster's DNS domain, in which Services have their names.
    type: str
    default: cluster.local
requirements:
  - websocket-client (Python library), which the kubernetes library brings
seealso:
  - module: hybridmesh.istio.traffic_shift
  - module: hybridmesh.istio.traffic
"""

EXAMPLES = r"""
- name: See what it takes to lead all requests to v2
  hybridmesh.istio.traffic_shift_info:
    route: chapter10/mockshop
    backends:
      - {service: envoydummy.chapter10vm}
  register: shift
"""

RETURN = r"""
rule:
  description: The number of the rule.
  returned: success
  type: int
before:
  description: The weights as they are, in the order of the rule's backends.
  returned: success
  type: list
  elements: int
steps:
  description: C(expected), the weights before a step; C(weights), those after it; C(words), both in words.
  returned: success
  type: list
  elements: dict
proxies:
  description: The proxies that were read, as C(namespace/pod).
  returned: success
  type: list
  elements: str
report:
  description: The same in words.
  returned: success
  type: list
  elements: str
declare:
  description: The backends with their final weights, as the route's declaration must have them afterwards; null where it has them.
  returned: success
  type: str
"""

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import (
    _cluster_module,
    _manifest,
    _shift_plan,
    _shift_verdict,
    _traffic_objects,
    _traffic_spec,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._apply import Applier
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._shift_figures import Reading
from ansible_collections.hybridmesh.istio.plugins.module_utils._shift_proxies import Proxies
from ansible_collections.hybridmesh.istio.plugins.module_utils._shift_route import Route, ref_of
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_names import NETWORKING

_NOT_COUNTED = (
    "latency is not judged: the proxies count none (Istio's metrics are off, and the Pods' annotation"
    " sidecar.istio.io/statsInclusionRegexps does not name upstream_rq_time)"
)


class Plan:
    """What the module works out."""

    def __init__(self, module: _cluster_module.Task, cluster: Cluster) -> None:
        self.params: dict[str, t.Any] = module.params
        self.check_mode = module.check_mode
        self.applier = Applier(cluster)
        self.domain = str(self.params["cluster_domain"])

    def run(self) -> dict[str, t.Any]:
        """The answer."""
        nothing: dict[str, t.Any] = {
            "changed": False,
            "rule": 0,
            "before": [],
            "steps": [],
            "proxies": [],
            "declare": None,
        }
        ref_of(self.params["route"])
        if self.check_mode and self.applier.collection_path(NETWORKING, "VirtualService") is None:
            return dict(nothing, report=["not there yet: Istio, and with it the route"])
        route = Route(self.applier, self.params["route"])
        route.must_be_ours(self.params["foreign"])
        wanted = self._declared(route)
        found = self._target(route, wanted)
        if found is None:
            return dict(nothing, report=["the weights are as declared"])
        route.number, after = found
        _shift_plan.check_rule(route.live, route.number)
        before = route.weights
        backends = _shift_plan.backends_of(
            _shift_plan.rules_in(route.live)[route.number - 1], route.ref.namespace, self.domain
        )
        weights = _shift_plan.steps(before, after, self.params["steps"])
        words = [_shift_plan.words(backends, one, self.domain) for one in [before, *weights]]
        steps = [
            {"expected": expected, "weights": one, "words": word}
            for expected, one, word in zip([before, *weights], weights, words[1:])
        ]
        answer = dict(nothing, rule=route.number, before=before, steps=steps)
        if not self._same(wanted, route.number, after) and (steps or wanted is not None):
            answer["declare"] = _snippet(backends, after, self.domain)
        if not steps:
            answer["report"] = [f"nothing to do: {_shift_plan.rule_name(route.live, route.number)} has {words[0]}"]
            return answer
        proxies, notes = self._watched(route, backends, _shift_plan.gaining(before, after))
        answer["proxies"] = proxies
        answer["report"] = [
            f"{_shift_plan.rule_name(route.live, route.number)}, now: {words[0]}",
            *(f"step {number} of {len(steps)}: {word}" for number, word in enumerate(words[1:], 1)),
            f"watched at {len(proxies)} proxies: {', '.join(proxies[:8])}",
            *notes,
        ]
        return answer

    def _declared(self, route: Route) -> dict[str, t.Any] | None:
        """The route as it is declared; None where it is not."""
        context = _traffic_objects.Context(self.params["name"], self.domain)
        entries = (self.params["rules"] or {}).get("routes") or []
        for entry in entries:
            made = _traffic_objects.route(entry, context)
            if _manifest.ref(made) == route.ref:
                return made
        return None

    def _target(self, route: Route, wanted: dict[str, t.Any] | None) -> tuple[int, list[int]] | None:
        rule = self.params["rule"]
        if self.params["backends"]:
            number = _shift_plan.choose_rule(route.live, rule)
            _shift_plan.check_rule(route.live, number)
            asked = self.params["backends"]
            return number, _shift_plan.target_of(route.live, number, asked, self.domain, "traffic_shift_backends")
        if wanted is None:
            raise MeshError(
                f"nothing says which weights {self.params['route']} is to have",
                "the backends that are to get the requests, or the route among the declared traffic",
                "give traffic_shift_backends, or traffic_rules with the weights of the end",
            )
        return _shift_plan.declared(route.live, wanted, rule)

    def _same(self, wanted: dict[str, t.Any] | None, number: int, after: list[int]) -> bool:
        """Whether the declaration has the final weights."""
        rules = _shift_plan.rules_in(wanted or {})
        return len(rules) >= number and _shift_plan.weights_of(rules[number - 1]) == after

    def _watched(
        self, route: Route, backends: list[_shift_plan.Backend], gains: list[int]
    ) -> tuple[list[str], list[str]]:
        """(proxies, notes); sees that the figures can be had, and that those that gain can be sent to."""
        proxies = Proxies(
            self.applier,
            route.live,
            backends,
            self.domain,
            self.params["namespaces"],
            self.params["pods_per_workload"],
            self.params["admin_port"],
        )
        readings, unread = proxies.read()
        if not readings:
            told = f": {next(iter(unread.values()))}" if unread else ""
            raise MeshError(
                f"none of {len(proxies.pods)} proxies that send by {self.params['route']} can be read{told}",
                "running Pods with a proxy, of the route's gateways or with a sidecar, and the right to ask it (pods/exec)",
                "see the Pods, traffic_shift_namespaces and the rights of the kubeconfig's user",
            )
        names = [backend.named(self.domain) for backend in backends]
        reasons = _shift_verdict.lacking(readings, gains, names)
        if reasons:
            raise MeshError(
                "; ".join(reasons),
                "healthy endpoints of what is to get requests",
                "see its Pods and WorkloadEntries (playbook verify), and the labels of its subset",
            )
        notes = [f"not read: {name}: {why}" for name, why in unread.items()]
        if not _counts_latency(readings.values()) and _had_traffic(readings.values()):
            if self.params["max_latency"] is not None:
                raise MeshError(
                    "there is a limit for the latency, and no proxy counts latencies",
                    "Istio's metrics, or Envoy's upstream_rq_time, in the proxies that send by the route",
                    "turn telemetry on, or give their Pods the annotation"
                    " sidecar.istio.io/statsInclusionRegexps: '.*upstream_rq_time.*', or leave traffic_shift_max_latency out",
                )
            notes.append(_NOT_COUNTED)
        return sorted(readings), notes


def _counts_latency(readings: t.Iterable[Reading]) -> bool:
    return any(reading.keeps_times for reading in readings)


def _had_traffic(readings: t.Iterable[Reading]) -> bool:
    return any(sum(counted.values()) for reading in readings for counted in reading.answered)


def _snippet(backends: list[_shift_plan.Backend], weights: list[int], domain: str) -> str:
    """The backends as a declaration has them."""
    lines = ["backends:"]
    for backend, weight in zip(backends, weights):
        named = _shift_plan.Backend(backend.host, "", None).named(domain)
        fields = [f"{'host' if named == backend.host else 'service'}: {named}"]
        fields += [f"port: {backend.port}"] if backend.port else []
        fields += [f"subset: {backend.subset}"] if backend.subset else []
        lines.append("  - {" + ", ".join([*fields, f"weight: {weight}"]) + "}")
    return "\n".join(lines)


def run(module: _cluster_module.Task, cluster: Cluster) -> dict[str, t.Any]:
    """Works the shift out."""
    return Plan(module, cluster).run()


OPTIONS: dict[str, t.Any] = {
    "route": {"type": "str", "required": True},
    "rule": {"type": "str"},
    "backends": {"type": "list", "elements": "dict", "options": dict(_traffic_spec.TARGET, weight={"type": "int"})},
    "rules": _traffic_spec.RULES,
    "steps": {"type": "list", "elements": "int", "default": [10, 25, 50, 100]},
    "foreign": {"type": "bool", "default": False},
    "max_latency": {"type": "float"},
    "namespaces": {"type": "list", "elements": "str", "default": []},
    "pods_per_workload": {"type": "int", "default": 3},
    "admin_port": {"type": "int", "default": 15000},
    "name": {"type": "str", "default": "traffic"},
    "cluster_domain": {"type": "str", "default": "cluster.local"},
}
DEFINITION = _cluster_module.Definition(OPTIONS, run)


def main() -> None:
    """Runs the module."""
    _cluster_module.main(DEFINITION)


if __name__ == "__main__":
    main()
