# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts on virtual machines while their entries come and change. Private to the collection."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _workload_entry as core
from ansible_collections.hybridmesh.istio.plugins.module_utils._expectation import Expectation, twins_of
from ansible_collections.hybridmesh.istio.plugins.module_utils._watch import RESET, SYNCED, Follower

# An istiod that nobody has heard of is asked for again after so many seconds at the earliest.
ASK_AGAIN = 2.0


class Jury:
    """The verdicts so far; judges again only those that a change concerns.

    Attributes:
        verdicts: by the VM's name.
        book: the entries that matter.
    """

    def __init__(
        self,
        expectations: t.Sequence[Expectation],
        whole: t.Mapping[tuple[str, str], Expectation],
        max_connection_age: float,
        istiods: t.Callable[[], t.Collection[str]],
    ) -> None:
        """Takes what is expected.

        Args:
            expectations: one for each VM.
            whole: for groups of which each entry is to be right, what is expected of it; by (namespace, name).
            max_connection_age: see `core.judge`.
            istiods: names the istiod Pods that run, none where that is not to be judged.
        """
        self.verdicts: dict[str, dict[str, t.Any]] = {}
        self.book = core.Book()
        self._expectations = list(expectations)
        self._whole = whole
        self._max_connection_age = max_connection_age
        self._ask_istiods = istiods
        self._istiods: t.Collection[str] = ()
        self._asked: datetime.datetime | None = None
        self._twins = twins_of(expectations)
        self._by_address: dict[str, list[Expectation]] = {}
        # Expected by name, wherever their address may be.
        self._by_name: dict[tuple[str, str], list[Expectation]] = {}
        for expected in expectations:
            self._place(expected)

    def _place(self, expected: Expectation) -> None:
        if expected.address:
            self._by_address.setdefault(expected.address, []).append(expected)
        if expected.name:
            self._by_name.setdefault((expected.namespace, expected.name), []).append(expected)

    def wanted(self, resource: t.Mapping[str, t.Any]) -> bool:
        """Whether an entry can matter; the others are not kept."""
        metadata = resource.get("metadata") or {}
        return (
            ((resource.get("spec") or {}).get("address") or "") in self._by_address
            or (metadata.get("namespace"), metadata.get("name")) in self._by_name
            or self._group_of(resource) in self._whole
        )

    @staticmethod
    def _group_of(resource: t.Mapping[str, t.Any]) -> tuple[str, str]:
        metadata = resource.get("metadata") or {}
        return metadata.get("namespace") or "", (metadata.get("annotations") or {}).get(core.GROUP_ANNOTATION) or ""

    def forget(self) -> None:
        """A new LIST begins."""
        self.book.clear()
        # Entries of whole groups are expected by being there.
        for vm in [vm for vm in self.verdicts if vm not in self._names()]:
            del self.verdicts[vm]

    def _names(self) -> set[str]:
        return {expected.vm for expected in self._expectations}

    def take(self, kind: str, resource: t.Mapping[str, t.Any]) -> list[Expectation]:
        """Takes one change in; returns the expectations that it concerns."""
        entry = core.entry_from(resource)
        if kind == "DELETED":
            touched = self.book.drop(entry)
        elif self.wanted(resource):
            touched = self.book.put(entry)
        else:
            return []
        concerned = [expected for address in touched for expected in self._by_address.get(address, ())]
        concerned += self._by_name.get((entry.namespace, entry.name), ())
        key = (entry.namespace, entry.group)
        if key in self._whole:
            vm = f"{entry.namespace}/{entry.name}"
            if kind == "DELETED":
                self.verdicts.pop(vm, None)
            else:
                concerned.append(self._whole[key].of_entry(vm, entry.name))
        return concerned

    def judge(self, expectations: t.Iterable[Expectation], now: datetime.datetime) -> None:
        """Gives or changes verdicts."""
        for expected in expectations:
            verdict = self._verdict(expected, now)
            if verdict["verdict"] == "stale" and self._may_ask(now):
                verdict = self._verdict(expected, now)
            self.verdicts[expected.vm] = verdict

    def judge_all(self, now: datetime.datetime) -> None:
        """Gives all verdicts."""
        if self._asked is None:
            self._may_ask(now)
        self.judge(self._expectations, now)
        for key, expected in self._whole.items():
            self.judge((expected.of_entry(f"{key[0]}/{e.name}", e.name) for e in self.book.of_group(*key)), now)

    def _verdict(self, expected: Expectation, now: datetime.datetime) -> dict[str, t.Any]:
        twins = self._twins.get(expected.vm, ())
        return core.judge(expected, self.book, now, self._max_connection_age, twins, self._istiods)

    def _may_ask(self, now: datetime.datetime) -> bool:
        """Asks for the istiods that run, unless that was just done; returns whether the answer is another one."""
        if self._asked is not None and (now - self._asked).total_seconds() < ASK_AGAIN:
            return False
        before, self._istiods, self._asked = self._istiods, self._ask_istiods(), now
        return self._istiods != before

    def finished(self) -> bool:
        """Whether nothing is left to wait for."""
        return all(verdict["ok"] or verdict["settled"] for verdict in self.verdicts.values())


def follow(
    jury: Jury, follower: Follower, deadline: float, enough: t.Callable[[], bool] = lambda: True
) -> t.Iterator[list[Expectation]]:
    """Judges all, and again whatever changes, until all is said or the deadline is there.

    Args:
        jury: judges.
        follower: tells what changes.
        deadline: on the follower's clock.
        enough: whether there are as many entries as are expected.

    Yields:
        The expectations that were judged.
    """
    listing = True
    for kind, resource in follower.changes(deadline):
        concerned: list[Expectation] = []
        if kind == RESET:
            listing = True
            jury.forget()
        elif kind == SYNCED:
            listing = False
            jury.judge_all(follower.now())
        else:
            concerned = jury.take(kind, resource)
            if not listing:
                jury.judge(concerned, follower.now())
        if not listing:
            yield concerned
            if jury.finished() and enough():
                return
