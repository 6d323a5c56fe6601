# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time looks who is out, and drains its machines if that leaves enough. Private to the collection."""

from __future__ import annotations

import contextlib
import datetime
import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _capacity, _lock, _share, _workload_entry
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._expectation import split_group

API = "/apis/networking.istio.io/v1/namespaces"
# Seconds that even a turn which has come late waits for the lock: for longer than for one that was killed.
_LOCK_TIMEOUT = 2.0 * _lock.DURATION

Pairs = t.List[t.Tuple[t.Dict[str, t.Any], _workload_entry.Entry]]


def keys_of(vms: t.Sequence[dict[str, t.Any]]) -> dict[_capacity.Key, dict[str, t.Any]]:
    """The machines by what their entries are found by."""
    return {(*split_group(vm["group"]), vm["address"] or ""): vm for vm in vms}


def entries_of(cluster: Cluster, namespaces: t.Iterable[str]) -> list[_workload_entry.Entry]:
    """All entries of some namespaces."""
    items = [item for name in namespaces for item in cluster.list_all(f"{API}/{name}/workloadentries")]
    return [_workload_entry.entry_from(item) for item in items]


def services_of(cluster: Cluster, namespaces: t.Iterable[str]) -> list[dict[str, t.Any]]:
    """All Services of some namespaces."""
    return [item for name in namespaces for item in cluster.list_all(f"/api/v1/namespaces/{name}/services")]


def paired(entries: t.Iterable[_workload_entry.Entry], vms: t.Sequence[dict[str, t.Any]]) -> Pairs:
    """The machines that have an entry, each with it."""
    wanted = keys_of(vms)
    return [(wanted[_capacity.key_of(entry)], entry) for entry in entries if _capacity.key_of(entry) in wanted]


def now_of(cluster: Cluster) -> datetime.datetime:
    """The API server's time."""
    return datetime.datetime.fromtimestamp(cluster.server_time or time.time(), datetime.timezone.utc)


def look(cluster: Cluster, namespaces: t.Sequence[str], notes: t.Iterable[t.Mapping[str, str]]) -> _share.Look:
    """What there is now."""
    entries = entries_of(cluster, namespaces)
    found = [note for each in notes for note in _share.notes_from(each, now_of(cluster))]
    return _share.Look(entries, _capacity.selectors(services_of(cluster, namespaces)), found)


class Turn:
    """Drains machines as soon as their Services can spare them.

    Attributes:
        params: the module's options.
        seen: what was seen last.
        short: what stood against it then.
        begun: whether anything may have been drained.
    """

    def __init__(
        self, params: t.Mapping[str, t.Any], cluster: Cluster, drain: t.Callable[[Pairs], dict[str, str]]
    ) -> None:
        """Args: the module's options, the cluster, and what drains machines and tells what was done to each."""
        self.params, self.cluster = params, cluster
        self._drain = drain
        # Everybody takes them in the same order, so that no two wait for each other.
        self.namespaces = sorted({key[0] for key in keys_of(params["vms"])})
        self.not_counted = set(keys_of(params["not_counted"]))
        self.short: dict[str, str] = {}
        self.begun = False

    def pairs(self) -> Pairs:
        """The machines, as they were seen last."""
        return paired(self.seen.entries, self.params["vms"])

    def fits(self, notes: t.Iterable[t.Mapping[str, str]]) -> bool:
        """Looks whether they may be taken out now."""
        self.seen = look(self.cluster, self.namespaces, notes)
        ours = [entry for _vm, entry in self.pairs()]
        self.short = _share.short(self.seen, ours, self.not_counted, self.params["share"])
        return not self.short

    def take(self, timeout: float) -> dict[str, str] | None:
        """Drains them, unless that is too many; what was done, by machine."""
        locks = [_lock.Lock(self.cluster, lease=_share.lease(name)) for name in self.namespaces]
        with contextlib.ExitStack() as held:
            for lock in locks:
                held.enter_context(lock.held(timeout))
            if not self.fits([lock.notes for lock in locks]):
                return None
            pairs = self.pairs()
            until = now_of(self.cluster) + datetime.timedelta(seconds=self.params["away"])
            notes = _share.renoted(self.seen, [entry for _vm, entry in pairs], until)
            for lock, name in zip(locks, self.namespaces):
                # Whoever comes next is to know of it before it happens.
                if not lock.note(_share.annotations_of(note for note in notes if note.key[0] == name)):
                    return None
            self.begun = True
            return self._drain(pairs)

    def wait(self) -> tuple[dict[str, str] | None, float]:
        """Drains them when it is their turn; what was done, or None where the time was up, and the seconds that it took."""
        started = time.monotonic()
        deadline = started + self.params["share_timeout"]
        while True:
            done = self.take(max(_LOCK_TIMEOUT, deadline - time.monotonic()))
            # Waiting takes no lock from anybody.
            while done is None and time.monotonic() < deadline:
                waited = time.monotonic() - started
                time.sleep(min(1 + waited / 20, 10.0, max(0.0, deadline - time.monotonic())))
                leases = [self.cluster.get(_share.lease(name).path) for name in self.namespaces]
                if self.fits([_lock.notes_of(lease) for lease in leases]):
                    break
            else:
                return done, round(time.monotonic() - started, 3)


def too_late(turn: Turn) -> MeshError:
    """Why machines could not be drained in time."""
    names = ", ".join(vm["name"] for vm in turn.params["vms"])
    why = "; ".join(turn.short.values()) or "other runs were always faster"
    return MeshError(
        f"{why}. It was waited for {turn.params['share_timeout']} s, and nothing was drained of {names}",
        "as many VMs of each Service serve as the share wants (vm_sidecar_restart_share), whoever took the others out",
        "see to those that are out, or wait for the runs that took them out, and repeat this one; or raise share_timeout"
        " (vm_sidecar_restart_share_timeout)",
    )
