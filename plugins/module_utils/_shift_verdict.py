# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a step of a shift went well: figures and limits in, reasons out. Pure. Private to the collection."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._shift_figures import Figures, Reading

# So many requests must have been too slow: of few requests a single one is the 99th percentile.
_SLOW = 3


@dataclasses.dataclass(frozen=True)
class Limits:
    """What is held against the version that gains.

    Attributes:
        requests: so many it must have got before a step counts.
        success: at least this share must succeed, in percent.
        success_drop: at most so many points fewer than of the other version; None to leave that out.
        quantile: which latency is looked at, in percent.
        latency: at most so many milliseconds; None to leave that out.
        latency_factor: at most so many times the other version's; None or 0 to leave that out.
        latency_allowance: a difference of so many milliseconds is never held against it.
    """

    requests: int = 100
    success: float = 99.0
    success_drop: float | None = None
    quantile: float = 99.0
    latency: float | None = None
    latency_factor: float | None = 3.0
    latency_allowance: float = 100.0


def broken(new: Figures, old: Figures, limits: Limits) -> list[str]:
    """Why a version is not good enough, as far as its requests tell; nothing where it is."""
    reasons = _success(new, old, limits)
    if new.timed >= limits.requests:
        reasons += _latency(new, old, limits)
    return reasons


def _success(new: Figures, old: Figures, limits: Limits) -> list[str]:
    if new.success is None:
        return []
    counted = f"{new.errors} of {new.requests} requests failed, so {new.success:.2f} % succeeded"
    if new.requests < limits.requests:
        # Too few to tell a share, but enough failures to know that it can't be reached any more.
        allowed = limits.requests * (100.0 - limits.success) / 100.0
        return [f"{counted}; at least {limits.success:g} % must"] if new.errors > allowed else []
    reasons = []
    if new.success < limits.success:
        reasons.append(f"{counted}; at least {limits.success:g} % must")
    before = old.success if old.requests >= limits.requests else None
    if limits.success_drop is not None and before is not None and before - new.success > limits.success_drop:
        reasons.append(
            f"{counted}, and {before:.2f} % of the version before; at most {limits.success_drop:g} points less are allowed"
        )
    return reasons


def _latency(new: Figures, old: Figures, limits: Limits) -> list[str]:
    found = new.latency(limits.quantile)
    if found is None:
        return []
    reasons = []
    if limits.latency is not None and _exceeded(new, found, limits.latency):
        reasons.append(f"p{limits.quantile:g} is {milliseconds(found)}; at most {limits.latency:g} ms are allowed")
    before = old.latency(limits.quantile) if old.timed >= limits.requests else None
    if limits.latency_factor and before is not None:
        most = max(before * limits.latency_factor, before + limits.latency_allowance)
        if _exceeded(new, found, most):
            reasons.append(
                f"p{limits.quantile:g} is {milliseconds(found)}, and {milliseconds(before)} of the version before;"
                f" at most {milliseconds(most)} are allowed (factor {limits.latency_factor:g},"
                f" and {limits.latency_allowance:g} ms in any case)"
            )
    return reasons


def _exceeded(new: Figures, found: float, most: float) -> bool:
    return found > most and new.slower(most) >= _SLOW


def enough(new: Figures, limits: Limits) -> bool:
    """Whether there were requests enough to say that a version is good."""
    asked = limits.latency is not None or new.timed > 0
    return new.requests >= limits.requests and (not asked or new.timed >= limits.requests)


def too_few(new: Figures, seconds: float, limits: Limits) -> str:
    """`3 requests in 21 s, of 50 that are needed to judge it`."""
    text = f"{new.requests} requests in {seconds:.0f} s, of {limits.requests} that are needed to judge it"
    timed = new.timed or limits.latency is not None
    return text + (f" ({new.timed} of them with their latency)" if timed else "")


def lacking(readings: t.Mapping[str, Reading], places: t.Iterable[int], names: t.Sequence[str]) -> list[str]:
    """Why a version can't be sent to: no proxy knows it, or one that does knows no healthy endpoint of it."""
    reasons = []
    for place in places:
        known = {proxy: one.healthy[place] for proxy, one in readings.items() if one.healthy[place] is not None}
        without = sorted(proxy for proxy, healthy in known.items() if not healthy)
        if readings and not known:
            reasons.append(f"none of {len(readings)} proxies knows {names[place]}")
        elif without:
            reasons.append(
                f"{len(without)} of {len(known)} proxies know no healthy endpoint of {names[place]} ({without[0]})"
            )
    return reasons


def line(what: str, figures: Figures) -> str:
    """`new version: 118 requests, 100.00 % succeeded, p50 1.2 ms, p99 4.8 ms`."""
    if figures.success is None:
        return f"{what}: no requests"
    text = f"{what}: {figures.requests} requests, {figures.success:.2f} % succeeded"
    for percent in (50.0, 99.0):
        found = figures.latency(percent)
        if found is not None:
            text += f", p{percent:g} {milliseconds(found)}"
    return text + ("" if figures.timed else ", latency not counted")


def milliseconds(value: float) -> str:
    """`4.8 ms`, `1200 ms`."""
    return f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"
