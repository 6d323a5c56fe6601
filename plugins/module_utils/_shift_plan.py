# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the weights that a route has to those that it is to have, step by step. Pure. Private to the collection."""

from __future__ import annotations

import copy
import dataclasses
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _manifest, _traffic_names
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Object
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_names import service_host, service_of
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_scene import some

ALL = 100


@dataclasses.dataclass(frozen=True)
class Backend:
    """One of those that a rule sends to.

    Attributes:
        host: its full host.
        subset: the name of its subset, or ''.
        port: its port; None where the one that was called decides.
    """

    host: str
    subset: str
    port: int | None

    def named(self, domain: str) -> str:
        """`envoydummy.chapter10vm:80 v2`: what it is called in messages."""
        own = service_of(self.host, domain)
        name = f"{own[1]}.{own[0]}" if own else self.host
        return name + (f":{self.port}" if self.port else "") + (f" {self.subset}" if self.subset else "")


def backends_of(rule: Object, namespace: str, domain: str) -> list[Backend]:
    """The backends of a rule, in their order."""
    found = []
    for target in rule.get("route") or []:
        asked = target.get("destination") or {}
        port = (asked.get("port") or {}).get("number")
        host = _traffic_names.resolved(str(asked.get("host") or ""), namespace, domain)
        found.append(Backend(host, str(asked.get("subset") or ""), port))
    return found


def weights_of(rule: Object) -> list[int]:
    """The weights of a rule's backends; one alone has all."""
    given = [target.get("weight") for target in rule.get("route") or []]
    return [ALL] if len(given) == 1 else [int(weight or 0) for weight in given]


def rules_in(route: Object) -> list[Object]:
    """The rules of a VirtualService that are about HTTP."""
    return list((route.get("spec") or {}).get("http") or [])


def with_weights(route: Object, number: int, weights: t.Sequence[int]) -> Object:
    """The route with other weights in one rule (numbers begin at 1), and nothing else changed."""
    result = copy.deepcopy(route)
    for target, weight in zip(result["spec"]["http"][number - 1]["route"], weights):
        target["weight"] = weight
    return result


def rule_name(route: Object, number: int) -> str:
    """`route shop/web, rule 2 (canary)`."""
    name = rules_in(route)[number - 1].get("name")
    return f"{_traffic_names.said(route)}, rule {number}" + (f" ({name})" if name else "")


def choose_rule(route: Object, wanted: str | None) -> int:
    """The number of the rule that is meant: by its name or number, or the only one with several backends.

    Raises:
        MeshError: there is none, or more than one.
    """
    rules, where = rules_in(route), _traffic_names.said(route)
    if not rules:
        raise MeshError(
            f"{where} has no rules about HTTP",
            "a route of HTTP requests, as success and latency are told of requests alone",
            "declare it as such (protocol: http), or change its weights by the role traffic",
        )
    if wanted:
        numbers = [
            number for number, rule in enumerate(rules, 1) if wanted == rule.get("name") or wanted == str(number)
        ]
        if not numbers:
            names = (str(rule.get("name") or number) for number, rule in enumerate(rules, 1))
            raise MeshError(
                f"{where} has no rule {wanted}{some(names, 'it has')}",
                "the name of a rule, or its number, from 1 on",
                "correct traffic_shift_rule",
            )
        return numbers[0]
    several = [number for number, rule in enumerate(rules, 1) if len(rule.get("route") or []) > 1]
    if len(several) == 1:
        return several[0]
    if not several:
        raise MeshError(
            f"no rule of {where} has more than one backend",
            "a rule that lists both versions, one of them with weight 0 where it gets nothing yet",
            "declare both under backends (weight: 100 and weight: 0), and have the role traffic apply it first",
        )
    names = (str(rules[number - 1].get("name") or number) for number in several)
    raise MeshError(
        f"{len(several)} rules of {where} have more than one backend{some(names, 'they are')}",
        "one rule",
        "name it (traffic_shift_rule)",
    )


def check_rule(route: Object, number: int) -> None:
    """Whether a rule's weights can be shifted.

    Raises:
        MeshError: it has a single backend or none, or its weights do not make 100.
    """
    where, rule = rule_name(route, number), rules_in(route)[number - 1]
    weights = weights_of(rule)
    if len(weights) < 2:
        raise MeshError(
            f"{where} has {'one backend' if weights else 'no backends'}",
            "both versions among its backends, one of them with weight 0 where it gets nothing yet",
            "declare both, and have the role traffic apply it first",
        )
    if sum(weights) != ALL:
        words = " + ".join(map(str, weights))
        raise MeshError(
            f"the weights of {where} are {words}, which makes {sum(weights)}", "100 in all", "correct the weights first"
        )


def target_of(
    route: Object, number: int, asked: t.Sequence[t.Mapping[str, t.Any]], domain: str, option: str
) -> list[int]:
    """The weights that a rule is to have: those of the backends asked for, and 0 for all others.

    Raises:
        MeshError: a backend is not one of the rule's, or the weights do not make 100.
    """
    namespace = _manifest.ref(route).namespace
    own = backends_of(rules_in(route)[number - 1], namespace, domain)
    result: list[int | None] = [None] * len(own)
    for backend in asked:
        host = str(backend.get("host") or "")
        if backend.get("service"):
            host = service_host(str(backend["service"]), namespace, domain) or str(backend["service"])
        subset, port = str(backend.get("subset") or ""), backend.get("port")
        meant = [
            place
            for place, known in enumerate(own)
            # What is not said need not be told apart.
            if known.host == host and (not subset or known.subset == subset) and port in (None, known.port)
        ]
        if len(meant) != 1 or result[meant[0]] is not None:
            name = Backend(host, subset, port).named(domain)
            what = "is not among its backends" if not meant else "is more than one of its backends"
            if len(meant) == 1:
                what = "is named twice"
            raise MeshError(
                f"{rule_name(route, number)}: {name} {what}{some((one.named(domain) for one in own), 'it has')}",
                "each backend once, as the route has it",
                f"correct {option}; a backend that is new is declared with weight 0 first, by the role traffic",
            )
        result[meant[0]] = ALL if backend.get("weight") is None and len(asked) == 1 else backend.get("weight") or 0
    weights = [weight or 0 for weight in result]
    if sum(weights) != ALL or min(weights) < 0:
        raise MeshError(
            f"the weights to shift to are {' + '.join(map(str, weights))}, which makes {sum(weights)}",
            "100 in all",
            f"correct {option}",
        )
    return weights


def declared(route: Object, wanted: Object, wanted_rule: str | None) -> tuple[int, list[int]] | None:
    """(number, weights) of the rule whose declared weights are others; None where all are as declared.

    Raises:
        MeshError: more than weights differs, or the weights of several rules do.
    """
    where, live_rules, rules = _traffic_names.said(route), rules_in(route), rules_in(wanted)
    plain = [[_unweighted(rule) for rule in one] for one in (live_rules, rules)]
    if plain[0] != plain[1]:
        raise MeshError(
            f"what is declared of {where} differs from what is in the cluster in more than weights",
            "a declaration of which only weights were changed",
            "have the role traffic apply everything else first, with the weights as they are"
            + " (--check --diff shows what differs)",
        )
    if wanted_rule:
        numbers = [choose_rule(route, wanted_rule)]
    else:
        numbers = [
            number
            for number, (live, rule) in enumerate(zip(live_rules, rules), 1)
            if weights_of(live) != weights_of(rule)
        ]
    if len(numbers) > 1:
        raise MeshError(
            f"the declared weights of {len(numbers)} rules of {where} are others than in the cluster",
            "one rule at a time",
            f"name the first one (traffic_shift_rule: {numbers[0]})",
        )
    return (numbers[0], weights_of(rules[numbers[0] - 1])) if numbers else None


def _unweighted(rule: Object) -> Object:
    targets = [{key: value for key, value in target.items() if key != "weight"} for target in rule.get("route") or []]
    return dict(rule, route=targets)


def steps(before: t.Sequence[int], after: t.Sequence[int], percents: t.Sequence[int]) -> list[list[int]]:
    """The weights of each step, the last one as they are to be in the end; none where they are so already.

    Args:
        before, after: the weights as they are, and as they are to be.
        percents: what those that gain are to have at each step. What lies behind, or beyond the end, is left out:
            so a shift that was cut off goes on from where it is.

    Raises:
        MeshError: the percents are none, or do not rise.
    """
    if any(not 0 < one <= ALL for one in percents) or any(one >= more for one, more in zip(percents, percents[1:])):
        raise MeshError(
            f"the steps are {', '.join(map(str, percents))}",
            "percents from 1 to 100, each more than the one before",
            "correct traffic_shift_steps",
        )
    gains = gaining(before, after)
    if not gains:
        return []
    start, end = sum(before[place] for place in gains), sum(after[place] for place in gains)
    result = []
    for percent in [one for one in percents if start < one < end]:
        part = (percent - start) / (end - start)
        between = _whole([was + (will - was) * part for was, will in zip(before, after)])
        if between not in (list(before), list(after)):
            result.append(between)
    return [*result, list(after)]


def gaining(before: t.Sequence[int], after: t.Sequence[int]) -> list[int]:
    """The places of those that get more than they had."""
    return [place for place, (was, will) in enumerate(zip(before, after)) if will > was]


def _whole(shares: t.Sequence[float]) -> list[int]:
    """Whole numbers that make 100, each as near to its share as that allows."""
    result = [int(share) for share in shares]
    order = sorted(range(len(shares)), key=lambda place: (result[place] - shares[place], place))
    for place in order[: ALL - sum(result)]:
        result[place] += 1
    return result


def words(backends: t.Sequence[Backend], weights: t.Sequence[int], domain: str) -> str:
    """`75 % workbench.lab, 25 % envoydummy.chapter10vm v2`."""
    return ", ".join(f"{weight} % {backend.named(domain)}" for backend, weight in zip(backends, weights))
