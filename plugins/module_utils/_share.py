# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether machines may be taken out of their Services now, whatever other runs have taken out. Private to the collection. Pure.

What is out is seen at the WorkloadEntries. One without a probe is deleted by a drain, and istiod deletes any whose sidecar is
away for longer than its grace period: so who takes machines out notes them at the Lease under which that is done, for as long as
it may take to bring them back.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _capacity, _lock, _workload_entry

ANNOTATION = "hybridmesh.istio/taken-out"
_TIME = "%Y-%m-%dT%H:%M:%SZ"

Entries = t.Sequence[_workload_entry.Entry]


def lease(namespace: str) -> _lock.Lease:
    """Under which machines of a namespace are taken out."""
    return _lock.Lease(
        namespace,
        "hybridmesh-istio-drain",
        "takes machines out of their Services",
        "share_timeout (vm_sidecar_restart_share_timeout for the role)",
    )


@dataclasses.dataclass(frozen=True)
class Note:
    """A machine that a run has taken out.

    Attributes:
        key: which.
        services: from which Services, as `namespace/name`.
        until: when the note is void, whatever became of the run.
    """

    key: _capacity.Key
    services: tuple[str, ...]
    until: datetime.datetime


def notes_from(annotations: t.Mapping[str, str], now: datetime.datetime) -> list[Note]:
    """The notes of a Lease that are in force; what nobody can read says nothing."""
    found = []
    try:
        for item in json.loads(annotations.get(ANNOTATION) or "[]"):
            namespace, group, address = (str(part) for part in item["machine"])
            until = datetime.datetime.strptime(item["until"], _TIME).replace(tzinfo=datetime.timezone.utc)
            if until > now:
                found.append(Note((namespace, group, address), tuple(map(str, item["services"])), until))
    except (AttributeError, KeyError, TypeError, ValueError):
        return []
    return found


def annotations_of(notes: t.Iterable[Note]) -> dict[str, str]:
    """The notes as a Lease has them; none of them are no annotation."""
    told = [
        {"machine": list(note.key), "services": list(note.services), "until": note.until.strftime(_TIME)}
        for note in sorted(notes, key=lambda note: note.key)
    ]
    return {ANNOTATION: json.dumps(told)} if told else {}


@dataclasses.dataclass(frozen=True)
class Look:
    """What was seen at one moment.

    Attributes:
        entries: all WorkloadEntries of the machines' namespaces.
        selectors: the Services there, as `_capacity.selectors` has them.
        notes: who was taken out.
    """

    entries: Entries
    selectors: t.Mapping[str, t.Mapping[str, t.Any]]
    notes: t.Sequence[Note]

    def services_of(self, entry: _workload_entry.Entry) -> tuple[str, ...]:
        """The Services that an entry serves."""
        return tuple(
            sorted(
                name
                for name, selector in self.selectors.items()
                if name.split("/", 1)[0] == entry.namespace and _capacity.selects(selector, entry.labels)
            )
        )


def taken(ours: Entries) -> list[_workload_entry.Entry]:
    """Those of ours that a drain takes something from. A sidecar of ours may be between two connections."""
    return [entry for entry in ours if _capacity.serves(entry, True)]


def short(look: Look, ours: Entries, not_counted: t.Collection[_capacity.Key], share: float) -> dict[str, str]:
    """By Service, why the machines may not be taken out now; nothing where they may.

    Args:
        look: what was seen.
        ours: the entries of those that are to be taken out. Whoever of them is out already may stay so.
        not_counted: others that do not count as out.
        share: of each Service's VMs, from 0 to 1.
    """
    ours_keys = {_capacity.key_of(entry) for entry in ours}
    uncounted = ours_keys | set(not_counted)
    there = {_capacity.key_of(entry) for entry in look.entries}
    goes: dict[str, int] = {}
    for entry in taken(ours):
        for service in look.services_of(entry):
            goes[service] = goes.get(service, 0) + 1
    totals = dict.fromkeys(goes, 0)
    out: dict[str, set[str]] = {service: set() for service in goes}
    for entry in look.entries:
        for service in look.services_of(entry):
            if service in goes:
                totals[service] += 1
                if not _capacity.serves(entry) and _capacity.key_of(entry) not in uncounted:
                    out[service].add(_told(entry))
    for note in look.notes:
        for service in note.services:
            if service in goes and note.key not in there and note.key not in ours_keys:
                totals[service] += 1
                out[service].add(f"{note.key[2]} of group {note.key[1]} (taken out by another run, and not back yet)")
    result = {}
    for service, count in goes.items():
        most = _capacity.allowed(share, totals[service])
        if len(out[service]) + count > most:
            names = f", {', '.join(sorted(out[service]))}," if out[service] else ""
            result[service] = (
                f"{len(out[service])} of the {totals[service]} VMs of Service {service}{names} do not serve, "
                f"{count} would go now, and {most} may be out at a time"
            )
    return result


def _told(entry: _workload_entry.Entry) -> str:
    if _capacity.is_drained(entry):
        why = "drained by a run"
    elif not entry.connected:
        why = "not connected"
    else:
        why = "unhealthy" if entry.healthy is False else "no report of its health yet"
    return f"{entry.name} ({why})"


def renoted(look: Look, ours: Entries, until: datetime.datetime) -> list[Note]:
    """The notes from now on: those of ours, and of others that are not back."""
    serving = {_capacity.key_of(entry) for entry in look.entries if _capacity.serves(entry)}
    kept = {note.key: note for note in look.notes if note.key not in serving}
    kept.update(
        {_capacity.key_of(entry): Note(_capacity.key_of(entry), look.services_of(entry), until) for entry in ours}
    )
    return list(kept.values())
