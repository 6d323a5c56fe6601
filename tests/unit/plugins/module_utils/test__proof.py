# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the proof that a machine still reaches everything."""

from __future__ import annotations

import json
import time

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _proof

GOOD_DNS = {"error": None, "code": 0, "addresses": ["10.90.0.9"]}
DEAD_DNS = {"error": "timeout", "code": None, "addresses": []}


class Network:
    """What is reached through the capture and past it."""

    def __init__(self, monkeypatch):
        self.dns = {True: dict(GOOD_DNS), False: dict(GOOD_DNS)}
        self.egress = {True: True, False: True}
        self.mesh = True
        self.applied = True
        self.listeners = ""
        self.through = True
        self.asked = []
        monkeypatch.setattr(_proof._vm_facts, "capture", lambda run: {"applied": self.applied})
        monkeypatch.setattr(_proof._vm_facts, "read", lambda path: "nameserver 10.88.0.10\n")
        monkeypatch.setattr(_proof._reach, "dns", self.answer)
        monkeypatch.setattr(_proof._reach, "tls", self.handshake)
        monkeypatch.setattr(_proof._reach, "apart", self.apart)
        monkeypatch.setattr(_proof, "_admin", lambda path: "LIVE" if path == "/ready" else self.listeners)

    def apart(self, function, user=None):
        self.through = user is None
        try:
            return function()
        finally:
            self.through = True

    def answer(self, server, name, _timeout):
        return dict(self.dns[self.through], name=name, server=server)

    def handshake(self, target, _timeout, name=None, roots=None):
        self.asked.append(target)
        good = self.mesh if roots else self.egress[self.through]
        return {"target": target, "ok": good, "error": None if good else "reset"}


@pytest.fixture
def network(monkeypatch):
    return Network(monkeypatch)


def failures(**more):
    wanted = {
        "names": ["vm1.lab.test"],
        "egress": ["tls://10.88.0.200:15012"],
        "mesh_name": "istiod.istio-system.svc",
        "mesh_port": 15012,
        "roots": "PEM",
        "dns_capture": True,
        "user": (1, 1),
        "timeout": 1,
    }
    verdicts = _proof.prove(lambda command: "", _proof.Wanted(**dict(wanted, **more)), time.monotonic() - 1)
    return [verdict for verdict in verdicts if not verdict["ok"]]


def checks(**more):
    return [verdict["check"] for verdict in failures(**more)]


def test_all_is_well(network):
    assert checks() == []
    assert "10.90.0.9:15012" in network.asked


def test_no_capture_is_no_proof(network):
    network.applied = False
    assert checks() == ["capture"]


def test_names_that_stop_resolving(network):
    network.dns[True] = dict(GOOD_DNS, code=2, addresses=[])
    network.listeners = listeners("10.90.0.9", 15012)
    found = failures()
    assert [verdict["check"] for verdict in found] == ["dns", "mesh_dns"]
    assert "SERVFAIL through the sidecar, NOERROR past it" in found[0]["found"]


def test_a_resolver_that_never_answered_is_not_the_capture_s_fault(network):
    network.dns = {True: dict(DEAD_DNS), False: dict(DEAD_DNS)}
    assert checks(dns_capture=False) == []


def test_egress_that_is_lost(network):
    network.egress[True] = False
    found = failures()
    assert [verdict["check"] for verdict in found] == ["egress"]
    assert "REGISTRY_ONLY" in found[0]["next_step"]


def test_what_was_out_of_reach_before_is_no_loss(network):
    network.egress = {True: False, False: False}
    assert checks() == []
    assert checks(egress=[]) == []


def test_the_mesh_out_of_reach(network):
    network.mesh = False
    assert checks() == ["mesh"]


def listeners(address, port):
    other = {"local_address": {"socket_address": {"address": "0.0.0.0", "port_value": port}}}
    ours = {"local_address": {"socket_address": {"address": address, "port_value": port}}}
    return json.dumps({"listener_statuses": [other, ours, {"local_address": {"pipe": {}}}]})


def test_without_dns_capture_the_listeners_tell_the_address(network):
    network.listeners = listeners("10.90.0.77", 15012)
    assert checks(dns_capture=False) == []
    assert "10.90.0.77:15012" in network.asked


def test_a_sidecar_resource_may_hide_istiod(network):
    network.dns[True] = dict(GOOD_DNS, code=3, addresses=[])
    network.dns[False] = dict(GOOD_DNS, code=3, addresses=[])
    network.mesh = False
    assert checks() == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"listener_statuses": null}'])
def test_listeners_that_can_t_be_read(text):
    assert _proof.service_addresses(text, 15012) == []


@pytest.mark.parametrize(
    ("url", "target"),
    [("tls://h:99", "h:99"), ("https://h", "h:443"), ("https://h/path", "h:443"), ("https://h:8443/x", "h:8443")],
)
def test_egress_urls(network, url, target):
    assert _proof._fetch(url, 1)["target"] == url
    assert network.asked[-1] == target
