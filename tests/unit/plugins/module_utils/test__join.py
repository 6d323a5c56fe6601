# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what decides how a machine made from an image joins."""

from __future__ import annotations

import base64
import json

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _join
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

ROOT = "-----BEGIN CERTIFICATE-----\n" + base64.b64encode(b"one").decode() + "\n-----END CERTIFICATE-----\n"
OTHER = ROOT.replace(base64.b64encode(b"one").decode(), base64.b64encode(b"two").decode())
IDENTITY = "spiffe://cluster.local/ns/shop/sa/payments"
API = {"api_server": "https://192.0.2.1:6443", "api_ca": ROOT}
NOW = 1_800_000_000.0


def token(expires: float, audience: object = "istio-ca") -> str:
    middle = base64.urlsafe_b64encode(json.dumps({"exp": expires, "aud": audience}).encode()).rstrip(b"=").decode()
    return f"head.{middle}.signature"


@pytest.mark.parametrize(
    "source",
    [
        {"kind": "file", "path": "/run/istio-join/bundle.json"},
        {"kind": "command", "command": ["/usr/local/bin/give", "me"]},
        {"kind": "identity", "url": "http://169.254.169.254/identity", **API},
        {"kind": "identity", "command": ["/usr/bin/whoami-token"], **API},
    ],
)
def test_sources_that_are_whole(source):
    assert _join.config_problems({"source": source}) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (None, ["has the kind None"]),
        ({"kind": "vault"}, ["has the kind vault"]),
        ({"kind": "file"}, ["has no path"]),
        ({"kind": "file", "path": "bundle.json"}, ["path is bundle.json"]),
        ({"kind": "command", "command": ["give"]}, ["command begins with give"]),
        ({"kind": "identity"}, ["no api_server", "no api_ca", "neither url nor command"]),
        ({"kind": "identity", "url": "http://x", "command": ["/y"], **API}, ["both url and command"]),
        ({"kind": "identity", "url": "http://x", **API, "api_server": "http://y"}, ["api_server is http://y"]),
        ({"kind": "identity", "url": "http://x", **API, "api_ca": "/etc/ca.pem"}, ["api_ca holds no certificate"]),
    ],
)
def test_all_that_is_wrong_with_a_source_is_told_at_once(source, found):
    problems = [problem.found for problem in _join.config_problems({"source": source})]
    assert len(problems) == len(found)
    for number, words in enumerate(found):
        assert words in problems[number]


def bundle(**changes: object) -> dict[str, object]:
    return {"root_certificates": ROOT, "gateway_addresses": ["192.0.2.7"], "token": "t ", **changes}


def test_reads_a_bundle_with_or_without_a_token():
    assert _join.read_bundle(json.dumps(bundle())) == _join.Bundle(ROOT, ("192.0.2.7",), "t")
    assert _join.read_bundle(json.dumps(bundle(token=None))).token is None


def test_a_bundle_inside_of_a_cloud_s_data_may_be_text():
    for inner in (bundle(), json.dumps(bundle())):
        text = json.dumps({"ds": {"meta_data": {"mesh": inner}}})
        assert _join.read_bundle(text, "ds.meta_data.mesh").token == "t"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", None),
        ("[]", None),
        ("{}", None),
        (json.dumps(bundle(gateway_addresses=[])), None),
        (json.dumps(bundle(gateway_addresses="192.0.2.7")), None),
        (json.dumps(bundle(root_certificates="secret-token")), None),
        (json.dumps(bundle(token=1)), None),
        (json.dumps(bundle()), "ds.meta_data"),
    ],
)
def test_what_is_no_bundle_is_refused_without_showing_it(text, field):
    with pytest.raises(MeshError) as caught:
        _join.read_bundle(text, field)
    assert "secret-token" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_gateways_of_a_service():
    ingress = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}, {"hostname": "lb.example.com"}, {}]}}}
    assert _join.gateways_of(ingress) == ("192.0.2.7", "lb.example.com")
    assert _join.gateways_of({"spec": {"externalIPs": ["192.0.2.8"]}, "status": {}}) == ("192.0.2.8",)
    assert _join.gateways_of({}) == ()


def test_a_token_is_asked_for_istiod_alone():
    assert _join.token_request(600)["spec"] == {"audiences": ["istio-ca"], "expirationSeconds": 600}


def test_tokens_of_no_use():
    assert _join.token_fault(token(NOW + 3600), NOW) is None
    assert _join.token_fault(token(NOW + 3600, ["istio-ca", "other"]), NOW) is None
    assert "expired 9 s ago" in (_join.token_fault(token(NOW - 9), NOW) or "")
    assert "about to expire" in (_join.token_fault(token(NOW + 9), NOW) or "")
    assert "not for istio-ca" in (_join.token_fault(token(NOW + 3600, "vault"), NOW) or "")
    assert "not a token" in (_join.token_fault("secret", NOW) or "")


def certificate(**changes: object) -> dict[str, object]:
    good = {"present": True, "key": True, "valid": True, "remaining": 40000, "age": 0.4, "identity": IDENTITY}
    return {**good, "roots": _join._vm_files.fingerprints(ROOT), **changes}


@pytest.mark.parametrize(
    ("have", "roots", "good", "discard"),
    [
        (certificate(), ROOT, True, False),
        (certificate(), ROOT + OTHER, True, False),
        # The source can't be asked: what is there counts.
        (certificate(), "", True, False),
        ({"present": False}, ROOT, False, False),
        (certificate(valid=False), ROOT, False, False),
        (certificate(key=False), ROOT, False, False),
        # One that lives for a minute is renewed by the agent, and one that is nearly over was not.
        (certificate(remaining=30, age=0.5), ROOT, True, False),
        (certificate(remaining=30, age=0.9), ROOT, False, False),
        (certificate(), OTHER, False, True),
        (certificate(identity=IDENTITY + "x"), ROOT, False, True),
    ],
)
def test_a_token_is_got_only_without_a_good_certificate(have, roots, good, discard):
    found = _join.credentials(have, {"present": False}, IDENTITY, roots)
    assert (found.good, found.discard, found.token) == (good, discard, not good)
    waiting = _join.credentials(have, {"remaining": 1000, "audiences": ["istio-ca"]}, IDENTITY, roots)
    assert not waiting.token


def test_the_address_takes_the_place_of_another():
    text = _join.with_address("ISTIO_CUSTOM_IP_TABLES=true\nISTIO_SVC_IP=192.0.2.1\nX='a b'\n", "192.0.2.9")
    assert text == "ISTIO_CUSTOM_IP_TABLES=true\nISTIO_SVC_IP=192.0.2.9\nX='a b'\n"
    assert _join.with_address("", "192.0.2.9") == "ISTIO_SVC_IP=192.0.2.9\n"


def test_hosts_lines():
    assert _join.hosts_lines(["192.0.2.7", "192.0.2.8"], ["istiod"]) == "192.0.2.7 istiod\n192.0.2.8 istiod\n"


def test_the_metadata_server_is_what_an_address_names():
    def server(url: str, kind: str = "identity") -> object:
        return _join.metadata_server({"kind": kind, "url": url})

    assert server("http://169.254.169.254/computeMetadata/v1/x?audience=y") == ("169.254.169.254", 80)
    assert server("https://[fd00:ec2::254]/x") == ("fd00:ec2::254", 443)
    assert server("http://metadata.example.com/x") is None
    assert server("http://169.254.169.254/", "file") is None
    assert _join.metadata_server({"kind": "identity", "command": ["/x"]}) is None


def test_users_that_may_ask_come_before_the_rule_that_refuses_the_others():
    rules = [" ".join(rule) for rule in _join.guard_rules(("169.254.169.254", 80), [7])]
    assert rules == [
        "OUTPUT -d 169.254.169.254 -p tcp --dport 80 -m owner --uid-owner 7 -j ACCEPT",
        "OUTPUT -d 169.254.169.254 -p tcp --dport 80 -m owner ! --uid-owner 0 -j REJECT",
        "FORWARD -d 169.254.169.254 -p tcp --dport 80 -j REJECT",
    ]


def test_a_file_that_others_can_read_or_own_is_not_trusted():
    assert _join.file_fault("/x", 0, 0o600) is None
    assert _join.file_fault("/x", 0, 0o400) is None
    assert _join.file_fault("/x", 0, 0o640) == "/x has the mode 0640"
    assert _join.file_fault("/x", 1000, 0o600) == "/x belongs to user ID 1000"
