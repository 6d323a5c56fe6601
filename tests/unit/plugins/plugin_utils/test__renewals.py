# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what is renewed on many machines."""

from __future__ import annotations

from ansible_collections.hybridmesh.istio.plugins.filter.sidecar_renewals import FilterModule
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _renewals

IDENTITY = {"TRUST_DOMAIN": "cluster.local", "POD_NAMESPACE": "shop", "SERVICE_ACCOUNT": "pay"}
GROUPS = {"shop/pay": {"files": {"root-cert.pem": ""}, "proxy_config": {"proxyMetadata": IDENTITY}}}
OPTIONS = {"external_ca": False, "interval": 86400, "all": False}


def machine(remaining=60000, age=0.3, everything=False, **more):
    certificate = {
        "present": True,
        "valid": remaining > 0,
        "key": True,
        "remaining": remaining,
        "age": age,
        "roots": [],
    }
    certificate["identity"] = "spiffe://cluster.local/ns/shop/sa/pay"
    seen = {
        "package": {"version": "1.31.0"},
        "certificate": certificate,
        "units": {"istio.service": {"active": "active"}},
        "capture": {"applied": True},
    }
    return {
        "__vm_sidecar_group": "shop/pay",
        "__vm_sidecar_renew_options": {**OPTIONS, "all": everything},
        "__vm_sidecar_info": {"vm": seen},
        **more,
    }


def renewals(before=None, **machines):
    return _renewals.renewals(list(machines), machines, GROUPS, before)


def test_each_machine_is_decided_by_its_own_options():
    told = renewals(fine=machine(), all=machine(everything=True), old=machine(remaining=-5, age=1.2), none={})
    assert told["needed"] == ["all", "old"]
    assert list(told["by_vm"]) == ["fine", "all", "old"]
    assert list(told["failed"]) == ["old"]
    assert told["failed"]["old"].startswith("Found: ")
    assert "Next step: " in told["failed"]["old"]


def test_one_that_cannot_be_reached_fails_and_is_not_decided():
    told = renewals(gone={"__vm_sidecar_info": {"unreachable": True, "msg": "no route"}})
    assert told == {"by_vm": {}, "needed": [], "failed": {"gone": "no route"}}


def test_afterwards_it_says_what_was_renewed_and_keeps_those_that_failed():
    before = renewals(one=machine(everything=True), two=machine(everything=True))
    done = machine(everything=True, __vm_sidecar_renewed=before["by_vm"]["one"]["token"])
    told = FilterModule().filters()["sidecar_renewals"](["one"], {"one": done}, GROUPS, before=before)
    assert told["by_vm"]["one"]["token"] == {"needed": True, "reason": "all are renewed", "renewed": True}
    assert told["by_vm"]["two"] == before["by_vm"]["two"]
    assert told["needed"] == []
