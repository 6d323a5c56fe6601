# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what symptoms mean. Each fault is put into a machine that is well, and has to be named first."""

from __future__ import annotations

import base64
import copy

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _vm_files
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _diagnosis, _diagnosis_report

ROOT = "-----BEGIN CERTIFICATE-----\n" + base64.b64encode(b"one").decode() + "\n-----END CERTIFICATE-----\n"
IDENTITY = "spiffe://cluster.local/ns/shop/sa/pay"
WELL = {
    "vm": {
        "package": {"version": "1.31.0", "status": "installed"},
        "clock_offset": 0.1,
        "units": {"istio.service": {"active": "active", "enabled": True}},
        "unit_result": {"Result": "success"},
        "capture": {"applied": True, "held": False, "bypassed": None},
        "listeners": [],
        "certificate": {
            "present": True,
            "valid": True,
            "key": True,
            "identity": IDENTITY,
            "roots": _vm_files.fingerprints(ROOT),
        },
        "token": {"present": False},
        "broken_settings": {},
        "unwritable": {},
        "has_address": True,
        "pinned_address": "10.0.0.1",
        "settings": {
            "ISTIO_META_CLUSTER_ID": "c1",
            "ISTIO_META_NETWORK": "n1",
            "POD_NAMESPACE": "shop",
            "ISTIO_META_AUTO_REGISTER_GROUP": "pay",
        },
        "way": {
            "target": "istiod.istio-system.svc:15012",
            "addresses": ["10.0.0.9"],
            "tcp": [{"target": "10.0.0.9:15012", "ok": True, "error": None}],
            "tls": {"target": "10.0.0.9:15012", "ok": True, "error": None},
        },
        "envoy": {"answers": True, "state": "LIVE", "rejected": []},
        "complaints": [],
        "probe": {"target": "http://127.0.0.1:1/", "ok": True, "found": "HTTP status 200"},
    },
    "mesh": {
        "installed": True,
        "namespace": "istio-system",
        "version": "1.31.0",
        "cluster_name": "c1",
        "network": "n1",
        "auto_registration": True,
        "health_checks": True,
        "istiod_pods": ["10.1.0.1"],
        "gateway": {"namespace": "istio-system", "name": "gw", "pods": ["10.1.0.2"], "exposed": True},
    },
    "group": "shop/pay",
    "files": {"hosts": "10.0.0.9 istiod.istio-system.svc\n", "root-cert.pem": ROOT},
    "proxy_config": {
        "proxyMetadata": {"TRUST_DOMAIN": "cluster.local", "POD_NAMESPACE": "shop", "SERVICE_ACCOUNT": "pay"}
    },
    "entry": {"ok": True, "verdict": "ok"},
    "state": {"drained": False, "services": ["shop/pay"]},
    "seen": True,
}
NO_TCP = {
    "way.tcp": [{"target": "10.0.0.9:15012", "ok": False, "error": "timeout", "route": {}, "elsewhere": True}],
    "way.tls": None,
}
NO_TLS = {"way.tls": {"target": "10.0.0.9:15012", "ok": False, "error": "tls", "detail": "verify failed"}}
NO_CERTIFICATE = {"certificate": {"present": False}, "envoy.state": "PRE_INITIALIZING", "capture.applied": False}
TOKEN = {"present": True, "remaining": 60, "audiences": ["istio-ca"], "subject": "system:serviceaccount:shop:pay"}
OUT = {"entry": {"ok": False, "verdict": "not_registered", "evidence": "none", "next_step": "x"}}


def put(target, changes):
    for path, value in changes.items():
        *way, last = path.split(".") if path.count(".") and not path.startswith("units.") else [path]
        place = target
        for step in way:
            place = place[step]
        place[last] = value


def known(vm=None, **more):
    case = copy.deepcopy(WELL)
    put(case["vm"], vm or {})
    put(case, more.pop("deep", {}))
    case.update(more)
    return case


def units(active):
    return {"units": {"istio.service": {"active": active, "enabled": True}}}


def test_a_machine_that_is_well():
    found = _diagnosis.diagnose(known())
    assert found["ok"]
    assert found["first"] is None
    assert all(layer["ok"] for layer in found["layers"])


FAULTS = [
    ("unreachable", known() | {"contact": {"unreachable": True, "msg": "no route"}, "vm": None, "entry": None}),
    ("not_examined", known() | {"contact": {"failed": True, "msg": "no python"}, "vm": None}),
    ("not_installed", known({"package": {"version": None, "status": "absent"}, **units("inactive")}, **OUT)),
    ("half_installed", known({"package": {"version": "1", "status": "half-configured"}})),
    ("disk_full", known({"unwritable": {"/etc/certs": "full"}, **units("failed")}, **OUT)),
    ("clock", known({"clock_offset": -4000.0, **NO_TLS}, **OUT)),
    ("bad_settings", known({"broken_settings": {"/x": "line 3"}, **units("activating")}, **OUT)),
    ("bypassed", known({"capture": {"applied": False, "bypassed": "at noon"}, **units("inactive")}, **OUT)),
    ("held", known({"capture": {"applied": False, "held": True}, **units("inactive")}, **OUT)),
    ("not_running", known(units("failed"), **OUT)),
    ("address_gone", known({"has_address": False}, **OUT)),
    ("port_taken", known({"listeners": [{"sidecar": False, "port": 15006, "command": "nginx"}]}, **OUT)),
    ("no_configuration", known({"way.target": None}, **OUT)),
    ("name_unresolved", known({"way.addresses": [], **NO_TCP, "way.tcp": []}, **OUT)),
    ("wrong_address", known({"way.addresses": ["10.9.9.9"], **NO_TCP}, **OUT)),
    ("tcp_firewall", known(NO_TCP, **OUT)),
    ("no_gateway", known(NO_TCP, deep={"mesh.gateway": None}, **OUT)),
    ("gateway_down", known(NO_TCP, deep={"mesh.gateway": {"namespace": "i", "name": "g", "pods": []}}, **OUT)),
    ("istiod_down", known(NO_TLS, deep={"mesh.istiod_pods": []}, **OUT)),
    ("not_exposed", known(NO_TLS, deep={"mesh.gateway": {"pods": ["x"], "exposed": False, "reason": "r"}}, **OUT)),
    ("wrong_root", known(NO_TLS | {"certificate": {"present": False, "roots": ["other"]}}, **OUT)),
    ("tls", known(NO_TLS, **OUT)),
    ("api", known(mesh=None, mesh_error="no answer")),
    ("no_istio", known(mesh={"installed": False})),
    ("wrong_identity", known({"certificate.identity": "spiffe://cluster.local/ns/x/sa/y"}, **OUT)),
    ("no_token", known(NO_CERTIFICATE, **OUT)),
    ("bad_token", known({**NO_CERTIFICATE, "token": {"present": True, "error": "IndexError"}}, **OUT)),
    ("expired_token", known({**NO_CERTIFICATE, "token": dict(TOKEN, remaining=-5)}, **OUT)),
    ("wrong_audience", known({**NO_CERTIFICATE, "token": dict(TOKEN, audiences=["vault"])}, **OUT)),
    ("wrong_service_account", known({**NO_CERTIFICATE, "token": dict(TOKEN, subject="x")}, **OUT)),
    (
        "token_refused",
        known({**NO_CERTIFICATE, "token": TOKEN}, review={"reviewed": True, "authenticated": False}, **OUT),
    ),
    ("auto_registration_off", known(deep={"mesh.auto_registration": False}, **OUT)),
    ("health_checks_off", known(deep={"mesh.health_checks": False}, **OUT)),
    ("wrong_cluster_id", known({"settings.ISTIO_META_CLUSTER_ID": "other"}, **OUT)),
    ("wrong_network", known({"settings.ISTIO_META_NETWORK": "other"}, **OUT)),
    ("wrong_group", known({"settings.ISTIO_META_AUTO_REGISTER_GROUP": "other"}, **OUT)),
    (
        "group_missing",
        known(entry={"ok": False, "verdict": "group_missing", "evidence": "none"}, material_error="none"),
    ),
    ("group", known(material_error="Found: the ServiceAccount is missing.")),
    ("envoy_down", known({"envoy": {"answers": False}, "complaints": ["boom"]}, **OUT)),
    ("config_rejected", known({"envoy.rejected": ["virtualInbound: bad"]})),
    ("envoy_not_ready", known({"envoy.state": "INITIALIZING", "capture.applied": False}, **OUT)),
    ("version_skew", known({"package": {"version": "1.32.0", "status": "installed"}})),
    ("capture_off", known({"capture.applied": False})),
    ("not_registered", known(**OUT)),
    (
        "drained",
        known(
            entry={"ok": False, "verdict": "unhealthy", "evidence": "drained"}, state={"drained": True, "services": []}
        ),
    ),
    (
        "probe_fails",
        known({"probe.ok": False, "probe.found": "HTTP status 500"}, entry={"ok": False, "verdict": "unhealthy"}),
    ),
    ("unhealthy", known(entry={"ok": False, "verdict": "unhealthy", "evidence": "no report"})),
    ("no_service", known(state={"drained": False, "services": []})),
    ("not_an_endpoint", known(seen=False)),
]


@pytest.mark.parametrize(("cause", "case"), FAULTS, ids=[cause for cause, _case in FAULTS])
def test_the_first_cause_is_named(cause, case):
    found = _diagnosis.diagnose(case)
    assert not found["ok"]
    assert found["first"]["cause"] == cause
    assert found["first"]["found"]
    assert found["first"]["remedy"]


def test_as_text_and_as_a_page():
    well, ill = (
        _diagnosis.diagnose(known()),
        _diagnosis.diagnose(known({"complaints": ["<b>boom</b>"], **units("failed")}, **OUT)),
    )
    told = _diagnosis_report.report(["vm10", "vm2"], [well, ill], 1700000000.0)
    assert told["failed"] == ["vm2"]
    assert told["lines"][0].startswith("vm2 - not_running - ")
    assert told["lines"][-2:] == ["vm10 - well", "2 VMs - 1 well, 1 not"]
    assert told["html"].count("<h2>") == 2
    assert "&lt;b&gt;boom" in told["html"]
