# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Services virtual machines serve, how many there are, and who may be taken out together.

Private to the collection. Pure.
"""

from __future__ import annotations

import datetime
import math
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _workload_entry
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._expectation import expectation_from

Mapping = t.Mapping[str, t.Any]
# A machine's namespace, group and address: what stays when its entry is made anew.
Key = t.Tuple[str, str, str]

# What the condition of a drained entry says. It is how the next run knows a drain that was left behind, and the first
# report of the sidecar's own replaces it.
DRAINED = "drained by hybridmesh.istio"

# What an entry keeps from its first registration, whatever the group says later (istio/istio#37868).
_OUTDATED = ("wrong_labels", "wrong_network", "wrong_locality", "wrong_ports", "wrong_service_account")


def key_of(entry: _workload_entry.Entry) -> Key:
    """Which machine an entry is of."""
    return entry.namespace, entry.group, entry.address


def is_drained(entry: _workload_entry.Entry) -> bool:
    """Whether a drain of ours is in force."""
    return entry.healthy is False and entry.health_message.startswith(DRAINED)


def serves(entry: _workload_entry.Entry, runs: bool = False) -> bool:
    """Whether the VM serves clients: it is among their endpoints, and its sidecar is there.

    A sidecar that has lost its connection for a moment serves all the same, if it is known to run.
    """
    healthy = entry.healthy is True or not (entry.health_checked or entry.healthy is False)
    return healthy and (entry.connected or runs)


def selectors(services: t.Iterable[Mapping]) -> dict[str, Mapping]:
    """`namespace/name` -> selector, of the Services that have one."""
    found = {}
    for service in services:
        metadata, selector = service.get("metadata") or {}, (service.get("spec") or {}).get("selector")
        if selector:
            found["{}/{}".format(metadata.get("namespace", ""), metadata.get("name", ""))] = selector
    return found


def selects(selector: Mapping, labels: Mapping) -> bool:
    """Whether a Service takes what has these labels."""
    return all(labels.get(key) == value for key, value in selector.items())


def allowed(share: float, total: int) -> int:
    """How many of a Service's VMs may be out at a time. One always may."""
    return max(1, math.floor(share * total))


def judge_share(share: float) -> None:
    """Refuses what is no share.

    Raises:
        MeshError: it is none.
    """
    if not 0 <= share <= 1:
        raise MeshError(f"share is {share}", "a number from 0 to 1", "correct it, 0.34 is about a third")


def survey(
    vms: t.Sequence[Mapping],
    entries: t.Sequence[_workload_entry.Entry],
    services: t.Iterable[Mapping],
    groups: t.Mapping[tuple[str, str], t.Any],
    now: datetime.datetime,
    running: t.Collection[str] = (),
    noted: t.Collection[Key] = (),
) -> dict[str, t.Any]:
    """What is known of some VMs, and of the Services they serve.

    Args:
        vms: `name`, `namespace`, `group` and `address` of each.
        entries: all WorkloadEntries of their namespaces.
        services: all Services of their namespaces.
        groups: the WorkloadGroups by (namespace, name); None for those that are missing.
        now: the API server's time.
        running: names of the VMs whose sidecar was seen to run.
        noted: machines that a run has taken out and brings back, by namespace, group and address.

    Returns:
        `vms`: by name, with `entry` (or null), `connected`, `healthy` (null without a probe), `checked` (has a probe),
        `serving`, `drained`, `away`, `services`, `outdated` (why the entry has to be made anew, or null), `mute` (whether it holds no
        report of its health, though it should by now) and `report_within` (seconds within which the first report is still to
        be expected, or null);
        `services`: by name, with how many VMs there are (`total`), `serving`, and `away`: out, and brought back by the run that
        took them out.
    """
    by_service = selectors(services)
    here = {(vm["namespace"], vm["group"], vm["address"] or "") for vm in vms if vm["name"] in running}

    def serving(entry: _workload_entry.Entry) -> bool:
        return serves(entry, key_of(entry) in here)

    def away(entry: _workload_entry.Entry) -> bool:
        return not serving(entry) and (is_drained(entry) or key_of(entry) in noted)

    serving_at: dict[str, list[str]] = {}
    counts = {}
    for service, selector in by_service.items():
        namespace = service.split("/", 1)[0]
        members = [entry for entry in entries if entry.namespace == namespace and selects(selector, entry.labels)]
        for entry in members:
            serving_at.setdefault(f"{entry.namespace}/{entry.name}", []).append(service)
        if members:
            counts[service] = {
                "total": len(members),
                "serving": sum(serving(entry) for entry in members),
                "away": sum(away(entry) for entry in members),
            }
    of_vms: dict[Key, _workload_entry.Entry] = {}
    for entry in sorted(entries, key=lambda item: item.connected):
        of_vms[key_of(entry)] = entry
    result = {}
    for vm in vms:
        found = of_vms.get((vm["namespace"], vm["group"], vm["address"] or ""))
        group = groups.get((vm["namespace"], vm["group"]))
        left = _report_within(found, group, now) if found else None
        result[vm["name"]] = {
            "entry": found.name if found else None,
            "connected": bool(found and found.connected),
            "healthy": found.healthy if found else None,
            "checked": bool(((group or {}).get("spec") or {}).get("probe")) or bool(found and found.health_checked),
            "serving": bool(found and serving(found)),
            "drained": bool(found and is_drained(found)),
            "away": bool(found and away(found)),
            "services": sorted(serving_at.get(f"{found.namespace}/{found.name}", [])) if found else [],
            "outdated": _outdated(vm, found, group) if found and group else None,
            "mute": left is not None and left < 0,
            "report_within": left if left is not None and left >= 0 else None,
        }
    return {"vms": result, "services": counts}


# Added to the time in which a sidecar's probe comes to its first result, for the way to istiod and for the entry, in seconds.
_REPORT_UNDER_WAY = 20.0


def first_report(group: Mapping | None) -> float:
    """Seconds within which a sidecar reports its health after it connected.

    The names and defaults are those of Istio's ReadinessProbe (networking.istio.io/v1, WorkloadGroup).
    """
    probe = ((group or {}).get("spec") or {}).get("probe") or {}
    times = max(probe.get("successThreshold") or 1, probe.get("failureThreshold") or 3)
    each = max(probe.get("periodSeconds") or 10, probe.get("timeoutSeconds") or 1)
    return float((probe.get("initialDelaySeconds") or 0) + times * each) + _REPORT_UNDER_WAY


def _report_within(entry: _workload_entry.Entry, group: Mapping | None, now: datetime.datetime) -> float | None:
    """Seconds that are left for the first report of health, less than 0 where it is overdue; None where there is none to wait for."""
    if not (entry.health_checked and entry.connected and entry.healthy is None):
        return None
    return first_report(group) - (_workload_entry.seconds_since(entry.connected_at, now) or 0)


def undecided(known: Mapping, running: t.Iterable[str]) -> dict[str, float]:
    """VMs whose sidecar runs and may still report its health, with the seconds within which it does."""
    left = {name: known["vms"][name]["report_within"] for name in running}
    return {name: seconds for name, seconds in left.items() if seconds is not None}


def _outdated(vm: Mapping, entry: _workload_entry.Entry, group: Mapping) -> str | None:
    finding = _workload_entry.differences(expectation_from(vm, group), entry)
    return finding[1] if finding and finding[0] in _OUTDATED else None


def to_mend(known: Mapping, running: t.Iterable[str]) -> dict[str, list[str]]:
    """Why VMs whose sidecar runs have to connect anew, by name; those with nothing to mend are left out."""
    reasons: dict[str, list[str]] = {}
    for name in running:
        state = known["vms"][name]
        if state["entry"] is None:
            # istiod makes a deleted entry anew only for a new connection.
            reasons[name] = ["the sidecar runs, but the mesh has no WorkloadEntry for it"]
        elif state["mute"]:
            # The sidecar reports changes only, and its entry was made anew meanwhile.
            reasons[name] = ["its WorkloadEntry holds no report of its health"]
        elif state["outdated"]:
            reasons[name] = [f"its WorkloadEntry is as the group was before: {state['outdated']}"]
    return reasons


def waves(
    order: t.Sequence[str], known: Mapping, share: float, canaries: int = 0, most: int = 0
) -> tuple[list[list[str]], dict[str, str]]:
    """Who may be restarted together, so that no Service loses more than a share of its VMs at a time.

    Args:
        order: names of the VMs that are to be restarted.
        known: what `survey` returned. VMs that serve nothing are all in the first wave.
        share: of each Service's VMs, from 0 to 1. At least one of them may always be taken, as long as the others serve.
        canaries: how many go alone, first; 0 for none.
        most: how many there are in a wave at most; 0 for no limit.

    Returns:
        The waves, and for VMs that can't be taken at all, why.
    """
    waiting, refused, result = list(order), {}, []
    services = known.get("services") or {}
    states = known.get("vms") or {}
    most_out = {name: allowed(share, count["total"]) for name, count in services.items()}
    # Those that are out already, and not by being one of ours. For those of other runs the drain waits.
    down = {name: count["total"] - count["serving"] - count.get("away", 0) for name, count in services.items()}
    for name in order:
        for service in (states.get(name) or {}).get("services") or []:
            if not (states[name].get("serving") or states[name].get("away")):
                down[service] -= 1
    for name in order:
        state = states.get(name) or {}
        short = [
            service
            for service in state.get("services") or []
            if state.get("serving") and down[service] >= most_out[service]
        ]
        if short:
            count = services[short[0]]
            refused[name] = (
                f"{down[short[0]]} of the {count['total']} VMs of Service {short[0]} do not serve already, "
                f"and {most_out[short[0]]} may be out at a time"
            )
    waiting = [name for name in order if name not in refused]
    limit = canaries
    while waiting:
        wave: list[str] = []
        taken: dict[str, int] = {}
        for name in waiting:
            state = states.get(name) or {}
            busy = (state.get("services") or []) if state.get("serving") else []
            full = limit or most
            if full and len(wave) >= full:
                break
            if all(down[service] + taken.get(service, 0) < most_out[service] for service in busy):
                wave.append(name)
                for service in busy:
                    taken[service] = taken.get(service, 0) + 1
        waiting = [name for name in waiting if name not in wave]
        result.append(wave)
        limit = 0
    return result, refused
