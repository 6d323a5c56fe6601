# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""graph_sample_info against a stand-in for Envoy's admin interface."""

from __future__ import annotations

import http.server
import json
import threading
import typing as t
import urllib.parse

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils._admin import Admin
from ansible_collections.hybridmesh.istio.plugins.modules import graph_sample_info as module

APP = "outbound|80||app.shop.svc.cluster.local"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path = urllib.parse.urlsplit(self.path).path
        self.server.asked.append(path)
        body = "{}"
        if path == "/clusters":
            self.server.count += 10
            body = f"{APP}::10.0.0.1:80::rq_success::{self.server.count}\n"
        elif path == "/server_info":
            node = {"id": "sidecar~10.88.0.21~vm1.x~x", "metadata": {"NAMESPACE": "x", "AUTO_REGISTER_GROUP": "g"}}
            body = json.dumps({"state": "LIVE", "node": node})
        elif path == "/config_dump":
            body = self.server.config
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *arguments: t.Any) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    count, config = 0, json.dumps({"configs": [{"cluster": {"name": APP}}]})

    def __init__(self, *arguments: t.Any) -> None:
        super().__init__(*arguments)
        self.asked: list[str] = []


@pytest.fixture
def envoy(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Server]:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def look(server: Server) -> tuple[t.Any, t.Any, t.Any]:
    return module.look(Admin(server.server_address[1]), 0.05)


def test_two_readings_and_how_it_talks(envoy):
    sidecar, sample, unread = look(envoy)
    assert sidecar == {"address": "10.88.0.21", "namespace": "x", "group": "g", "version": ""}
    assert sample["clusters"][APP]["10.0.0.1:80"]["grew"] == {"rq_success": 10}
    assert sample["seconds"] >= 0.05
    assert sample["security"] == {APP: {"10.0.0.1:80": "plain"}}
    assert unread is None
    assert envoy.asked == ["/server_info", "/clusters", "/clusters", "/config_dump", "/config_dump"]


def test_a_configuration_that_is_no_json_leaves_the_rest(envoy):
    envoy.config = "no"
    sidecar, sample, unread = look(envoy)
    assert sidecar
    assert sample["security"] == {}
    assert unread.startswith("Envoy does not tell its configuration: ")


def test_no_sidecar():
    sidecar, sample, unread = module.look(Admin(1), 0.05)
    assert (sidecar, sample) == (None, None)
    assert unread.startswith("no answer from Envoy's admin interface: ")
