# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the sources that a machine made from an image joins by. The servers are real, on this machine."""

from __future__ import annotations

import base64
import http.server
import json
import os
import threading
import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _join, _join_source
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

ROOT = "-----BEGIN CERTIFICATE-----\n" + base64.b64encode(b"one").decode() + "\n-----END CERTIFICATE-----\n"
BUNDLE = json.dumps({"root_certificates": ROOT, "gateway_addresses": ["192.0.2.7"], "token": "secret-token"})


@pytest.fixture
def server():
    """Answers of a server by path, and the headers that it was asked with."""
    answers: dict[str, tuple[int, str]] = {}
    asked: list[t.Mapping[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(dict(self.headers))
            status, text = answers.get(self.path, (404, ""))
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_arguments):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_address[1]}", answers, asked
    running.shutdown()
    running.server_close()


def test_a_file(tmp_path, monkeypatch):
    path = tmp_path / "bundle.json"
    path.write_text(BUNDLE)
    config = {"source": {"kind": "file", "path": str(path)}}
    monkeypatch.setattr(_join, "file_fault", lambda *_arguments: None)
    found = _join_source.ask(config)
    assert (found.gateways, found.token()) == (("192.0.2.7",), "secret-token")


def test_a_file_of_others_is_not_even_read(tmp_path):
    path = tmp_path / "bundle.json"
    path.write_text(BUNDLE)
    os.chmod(path, 0o644)
    with pytest.raises(MeshError, match=r"has the mode 0644|belongs to user ID"):
        _join_source.ask({"source": {"kind": "file", "path": str(path)}})
    with pytest.raises(MeshError, match="can't be read"):
        _join_source.ask({"source": {"kind": "file", "path": str(path) + "x"}})


def test_a_command():
    config = {"source": {"kind": "command", "command": ["/bin/echo", BUNDLE.replace("secret-token", "")]}}
    found = _join_source.ask(config)
    with pytest.raises(MeshError, match="the bundle has no token"):
        found.token()


@pytest.mark.parametrize(
    ("command", "found"),
    [
        (["/bin/false"], "ends with status 1"),
        (["/nowhere"], "the command /nowhere fails"),
        (["/bin/echo", "secret-token"], "no bundle"),
    ],
)
def test_a_command_that_gives_nothing(command, found):
    with pytest.raises(MeshError, match=found) as caught:
        _join_source.ask({"source": {"kind": "command", "command": command}})
    assert "secret-token" not in str(caught.value)


def test_an_identity_by_url_with_headers_and_field(server):
    url, answers, asked = server
    answers["/identity"] = (200, "a.b.c\n")
    answers["/json"] = (200, json.dumps({"access": {"token": "d.e.f"}}))
    source: dict[str, t.Any] = {"url": url + "/identity", "headers": {"Metadata-Flavor": "Google"}}
    assert _join_source.identity(source) == "a.b.c"
    assert asked[0]["Metadata-Flavor"] == "Google"
    assert _join_source.identity({"url": url + "/json", "field": "access.token"}) == "d.e.f"
    with pytest.raises(MeshError, match="says nothing at"):
        _join_source.identity({"url": url + "/json", "field": "access.other"})


def test_an_identity_that_is_refused(server):
    url, answers, _asked = server
    answers["/identity?secret=1"] = (403, json.dumps({"message": "the header is missing"}))
    with pytest.raises(MeshError, match="the header is missing"):
        _join_source.identity({"url": url + "/identity?secret=1"})
    with pytest.raises(MeshError, match="does not answer"):
        _join_source.identity({"url": "http://127.0.0.1:1/identity"})
    with pytest.raises(MeshError, match="says nothing"):
        _join_source.identity({"command": ["/bin/true"]})


def test_what_the_api_server_says_with_the_machine_s_identity(monkeypatch):
    asked = []

    class Api:
        def __init__(self, source):
            self.source = source

        def ask(self, path, body=None):
            asked.append((path, body))
            return {
                "/api/v1/namespaces/shop/configmaps/istio-ca-root-cert": {"data": {"root-cert.pem": ROOT}},
                "/api/v1/namespaces/istio-system/services/east": {
                    "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}
                },
                "/api/v1/namespaces/shop/serviceaccounts/payments/token": {"status": {"token": "a.b.c"}},
            }[path]

    monkeypatch.setattr(_join_source, "_Api", Api)
    config = {
        "source": {"kind": "identity"},
        "namespace": "shop",
        "service_account": "payments",
        "gateway_namespace": "istio-system",
        "gateway_service": "east",
        "token_duration": 600,
    }
    found = _join_source.ask(config)
    assert found[:2] == (ROOT, ("192.0.2.7",))
    # No token is made until one is wanted.
    assert len(asked) == 2
    assert found.token() == "a.b.c"
    assert asked[2][1] == _join.token_request(600)
    assert _join_source.ask({**config, "gateway_addresses": ["198.51.100.1"]}).gateways == ("198.51.100.1",)
