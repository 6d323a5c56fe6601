# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of who may be restarted together."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _capacity
from ansible_collections.hybridmesh.istio.plugins.module_utils._workload_entry import entry_from

NOW = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.UTC)
GROUP = {"metadata": {"name": "billing"}, "spec": {"probe": {}, "template": {"labels": {"app": "billing"}}}}
SERVICE = {"metadata": {"namespace": "shop", "name": "billing"}, "spec": {"selector": {"app": "billing"}}}


def entry(number, healthy="True", message="", labels=None, probe=True, connected=True):
    annotations = {"istio.io/autoRegistrationGroup": "billing", "istio.io/connectedAt": "2026-11-24T10:00:00Z"}
    if probe:
        annotations["proxy.istio.io/health-checks-enabled"] = "true"
    if not connected:
        annotations["istio.io/disconnectedAt"] = "2026-11-24T11:00:00Z"
    conditions = [{"type": "Healthy", "status": healthy, "message": message}] if healthy else []
    return entry_from(
        {
            "metadata": {"name": f"billing-10.0.0.{number}", "namespace": "shop", "annotations": annotations},
            "spec": {"address": f"10.0.0.{number}", "labels": labels or {"app": "billing"}},
            "status": {"conditions": conditions},
        }
    )


def vm(number):
    return {"name": f"vm{number}", "namespace": "shop", "group": "billing", "address": f"10.0.0.{number}"}


def survey(*entries, vms=8):
    names = [vm(number) for number in range(1, vms + 1)]
    return _capacity.survey(names, entries, [SERVICE], {("shop", "billing"): GROUP}, NOW)


def test_a_service_s_machines_are_counted():
    found = survey(entry(1), entry(2, "False", "HTTP 500"), entry(3, "False", _capacity.DRAINED + " at noon"))
    assert found["services"] == {"shop/billing": {"total": 3, "serving": 1, "away": 1}}
    assert found["vms"]["vm1"]["serving"]
    assert found["vms"]["vm1"]["services"] == ["shop/billing"]
    assert [found["vms"][name]["drained"] for name in ("vm1", "vm2", "vm3")] == [False, False, True]
    assert found["vms"]["vm4"]["entry"] is None


@pytest.mark.parametrize(
    ("healthy", "probe", "serving"),
    [("True", True, True), (None, True, False), (None, False, True), ("False", False, False)],
)
def test_who_serves(healthy, probe, serving):
    assert survey(entry(1, healthy, probe=probe))["vms"]["vm1"]["serving"] is serving


def test_a_machine_whose_sidecar_is_gone_serves_nothing():
    found = survey(entry(1, connected=False), entry(2))
    assert not found["vms"]["vm1"]["serving"]
    assert found["services"] == {"shop/billing": {"total": 2, "serving": 1, "away": 0}}


def test_a_sidecar_that_lost_its_connection_for_a_moment_serves():
    vms = [vm(1), vm(2)]
    entries = [entry(1, connected=False), entry(2, connected=False)]
    found = _capacity.survey(vms, entries, [SERVICE], {("shop", "billing"): GROUP}, NOW, ["vm1"])
    assert [found["vms"][name]["serving"] for name in ("vm1", "vm2")] == [True, False]
    assert found["services"]["shop/billing"]["serving"] == 1


def test_selectors_and_namespaces_are_heeded():
    found = survey(entry(1, labels={"app": "other"}))
    assert found["services"] == {}
    assert found["vms"]["vm1"]["services"] == []


def test_an_entry_that_is_as_the_group_was_before():
    found = survey(entry(1, labels={"app": "old"}), entry(2))
    assert "app=old" in found["vms"]["vm1"]["outdated"]
    assert found["vms"]["vm2"]["outdated"] is None
    mend = _capacity.to_mend(found, ["vm1", "vm2", "vm3"])
    assert sorted(mend) == ["vm1", "vm3"]
    assert "no WorkloadEntry" in mend["vm3"][0]


def test_an_entry_without_a_report_of_its_health():
    found = survey(entry(1, None), entry(2, None, probe=False), entry(3, "False"))
    assert [found["vms"][name]["mute"] for name in ("vm1", "vm2", "vm3")] == [True, False, False]
    assert list(_capacity.to_mend(found, ["vm1", "vm2", "vm3"])) == ["vm1"]
    assert _capacity.undecided(found, ["vm1", "vm2", "vm3"]) == {}


def survey_after(seconds, healthy=None, probe=None):
    """Of a machine that connected some seconds ago."""
    now = datetime.datetime(2026, 11, 24, 10, tzinfo=datetime.UTC) + datetime.timedelta(seconds=seconds)
    group = {"metadata": {"name": "billing"}, "spec": {"probe": probe or {}, "template": {}}}
    return _capacity.survey([vm(1)], [entry(1, healthy)], [SERVICE], {("shop", "billing"): group}, now)


@pytest.mark.parametrize(
    ("probe", "seconds"),
    [
        ({}, 50),
        ({"periodSeconds": 2, "failureThreshold": 4, "initialDelaySeconds": 5}, 33),
        ({"periodSeconds": 1, "timeoutSeconds": 7, "successThreshold": 5}, 55),
    ],
)
def test_a_report_that_may_still_come_is_waited_for(probe, seconds):
    soon, late = survey_after(seconds - 1, None, probe), survey_after(seconds + 1, None, probe)
    assert _capacity.undecided(soon, ["vm1"]) == {"vm1": 1.0}
    assert _capacity.undecided(soon, []) == {}
    assert _capacity.to_mend(soon, ["vm1"]) == {}
    assert _capacity.undecided(late, ["vm1"]) == {}
    assert "no report" in _capacity.to_mend(late, ["vm1"])["vm1"][0]


@pytest.mark.parametrize("healthy", ["True", "False"])
def test_a_report_that_came_is_not_waited_for(healthy):
    assert _capacity.undecided(survey_after(1, healthy), ["vm1"]) == {}


def names(*numbers):
    return [f"vm{number}" for number in numbers]


def test_a_third_of_a_service_at_a_time():
    known = survey(*(entry(number) for number in range(1, 9)))
    waves, refused = _capacity.waves(names(*range(1, 9)), known, 0.34)
    assert waves == [names(1, 2), names(3, 4), names(5, 6), names(7, 8)]
    assert refused == {}


def test_canaries_go_first_and_batches_are_bounded():
    known = survey(*(entry(number) for number in range(1, 9)))
    waves, _refused = _capacity.waves(names(*range(1, 9)), known, 0.5, canaries=1, most=3)
    assert waves == [names(1), names(2, 3, 4), names(5, 6, 7), names(8)]


def test_one_of_two_may_always_go():
    waves, refused = _capacity.waves(names(1, 2), survey(entry(1), entry(2)), 0.0)
    assert waves == [names(1), names(2)]
    assert refused == {}


def test_machines_that_serve_nothing_all_go_first():
    waves, _refused = _capacity.waves(names(*range(1, 9)), survey(entry(1), entry(2)), 0.34)
    assert waves == [names(1, 3, 4, 5, 6, 7, 8), names(2)]


def test_nobody_goes_while_others_are_out():
    known = survey(entry(1), entry(2), entry(9, "False", "HTTP 500"))
    waves, refused = _capacity.waves(names(1, 2), known, 0.34)
    assert waves == []
    assert "1 of the 3 VMs" in refused["vm1"]


def test_those_that_are_out_may_be_restarted_themselves():
    known = survey(entry(1), entry(2, "False", "HTTP 500"), entry(3))
    waves, refused = _capacity.waves(names(2), known, 0.34)
    assert (waves, refused) == ([names(2)], {})


def test_for_those_that_a_run_has_taken_out_the_drain_waits():
    known = survey(entry(1), entry(2), entry(3, "False", _capacity.DRAINED + " at noon"))
    assert _capacity.waves(names(1, 2), known, 0.34) == ([names(1), names(2)], {})
    # One that was noted has started anew, and is yet to report its health.
    entries, vms = [entry(1), entry(2), entry(3, None)], [vm(1), vm(2), vm(3)]
    for noted, refused in ([], True), ([("shop", "billing", "10.0.0.3")], False):
        known = _capacity.survey(vms, entries, [SERVICE], {("shop", "billing"): GROUP}, NOW, noted=noted)
        assert known["vms"]["vm3"]["away"] is not refused
        assert bool(_capacity.waves(names(1, 2), known, 0.34)[1]) is refused


def test_one_of_ours_that_was_left_drained_is_taken_off_once():
    drained = entry(2, "False", _capacity.DRAINED + " at noon")
    known = survey(entry(1), drained, entry(3, "False", "HTTP 500"))
    assert list(_capacity.waves(names(1, 2), known, 0.34)[1]) == names(1)


def test_nothing_to_restart():
    assert _capacity.waves([], survey(), 0.34) == ([], {})
