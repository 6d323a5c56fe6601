# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the lock in the cluster."""

from __future__ import annotations

import copy
import threading
import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _lock
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import ApiError


def refusal(status):
    return ApiError("refused", "granted", "ask", status)


class Api:
    """One Lease, as an API server keeps it."""

    def __init__(self) -> None:
        self.lease: dict[str, t.Any] | None = None
        self.version = 0
        self.mutex = threading.Lock()

    def get(self, _path):
        with self.mutex:
            return copy.deepcopy(self.lease)

    def request(self, method, path, body):
        with self.mutex:
            assert path == (_lock.ISTIO.all_path if method == "POST" else _lock.ISTIO.path)
            wanted = (body.get("preconditions") or body.get("metadata") or {}).get("resourceVersion")
            if (self.lease is None) != (method == "POST"):
                raise refusal(409 if self.lease else 404)
            if method != "POST" and wanted != self.lease["metadata"]["resourceVersion"]:
                raise refusal(409)
            self.version += 1
            if method == "DELETE":
                self.lease = None
            else:
                metadata = {**body["metadata"], "uid": "u", "resourceVersion": str(self.version)}
                self.lease = {"metadata": metadata, "spec": copy.deepcopy(body["spec"])}


class Time:
    """A clock that only sleep moves; `events` happen at their time."""

    def __init__(self, **events) -> None:
        self.now = 0
        self.events = {int(key[1:]): value for key, value in events.items()}

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.events.get(self.now, lambda: None)()


def lock(api, moments=None):
    moments = moments or Time()
    return _lock.Lock(api, moments.clock, moments.sleep)


@pytest.fixture(name="api")
def _api(monkeypatch):
    api = Api()
    monkeypatch.setattr(_lock, "Cluster", lambda _options: api)
    return api


def test_nothing_stays_behind(api):
    with lock(api).held(5):
        assert api.lease["spec"]["leaseDurationSeconds"] == _lock.DURATION
        assert lock(api).is_somebody_elses()
    assert api.lease is None
    assert not lock(api).is_somebody_elses()


def test_notes_stay_behind_in_a_lease_that_nobody_holds(api):
    first = lock(api)
    with first.held(5):
        assert first.note({"a": "b"})
    assert (_lock.holder(api.lease), _lock.notes_of(api.lease)) == ("", {"a": "b"})
    second = lock(api)
    with second.held(5):
        assert second.notes == {"a": "b"}
        assert second.renew()
        assert _lock.notes_of(api.lease) == {"a": "b"}
        assert not first.note({"c": "d"})
        assert second.note({})
    assert api.lease is None


def test_the_next_one_waits_until_it_is_released(api):
    first = lock(api)
    first.acquire(0)
    moments = Time(t7=first.release)
    second = lock(api, moments)
    second.acquire(60)
    assert (moments.now, _lock.holder(api.lease)) == (7, second.me)


def test_one_that_was_killed_is_taken_over_once_it_was_not_renewed_for_as_long_as_it_says(api):
    first = lock(api)
    first.acquire(0)
    moments = Time(t20=first.renew)
    second = lock(api, moments)
    second.acquire(600)
    assert moments.now == 20 + _lock.DURATION + 1
    assert api.lease["spec"]["leaseTransitions"] == 1
    assert not first.renew()
    first.release()
    assert _lock.holder(api.lease) == second.me


def test_who_waits_in_vain_is_told_for_whom(api):
    first = lock(api)
    first.acquire(0)
    with pytest.raises(MeshError) as caught:
        lock(api, Time()).acquire(9)
    assert first.me in str(caught.value)
    assert "after 9 s (Lease default/hybridmesh-istio)" in caught.value.found
    assert "control_plane_lock_timeout" in caught.value.next_step


def test_who_may_not_is_told_that(api, monkeypatch):
    def refuse(*_arguments, **_options):
        raise refusal(403)

    monkeypatch.setattr(api, "request", refuse)
    with pytest.raises(ApiError):
        lock(api).acquire(9)


def test_who_changes_nothing_asks_for_nothing(api, monkeypatch):
    monkeypatch.setattr(api, "get", None)
    assert _lock.exclusively({}, 5, lambda: "fine") == "fine"


def test_who_changes_something_looks_again_once_it_has_the_lock(api):
    held = []

    def run():
        held.append(api.lease is not None)
        _lock.need()
        return "done"

    assert _lock.exclusively({}, 5, run) == "done"
    assert held == [False, True]
    assert api.lease is None
    _lock.need()


def test_what_looks_wrong_while_another_run_is_at_work_is_looked_at_again(api):
    first = lock(api)
    first.acquire(0)
    looks = []

    def run():
        looks.append(api.lease is not None)
        if len(looks) == 1:
            threading.Timer(0.5, first.release).start()
            raise MeshError("half of it", "all of it", "wait")
        return "done"

    assert _lock.exclusively({}, 30, run) == "done"


def test_an_error_is_an_error_where_nobody_is_at_work(api):
    def run():
        raise MeshError("bad", "good", "mend it")

    with pytest.raises(MeshError, match="Found: bad"):
        _lock.exclusively({}, 5, run)


def test_of_many_at_once_one_at_a_time(api):
    inside, most = [], []

    def work():
        with _lock.Lock(api, sleep=lambda _seconds: None).held(60):
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=work) for _number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8
