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
    description: At most so many times the others' latency. Null leaves that out.
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
from ansible_collections.hybridmesh.istio.plugins.module_utils._shift_figures import Figures, Ledger, together
from ansible_collections.hybridmesh.istio.plugins.module_utils._shift_proxies import Proxies
from ansible_collections.hybridmesh.istio.plugins.module_utils._shift_route import Changed, Route

# So often in a row no proxy may answer.
_SILENT = 3


class Failed(Exception):
    """The step is not good enough; the arguments say why."""


class Step:
    """One run of the module."""

    def __init__(self, module: _cluster_module.Task, cluster: Cluster) -> None:
        self.module = module
        self.params: dict[str, t.Any] = module.params
        params = self.params
        self.limits = _shift_verdict.Limits(
            requests=params["requests"],
            success=params["min_success"],
            success_drop=params["max_success_drop"],
            quantile=params["quantile"],
            latency=params["max_latency"],
            latency_factor=params["max_latency_factor"],
            latency_allowance=params["latency_allowance"],
        )
        applier = Applier(cluster)
        self.route = Route(applier, params["route"], params["rule"])
        self.route.must_be_ours(params["foreign"])
        rules = _shift_plan.rules_in(self.route.live)
        if not 0 < self.route.number <= len(rules):
            raise MeshError(
                f"{params['route']} has {len(rules)} rules about HTTP, and no rule {self.route.number}",
                "the number of one of its rules",
                "correct rule",
            )
        _shift_plan.check_rule(self.route.live, self.route.number)
        domain = params["cluster_domain"]
        self.backends = _shift_plan.backends_of(rules[self.route.number - 1], self.route.ref.namespace, domain)
        self.names = [backend.named(domain) for backend in self.backends]
        self.before = self.route.weights
        self.applier = applier
        self.ledger = Ledger(len(self.backends))

    def run(self) -> dict[str, t.Any]:
        """Sets the weights, watches, and goes back where that is needed."""
        params, wanted = self.params, list(self.params["weights"])
        domain = params["cluster_domain"]
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
            self.before = list(params["expected"] or self.before)
            words = _shift_plan.words(self.backends, wanted, domain)
            return self._answer(True, [f"would set {words}"], after=wanted)
        if params["expected"] and self.before != list(params["expected"]):
            raise MeshError(
                f"the weights are {self.before}, and were {params['expected']} a moment ago",
                "one who changes a route at a time",
                "see who changed it, and start the shift again: it goes on from the weights it finds",
            )
        words = _shift_plan.words(self.backends, wanted, domain)
        self.gains = _shift_plan.gaining(self.before, wanted)
        proxies = Proxies(
            self.applier,
            self.route.live,
            self.backends,
            domain,
            params["namespaces"],
            params["pods_per_workload"],
            params["admin_port"],
        )
        self.route.set(wanted)
        try:
            seconds = self._watched(proxies)
        except Failed as failed:
            return self._back(list(failed.args), words)
        except Changed:
            raise
        except MeshError as error:
            return self._back([error.found], words)
        gained, others = self._figures()
        answer = self._answer(True, [words, *self._lines(seconds)], after=wanted)
        reference = self._reference(others)
        return dict(answer, seconds=round(seconds, 1), gained=gained.plain(), others=reference.plain())

    def _watched(self, proxies: Proxies) -> float:
        """Watches until the step is good; seconds.

        Raises:
            Failed: it is not.
        """
        params = self.params
        time.sleep(max(0.0, params["settle"]))
        started, silent = time.monotonic(), 0
        while True:
            readings, unread = proxies.read()
            now = time.monotonic()
            self.route.see()
            for proxy, reading in readings.items():
                self.ledger.add(proxy, reading)
            silent = 0 if readings else silent + 1
            if silent >= _SILENT:
                why = next(iter(unread.values()), "there is none")
                raise Failed(f"none of {len(proxies.pods)} proxies can be read any more: {why}")
            gained, others = self._figures()
            reasons = _shift_verdict.lacking(readings, self.gains, self.names)
            reasons += _shift_verdict.broken(gained, self._reference(others), self.limits)
            if reasons:
                raise Failed(*reasons)
            passed = now - started
            if passed >= params["span"]:
                if _shift_verdict.enough(gained, self.limits):
                    return passed
                if passed >= params["timeout"]:
                    if params["few"] == "pass":
                        return passed
                    raise Failed(
                        f"{gained.requests} requests in {passed:.0f} s, of {self.limits.requests} that are needed to judge it"
                        + (
                            f" ({gained.timed} with their latency)"
                            if gained.timed or self.limits.latency is not None
                            else ""
                        )
                    )
            time.sleep(max(0.0, params["interval"] - (time.monotonic() - now)))

    def _figures(self) -> tuple[Figures, Figures]:
        """(of those that gained, of the others)."""
        figures = self.ledger.figures
        others = [one for place, one in enumerate(figures) if place not in self.gains]
        return together(figures[place] for place in self.gains), together(others)

    def _reference(self, others: Figures) -> Figures:
        if others.requests >= self.limits.requests:
            return others
        return Figures.from_plain(self.params["reference"]) if self.params["reference"] else others

    def _lines(self, seconds: float | None = None) -> list[str]:
        gained, others = self._figures()
        names = " and ".join(self.names[place] for place in self.gains)
        lines = [_shift_verdict.line(f"new ({names})", gained), _shift_verdict.line("old", others)]
        if seconds is not None:
            lines.append(f"counted for {seconds:.0f} s at {self.ledger.proxies} proxies")
        return lines

    def _back(self, reasons: list[str], words: str) -> dict[str, t.Any]:
        """The weights as they were, and why."""
        restore = list(self.params["restore"] or self.before)
        domain = self.params["cluster_domain"]
        names = " and ".join(self.names[place] for place in self.gains)
        told = _shift_plan.words(self.backends, restore, domain)
        next_step = f"see why {names} is not good enough (playbooks diagnose and graph), then shift again"
        try:
            self.route.put_back(restore)
            done = f"the weights are as before again ({told})"
        except MeshError as refused:
            done = f"the weights could NOT be put back to {told}: {refused.found}"
            next_step = f"put them back by hand: kubectl -n {self.route.ref.namespace} edit virtualservice {self.route.ref.name}"
        expected = f"{names} as good as asked for at each step"
        error = MeshError(f"the shift failed at {words}: {'; '.join(reasons)}; {done}", expected, next_step)
        told_error = {"found": error.found, "expected": error.expected, "next_step": error.next_step}
        answer = self._answer(self.route.weights != self.before, [words, *self._lines(), *reasons, done])
        return dict(answer, **told_error, failed=True, msg=str(error), reasons=reasons)

    def _answer(self, changed: bool, report: list[str], after: list[int] | None = None) -> dict[str, t.Any]:
        weights = self.route.weights
        answer: dict[str, t.Any] = {"changed": changed, "weights": weights, "report": report}
        if self.module._diff and after is not None:
            domain = self.params["cluster_domain"]
            answer["diff"] = {
                "before_header": str(self.route.ref),
                "after_header": str(self.route.ref),
                "before": _shift_plan.words(self.backends, self.before, domain) + "\n",
                "after": _shift_plan.words(self.backends, after, domain) + "\n",
            }
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
