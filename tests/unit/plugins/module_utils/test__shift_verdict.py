# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a step went well."""

from __future__ import annotations

import math
import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _shift_verdict as verdict
from ansible_collections.hybridmesh.istio.plugins.module_utils._shift_figures import Figures, Reading
from ansible_collections.hybridmesh.istio.plugins.module_utils._shift_verdict import Limits


def limits(**more: t.Any) -> Limits:
    return Limits(**{"requests": 50, **more})


def took(milliseconds: float, requests: int = 100, errors: int = 0) -> Figures:
    """Requests that all took about so long."""
    return Figures(requests, errors, {milliseconds / 2: 0, milliseconds: requests, math.inf: requests})


GOOD = took(10)


def test_what_is_good() -> None:
    assert verdict.broken(GOOD, GOOD, limits(success_drop=0, latency=10)) == []
    assert verdict.broken(Figures(), Figures(), limits(success_drop=0, latency=10)) == []
    # One of a hundred is what 99 % allow.
    assert verdict.broken(took(10, errors=1), GOOD, limits()) == []


def test_too_many_failures() -> None:
    (reason,) = verdict.broken(took(10, errors=2), GOOD, limits())
    assert reason == "2 of 100 requests failed, so 98.00 % succeeded; at least 99 % must"


def test_it_is_given_up_before_there_are_enough_requests_once_it_is_lost() -> None:
    given = limits(requests=100, success=95)
    assert verdict.broken(Figures(10, 5), Figures(), given) == []
    assert len(verdict.broken(Figures(10, 6), Figures(), given)) == 1
    # All must succeed: the first failure decides.
    assert len(verdict.broken(Figures(1, 1), Figures(), limits(success=100))) == 1


@pytest.mark.parametrize(("old", "reasons"), [(took(10), 1), (took(10, errors=3), 0), (took(10, requests=10), 0)])
def test_worse_than_the_version_before(old: Figures, reasons: int) -> None:
    found = verdict.broken(took(10, errors=4), old, limits(success=90, success_drop=3))
    assert len(found) == reasons
    assert all("100.00 % of the version before; at most 3 points less" in reason for reason in found)


def test_too_slow() -> None:
    (reason,) = verdict.broken(took(400), GOOD, limits(latency=300, latency_factor=0))
    assert reason == "p99 is 398 ms; at most 300 ms are allowed"
    (reason,) = verdict.broken(took(400), GOOD, limits(quantile=50, latency=200, latency_factor=None))
    assert reason.startswith("p50 is 300 ms;")


@pytest.mark.parametrize(
    ("old", "new", "reasons"),
    [
        (GOOD, took(200), 1),
        # Many times as long, and still fast.
        (GOOD, took(100), 0),
        (took(200), took(500), 0),
        (took(200), took(700), 1),
        # Nothing to compare with.
        (Figures(), took(700), 0),
        (took(200, requests=10), took(700), 0),
    ],
)
def test_slower_than_the_version_before(old: Figures, new: Figures, reasons: int) -> None:
    found = verdict.broken(new, old, limits(latency_factor=3, latency_allowance=100))
    assert len(found) == reasons
    assert all("of the version before; at most" in reason for reason in found)


def test_one_or_two_slow_requests_are_no_verdict() -> None:
    for slow, reasons in ((2, 0), (3, 1)):
        times = {10.0: 50 - slow, 1000.0: 50 - slow, 2000.0: 50, math.inf: 50}
        assert len(verdict.broken(Figures(50, 0, times), GOOD, limits(latency=500, latency_factor=None))) == reasons


def test_few_latencies_tell_nothing() -> None:
    assert verdict.broken(took(1000, requests=49), GOOD, limits(latency=10)) == []


@pytest.mark.parametrize(
    ("new", "given", "expected"),
    [
        (took(10, 50), limits(), True),
        (took(10, 49), limits(), False),
        (Figures(50), limits(), True),
        # There is a limit for what nobody counts.
        (Figures(50), limits(latency=10), False),
        # Histograms come some seconds later than counters.
        (Figures(50, 0, {math.inf: 10}), limits(), False),
    ],
)
def test_whether_there_was_enough(new: Figures, given: Limits, expected: bool) -> None:
    assert verdict.enough(new, given) is expected


def healthy(*endpoints: int | None) -> Reading:
    count = len(endpoints)
    return Reading([{}] * count, [{}] * count, list(endpoints), [None] * count)


def test_a_version_that_can_not_be_sent_to() -> None:
    names = ["web.shop", "web.shopvm v2"]
    assert verdict.lacking({"a": healthy(0, 1), "b": healthy(1, 2)}, [1], names) == []
    # A sidecar need not know what its Pod may not call.
    assert verdict.lacking({"a": healthy(1, 1), "b": healthy(1, None)}, [1], names) == []
    assert verdict.lacking({"a": healthy(1, 0), "b": healthy(1, 2)}, [1], names) == [
        "1 of 2 proxies know no healthy endpoint of web.shopvm v2 (a)"
    ]
    assert verdict.lacking({"a": healthy(1, None)}, [1], names) == ["none of 1 proxies knows web.shopvm v2"]


def test_lines() -> None:
    assert verdict.line("old", Figures()) == "old: no requests"
    assert verdict.line("new", Figures(10, 1)) == "new: 10 requests, 90.00 % succeeded, latency not counted"
    assert verdict.line("new", took(400)) == "new: 100 requests, 100.00 % succeeded, p50 300 ms, p99 398 ms"
