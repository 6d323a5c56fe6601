# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order declared traffic is applied, so that no request meets half of it. Pure. Private to the collection.

A subset must be known to all proxies before a route sends to it, and must stay until none does any more. Proxies learn of
both some moments after the API server does, hence the pauses.
"""

from __future__ import annotations

import copy
import dataclasses
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _traffic_names
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Change, Object
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_names import KINDS

_ORDER = [kind for _api_version, kind in KINDS]


@dataclasses.dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes:
        act: `apply`, `delete` or `pause`.
        item: the object, None for a pause.
    """

    act: str
    item: Object | None = None


def steps(
    declared: t.Sequence[Object], changes: t.Sequence[Change], leftovers: t.Sequence[Object], domain: str
) -> list[Step]:
    """What is to be done, in order.

    Args:
        declared: the declared objects.
        changes: what each of them would change.
        leftovers: what is to be removed.
        domain: the cluster's DNS domain.
    """
    todo = sorted(
        ((item, change) for item, change in zip(declared, changes) if change.action != "none"),
        key=lambda pair: _ORDER.index(pair[0]["kind"]),
    )
    routes = [(item, change) for item, change in todo if item["kind"] == "VirtualService"]
    gone = sorted(leftovers, key=lambda item: _ORDER.index(item["kind"]), reverse=True)
    gone_routes = [item for item in gone if item["kind"] == "VirtualService"]
    used_before = _used([change.before for _item, change in routes if change.before] + gone_routes, domain)

    result: list[Step] = []
    final: list[Step] = []
    new: set[tuple[str, str]] = set()
    vanishing = {
        (_traffic_names.rule_host(item, domain), subset)
        for item in gone
        if item["kind"] == "DestinationRule"
        for subset in _traffic_names.subset_names(item)
    }
    for item, change in todo:
        if item["kind"] == "VirtualService":
            continue
        if item["kind"] == "DestinationRule":
            host = _traffic_names.rule_host(item, domain)
            before, after = _traffic_names.subset_names(change.before), _traffic_names.subset_names(item)
            new |= {(host, subset) for subset in after if subset not in before}
            lost = {(host, subset) for subset in before if subset not in after}
            if lost & used_before:
                vanishing |= lost
                result.append(Step("apply", _widened(item, change.before or {})))
                final.append(Step("apply", item))
                continue
        result.append(Step("apply", item))
    if new & _used([item for item, _change in routes], domain):
        result.append(Step("pause"))
    result += [Step("apply", item) for item, _change in routes]
    result += [Step("delete", item) for item in gone_routes]
    if vanishing & used_before:
        result.append(Step("pause"))
    result += final
    result += [Step("delete", item) for item in gone if item["kind"] != "VirtualService"]
    return result


def _used(routes: t.Iterable[Object], domain: str) -> set[tuple[str, str]]:
    return {used for route in routes for used in _traffic_names.subsets_used(route, domain)}


def _widened(item: Object, before: Object) -> Object:
    """A DestinationRule with the subsets, too, that it is about to lose."""
    result = copy.deepcopy(item)
    kept = _traffic_names.subset_names(item)
    lost = [subset for subset in before["spec"].get("subsets") or [] if subset.get("name") not in kept]
    result["spec"]["subsets"] = [*(result["spec"].get("subsets") or []), *lost]
    return result
