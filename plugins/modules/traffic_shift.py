#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One step of a shift: other weights, watched, and taken back where the figures are not good enough."""

from __future__ import annotations

DOCUMENTATION = r"""
module: traffic_shift
short_description: Change a route's weights, watch what comes of it, and change them back if it is not good
version_added: 0.1.0
description:
  - Sets the weights of one rule of a VirtualService, and nothing else of it. Then it reads, every O(interval) seconds, what the proxies
    that send by the route count of its backends, for O(span) seconds and until there were O(requests) requests to those that gained.
  - As soon as these fail, or are too slow, or have no healthy endpoint any more, the weights become O(restore) in one go, and the task
    fails and says why.
  - Where somebody else changes the route at the same time, it is left as it is then, and the task fails.
author:
  - hybridmesh.istio contributors (@hybridmesh)
extends_documentation_fragment:
  - hybridmesh.istio.attributes
  - hybridmesh.istio.attributes.cluster
  - hybridmesh.istio.cluster
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  route:
    description: The VirtualService, as C(namespace/name).
    type: str
    required: true
  rule:
    description: The number of its rule about HTTP, from 1 on.
    type: int
    default: 1
  weights:
    description: The weights to set, in the order of the rule's backends.
    type: list
    elements: int
    required: true
  expected:
    description: >-
      The weights that the rule must have before. Null for any. Where it has O(weights) already, nothing is done and nothing watched.
    type: list
    elements: int
  restore:
    description: The weights to go back to. Null for those before the step.
    type: list
    elements: int
  foreign:
    description: Whether a VirtualService may be changed that the role traffic did not make.
    type: bool
    default: false
  settle:
    description: Seconds that proxies are given to learn of the weights before anything is counted.
    type: float
    default: 5.0
  span:
    description: Seconds for which the step is watched at least.
    type: float
    default: 30.0
  interval:
    description: Seconds between two readings of the proxies.
    type: float
    default: 3.0
  timeout:
    description: Seconds for which O(requests) requests are waited for at most, from when counting starts.
    type: float
    default: 120.0
  requests:
    description: Requests to those that gained before the step counts.
    type: int
    default: 100
  few:
    description: What too few requests within O(timeout) are - V(fail), a reason to go back, or V(pass), good enough.
    type: str
    choices: [fail, pass]
    default: fail
  min_success:
    description: So many percent of the requests to those that gained must succeed. A status from 500 on, or no answer, is a failure.
    type: float
    default: 99.0
  max_success_drop:
    description: At most so many points less may succeed than of the others. Null leaves that out.
    type: float
  quantile:
    description: Which latency is judged, in percent.
    type: float
    default: 99.0
  max_latency:
    description: At most so many milliseconds, unless fewer than three requests took longer. Null leaves that out.
    type: float
  max_latency_factor:
    description: At most so many times the others' latency. Null or 0 leaves that out.
    type: float
  latency_allowance:
    description: A difference of so many milliseconds to the others' latency is never held against those that gained.
    type: float
    default: 100.0
  reference:
    description: RV(others) of an earlier step, to compare with once the others get too few requests themselves.
    type: dict
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
  cluster_domain:
    description: The cluster's DNS domain, in which Services have their names.
    type: str
    default: cluster.local
requirements:
  - websocket-client (Python library), which the kubernetes library brings
seealso:
  - module: hybridmesh.istio.traffic_shift_info
  - module: hybridmesh.istio.traffic
"""

EXAMPLES = r"""
- name: A tenth of the requests go to the second backend
  hybridmesh.istio.traffic_shift:
    route: chapter10/mockshop
    weights: [90, 10]
    min_success: 99.5
    max_latency: 300
"""

RETURN = r"""
weights:
  description: The weights as they are at the end.
  returned: always
  type: list
  elements: int
report:
  description: What was seen, in words.
  returned: always
  type: list
  elements: str
seconds:
  description: How long was counted.
  returned: success
  type: float
gained:
  description: C(requests), C(errors) and C(times) (a histogram, in milliseconds) of the backends that gained.
  returned: success
  type: dict
others:
  description: The same of the others, or O(reference) where they had too few requests.
  returned: success
  type: dict
reasons:
  description: Why the step failed.
  returned: failure
  type: list
  elements: str
"""

import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _cluster_module, _shift_plan, _shift_verdict
from ansible_collections.hybridmesh.istio.plugins.module_utils._apply import Applier
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._shift_figures import Figures
from ansible_collections.hybridmesh.istio.plugins.module_utils._shift_proxies import Proxies
from ansible_collections.hybridmesh.istio.plugins.module_utils._shift_route import Changed, Route
from ansible_collections.hybridmesh.istio.plugins.module_utils._shift_watch import Failed, Watch, put_back


class Step:
    """One run of the module."""

    def __init__(self, module: _cluster_module.Task, cluster: Cluster) -> None:
        self.module = module
        self.params: dict[str, t.Any] = module.params
        self.applier = Applier(cluster)
        self.route = route = Route(self.applier, self.params["route"], self.params["rule"])
        route.must_be_ours(self.params["foreign"])
        rules = _shift_plan.rules_in(route.live)
        if not 0 < route.number <= len(rules):
            raise MeshError(
                f"{self.params['route']} has {len(rules)} rules about HTTP, and no rule {route.number}",
                "the number of one of its rules",
                "correct rule",
            )
        _shift_plan.check_rule(route.live, route.number)
        domain = self.params["cluster_domain"]
        self.backends = _shift_plan.backends_of(rules[route.number - 1], route.ref.namespace, domain)
        self.names = [backend.named(domain) for backend in self.backends]
        self.before = route.weights

    def run(self) -> dict[str, t.Any]:
        """Sets the weights, watches, and goes back where that is needed."""
        wanted, expected = list(self.params["weights"]), list(self.params["expected"] or self.before)
        if len(wanted) != len(self.backends) or sum(wanted) != _shift_plan.ALL or min(wanted) < 0:
            raise MeshError(
                f"the weights are {', '.join(map(str, wanted))}",
                f"a weight for each of {len(self.backends)} backends ({', '.join(self.names)}), 100 in all",
                "correct weights",
            )
        if self.before == wanted:
            return self._answer(False, ["the weights are so already"])
        if self.module.check_mode:
            # The steps before were not made.
            self.before = expected
            return self._answer(True, [f"would set {self._words(wanted)}"], after=wanted)
        if self.before != expected:
            raise MeshError(
                f"the weights are {self.before}, and were {expected} a moment ago",
                "one who changes a route at a time",
                "see who changed it, and start the shift again: it goes on from the weights it finds",
            )
        watch = self._watch(_shift_plan.gaining(self.before, wanted))
        self.route.set(wanted)
        try:
            time.sleep(max(0.0, self.params["settle"]))
            span, interval, timeout = (self.params[name] for name in ("span", "interval", "timeout"))
            seconds = watch.until_good(span, interval, timeout, self.params["few"] == "pass")
        except Failed as failed:
            return self._back(list(failed.args), wanted, watch)
        except Changed:
            raise
        except Exception:
            # Whatever it is, nobody watches any more.
            put_back(self.route, self._restored)
            raise
        lines = [self._words(wanted), *watch.lines(), f"counted for {seconds:.0f} s at {watch.ledger.proxies} proxies"]
        figures = {"gained": watch.gained().plain(), "others": watch.others().plain()}
        return dict(self._answer(True, lines, after=wanted), seconds=round(seconds, 1), **figures)

    def _watch(self, gains: list[int]) -> Watch:
        params = self.params
        proxies = Proxies(
            self.applier,
            self.route.live,
            self.backends,
            params["cluster_domain"],
            params["namespaces"],
            params["pods_per_workload"],
            params["admin_port"],
        )
        limits = _shift_verdict.Limits(
            requests=params["requests"],
            success=params["min_success"],
            success_drop=params["max_success_drop"],
            quantile=params["quantile"],
            latency=params["max_latency"],
            latency_factor=params["max_latency_factor"],
            latency_allowance=params["latency_allowance"],
        )
        reference = Figures.from_plain(params["reference"]) if params["reference"] else None
        return Watch(self.route, proxies, self.names, gains, limits, reference)

    @property
    def _restored(self) -> list[int]:
        return list(self.params["restore"] or self.before)

    def _words(self, weights: t.Sequence[int]) -> str:
        return _shift_plan.words(self.backends, weights, self.params["cluster_domain"])

    def _back(self, reasons: list[str], wanted: list[int], watch: Watch) -> dict[str, t.Any]:
        """The weights as they were, and why."""
        own, told = self.route.ref, self._words(self._restored)
        names = " and ".join(self.names[place] for place in _shift_plan.gaining(self.before, wanted))
        next_step = f"see why {names} is not good enough (playbooks diagnose and graph), then shift again"
        try:
            put_back(self.route, self._restored)
            done = f"the weights are as before again ({told})"
        except MeshError as refused:
            done = f"the weights could NOT be put back to {told}: {refused.found}"
            next_step = f"put them back by hand: kubectl -n {own.namespace} edit virtualservice {own.name}"
        error = MeshError(
            f"the shift failed at {self._words(wanted)}: {'; '.join(reasons)}; {done}",
            f"{names} as good as asked for at each step",
            next_step,
        )
        answer = self._answer(self.route.weights != self.before, [self._words(wanted), *watch.lines(), *reasons, done])
        shown = {"found": error.found, "expected": error.expected, "next_step": error.next_step}
        return dict(answer, **shown, failed=True, msg=str(error), reasons=reasons)

    def _answer(self, changed: bool, report: list[str], after: list[int] | None = None) -> dict[str, t.Any]:
        answer: dict[str, t.Any] = {"changed": changed, "weights": self.route.weights, "report": report}
        if self.module._diff and after is not None:
            headers = {"before_header": str(self.route.ref), "after_header": str(self.route.ref)}
            texts = {"before": self._words(self.before) + "\n", "after": self._words(after) + "\n"}
            answer["diff"] = {**headers, **texts}
        return answer


def run(module: _cluster_module.Task, cluster: Cluster) -> dict[str, t.Any]:
    """Makes the step."""
    return Step(module, cluster).run()


OPTIONS: dict[str, t.Any] = {
    "route": {"type": "str", "required": True},
    "rule": {"type": "int", "default": 1},
    "weights": {"type": "list", "elements": "int", "required": True},
    "expected": {"type": "list", "elements": "int"},
    "restore": {"type": "list", "elements": "int"},
    "foreign": {"type": "bool", "default": False},
    "settle": {"type": "float", "default": 5.0},
    "span": {"type": "float", "default": 30.0},
    "interval": {"type": "float", "default": 3.0},
    "timeout": {"type": "float", "default": 120.0},
    "requests": {"type": "int", "default": 100},
    "few": {"type": "str", "choices": ["fail", "pass"], "default": "fail"},
    "min_success": {"type": "float", "default": 99.0},
    "max_success_drop": {"type": "float"},
    "quantile": {"type": "float", "default": 99.0},
    "max_latency": {"type": "float"},
    "max_latency_factor": {"type": "float"},
    "latency_allowance": {"type": "float", "default": 100.0},
    "reference": {"type": "dict"},
    "namespaces": {"type": "list", "elements": "str", "default": []},
    "pods_per_workload": {"type": "int", "default": 3},
    "admin_port": {"type": "int", "default": 15000},
    "cluster_domain": {"type": "str", "default": "cluster.local"},
}
DEFINITION = _cluster_module.Definition(OPTIONS, run)


def main() -> None:
    """Runs the module."""
    _cluster_module.main(DEFINITION)


if __name__ == "__main__":
    main()
