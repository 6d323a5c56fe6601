# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watching a step of a shift, until it is good or is not. Private to the collection."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _shift_verdict
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import ApiError
from ansible_collections.hybridmesh.istio.plugins.module_utils._shift_figures import Figures, Ledger, Reading, together
from ansible_collections.hybridmesh.istio.plugins.module_utils._shift_proxies import Proxies
from ansible_collections.hybridmesh.istio.plugins.module_utils._shift_route import Route

# So often in a row no proxy may answer.
_SILENT = 3


class Failed(Exception):
    """The step is not good enough; the arguments say why."""


class Watch:
    """What is seen of one step.

    Attributes:
        ledger: what was counted of each backend.
    """

    def __init__(
        self,
        route: Route,
        proxies: Proxies,
        names: t.Sequence[str],
        gains: t.Sequence[int],
        limits: _shift_verdict.Limits,
        reference: Figures | None,
    ) -> None:
        """
        Args:
            route: what must stay as it was set.
            proxies: what is read.
            names: what the backends are called.
            gains: the places of those that gain.
            limits: what is held against these.
            reference: figures of the others at an earlier step, for when they have too few now.
        """
        self.ledger = Ledger(len(names))
        self._route = route
        self._proxies = proxies
        self._names = names
        self._gains = gains
        self._limits = limits
        self._reference = reference

    def until_good(self, span: float, interval: float, timeout: float, few_pass: bool) -> float:
        """Reads until the step is good, and says for how many seconds.

        Args:
            span: seconds to watch at least.
            interval: seconds between two readings.
            timeout: seconds to wait for requests at most.
            few_pass: whether too few requests are good enough.

        Raises:
            Failed: it is not good.
            MeshError: somebody else changed the route.
        """
        started, silent, why = time.monotonic(), 0, "there is none"
        while True:
            readings, told = self._read()
            why = told or why
            now = time.monotonic()
            silent = 0 if readings else silent + 1
            if silent >= _SILENT:
                raise Failed(f"none of {len(self._proxies.pods)} proxies can be read any more: {why}")
            for proxy, reading in readings.items():
                self.ledger.add(proxy, reading)
            gained, before = self.gained(), self.others()
            reasons = _shift_verdict.lacking(readings, self._gains, self._names)
            reasons += _shift_verdict.broken(gained, before, self._limits)
            if reasons:
                raise Failed(*reasons)
            passed = now - started
            if passed >= span and _shift_verdict.enough(gained, self._limits):
                return passed
            if passed >= max(span, timeout):
                if few_pass:
                    return passed
                raise Failed(_shift_verdict.too_few(gained, passed, self._limits))
            time.sleep(max(0.0, interval - (time.monotonic() - now)))

    def _read(self) -> tuple[dict[str, Reading], str]:
        """(readings, why there is none)."""
        try:
            readings, unread = self._proxies.read()
            self._route.see()
        except ApiError as error:
            # An API server that is started anew is back before long.
            return {}, error.found
        return readings, next(iter(unread.values()), "")

    def gained(self) -> Figures:
        """Of those that gain."""
        return together(self.ledger.figures[place] for place in self._gains)

    def others(self) -> Figures:
        """Of the others, now or when they last had requests enough."""
        figures = self._others_now()
        return figures if figures.requests >= self._limits.requests else self._reference or figures

    def _others_now(self) -> Figures:
        return together(one for place, one in enumerate(self.ledger.figures) if place not in self._gains)

    def lines(self) -> list[str]:
        """What was counted, in words."""
        names = " and ".join(self._names[place] for place in self._gains)
        return [
            _shift_verdict.line(f"new ({names})", self.gained()),
            _shift_verdict.line("old", self._others_now()),
        ]


def put_back(route: Route, weights: t.Sequence[int], seconds: float = 60.0) -> None:
    """Sets the weights from before, and waits for an API server that does not answer.

    Raises:
        MeshError: they can't be set, or somebody else changed the route.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            route.put_back(weights)
            return
        except ApiError as error:
            if 0 < error.status < 500 or time.monotonic() >= deadline:
                raise
        time.sleep(2.0)
