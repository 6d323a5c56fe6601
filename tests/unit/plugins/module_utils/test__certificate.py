# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what certificates and tokens say about themselves."""

from __future__ import annotations

import base64
import json

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _certificate

# Made once with openssl; valid for ten years from NOT_BEFORE on.
LEAF = """\
-----BEGIN CERTIFICATE-----
MIIBuzCCAWCgAwIBAgIUNELlUUclx+LaQomOp4lLjymHZ5YwCgYIKoZIzj0EAwIw
DzENMAsGA1UECgwEdGVzdDAeFw0yNjExMjMxNjAxMTBaFw0zNjExMjAxNjAxMTBa
MA8xDTALBgNVBAoMBHRlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASiz1fC
ULL5QQDyvlmXq5gEphMhLzIdH/t+9+u2eLAg6pDtgPTdX62H+KfZOlR9HqaUf31c
0jATcfaCXn6bQPYRo4GZMIGWMB0GA1UdDgQWBBTP4Au6e5kGLKm27cyX2Y75yFMP
tjAfBgNVHSMEGDAWgBTP4Au6e5kGLKm27cyX2Y75yFMPtjAPBgNVHRMBAf8EBTAD
AQH/MEMGA1UdEQEB/wQ5MDeGNXNwaWZmZTovL2NsdXN0ZXIubG9jYWwvbnMvY2hh
cHRlcjEwdm0vc2EvY2hhcHRlcjEwLXNhMAoGCCqGSM49BAMCA0kAMEYCIQDVSjvS
Uk/RE4K1TDAvGo0PO3pc8l3OsMk6p7N9HTAAoQIhAI2QSNw+1nyyhNagk/nf03Nj
8zj+5NTOHEFhA3cBjioW
-----END CERTIFICATE-----
"""
WITHOUT_NAMES = """\
-----BEGIN CERTIFICATE-----
MIIBdDCCARugAwIBAgIUAMgUNJjFcX5x5r2AP+BXGs7kqeYwCgYIKoZIzj0EAwIw
EDEOMAwGA1UECgwFb3RoZXIwHhcNMjYxMTIzMTU1OTU5WhcNMzYxMTIwMTU1OTU5
WjAQMQ4wDAYDVQQKDAVvdGhlcjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABJWS
ZyK/AVdNCZHNeO3jG/9XJhflwCcKOG4l/EuPXV7ec3iilil9qERUOXvMN1Qmj6WQ
UJDE4ftCwKD2rFa8EYmjUzBRMB0GA1UdDgQWBBSGzUXD4iAJoz+8n5ZdSyjEUmvD
/jAfBgNVHSMEGDAWgBSGzUXD4iAJoz+8n5ZdSyjEUmvD/jAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0cAMEQCIBuJXZM7xuM2fQ7bksWqIg1d6+GVdHGA57qi
52gUPjNzAiAzi7GTShUT8NH/hamtc/lc4+XwyC9hClPTZ+6CH+YKSg==
-----END CERTIFICATE-----
"""
DAY = 86400.0


def middle() -> float:
    certificate = _certificate.parse_certificate(_certificate.pem_blocks(LEAF)[0])
    return (certificate.not_before + certificate.not_after) / 2


def test_reads_validity_and_identity():
    certificate = _certificate.parse_certificate(_certificate.pem_blocks(LEAF)[0])
    assert certificate.uris == ("spiffe://cluster.local/ns/chapter10vm/sa/chapter10-sa",)
    assert certificate.not_after - certificate.not_before == 3650 * DAY


def test_certificate_without_alternative_names_has_no_identity():
    assert _certificate.describe_certificate(WITHOUT_NAMES, middle())["identity"] is None


def test_describes_the_first_certificate_of_a_chain():
    described = _certificate.describe_certificate(LEAF + WITHOUT_NAMES, middle())
    assert described["valid"]
    assert described["age"] == 0.5
    assert described["identity"].endswith("/sa/chapter10-sa")
    assert described["remaining"] == 1825 * DAY


@pytest.mark.parametrize(("offset", "valid"), [(-2000 * DAY, False), (0, True), (2000 * DAY, False)])
def test_validity_depends_on_the_time(offset, valid):
    assert _certificate.describe_certificate(LEAF, middle() + offset)["valid"] is valid


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\nMAUwAwIBAQ==\n-----END CERTIFICATE-----",
        LEAF[:200] + "\n-----END CERTIFICATE-----\n",
    ],
)
def test_what_is_no_certificate_is_told_as_such(text):
    described = _certificate.describe_certificate(text, 0)
    assert described["valid"] is False
    assert described["error"]


def token(claims: dict) -> str:
    def encode(value: dict) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{encode({'alg': 'RS256'})}.{encode(claims)}.c2lnbmF0dXJl"


def test_token_tells_audience_and_expiry_but_not_itself():
    text = token({"aud": ["istio-ca"], "exp": 1600, "sub": "system:serviceaccount:chapter10vm:chapter10-sa"})
    described = _certificate.describe_token(text + "\n", 1000)
    assert described == {
        "expires": 1600.0,
        "remaining": 600,
        "audiences": ["istio-ca"],
        "subject": "system:serviceaccount:chapter10vm:chapter10-sa",
    }
    assert text.split(".")[2] not in json.dumps(described)


@pytest.mark.parametrize("text", ["", "a.b.c", "one", token({"aud": "x"}), "a.bnVsbA.c"])
def test_what_is_no_token_is_told_as_such(text):
    assert "error" in _certificate.describe_token(text, 0)


def test_a_single_audience_may_be_text():
    assert _certificate.describe_token(token({"aud": "istio-ca", "exp": 1}), 0)["audiences"] == ["istio-ca"]
