# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""WorkloadEntries against what was expected: verdicts with stable reasons. Pure. Private to the collection."""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._expectation import Expectation

OK = "ok"

# All reasons for which a verdict is not OK. Names are stable: people compare with them.
REASONS = (
    "not_registered",
    "disconnected",
    "unhealthy",
    "stale",
    "wrong_labels",
    "wrong_network",
    "wrong_service_account",
    "wrong_locality",
    "wrong_ports",
    "wrong_address",
    "wrong_group",
    "duplicate_address",
    "group_missing",
    "no_address",
    "not_absent",
)

# Reasons that may pass by themselves while a VM starts; the others stay until somebody changes something.
PASSING = frozenset(["not_registered", "disconnected", "unhealthy", "stale", "not_absent"])

GROUP_ANNOTATION = "istio.io/autoRegistrationGroup"
CONNECTED_ANNOTATION = "istio.io/connectedAt"
DISCONNECTED_ANNOTATION = "istio.io/disconnectedAt"
CONTROLLER_ANNOTATION = "istio.io/workloadController"
HEALTH_ANNOTATION = "proxy.istio.io/health-checks-enabled"

# istiod closes a proxy's connection at this age (Helm's value, in seconds), and the proxy connects again.
MAX_CONNECTION_AGE = 1800.0


@dataclasses.dataclass(frozen=True)
class Entry:
    """What matters of one WorkloadEntry."""

    name: str
    namespace: str
    address: str
    network: str
    service_account: str
    locality: str
    labels: t.Mapping[str, str]
    ports: t.Mapping[str, int]
    group: str
    connected_at: str
    disconnected_at: str
    controller: str
    health_checked: bool
    healthy: bool | None
    health_message: str

    @property
    def connected(self) -> bool:
        """Whether istiod says that the VM's proxy is connected now."""
        return bool(self.connected_at) and not self.disconnected_at

    @property
    def health(self) -> str:
        """`healthy`, `unhealthy`, or `not_checked` where the VM reports no probe."""
        if self.healthy is None:
            return "unhealthy" if self.health_checked else "not_checked"
        return "healthy" if self.healthy else "unhealthy"


def entry_from(resource: t.Mapping[str, t.Any]) -> Entry:
    """The Entry of a WorkloadEntry as the API returns it."""
    metadata = resource.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    spec = resource.get("spec") or {}
    healthy: bool | None = None
    message = ""
    for condition in (resource.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "Healthy":
            healthy = condition.get("status") == "True"
            message = condition.get("message") or ""
    return Entry(
        name=metadata.get("name") or "",
        namespace=metadata.get("namespace") or "",
        address=spec.get("address") or "",
        network=spec.get("network") or "",
        service_account=spec.get("serviceAccount") or "",
        locality=spec.get("locality") or "",
        labels=dict(spec.get("labels") or {}),
        ports=dict(spec.get("ports") or {}),
        group=annotations.get(GROUP_ANNOTATION) or "",
        connected_at=annotations.get(CONNECTED_ANNOTATION) or "",
        disconnected_at=annotations.get(DISCONNECTED_ANNOTATION) or "",
        controller=annotations.get(CONTROLLER_ANNOTATION) or "",
        health_checked=annotations.get(HEALTH_ANNOTATION) == "true",
        healthy=healthy,
        health_message=message,
    )


def entry_name(group: str, address: str, network: str = "") -> str:
    """The name that istiod gives to the entry that it registers for a VM."""
    name = "-".join(part for part in (group, address.replace(":", "-"), network) if part)
    return name[-253:]


class Book:
    """The entries seen so far, found by name and by address."""

    def __init__(self) -> None:
        self._by_name: dict[tuple[str, str], Entry] = {}
        self._by_address: dict[str, set[tuple[str, str]]] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def clear(self) -> None:
        """Forgets everything: a new LIST begins."""
        self._by_name.clear()
        self._by_address.clear()

    def put(self, entry: Entry) -> set[str]:
        """Takes an entry in; returns the addresses that are concerned."""
        touched = self.drop(entry)
        self._by_name[(entry.namespace, entry.name)] = entry
        self._by_address.setdefault(entry.address, set()).add((entry.namespace, entry.name))
        touched.add(entry.address)
        return touched

    def drop(self, entry: Entry) -> set[str]:
        """Takes an entry out; returns the addresses that are concerned."""
        key = (entry.namespace, entry.name)
        old = self._by_name.pop(key, None)
        if old is None:
            return set()
        keys = self._by_address.get(old.address, set())
        keys.discard(key)
        if not keys:
            self._by_address.pop(old.address, None)
        return {old.address}

    def named(self, namespace: str, name: str) -> Entry | None:
        """The entry of that name."""
        return self._by_name.get((namespace, name))

    def of_group(self, namespace: str, group: str) -> list[Entry]:
        """The entries that istiod made for a group."""
        return [entry for entry in self._by_name.values() if (entry.namespace, entry.group) == (namespace, group)]

    def at(self, address: str, namespace: str | None = None) -> list[Entry]:
        """The entries with that address, sorted by name."""
        keys = sorted(self._by_address.get(address, ()))
        return [self._by_name[key] for key in keys if namespace is None or key[0] == namespace]


def judge(
    expected: Expectation,
    book: Book,
    now: datetime.datetime,
    max_connection_age: float = MAX_CONNECTION_AGE,
    twins: t.Sequence[str] = (),
    istiods: t.Collection[str] = (),
) -> dict[str, t.Any]:
    """The verdict on one VM.

    Args:
        expected: what its entry should be.
        book: the entries there are.
        now: the API server's time.
        max_connection_age: seconds after which istiod closes a connection; 0 leaves staleness unjudged.
        twins: other VMs that are expected at the same address.
        istiods: names of the istiod Pods that run; empty leaves it unjudged who owns an entry.
    """
    entry, reason, evidence, next_step = _find(expected, book, twins)
    if not reason and entry is not None and expected.present:
        reason, evidence, next_step = _compare(expected, entry, book, now, max_connection_age, istiods)
    return {
        "vm": expected.vm,
        "verdict": reason or OK,
        "ok": not reason,
        "settled": bool(reason) and reason not in PASSING and (entry is None or entry.connected),
        "evidence": evidence,
        "next_step": next_step,
        "namespace": expected.namespace,
        "group": expected.group,
        "address": expected.address or (entry.address if entry else ""),
        "entry": entry.name if entry else None,
        "network": entry.network if entry else None,
        "service_account": entry.service_account if entry else None,
        "locality": entry.locality if entry else None,
        "labels": dict(entry.labels) if entry else None,
        "health": entry.health if entry else None,
        "connected_at": (entry.connected_at or None) if entry else None,
    }


_Finding = t.Tuple[str, str, str]
_FINE: _Finding = ("", "", "")


def _find(expected: Expectation, book: Book, twins: t.Sequence[str]) -> tuple[Entry | None, str, str, str]:
    if expected.impossible:
        return (None, *expected.impossible)
    namespace, address = expected.namespace, expected.address
    if twins:
        evidence = "{} is also the mesh address of {}".format(address, ", ".join(twins))
        return (None, "duplicate_address", evidence, "give each VM an address of its own (vm_sidecar_address)")
    wanted = expected.name or entry_name(expected.group, address, expected.network or "")
    entry = book.named(namespace, wanted)
    if entry is None and not expected.name:
        entry = _closest(expected, book.at(address, namespace))
    if not expected.present:
        if entry is None:
            return (None, *_FINE)
        state = "connected" if entry.connected else "disconnected"
        return (
            entry,
            "not_absent",
            f"the WorkloadEntry {entry.name} is still there ({state})",
            "stop the sidecar, and wait for istiod's grace period or delete the entry",
        )
    if entry is None:
        elsewhere = [f"{other.namespace}/{other.name}" for other in book.at(address) if other.namespace != namespace]
        found = f"no WorkloadEntry {wanted} in namespace {namespace}"
        if elsewhere:
            return (None, "wrong_group", f"{found}, but {', '.join(elsewhere)}", _REONBOARD)
        return (
            None,
            "not_registered",
            found,
            f"on {expected.vm}, see /var/log/istio/istio.log (token, certificate, way to the gateway's port 15012)",
        )
    return (entry, *_FINE)


_REONBOARD = (
    "onboard the VM again, so that its bootstrap files are the group's, "
    "and restart its sidecar once istiod has deleted the old entry"
)


def _closest(expected: Expectation, candidates: t.Sequence[Entry]) -> Entry | None:
    """What stands for the VM where no entry has the expected name: connected before not, own group first."""
    ranked = sorted(candidates, key=lambda entry: (not entry.connected, entry.group != expected.group))
    return ranked[0] if ranked else None


def _compare(
    expected: Expectation,
    entry: Entry,
    book: Book,
    now: datetime.datetime,
    max_connection_age: float,
    istiods: t.Collection[str],
) -> _Finding:
    if entry.group and entry.group != expected.group:
        return ("wrong_group", f"{entry.name} belongs to group {entry.group}, expected {expected.group}", _REONBOARD)
    if not entry.connected:
        since = f" since {entry.disconnected_at}" if entry.disconnected_at else ""
        return (
            "disconnected",
            f"{entry.name} is there, but its sidecar is not connected{since}",
            f"on {expected.vm}, see systemctl status istio and the way to the gateway's port 15012",
        )
    rivals = [
        other.name
        for other in book.at(entry.address)
        if other is not entry and other.connected and other.network == entry.network
    ]
    if rivals:
        evidence = "{} is also claimed by {}".format(entry.address, ", ".join(rivals))
        return ("duplicate_address", evidence, "Istio takes an address as unique in its network: free it, or delete")
    differing = differences(expected, entry)
    if differing:
        return differing
    if istiods and entry.controller and entry.controller not in istiods:
        return (
            "stale",
            f"{entry.name} belongs to {entry.controller}, an istiod that is gone; since then nobody has updated it",
            "wait until the sidecar has connected to another istiod, or restart it; see istioctl proxy-status",
        )
    age = seconds_since(entry.connected_at, now)
    if max_connection_age and age is not None and age > 1.5 * max_connection_age:
        return (
            "stale",
            f"last connected {int(age)} s ago, though istiod ends a connection at {int(max_connection_age)} s",
            "the istiod that wrote this is probably gone: restart the sidecar, or see istioctl proxy-status",
        )
    if expected.health and entry.health != "healthy":
        if entry.healthy is None:
            evidence = "no probe result has been reported yet"
        else:
            evidence = f"its probe fails: {entry.health_message}" if entry.health_message else "its probe fails"
        return ("unhealthy", evidence, f"see the application on {expected.vm}, and the probe of the WorkloadGroup")
    if entry.health == "unhealthy":
        return ("unhealthy", entry.health_message or "its probe fails", f"see the application on {expected.vm}")
    return _FINE


def differences(expected: Expectation, entry: Entry) -> _Finding | None:
    """What an entry has otherwise than expected: the reason, evidence and next step; None where all is the same."""
    if expected.address and entry.address != expected.address:
        return ("wrong_address", f"address {entry.address}, expected {expected.address}", _REONBOARD)
    if expected.network is not None and entry.network != expected.network:
        found = entry.network or "(none)"
        return ("wrong_network", f"network {found}, expected {expected.network}", _REONBOARD)
    if expected.service_account is not None and (entry.service_account or "default") != expected.service_account:
        found = entry.service_account or "default"
        return ("wrong_service_account", f"service account {found}, expected {expected.service_account}", _REONBOARD)
    if expected.locality is not None and entry.locality != expected.locality:
        found = entry.locality or "(none)"
        return ("wrong_locality", f"locality {found}, expected {expected.locality}", _REONBOARD)
    if expected.ports is not None and dict(entry.ports) != dict(expected.ports):
        return ("wrong_ports", f"ports {_pairs(entry.ports)}, expected {_pairs(expected.ports)}", _REONBOARD)
    if expected.labels is not None:
        wrong = {key: value for key, value in expected.labels.items() if entry.labels.get(key) != value}
        if wrong:
            has = {key: entry.labels[key] for key in wrong if key in entry.labels}
            return ("wrong_labels", f"labels {_pairs(has) or '(none)'}, expected {_pairs(wrong)}", _REONBOARD)
    return None


def _pairs(mapping: t.Mapping[str, t.Any]) -> str:
    return ", ".join(f"{key}={mapping[key]}" for key in sorted(mapping))


def seconds_since(timestamp: str, now: datetime.datetime) -> float | None:
    """Seconds between an RFC 3339 time, nanoseconds and all, and now; None where it can't be read."""
    head, _dot, fraction = timestamp.partition(".")
    zone = fraction.lstrip("0123456789") if fraction else ""
    text = (head + zone).replace("Z", "+00:00")
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return (now - moment).total_seconds()
