# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what is renewed, and what is told."""

from __future__ import annotations

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _renewal, _vm_files

WANTED = {"identity": "spiffe://cluster.local/ns/shop/sa/pay", "roots": ["r"], "interval": 86400}


def facts(certificate=None, token=None, **more):
    fine = {
        "present": True,
        "valid": True,
        "key": True,
        "identity": WANTED["identity"],
        "roots": ["r"],
        "remaining": 60000,
        "age": 0.3,
    }
    return dict(
        {
            "package": {"version": "1.31.0"},
            "certificate": dict(fine, **(certificate or {})),
            "token": token or {"present": True, "remaining": -100},
            "units": {"istio.service": {"active": "active"}},
            "capture": {"applied": True, "held": False, "bypassed": None},
            "drift": {"files": [], "effects": []},
            "proven": 1700000000,
        },
        **more,
    )


def checks(found):
    return [(finding["check"], finding["fails"]) for finding in found["findings"]]


def test_an_expired_token_beside_a_rotating_certificate_is_fine():
    found = _renewal.renewal(facts(), WANTED)
    assert found["token"] == {"needed": False, "reason": None}
    assert found["findings"] == []
    assert (found["capture"], found["certificate_remaining"], found["proven"]) == ("on", 60000, 1700000000)


@pytest.mark.parametrize(
    ("certificate", "check"),
    [
        ({"valid": False, "remaining": -5, "age": 1.2}, "expired"),
        ({"age": 0.61}, "rotation_broken"),
    ],
)
def test_certificates_that_need_a_token(certificate, check):
    found = _renewal.renewal(facts(certificate), WANTED)
    assert found["token"]["needed"]
    assert checks(found) == [(check, True)]


def test_a_certificate_that_is_about_to_end_gets_a_token_before():
    found = _renewal.renewal(facts({"remaining": 500, "age": 0.5}), WANTED)
    assert found["token"]["needed"]
    assert found["findings"] == []


def test_another_mesh_s_certificate_is_not_for_a_token_to_mend():
    found = _renewal.renewal(facts({"roots": ["other"]}), WANTED)
    assert not found["token"]["needed"]
    assert checks(found) == [("wrong_certificate", True)]


@pytest.mark.parametrize(("remaining", "needed"), [(2 * 86400 - 1, True), (2 * 86400, False)])
def test_issue_49202_33203_with_an_external_authority_a_token_outlives_two_runs(remaining, needed):
    found = _renewal.renewal(facts(token={"remaining": remaining}), dict(WANTED, external_ca=True))
    assert found["token"]["needed"] is needed


def test_all_if_asked():
    assert _renewal.renewal(facts(), dict(WANTED, all=True))["token"]["reason"] == "all are renewed"


def test_a_machine_without_a_sidecar():
    found = _renewal.renewal({"package": {"version": None}}, WANTED)
    assert checks(found) == [("not_onboarded", True)]


@pytest.mark.parametrize(
    ("more", "check"),
    [
        ({"units": {"istio.service": {"active": "failed"}}}, ("not_running", True)),
        ({"capture": {"applied": False}}, ("capture_off", True)),
        ({"capture": {"applied": False, "held": True}}, ("capture_off", True)),
        ({"capture": {"applied": False, "bypassed": "at noon"}}, ("bypassed", False)),
        ({"drift": {"files": [_vm_files.HOSTS], "effects": []}}, ("changed", False)),
    ],
)
def test_what_else_is_told(more, check):
    assert checks(_renewal.renewal(facts(**more), WANTED)) == [check]


def test_what_changed_in_the_mesh_is_named_with_its_cost():
    drift = {"files": [_vm_files.ROOT_CERTIFICATE, _vm_files.HOSTS, "/x"], "effects": ["restart"]}
    (finding,) = _renewal.renewal(facts(drift=drift), WANTED)["findings"]
    assert "root certificate" in finding["found"]
    assert "gateway's address" in finding["found"]
    assert "the file /x" in finding["found"]
    assert "is restarted" in finding["next_step"]
