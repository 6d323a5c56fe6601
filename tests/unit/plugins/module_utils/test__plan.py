# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what has to be done to a machine."""

from __future__ import annotations

import base64
import copy

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _plan, _vm_files

from .test__preflight import EXPECT, FACTS

RELEASES = "https://storage.googleapis.com/istio-release/releases"
IDENTITY = "spiffe://cluster.local/ns/chapter10vm/sa/chapter10-sa"
ROOT = "-----BEGIN CERTIFICATE-----\n" + base64.b64encode(b"one").decode() + "\n-----END CERTIFICATE-----\n"
PROXY_CONFIG = {
    "proxyMetadata": {
        "TRUST_DOMAIN": "cluster.local",
        "POD_NAMESPACE": "chapter10vm",
        "SERVICE_ACCOUNT": "chapter10-sa",
    }
}


def asked(**more):
    return dict({"release_url": RELEASES}, **more)


def package(installed=None, status="installed", record=None, mesh="1.31.0", **more):
    facts = {"package": {"version": installed, "status": status, "record": record}}
    return _plan.package_plan(facts, _plan.wanted_package(asked(**more), "amd64", mesh), mesh)


def test_the_release_s_package_of_istiod_s_version_is_the_default():
    wanted = _plan.wanted_package(asked(), "amd64", "1.31.0")
    assert wanted["url"] == RELEASES + "/1.31.0/deb/istio-sidecar.deb"
    assert wanted["checksum_url"] == wanted["url"] + ".sha256"
    assert not wanted["explicit"]


def test_issue_41595_arm64_has_a_package_of_its_own():
    wanted = _plan.wanted_package(asked(), "arm64", "1.31.0")
    assert wanted["url"].endswith("/1.31.0/deb/istio-sidecar-arm64.deb")


@pytest.mark.parametrize(
    ("more", "source", "url"),
    [
        ({"path": "/p.deb", "path_checksum": "ab"}, "path", "/p.deb"),
        ({"url": "http://x/p.deb"}, "url", "http://x/p.deb"),
        ({"apt": "istio-sidecar"}, "apt", "istio-sidecar"),
        ({"version": "1.30.4"}, "release", RELEASES + "/1.30.4/deb/istio-sidecar.deb"),
    ],
)
def test_other_sources(more, source, url):
    wanted = _plan.wanted_package(asked(**more), "amd64", "1.31.0")
    assert (wanted["source"], wanted["url"]) == (source, url)


def test_a_checksum_that_is_given_takes_the_place_of_the_published_one():
    wanted = _plan.wanted_package(asked(checksum="ab"), "amd64", "1.31.0")
    assert (wanted["checksum"], wanted["checksum_url"]) == ("ab", None)


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        ({}, True),
        ({"installed": "1.31.0"}, False),
        ({"installed": "1.31.0lab", "mesh": "1.31.0-lab"}, False),
        ({"installed": "1.31.0", "status": "half-configured"}, True),
        # istiod was upgraded: the machine's own, older version stays until an upgrade is asked for.
        ({"installed": "1.30.4"}, False),
        ({"installed": "1.30.4", "version": "1.31.0"}, True),
        ({"installed": "1.28.0"}, True),
        ({"installed": "1.31.0", "path": "/p", "path_checksum": "a", "record": {"checksum": "a"}}, False),
        ({"installed": "1.31.0", "path": "/p", "path_checksum": "a", "record": {"checksum": "b"}}, True),
        ({"installed": "1.31.0", "path": "/p", "path_checksum": "a"}, True),
        ({"installed": "1.31.0", "url": "http://x/p", "record": {"source": "http://x/p"}}, False),
        ({"installed": "1.31.0", "url": "http://x/q", "record": {"source": "http://x/p"}}, True),
        ({"installed": "1.31.0", "apt": "istio-sidecar"}, False),
    ],
)
def test_when_the_package_is_installed(arguments, needed):
    plan = package(**arguments)
    assert plan["needed"] is needed
    assert bool(plan["reason"]) is needed


def certificate(**more):
    return dict(
        {"present": True, "key": True, "valid": True, "remaining": 80000, "identity": IDENTITY, "roots": ["r1"]}, **more
    )


@pytest.mark.parametrize(
    ("found", "needed", "discard"),
    [
        (certificate(), False, False),
        ({"present": False, "roots": []}, True, False),
        (certificate(valid=False), True, False),
        (certificate(key=False), True, False),
        (certificate(remaining=60), True, False),
        (certificate(identity="spiffe://cluster.local/ns/x/sa/y"), True, True),
        (certificate(roots=["other"]), True, True),
        # Roots overlap while they are rotated.
        (certificate(roots=["other", "r1"]), False, False),
        ({"present": True, "key": True, "valid": False, "error": "not an X.509 certificate", "roots": []}, True, False),
    ],
)
def test_when_a_token_is_made(found, needed, discard):
    plan = _plan.token_plan({"certificate": found}, {"identity": IDENTITY, "roots": ["r1"]})
    assert (plan["needed"], plan["discard"]) == (needed, discard)
    assert bool(plan["reason"]) is needed


RUNNING = {
    "units": {
        "istio.service": {"active": "active", "enabled": True},
        "istio-capture.service": {"active": "active", "enabled": True},
    },
    "capture": {"applied": True, "held": False},
    "stale_program": False,
}


NOTHING = {"needed": False, "discard": False}


@pytest.mark.parametrize(
    ("changes", "what", "reasons"),
    [
        ({}, None, 0),
        ({"capture": {"applied": False, "held": False}}, "capture", 1),
        ({"capture": {"applied": False, "held": True}}, "restart", 1),
        ({"stale_program": True}, "restart", 1),
        ({"units": {}}, "restart", 2),
        ({"units": {"istio.service": {"active": "active", "enabled": True}}}, "restart", 1),
        ({"drift": {"files": ["/etc/hosts"], "effects": [], "reasons": []}}, None, 0),
        ({"drift": {"effects": ["capture"], "reasons": ["capture: /etc/hybridmesh/capture.env"]}}, "capture", 1),
        ({"drift": {"effects": ["capture", "restart"], "reasons": []}}, "restart", 1),
    ],
)
def test_what_is_started_anew_under_supervision(changes, what, reasons):
    found = _plan.start_plan(dict(RUNNING, **changes), NOTHING, NOTHING, [])
    assert found["what"] == what
    assert len(found["reasons"]) == reasons


def test_the_reasons_for_a_restart_name_files_and_what_the_cluster_says():
    drift = {"effects": ["restart"], "reasons": ["restart: /etc/istio/config/mesh"]}
    found = _plan.start_plan(
        dict(RUNNING, drift=drift), dict(NOTHING, needed=True), dict(NOTHING, discard=True), ["no entry"]
    )
    assert found["reasons"] == [
        "no entry",
        "the package has to be installed",
        "the certificate is of no use",
        "changed: /etc/istio/config/mesh",
    ]


def wanted(**more):
    files = {"cluster.env": "ISTIO_INBOUND_PORTS=10000\n", "hosts": EXPECT["hosts"], "root-cert.pem": ROOT}
    return dict(EXPECT, files=files, proxy_config=PROXY_CONFIG, package=asked(), **more)


def test_a_bare_machine_gets_everything():
    plan = _plan.plan(copy.deepcopy(FACTS), wanted())
    assert plan["problems"] == []
    assert plan["package"]["needed"]
    assert plan["token"]["needed"]
    assert plan["start"]
    assert plan["pod_target"] == "10.88.0.21:10000"


def test_a_proven_machine_gets_nothing():
    facts = dict(copy.deepcopy(FACTS), **RUNNING)
    facts["package"] = {"version": "1.31.0lab", "status": "installed", "record": None}
    facts["certificate"] = certificate(roots=_vm_files.fingerprints(ROOT))
    plan = _plan.plan(facts, wanted())
    assert not plan["package"]["needed"]
    assert not plan["token"]["needed"]
    assert plan["start"] == {"what": None, "reasons": []}
    assert plan["pod_target"] is None
    assert not plan["work"]


def test_a_package_that_is_not_held_is_work_but_no_restart():
    facts = dict(copy.deepcopy(FACTS), **RUNNING)
    facts["package"] = {"version": "1.31.0lab", "status": "installed", "record": None, "held": False}
    facts["certificate"] = certificate(roots=_vm_files.fingerprints(ROOT))
    plan = _plan.plan(facts, wanted(hold=True))
    assert (plan["hold"], plan["work"], plan["start"]["what"]) == (True, True, None)
    facts["package"]["held"] = True
    assert not _plan.plan(facts, wanted(hold=True))["work"]


def test_a_way_back_is_of_use_until_the_machine_is_proven():
    facts = dict(copy.deepcopy(FACTS), way_back=True)
    plan = _plan.plan(facts, wanted())
    assert (plan["way_back"], plan["stale"]) == (True, False)
    facts.update(RUNNING, package={"version": "1.31.0lab", "status": "installed", "record": None})
    facts["certificate"] = certificate(roots=_vm_files.fingerprints(ROOT))
    plan = _plan.plan(facts, wanted())
    assert (plan["stale"], plan["work"], plan["start"]["what"]) == (True, True, None)


def test_where_the_present_package_can_be_had_again():
    record = {"source": RELEASES + "/1.30.0/deb/istio-sidecar.deb", "checksum": "x"}
    assert package("1.30.0", record=record, version="1.31.0")["previous_url"] == record["source"]
    assert package("1.30.0", record={"source": "/tmp/x.deb"}, version="1.31.0")["previous_url"] is None


def test_problems_are_plain_data_with_a_message():
    plan = _plan.plan(dict(copy.deepcopy(FACTS), architecture="mips"), wanted())
    assert plan["problems"][0]["check"] == "architecture"
    assert plan["problems"][0]["message"].startswith("Found: ")


def test_what_the_pod_said_is_judged():
    tries = [{"target": "10.88.0.21:10000", "rc": 1, "output": "Last error: i/o timeout"}]
    plan = _plan.plan(copy.deepcopy(FACTS), wanted(tries=tries))
    assert [problem["check"] for problem in plan["problems"]] == ["pods_to_vm"]


@pytest.mark.parametrize(
    ("asked_ports", "target"), [(None, "10.88.0.21:10000"), ([8080], "10.88.0.21:8080"), ([], None), (["*"], None)]
)
def test_where_a_pod_should_reach_the_machine(asked_ports, target):
    assert _plan.pod_target(wanted()["files"], wanted(inbound_ports=asked_ports)) == target


def test_a_group_that_is_not_there_yet_is_no_reason_to_fail():
    plan = _plan.plan(copy.deepcopy(FACTS), dict(wanted(), files={}, proxy_config={}, mesh_version=None, gateways=[]))
    assert plan["problems"] == []
