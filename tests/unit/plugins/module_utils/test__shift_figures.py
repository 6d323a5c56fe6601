# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What proxies count of a route's backends."""

from __future__ import annotations

import math
import re
import urllib.parse

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _shift_figures as figures
from ansible_collections.hybridmesh.istio.plugins.module_utils._shift_figures import Figures, Ledger, Reading
from ansible_collections.hybridmesh.istio.plugins.module_utils._shift_plan import Backend

WEB = "web.shop.svc.cluster.local"
V1, V2 = Backend(WEB, "v1", None), Backend(WEB, "v2", 80)
BOTH = [V1, V2]
LABELS = [{"version": "v1"}, {"version": "v2"}]

CLUSTERS = f"""\
outbound|80|v1|{WEB}::observability_name::outbound|80|v1|{WEB};
outbound|80|v1|{WEB}::default_priority::max_connections::4294967295
outbound|80|v1|{WEB}::10.0.0.1:8080::rq_error::3
outbound|80|v1|{WEB}::10.0.0.1:8080::rq_success::97
outbound|80|v1|{WEB}::10.0.0.1:8080::rq_total::101
outbound|80|v1|{WEB}::10.0.0.1:8080::health_flags::healthy
outbound|8080|v1|{WEB}::[fd00::1]:8080::rq_success::10
outbound|8080|v1|{WEB}::[fd00::1]:8080::health_flags::/failed_outlier_check
outbound|80|v2|{WEB}::default_priority::max_connections::4294967295
outbound|8080|v2|{WEB}::10.0.0.9:8080::rq_success::500
outbound|80||{WEB}::10.0.0.1:8080::rq_success::500
inbound|80||::10.0.0.1:8080::rq_success::500
xds-grpc::10.0.0.1:8080::rq_success::500
"""


def histogram(name: str, labels: str, counts: dict[str, int]) -> str:
    return "".join(f'{name}_bucket{{{labels},le="{bound}"}} {count}\n' for bound, count in counts.items())


ENVOY = histogram(
    "envoy_cluster_upstream_rq_time", f'cluster_name="outbound|80|v2|{WEB};"', {"1": 5, "5": 9, "+Inf": 10}
)
METRIC = 'reporter="{}",destination_service="{}",destination_version="{}",response_flags="-"'
NAME = "istio_request_duration_milliseconds"


def test_success_of_each_endpoint() -> None:
    reading = figures.read(CLUSTERS, "", BOTH, LABELS)
    # Where a backend has no port, all are its own.
    assert sum(reading.answered[0].values()) == 110
    assert sum(reading.failed[0].values()) == 3
    # The one with a port is known, and has no endpoint there.
    assert (reading.answered[1], reading.healthy) == ({}, [1, 0])
    assert (reading.times, reading.keeps_times) == ([None, None], False)


def test_a_backend_that_is_not_known() -> None:
    assert figures.read("", "", BOTH, LABELS).healthy == [None, None]


def test_latency_by_envoys_histogram() -> None:
    others = ENVOY.replace("upstream", "external_upstream") + ENVOY.replace(WEB, "other.shop.svc.cluster.local")
    reading = figures.read(CLUSTERS, f"# TYPE x histogram\n{others}{ENVOY}broken{{\n", BOTH, LABELS)
    assert reading.keeps_times
    assert reading.times == [None, {1.0: 5, 5.0: 9, math.inf: 10}]


def test_latency_by_istios_metric() -> None:
    text = "".join(
        histogram(NAME, METRIC.format(reporter, host, version), {"1": count, "+Inf": count})
        for reporter, host, version, count in (
            ("source", WEB, "v1", 1),
            ("source", WEB, "v2", 2),
            # As another response code has lines of its own.
            ("source", WEB, "v2", 4),
            ("destination", WEB, "v2", 8),
            ("source", "other.shop.svc.cluster.local", "v2", 16),
            ("source", WEB, "v3", 32),
        )
    )
    reading = figures.read("", text, BOTH, LABELS)
    assert reading.times == [{1.0: 1, math.inf: 1}, {1.0: 6, math.inf: 6}]
    # Envoy's own counts the tries, as success does.
    assert figures.read("", text + ENVOY, BOTH, LABELS).times[1] == {1.0: 5, 5.0: 9, math.inf: 10}


def test_istios_metric_is_nobodys_where_labels_do_not_tell() -> None:
    text = histogram(NAME, METRIC.format("source", WEB, "v2"), {"1": 1, "+Inf": 1})
    assert figures.read("", text, BOTH, [{"shard": "a"}, {"shard": "b"}]).times == [None, None]


def test_the_path_selects_the_backends_alone() -> None:
    wanted = re.compile(urllib.parse.unquote(figures.stats_path(BOTH).partition("filter=")[2]))
    assert wanted.search(f"cluster.outbound|80|v2|{WEB};.upstream_rq_time")
    assert wanted.search(f"istiocustom.{NAME};.;reporter=.=source;.;destination_service=.={WEB};.;")
    for name in (
        f"cluster.outbound|80|v2|{WEB};.external.upstream_rq_time",
        f"cluster.outbound|80|v2|{WEB};.upstream_rq_timeout",
        "cluster.outbound|80||db.shop.svc.cluster.local;.upstream_rq_time",
    ):
        assert not wanted.search(name)


def reading(answered: int, failed: int = 0, times: dict[float, int] | None = None, endpoint: str = "a") -> Reading:
    return Reading([{endpoint: answered}], [{endpoint: failed}], [1], [times])


def test_only_what_happened_since_the_first_reading_counts() -> None:
    ledger = Ledger(1)
    ledger.add("a", reading(100, 50, {1.0: 90, math.inf: 100}))
    assert ledger.figures == [Figures()]
    ledger.add("a", reading(110, 51, {1.0: 98, math.inf: 110}))
    ledger.add("b", reading(1000))
    ledger.add("b", reading(1005))
    assert ledger.figures == [Figures(15, 1, {1.0: 8, math.inf: 10})]
    assert ledger.proxies == 2


def test_a_proxy_that_was_restarted_counts_from_zero() -> None:
    ledger = Ledger(1)
    ledger.add("a", reading(100, 50, {1.0: 90, math.inf: 100}))
    ledger.add("a", reading(110, 50, {1.0: 100, math.inf: 110}))
    ledger.add("a", reading(4, 1, {1.0: 3, math.inf: 4}))
    assert ledger.figures == [Figures(14, 1, {1.0: 13, math.inf: 14})]


def test_an_endpoint_that_is_new_counts_as_a_whole_and_one_that_is_gone_stays_counted() -> None:
    ledger = Ledger(1)
    ledger.add("a", reading(100))
    ledger.add("a", reading(105))
    ledger.add("a", reading(7, endpoint="b"))
    assert ledger.figures[0].requests == 12


def test_a_histogram_begins_with_the_first_request() -> None:
    ledger = Ledger(1)
    ledger.add("a", reading(0))
    ledger.add("a", reading(3, times={1.0: 2, math.inf: 3}))
    assert ledger.figures[0].timed == 3


@pytest.mark.parametrize(
    ("times", "percent", "expected"),
    [
        ({}, 99, None),
        ({1.0: 0, 5.0: 10, math.inf: 10}, 50, 3.0),
        ({1.0: 10, 5.0: 10, math.inf: 10}, 100, 1.0),
        ({1.0: 50, 5.0: 90, 10.0: 100, math.inf: 100}, 99, 9.5),
        # Above the last bound all that is known is that bound.
        ({1.0: 1, 5.0: 1, math.inf: 10}, 99, 5.0),
        ({math.inf: 10}, 99, 0.0),
    ],
)
def test_quantiles(times: dict[float, int], percent: float, expected: float | None) -> None:
    found = Figures(times=times).latency(percent)
    assert found == (None if expected is None else pytest.approx(expected))


def test_figures_as_data_and_back() -> None:
    one = Figures(10, 1, {0.5: 3, math.inf: 10})
    assert Figures.from_plain(one.plain()) == one
    assert Figures.from_plain(None) == Figures()
    assert figures.together([one, one]) == Figures(20, 2, {0.5: 6, math.inf: 20})


@pytest.mark.parametrize(("limit", "expected"), [(0, 100), (2, 25), (5, 10), (7.5, 5), (10, 0), (20, 0)])
def test_how_many_were_slower(limit: float, expected: float) -> None:
    times = {1.0: 50, 2.0: 75, 5.0: 90, 10.0: 100, math.inf: 100}
    assert Figures(times=times).slower(limit) == pytest.approx(expected)


def test_beyond_the_last_bound_all_are_slower() -> None:
    assert Figures(times={1.0: 50, math.inf: 60}).slower(5) == 10
    assert Figures().slower(5) == 0
