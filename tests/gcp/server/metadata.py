# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine of Google Cloud hears about itself: the part of its metadata server that google-auth asks for tokens."""

from __future__ import annotations

import http.server
import json
import threading
import typing as t

ACCOUNT = "ansible@my-project.iam.gserviceaccount.com"


class Metadata:
    """A metadata server, on a port of its own.

    Attributes:
        asked: the paths that it was asked for.
    """

    def __init__(self, token: t.Callable[[], dict[str, t.Any]]) -> None:
        """Args: what makes the answer to a request for a token."""
        self.token = token
        self.asked: list[str] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.metadata = self
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Metadata:
        self._thread.start()
        return self

    def __exit__(self, *_rest: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """How google-auth finds it."""
        host = f"127.0.0.1:{self._server.server_address[1]}"
        return {"GCE_METADATA_HOST": host, "GCE_METADATA_IP": host, "GCE_METADATA_MTLS_MODE": "none"}

    def answer(self, path: str) -> t.Any:
        """What it says; None for what it does not know."""
        self.asked.append(path)
        where = path.partition("?")[0].rstrip("/")
        known: dict[str, t.Callable[[], t.Any]] = {
            "": lambda: {},
            "/computeMetadata/v1/universe/universe-domain": lambda: "googleapis.com",
            "/computeMetadata/v1/instance/service-accounts/default": lambda: {
                "aliases": ["default"],
                "email": ACCOUNT,
                "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
            },
        }
        for name in ("default", ACCOUNT):
            known[f"/computeMetadata/v1/instance/service-accounts/{name}/token"] = self.token
        return known[where]() if where in known else None


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    metadata: Metadata


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, *_arguments: t.Any) -> None:
        pass

    def do_GET(self) -> None:
        # A page in somebody's browser can't send this header, so Google asks for it.
        known = self.headers.get("Metadata-Flavor") == "Google"
        found = self.server.metadata.answer(self.path) if known else None
        text = found.encode() if isinstance(found, str) else json.dumps(found).encode()
        self.send_response(403 if not known else 404 if found is None else 200)
        self.send_header("Content-Type", "application/text" if isinstance(found, str) else "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Metadata-Flavor", "Google")
        self.end_headers()
        self.wfile.write(text)
