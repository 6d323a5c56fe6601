# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mesh_probe against a stand-in for Envoy's admin interface that counts requests as Envoy does."""

from __future__ import annotations

import http.server
import json
import threading
import typing as t
import urllib.parse

import pytest
from ansible_collections.hybridmesh.istio.plugins.modules import mesh_probe as module

CLUSTER = "outbound|80||localhost"
IDENTITY = "spiffe://cluster.local/ns/lab/sa/workbench"


class Handler(http.server.BaseHTTPRequestHandler):
    """/app is the application, which every request through the mesh would reach; the rest is Envoy."""

    server: Server

    def do_GET(self) -> None:
        path = urllib.parse.urlsplit(self.path).path
        status, body = 200, "{}"
        if path == "/app":
            self.server.answered += self.server.counts
        elif path == "/moved":
            status = 302
        elif path == "/clusters":
            body = f"{CLUSTER}::10.89.0.7:8080::rq_success::{self.server.answered}\n"
        elif path == "/server_info":
            node = {"id": "sidecar~10.88.0.21~vm1.x~x.svc.cluster.local", "metadata": {"NAMESPACE": "x"}}
            body = json.dumps({"state": self.server.state, "node": node})
        elif path == "/config_dump":
            body = json.dumps({"configs": [{"cluster": {}}]})
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/app")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *arguments: t.Any) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    answered, counts, state = 0, 1, "LIVE"


@pytest.fixture
def envoy(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Server]:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def look(server: Server, *paths: str, check_mode: bool = False) -> tuple[t.Any, t.Any, list[dict[str, t.Any]]]:
    port = server.server_address[1]
    targets = [{"url": f"http://localhost:{port}{path}", "identity": None, "status": None} for path in paths]
    params = {
        "targets": targets,
        "timeout": 0,
        "request_timeout": 2,
        "admin_port": port,
        "certificate_max_age": 0.6,
    }
    return module.look(params, check_mode)


def test_a_request_counts_where_envoy_counted_it(envoy, monkeypatch):
    monkeypatch.setattr(module._probe, "clusters_for", lambda url, names: [name for name in names if name == CLUSTER])
    transport = {"10.89.0.7:8080": module._probe.Transport(True, [IDENTITY])}
    monkeypatch.setattr(module._probe, "transports", lambda cluster, endpoints: transport)
    sidecar, certificate, (target,) = look(envoy, "/app")
    assert sidecar["verdict"] == "ok"
    assert sidecar["address"] == "10.88.0.21"
    assert certificate["verdict"] == "missing"
    assert target["ok"]
    assert target["peer_identity"] == IDENTITY
    assert target["requests"] == 1
    envoy.counts = 0
    assert look(envoy, "/app")[2][0]["verdict"] == "not_through_mesh"


def test_redirects_are_not_followed(envoy):
    assert look(envoy, "/moved")[2][0]["status"] == 302
    assert envoy.answered == 0


def test_check_mode_sends_nothing(envoy):
    sidecar, _certificate, (target,) = look(envoy, "/app", check_mode=True)
    assert sidecar["verdict"] == "ok"
    assert target["verdict"] == "not_tested"
    assert envoy.answered == 0


def test_an_envoy_that_is_not_ready(envoy):
    envoy.state = "INITIALIZING"
    assert look(envoy)[0]["verdict"] == "not_live"


def test_no_sidecar():
    params = {"targets": [{"url": "http://x/"}], "admin_port": 1, "certificate_max_age": 0.6}
    sidecar, certificate, (target,) = module.look(params, False)
    assert sidecar["verdict"] == "not_running"
    assert sidecar["address"] is None
    assert "127.0.0.1:1" in sidecar["evidence"]
    assert certificate["verdict"] == target["verdict"] == "not_tested"
