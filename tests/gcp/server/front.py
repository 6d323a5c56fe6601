# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way in: a proxy that takes tunnels to *.googleapis.com and no others, and speaks TLS as these names itself."""

from __future__ import annotations

import base64
import http.server
import json
import ssl
import threading
import time
import traceback
import typing as t
import urllib.parse
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from . import authority
from .answers import Json, Refusal
from .compute import Compute
from .container import Container, Iam
from .discovery import Request, document
from .faults import Fault, Faults
from .state import Settings, State

LIFETIME = 3600


class World:
    """The server, with all that it knows.

    Attributes:
        folder: where its certificates and the service account's key are.
        state: what there is.
        faults: what goes wrong.
        requests: what was asked for and routed.
        refused: what no document allows.
        tokens: how often a token was asked for.
        outdated: how often somebody came with a token that was good once.
    """

    def __init__(self, folder: Path, settings: Settings, port: int = 0) -> None:
        """Args: an empty folder, what its world is like, and where it listens, which is anywhere with 0."""
        self.folder, self.settings = folder, settings
        authority.make(folder)
        self.key = authority.service_account(folder, settings.project)
        self.state, self.faults = State(settings), Faults()
        self.requests: list[Request] = []
        self.refused: list[str] = []
        self.tunnels_refused: list[str] = []
        self.tokens = self.outdated = 0
        self._good: dict[str, float] = {}
        self.lock = threading.RLock()
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(folder / "server.pem")
        self._server = _Server(("127.0.0.1", port), _Proxy)
        self._server.world = self
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> World:
        self._thread.start()
        return self

    def __exit__(self, *_rest: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def environment(self) -> dict[str, str]:
        """What a process needs to find this instead of Google."""
        proxy = f"http://127.0.0.1:{self._server.server_address[1]}"
        return {
            "HTTPS_PROXY": proxy,
            "https_proxy": proxy,
            "NO_PROXY": f"{self.settings.endpoint.partition(':')[0]},127.0.0.1,localhost",
            "no_proxy": f"{self.settings.endpoint.partition(':')[0]},127.0.0.1,localhost",
            "REQUESTS_CA_BUNDLE": str(self.folder / "ca.pem"),
            "GCP_PROJECT": self.settings.project,
            "GCP_AUTH_KIND": "serviceaccount",
            "GCP_SERVICE_ACCOUNT_FILE": str(self.folder / "service-account.json"),
        }

    @property
    def mutations(self) -> list[Request]:
        """The requests that could have changed something."""
        return [request for request in self.requests if request.mutates]

    def answer(
        self, host: str, verb: str, url: str, raw: bytes, bearer: str
    ) -> tuple[int, Json, dict[str, str], Fault | None]:
        """(status, body, headers, fault) for a request."""
        with self.lock:
            self.state.settle()
            try:
                if host == "oauth2.googleapis.com":
                    return 200, self._token(raw), {}, None
                if not self._is_good(bearer.removeprefix("Bearer ")):
                    raise Refusal(401, "Request had invalid authentication credentials", "authError", "UNAUTHENTICATED")
                known = document(host)
                if known is None:
                    raise Refusal(404, f"nothing is served as {host}", "notFound")
                request = self._routed(known, verb, url, json.loads(raw) if raw else None)
                self.requests.append(request)
                return self._carried_out(request)
            except Refusal as refusal:
                return refusal.status, refusal.body, refusal.headers, None
            except Exception as error:
                traceback.print_exc()
                self.refused.append(f"{verb} {url}: {error!r}")
                return 501, Refusal(501, f"this server failed: {error!r}").body, {}, None

    def _routed(self, known: t.Any, verb: str, url: str, body: t.Any) -> Request:
        try:
            request: Request = known.request(verb, url, body)
        except Refusal as refusal:
            self.refused.append(f"{verb} {url}: {refusal}")
            raise
        names = {request.params.get(name) for name in ("project", "projectId", "projectsId", "resource")} - {None}
        if request.method.startswith(("compute", "cloudresourcemanager")) and self.settings.project not in names:
            raise Refusal(404, f"The resource 'projects/{next(iter(names), '')}' was not found", "notFound")
        return request

    def _carried_out(self, request: Request) -> tuple[int, Json, dict[str, str], Fault | None]:
        fault = self.faults.take(request.method)
        if fault and fault.refusal:
            raise fault.refusal
        api = request.method.partition(".")[0]
        handlers = {"compute": Compute, "container": Container, "iam": Iam, "cloudresourcemanager": Iam}
        before = set(self.state.things)
        answer = handlers[api](self.state).answer(request)
        if fault and "operationType" in answer:
            pending = self.state.operations[answer["name"]]
            pending.error = fault.error
            if fault.error:
                for path in set(self.state.things) - before:
                    del self.state.things[path]
            if fault.vanish:
                pending.then = lambda: self.state.things.pop(
                    "compute:" + answer["targetLink"].partition("/v1/")[2], None
                )
        self.state.settle()
        return 200, answer, {}, fault

    def _token(self, raw: bytes) -> Json:
        """A token for who shows that they have the service account's key."""
        form = dict(urllib.parse.parse_qsl(raw.decode()))
        signed, _dot, signature = form.get("assertion", "").rpartition(".")
        if not signed:
            raise Refusal(400, "invalid_grant")
        try:
            padded = signature + "=" * (-len(signature) % 4)
            verify: rsa.RSAPublicKey = self.key
            verify.verify(base64.urlsafe_b64decode(padded), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature as error:
            raise Refusal(400, "invalid_grant") from error
        return self.issued()

    def issued(self) -> Json:
        """A token, as Google answers who may have one."""
        self.tokens += 1
        lifetime = self.settings.lifetime
        token = self.settings.token if lifetime is None else f"{self.settings.token}-{self.tokens}"
        self._good[token] = time.monotonic() + (lifetime or 0)
        # Not what is true: who believes it is to learn from a 401.
        return {"access_token": token, "expires_in": LIFETIME, "token_type": "Bearer"}

    def _is_good(self, token: str) -> bool:
        if self.settings.lifetime is None:
            return token == self.settings.token
        if token in self._good and time.monotonic() > self._good[token]:
            self.outdated += 1
        return time.monotonic() <= self._good.get(token, 0.0)

    def settled(self) -> None:
        """Waits until no operation is under way."""
        while any(item.operation["status"] == "RUNNING" for item in self.state.operations.values()):
            time.sleep(0.02)
            with self.lock:
                self.state.settle()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    world: World


class _Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_arguments: t.Any) -> None:
        pass

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        host = self.headers.get("Host", "").partition(":")[0]
        bearer = self.headers.get("Authorization", "")
        status, body, headers, fault = self.server.world.answer(host, self.command, self.path, raw, bearer)
        if fault and fault.drop:
            self.close_connection = True
            return
        text = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(text)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve


class _Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_arguments: t.Any) -> None:
        pass

    def do_CONNECT(self) -> None:
        host, _colon, port = self.path.partition(":")
        self.close_connection = True
        if not host.endswith(".googleapis.com") or port != "443":
            self.server.world.tunnels_refused.append(self.path)
            self.send_error(403, "only *.googleapis.com:443")
            return
        self.send_response(200)
        self.end_headers()
        try:
            with self.server.world.tls.wrap_socket(self.connection, server_side=True) as secured:
                _Api(secured, self.client_address, self.server)
        except OSError:
            # The other side has hung up.
            pass
