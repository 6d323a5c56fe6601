# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same by HTTPS, for the real modules."""

from __future__ import annotations

import base64
import contextlib
import http.server
import importlib.util
import json
import pathlib
import re
import ssl
import threading
import typing as t
import urllib.parse

from .state import State

_AUTHORITY = pathlib.Path(__file__).parents[1] / "gcp" / "server" / "authority.py"
TOKEN = "a-token-of-this-test-alone"


class World:
    """A server and what it saw.

    Attributes:
        state: what it keeps.
        requests: (method, path, body) of all requests.
    """

    def __init__(self, state: State, folder: pathlib.Path) -> None:
        self.state = state
        self.folder = folder
        self.requests: list[tuple[str, str, t.Any]] = []
        self.lock = threading.Lock()
        self.port = 0

    @property
    def writes(self) -> list[tuple[str, str, t.Any]]:
        """Those that may change something."""
        return [request for request in self.requests if request[0] != "GET" and "/tokens/" not in request[1]]

    def environment(self) -> dict[str, str]:
        """How awx.awx finds it."""
        return {
            "CONTROLLER_HOST": f"https://localhost:{self.port}",
            "CONTROLLER_OAUTH_TOKEN": TOKEN,
            "SSL_CERT_FILE": str(self.folder / "ca.pem"),
        }


def handler_of(world: World) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            own = re.fullmatch(r"/api/v2/(.+)/", url.path)
            with world.lock:
                world.requests.append((self.command, self.path, body))
                if own is None:
                    status, answer = 404, {"detail": "Not found."}
                elif not self._known():
                    status, answer = 401, {"detail": "Authentication credentials were not provided."}
                else:
                    query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
                    status, answer = world.state.handle(self.command, own.group(1), query, body)
            content = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("X-API-Product-Name", "AWX")
            self.send_header("X-API-Product-Version", "24.6.1")
            self.end_headers()
            self.wfile.write(content)

        def _known(self) -> bool:
            given = self.headers.get("Authorization") or ""
            basic = "Basic " + base64.b64encode(b"admin:secret").decode()
            return given in (f"Bearer {TOKEN}", "Bearer issued", basic)

        do_GET = do_POST = do_PATCH = do_DELETE = _answer

        def log_message(self, *_arguments: t.Any) -> None:
            """Nothing: the requests are kept."""

    return Handler


def make_certificates(folder: pathlib.Path) -> None:
    """As the tests about Google Cloud make theirs. They are a package of their own."""
    spec = importlib.util.spec_from_file_location("authority", _AUTHORITY)
    assert spec is not None
    assert spec.loader is not None
    authority = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(authority)
    authority.make(folder, ["localhost"])


@contextlib.contextmanager
def serving(world: World) -> t.Iterator[World]:
    """Serves it for a while."""
    make_certificates(world.folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(world.folder / "server.pem")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler_of(world)) as server:
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True)
        world.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield world
        server.shutdown()
        thread.join()
