# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of whether machines may be taken out, whatever other runs have taken out."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _capacity, _share
from ansible_collections.hybridmesh.istio.plugins.module_utils._workload_entry import entry_from

NOW = datetime.datetime(2026, 11, 26, 12, tzinfo=datetime.UTC)
SOON = NOW + datetime.timedelta(minutes=5)
SELECTORS = {"shop/billing": {"app": "billing"}, "shop/all": {"all": "yes"}, "other/billing": {"app": "billing"}}


def entry(number, healthy="True", message="", *, labels=None, probe=True, connected=True):
    annotations = {"istio.io/autoRegistrationGroup": "billing", "istio.io/connectedAt": "2026-11-26T10:00:00Z"}
    if probe:
        annotations["proxy.istio.io/health-checks-enabled"] = "true"
    if not connected:
        annotations["istio.io/disconnectedAt"] = "2026-11-26T11:00:00Z"
    conditions = [{"type": "Healthy", "status": healthy, "message": message}] if healthy else []
    return entry_from(
        {
            "metadata": {"name": f"billing-10.0.0.{number}", "namespace": "shop", "annotations": annotations},
            "spec": {"address": f"10.0.0.{number}", "labels": labels or {"app": "billing"}},
            "status": {"conditions": conditions},
        }
    )


def key(number):
    return ("shop", "billing", f"10.0.0.{number}")


def note(number, until=SOON, services=("shop/billing",)):
    return _share.Note(key(number), services, until)


def short(entries, ours, share=0.34, notes=(), not_counted=()):
    look = _share.Look(entries, SELECTORS, list(notes))
    chosen = [item for item in entries if _capacity.key_of(item) in {key(number) for number in ours}]
    return _share.short(look, chosen, [key(number) for number in not_counted], share)


DRAINED = entry(2, "False", _capacity.DRAINED + " at noon")


@pytest.mark.parametrize(
    ("others", "fits"),
    [
        ([entry(2), entry(3)], True),
        ([DRAINED, entry(3)], False),
        ([entry(2, "False", "HTTP 500"), entry(3)], False),
        ([entry(2, None), entry(3)], False),
        ([entry(2, connected=False), entry(3)], False),
        ([entry(2, None, probe=False), entry(3, None, probe=False)], True),
        # Seven serve, and a third of nine is three.
        ([DRAINED, entry(3, "False"), *map(entry, range(4, 10))], True),
        ([DRAINED, entry(3, "False"), entry(4, "False"), *map(entry, range(5, 10))], False),
    ],
)
def test_whoever_took_them_out_counts(others, fits):
    assert bool(short([entry(1), *others], [1])) is not fits


def test_one_may_go_where_it_is_the_only_one():
    assert short([entry(1)], [1], share=0) == {}


def test_what_is_out_already_takes_nothing_and_waits_for_nobody():
    assert short([entry(1, "False", "HTTP 500"), DRAINED, entry(3)], [1]) == {}
    assert short([DRAINED, entry(1), entry(3)], [1, 2]) == {}


def test_those_that_were_out_before_the_run_do_not_count():
    assert short([entry(1), entry(2, "False", "HTTP 500"), entry(3)], [1], not_counted=[2]) == {}


def test_all_or_none_of_them():
    assert short([entry(number) for number in range(1, 7)], [1, 2]) == {}
    assert "2 would go now, and 1 may be out" in short([entry(1), entry(2), entry(3)], [1, 2])["shop/billing"]


def test_a_sidecar_of_ours_between_two_connections_is_one_that_goes():
    assert short([entry(1, connected=False), DRAINED, entry(3)], [1])


def test_the_reason_names_service_and_machines():
    assert short([entry(1), DRAINED, entry(3)], [1]) == {
        "shop/billing": "1 of the 3 VMs of Service shop/billing, billing-10.0.0.2 (drained by a run), do not serve, "
        "1 would go now, and 1 may be out at a time"
    }


def test_each_service_has_its_share():
    both = {"app": "billing", "all": "yes"}
    other = entry(2, "False", labels={"all": "yes"})
    assert list(short([entry(1, labels=both), other, entry(3)], [1])) == ["shop/all"]
    assert short([entry(1), other, entry(3)], [1]) == {}


def test_one_whose_entry_is_gone_counts_as_long_as_it_is_noted():
    assert "10.0.0.2 of group billing" in short([entry(1), entry(3)], [1], notes=[note(2)])["shop/billing"]
    assert short([entry(1), entry(3)], [1], notes=[note(2, services=("shop/all",))]) == {}
    # It is back: its entry says how it is.
    assert short([entry(1), entry(2), entry(3)], [1], notes=[note(2)]) == {}
    # It counts as one of the Service's, too: a third of six is two.
    assert short([entry(1), *map(entry, range(3, 7))], [1], notes=[note(2)]) == {}


def test_notes_are_read_as_they_are_written_until_they_are_void():
    written = _share.annotations_of([note(2), note(1)])
    assert _share.notes_from(written, NOW) == [note(1), note(2)]
    assert _share.notes_from(written, SOON) == []
    assert _share.annotations_of([]) == {}
    assert _share.notes_from({}, NOW) == []


@pytest.mark.parametrize(
    "text", ["", "no", "{}", "[1]", '[{"machine": ["a"], "until": "x", "services": []}]', '{"a": 1}']
)
def test_notes_that_nobody_can_read_say_nothing(text):
    assert _share.notes_from({_share.ANNOTATION: text}, NOW) == []


def test_those_that_are_back_are_noted_no_longer():
    look = _share.Look([entry(1), DRAINED], SELECTORS, [note(2), note(5)])
    assert sorted(item.key for item in _share.renoted(look, [entry(1)], SOON)) == [key(1), key(2), key(5)]
    look = _share.Look([entry(1), entry(2)], SELECTORS, [note(2)])
    assert _share.renoted(look, [entry(1)], SOON) == [note(1)]


def test_the_lease_is_the_namespace_s():
    lease = _share.lease("shop")
    assert lease.path == "/apis/coordination.k8s.io/v1/namespaces/shop/leases/hybridmesh-istio-drain"
    assert lease.all_path == "/apis/coordination.k8s.io/v1/namespaces/shop/leases"
