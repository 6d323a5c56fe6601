# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the requests to a route's backends went, from what proxies count. Pure. Private to the collection.

Successes and failures are Envoy's counters of each endpoint (`/clusters`), which are there in every Envoy. Latencies are a
histogram of its clusters, or Istio's own metric: whichever a proxy keeps.
"""

from __future__ import annotations

import dataclasses
import math
import re
import typing as t
import urllib.parse

from ansible_collections.hybridmesh.istio.plugins.module_utils._shift_plan import Backend

CLUSTERS = "clusters"
_TIMES = "envoy_cluster_upstream_rq_time_bucket"
_ISTIO_TIMES = "istio_request_duration_milliseconds_bucket"
# Labels of workloads that Istio's metrics tell the versions of a Service apart by.
_LABELS = {
    "version": "destination_version",
    "app": "destination_app",
    "service.istio.io/canonical-name": "destination_canonical_service",
    "service.istio.io/canonical-revision": "destination_canonical_revision",
}
_LABEL = re.compile(r'([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"')

# Upper bound in milliseconds -> how many requests took no longer.
Buckets = t.Dict[float, int]


def stats_path(backends: t.Iterable[Backend]) -> str:
    """The admin path of the histograms of these backends."""
    hosts = "|".join(sorted({re.escape(backend.host) for backend in backends}))
    # Cluster's names in stats may end with a mark that Istio puts there.
    wanted = f"outbound.*({hosts});?\\.upstream_rq_time$|istio_request_duration_milliseconds.*({hosts})"
    return "stats/prometheus?filter=" + urllib.parse.quote(wanted, safe="")


@dataclasses.dataclass
class Reading:
    """What one proxy has counted of each backend since it started.

    Attributes:
        answered, failed: endpoint -> requests that came to an end, and those of them that failed.
        healthy: how many endpoints the proxy would send to; None where it does not know the backend at all.
        times: the histogram; None where the proxy keeps none.
        keeps_times: whether the proxy keeps a histogram of any backend. They begin with the first request.
    """

    answered: list[dict[str, int]]
    failed: list[dict[str, int]]
    healthy: list[int | None]
    times: list[Buckets | None]
    keeps_times: bool = False


def read(clusters: str, stats: str, backends: t.Sequence[Backend], labels: t.Sequence[dict[str, str]]) -> Reading:
    """A reading, from Envoy's answers to `CLUSTERS` and `stats_path`.

    Args:
        clusters, stats: the answers.
        backends: whom it is about.
        labels: the labels of each backend's subset.
    """
    count = len(backends)
    found = Reading([{} for _backend in backends], [{} for _backend in backends], [None] * count, [None] * count)
    health: list[dict[str, bool]] = [{} for _backend in backends]
    for line in clusters.splitlines():
        if not line.startswith("outbound|"):
            continue
        cluster, _colons, rest = line.partition("::")
        place = _place(cluster, backends)
        if place is None:
            continue
        # It is known, if only by its limits.
        found.healthy[place] = found.healthy[place] or 0
        head, _colons, value = rest.rpartition("::")
        endpoint, _colons, stat = head.rpartition("::")
        if stat in ("rq_success", "rq_error") and value.isdigit():
            key = f"{cluster} {endpoint}"
            found.answered[place][key] = found.answered[place].get(key, 0) + int(value)
            if stat == "rq_error":
                found.failed[place][key] = int(value)
        elif stat == "health_flags":
            health[place][f"{cluster} {endpoint}"] = value == "healthy"
    for place, known in enumerate(health):
        if found.healthy[place] is not None:
            found.healthy[place] = sum(known.values())
    _read_times(found, stats, backends, labels)
    return found


def _place(cluster: str, backends: t.Sequence[Backend]) -> int | None:
    parts = cluster.rstrip(";").split("|")
    if len(parts) != 4 or parts[0] != "outbound":
        return None
    for place, backend in enumerate(backends):
        if (backend.host, backend.subset) == (parts[3], parts[2]) and str(backend.port or parts[1]) == parts[1]:
            return place
    return None


def _read_times(found: Reading, stats: str, backends: t.Sequence[Backend], labels: t.Sequence[dict[str, str]]) -> None:
    own: list[Buckets] = [{} for _backend in backends]
    istio: list[Buckets] = [{} for _backend in backends]
    for line in stats.splitlines():
        name, brace, rest = line.partition("{")
        if not brace or name not in (_TIMES, _ISTIO_TIMES):
            continue
        found.keeps_times = True
        inner, _brace, value = rest.rpartition("}")
        told = dict(_LABEL.findall(inner))
        try:
            bound, requests = float(told["le"]), int(float(value.split()[0]))
        except (KeyError, ValueError, IndexError):
            continue
        if name == _TIMES:
            place = _place(told.get("cluster_name", ""), backends)
            into = own
        else:
            place = _place_of_metric(told, backends, labels)
            into = istio
        if place is not None:
            into[place][bound] = into[place].get(bound, 0) + requests
    for place, (first, second) in enumerate(zip(own, istio)):
        found.times[place] = first or second or None


def _place_of_metric(
    told: t.Mapping[str, str], backends: t.Sequence[Backend], labels: t.Sequence[dict[str, str]]
) -> int | None:
    """Whom a line of Istio's metric is about, where that is clear."""
    if told.get("reporter", "source") != "source":
        return None
    places = [
        place
        for place, (backend, wanted) in enumerate(zip(backends, labels))
        if backend.host == told.get("destination_service")
        and all(told.get(_LABELS[key]) == value for key, value in wanted.items() if key in _LABELS)
    ]
    return places[0] if len(places) == 1 else None


@dataclasses.dataclass
class Figures:
    """How requests went.

    Attributes:
        requests: those that came to an end. Each try counts.
        errors: those of them that were answered with a status from 500 on, or not at all.
        times: how long they took.
    """

    requests: int = 0
    errors: int = 0
    times: Buckets = dataclasses.field(default_factory=dict)

    @property
    def success(self) -> float | None:
        """The share that succeeded, in percent; None where there were none."""
        return 100.0 * (self.requests - self.errors) / self.requests if self.requests else None

    @property
    def timed(self) -> int:
        """How many requests the histogram has."""
        return self.times.get(math.inf, 0)

    def latency(self, percent: float) -> float | None:
        """The quantile in milliseconds, interpolated within its bucket; None where nothing was timed."""
        if not self.timed:
            return None
        rank, below, bound_below = self.timed * percent / 100.0, 0, 0.0
        for bound, count in sorted(self.times.items()):
            if count >= rank and count > below:
                if math.isinf(bound):
                    return bound_below
                return bound_below + (bound - bound_below) * (rank - below) / (count - below)
            below, bound_below = count, bound if not math.isinf(bound) else bound_below
        return bound_below

    def slower(self, milliseconds: float) -> float:
        """About how many requests took longer, interpolated likewise."""
        below, bound_below = 0, 0.0
        for bound, count in sorted(self.times.items()):
            if bound >= milliseconds:
                width = bound - bound_below
                part = 0.0 if math.isinf(bound) or not width else (milliseconds - bound_below) / width
                return self.timed - below - (count - below) * part
            below, bound_below = count, bound
        return 0.0

    def plain(self) -> dict[str, t.Any]:
        """It as data."""
        return {
            "requests": self.requests,
            "errors": self.errors,
            "times": {str(bound): count for bound, count in sorted(self.times.items())},
        }

    @classmethod
    def from_plain(cls, data: t.Mapping[str, t.Any] | None) -> Figures:
        """What `plain` said."""
        told = data or {}
        times = {float(bound): int(count) for bound, count in (told.get("times") or {}).items()}
        return cls(int(told.get("requests") or 0), int(told.get("errors") or 0), times)


def together(figures: t.Iterable[Figures]) -> Figures:
    """Several as one."""
    total = Figures()
    for one in figures:
        total.requests += one.requests
        total.errors += one.errors
        for bound, count in one.times.items():
            total.times[bound] = total.times.get(bound, 0) + count
    return total


class Ledger:
    """What happened since each proxy's first reading.

    A counter that is smaller than before began anew, as its proxy was restarted, and counts from zero. What a proxy had
    counted before it went away stays counted.
    """

    def __init__(self, backends: int) -> None:
        self.figures = [Figures() for _backend in range(backends)]
        self._last: dict[str, Reading] = {}

    def add(self, proxy: str, reading: Reading) -> None:
        """Takes a reading in; the first one of a proxy is where it starts from."""
        before = self._last.get(proxy)
        self._last[proxy] = reading
        if before is None:
            return
        for place, figures in enumerate(self.figures):
            was, now = before.answered[place], reading.answered[place]
            for endpoint, count in now.items():
                restarted = count < was.get(endpoint, 0)
                figures.requests += count - (0 if restarted else was.get(endpoint, 0))
                failed = reading.failed[place].get(endpoint, 0)
                figures.errors += failed - (0 if restarted else before.failed[place].get(endpoint, 0))
            times, earlier = reading.times[place] or {}, before.times[place] or {}
            if times.get(math.inf, 0) < earlier.get(math.inf, 0):
                earlier = {}
            for bound, count in times.items():
                figures.times[bound] = figures.times.get(bound, 0) + count - earlier.get(bound, 0)

    @property
    def proxies(self) -> int:
        """How many were read."""
        return len(self._last)
