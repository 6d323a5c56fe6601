# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run leaves behind as data: custom statistics, which AWX keeps as a job's artifacts. Pure. Private to the collection."""

from __future__ import annotations

import collections.abc
import datetime
import typing as t

Mapping = collections.abc.Mapping

# What makes a run fail for a machine.
FAILING = ("failed", "unreachable")


class Outcome(t.NamedTuple):
    """What a run came to for one machine.

    Attributes:
        vm: its inventory name.
        state: one word.
        reason: why, where it failed.
        ends: when its certificate expires, in seconds since the epoch; None where that is not known.
    """

    vm: str
    state: str
    reason: str = ""
    ends: float | None = None


def summary(outcomes: t.Iterable[Outcome], listed: t.Collection[str] = ()) -> dict[str, t.Any]:
    """The statistics of a run.

    Args:
        outcomes: one for each machine.
        listed: states of which the machines are named.

    Returns:
        `vms` (how many), `counts` by state, `failed` (name -> reason), `expires` (name -> date, where it is known), and for
        each of `listed` the names.
    """
    found = list(outcomes)
    counts: dict[str, int] = {}
    for outcome in found:
        counts[outcome.state] = counts.get(outcome.state, 0) + 1
    result: dict[str, t.Any] = {
        "vms": len(found),
        "counts": counts,
        "failed": {outcome.vm: outcome.reason for outcome in found if outcome.state in FAILING},
        "expires": {outcome.vm: date(outcome.ends) for outcome in found if outcome.ends is not None},
    }
    result.update({state: [outcome.vm for outcome in found if outcome.state == state] for state in listed})
    return result


def date(moment: float) -> str:
    """A moment as 2026-11-24T15:36:07Z."""
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def onboarded(vm: str, known: Mapping[str, t.Any], alive: bool, check_mode: bool) -> Outcome:
    """What the role vm_sidecar came to for a machine.

    Args:
        vm: its name.
        known: what is known of it - `info` (of sidecar_info), `plan` (of the filter sidecar_plans), `failure` (a reason) and `done`.
        alive: whether it has not failed.
        check_mode: whether this run changes nothing.
    """
    contact, plan, failure = known.get("info"), known.get("plan"), known.get("failure")
    if isinstance(contact, Mapping) and contact.get("unreachable"):
        return Outcome(vm, "unreachable", str(contact.get("msg") or "no connection"))
    if failure:
        return Outcome(vm, "failed", str(failure))
    if not isinstance(plan, Mapping):
        return Outcome(vm, "not_reached") if alive else Outcome(vm, "failed", "see its message in the run's output")
    if not plan.get("work"):
        return Outcome(vm, "unchanged")
    if not known.get("done"):
        return Outcome(vm, "not_reached") if alive else Outcome(vm, "failed", "see its message in the run's output")
    state = "changed" if plan.get("running") else "joined"
    return Outcome(vm, f"would_be_{state}" if check_mode else state)


def removed(vm: str, known: Mapping[str, t.Any], alive: bool, check_mode: bool) -> Outcome:
    """What the entry point remove came to for a machine; as `onboarded`, with `removed` (of sidecar_remove)."""
    contact, gone = known.get("info"), known.get("removed")
    if isinstance(contact, Mapping) and contact.get("unreachable"):
        return Outcome(vm, "unreachable", str(contact.get("msg") or "no connection"))
    if not alive:
        told = gone if isinstance(gone, Mapping) and gone.get("failed") else {}
        return Outcome(vm, "failed", str(told.get("msg") or "see its message in the run's output"))
    if not isinstance(gone, Mapping):
        return Outcome(vm, "not_reached")
    if not gone.get("changed"):
        return Outcome(vm, "unchanged")
    return Outcome(vm, "would_be_removed" if check_mode else "removed")
