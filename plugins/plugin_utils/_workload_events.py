# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of WorkloadEntries as few events, each of them once. Pure: time is given. Private to the collection."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _watch
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._workload_entry import Entry, entry_from
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _workloads

UNHEALTHY, DISCONNECTED, GONE, CERTIFICATE, RECOVERED, MANY = (
    "unhealthy",
    "disconnected",
    "gone",
    "certificate",
    "recovered",
    "many",
)
KINDS = (UNHEALTHY, DISCONNECTED, GONE, CERTIFICATE, RECOVERED)
_EXPIRY = re.compile(r"^istio_agent_cert_expiry_seconds(?:\{[^}]*\})?\s+([-+0-9.eE]+)\s*$", re.MULTILINE)

Key = tuple[str, str]
Event = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Settings:
    """When something becomes an event. All times in seconds.

    Attributes:
        wish: which entries count, and what their hosts are called.
        kinds: the kinds of events that are wanted.
        settle: for how long something must be so.
        quiet: for how long the same is not told again of the same VM.
        most: where more VMs than this have news at the same time, they become one event.
        certificate_left: a certificate with less than this left is told.
    """

    wish: _workloads.Wish
    kinds: t.Collection[str] = (UNHEALTHY, DISCONNECTED, GONE, CERTIFICATE)
    settle: float = 15.0
    quiet: float = 600.0
    most: int = 10
    certificate_left: float = 21600.0


@dataclasses.dataclass
class _Seen:
    """What is known of one VM.

    Attributes:
        state: '' where all is well, else UNHEALTHY, DISCONNECTED or GONE.
        since: when that began, as it was seen here.
        told: whether that state has been told (or was not to be).
        bad: whether the last thing told of it was bad.
    """

    facts: Event
    state: str
    since: float
    told: bool
    bad: bool = False


class Watcher:
    """Takes changes in, gives events out."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seen: dict[Key, _Seen] = {}
        # What a LIST that is not complete yet has shown; None while there is none.
        self._listing: set[Key] | None = None
        self._last: dict[tuple[Key, str], float] = {}
        self._certificates: dict[Key, float] = {}

    def take(self, change: _watch.Change, now: float) -> None:
        """Takes in one change of those that `_watch.Follower` gives."""
        if change.kind == _watch.RESET:
            self._listing = set()
        elif change.kind == _watch.SYNCED:
            listed, self._listing = self._listing or set(), None
            for key in [key for key in self._seen if key not in listed]:
                self._become(key, self._seen[key].facts, GONE, now)
        else:
            self._take_entry(change.kind, change.resource, now)

    def _take_entry(self, kind: str, resource: t.Mapping[str, t.Any], now: float) -> None:
        entry = entry_from(resource)
        key = (entry.namespace, entry.name)
        if not entry.group or not _workloads.wants_group(self._settings.wish, entry.namespace, entry.group):
            return
        if self._listing is not None and kind != "DELETED":
            self._listing.add(key)
        facts = facts_of(entry, resource, self._settings.wish.hostnames)
        self._become(key, facts, GONE if kind == "DELETED" else state_of(entry), now)

    def _become(self, key: Key, facts: Event, state: str, now: float) -> None:
        seen = self._seen.get(key)
        if seen is None:
            # An entry that is deleted before it was ever seen was nobody's.
            if state != GONE:
                self._seen[key] = _Seen(facts, state, now, told=not state)
        elif seen.state == state:
            seen.facts = facts
        else:
            # A state that passed before it was told leaves no trace.
            self._seen[key] = _Seen(facts, state, now, told=not state and not seen.bad, bad=seen.bad)

    def addresses(self) -> dict[Key, str]:
        """The VMs whose certificates are to be looked at: those that are connected."""
        return {
            key: seen.facts["address"] for key, seen in self._seen.items() if seen.state not in (GONE, DISCONNECTED)
        }

    def certificates(self, left: t.Mapping[Key, float]) -> None:
        """Takes in what VMs said of how many seconds their certificates have left."""
        for key, seconds in left.items():
            if key in self._seen and seconds < self._settings.certificate_left:
                self._certificates[key] = seconds
            else:
                self._certificates.pop(key, None)

    def due(self, now: float) -> list[Event]:
        """The events that are to be told now. Call it about once a second."""
        ripe: list[tuple[Key, Event]] = []
        for key, seen in list(self._seen.items()):
            if seen.told or now - seen.since < self._settings.settle:
                continue
            seen.told = True
            kind = seen.state or RECOVERED
            seen.bad = bool(seen.state)
            # The end of what is bad is told whatever was told just before.
            if self._wanted(key, kind, now, always=kind == RECOVERED):
                ripe.append((key, {**seen.facts, "kind": kind}))
            if kind == GONE:
                del self._seen[key]
        for key, seconds in sorted(self._certificates.items()):
            known = self._seen.get(key)
            if known is not None and self._wanted(key, CERTIFICATE, now):
                ripe.append((key, {**known.facts, "kind": CERTIFICATE, "certificate_left": int(seconds)}))
        self._certificates.clear()
        self._forget(now)
        return self._together([event for _key, event in ripe])

    def _wanted(self, key: Key, kind: str, now: float, always: bool = False) -> bool:
        if kind not in self._settings.kinds:
            return False
        last = self._last.get((key, kind))
        if not always and last is not None and now - last < self._settings.quiet:
            return False
        self._last[(key, kind)] = now
        return True

    def _forget(self, now: float) -> None:
        """Keeps no record of what was told longer ago than it matters: VMs come and go for ever."""
        for known in [known for known, last in self._last.items() if now - last >= self._settings.quiet]:
            del self._last[known]

    def _together(self, events: list[Event]) -> list[Event]:
        """One event for each kind that concerns many: a gateway that is away must not start a run for each VM."""
        result: list[Event] = []
        for kind in KINDS:
            own = [event for event in events if event["kind"] == kind]
            if len(own) <= self._settings.most:
                result += own
                continue
            result.append(
                {
                    "kind": MANY,
                    "of": kind,
                    "count": len(own),
                    "hosts": sorted(event["host"] for event in own),
                    "groups": sorted({event["group"] for event in own}),
                }
            )
        return result


def state_of(entry: Entry) -> str:
    """What is wrong with an entry; '' where nothing is.

    Where the connection is lost, health is what it was before.
    """
    if not entry.connected:
        return DISCONNECTED
    # Without a probe's result yet the VM is only starting.
    return UNHEALTHY if entry.healthy is False else ""


def facts_of(entry: Entry, resource: t.Mapping[str, t.Any], hostnames: t.Sequence[str]) -> Event:
    """What an event tells of a VM."""
    return {
        "host": _workloads.name_of(resource, hostnames),
        "entry": entry.name,
        "namespace": entry.namespace,
        "group": f"{entry.namespace}/{entry.group}",
        "address": entry.address,
        "network": entry.network,
        "locality": entry.locality,
        "health": entry.health,
        "message": entry.health_message,
        "connected_at": entry.connected_at,
        "disconnected_at": entry.disconnected_at,
        "labels": dict(entry.labels),
    }


def seconds_left(metrics: str) -> float | None:
    """How long a sidecar's certificate is still valid, by the agent's metrics; negative where it has expired.

    None where they say nothing of it, or the agent has no certificate yet.
    """
    found = [float(value) for value in _EXPIRY.findall(metrics)]
    return min(found) if found else None


NUMBERS = {
    # option: (default, smallest)
    "settle": (15.0, 0.0),
    "quiet": (600.0, 0.0),
    "most": (10.0, 1.0),
    "certificate_left": (21600.0, 1.0),
    "certificate_interval": (0.0, 0.0),
    "certificate_port": (15020.0, 1.0),
}


def read_settings(arguments: t.Mapping[str, t.Any]) -> tuple[Settings, dict[str, float]]:
    """The settings that a rulebook's arguments say, and all numbers of them.

    Raises:
        MeshError: one of them means nothing.
    """
    numbers = {name: _number(arguments, name) for name in NUMBERS}
    kinds = _words(arguments, "kinds") or list(Settings.kinds)
    for kind in kinds:
        if kind not in KINDS:
            raise MeshError(f"the kind '{kind}'", "some of " + ", ".join(KINDS), "correct kinds")
    wish = _workloads.Wish(
        namespaces=_words(arguments, "namespaces"),
        groups=_words(arguments, "workload_groups"),
        hostnames=_words(arguments, "hostnames") or ["name"],
    )
    wish.check()
    settings = Settings(
        wish,
        kinds,
        settle=numbers["settle"],
        quiet=numbers["quiet"],
        most=int(numbers["most"]),
        certificate_left=numbers["certificate_left"],
    )
    return settings, numbers


def _number(arguments: t.Mapping[str, t.Any], name: str) -> float:
    default, smallest = NUMBERS[name]
    value = arguments.get(name)
    try:
        number = default if value is None else float(value)
    except (TypeError, ValueError):
        number = smallest - 1
    # Not a number is less than nothing, too.
    if not number >= smallest:
        raise MeshError(f"{name} '{value}'", f"a number of {smallest:g} at least", f"correct {name}")
    return number


def _words(arguments: t.Mapping[str, t.Any], name: str) -> list[str]:
    value = arguments.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise MeshError(f"{name} '{value}'", "a list of texts", f"correct {name}")
    return value
