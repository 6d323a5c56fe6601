# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A shell in a container, kept open for as many commands as are needed. Private to the collection."""

from __future__ import annotations

import json
import ssl
import time
import typing as t
import urllib.parse

from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import ApiError, rights_of

try:
    import websocket

    IMPORT_ERROR: ImportError | None = None
except ImportError as error:
    IMPORT_ERROR = error

if t.TYPE_CHECKING:
    from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster

_STDIN, _STDOUT, _STDERR, _ERROR = 0, 1, 2, 3


class ExecError(MeshError):
    """A command could not be run in a container."""


class Session:
    """One command in a container, over one websocket."""

    def __init__(
        self, cluster: Cluster, namespace: str, pod: str, container: str, command: t.Sequence[str], timeout: float
    ) -> None:
        if IMPORT_ERROR is not None:
            raise MeshError(
                f"the Python library '{IMPORT_ERROR.name}' is not importable",
                "the Python that runs on the controller has websocket-client",
                "install it there: pip install websocket-client (the kubernetes library depends on it)",
            )
        self._where = f"container {container} of pod {namespace}/{pod}"
        self._buffer = b""
        self._errors = b""
        self._ended: str | None = None
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/exec"
        query = [("container", container), ("stdin", "true"), ("stdout", "true"), ("stderr", "true"), ("tty", "false")]
        query += [("command", word) for word in command]
        self._socket = _connect(cluster, path, urllib.parse.urlencode(query), timeout)

    def write(self, text: str) -> None:
        """Sends text to the command's standard input."""
        self._socket.send_binary(bytes([_STDIN]) + text.encode())

    def read_until(self, mark: str, timeout: float) -> str:
        """The standard output up to a mark, which is taken away.

        Raises:
            ExecError: the command ended, or the time is up, before the mark came.
        """
        deadline = time.monotonic() + timeout
        wanted = mark.encode()
        while wanted not in self._buffer:
            remaining = deadline - time.monotonic()
            if remaining <= 0 or self._ended is not None or not self._receive(remaining):
                raise ExecError(
                    f"no answer from {self._where}{self._why()}",
                    "the container runs the commands of the proof",
                    "choose a container that has a shell, and see the pod's state",
                )
        before, _mark, self._buffer = self._buffer.partition(wanted)
        return before.decode("utf-8", "replace")

    def read_all(self, timeout: float) -> str:
        """The standard output up to the command's end.

        Raises:
            ExecError: the command failed, or had not ended when the time was up: half an answer is none.
        """
        deadline = time.monotonic() + timeout
        while self._ended is None:
            if not self._receive(deadline - time.monotonic()) and self._ended is None:
                raise ExecError(
                    f"a command in {self._where} did not end within {timeout:.0f} s", "it ends", "see the pod's state"
                )
        if self._ended:
            raise ExecError(
                f"a command failed in {self._where}{self._why()}", "it exits with 0", "see the pod's state and its log"
            )
        return self._buffer.decode("utf-8", "replace")

    def close(self) -> None:
        """Ends the command by closing its connection."""
        self._socket.close()

    def _why(self) -> str:
        said = " ".join(part for part in (self._ended, self._errors.decode("utf-8", "replace").strip()) if part)
        return f": {said[:300]}" if said else ""

    def _receive(self, timeout: float) -> bool:
        """Takes one frame in; False where nothing more will come or came in time."""
        self._socket.settimeout(max(timeout, 0.01))
        try:
            frame = self._socket.recv()
        except websocket.WebSocketTimeoutException:
            return False
        except (websocket.WebSocketException, OSError) as error:
            self._ended = self._ended or str(error)
            return False
        if not frame:
            self._ended = self._ended or ""
            return False
        if isinstance(frame, str):
            frame = frame.encode()
        channel, content = frame[0], frame[1:]
        if channel == _STDOUT:
            self._buffer += content
        elif channel == _STDERR:
            self._errors = (self._errors + content)[-2000:]
        elif channel == _ERROR:
            status = json.loads(content or b"{}")
            self._ended = "" if status.get("status") == "Success" else str(status.get("message") or "it failed")
        return True


def _connect(cluster: Cluster, path: str, query: str, timeout: float) -> t.Any:
    configuration = cluster.configuration
    authorization = cluster.authorization()
    headers = [f"Authorization: {authorization}"] if authorization else []
    if cluster.options.get("impersonate_user"):
        headers.append("Impersonate-User: {}".format(cluster.options["impersonate_user"]))
    headers += [f"Impersonate-Group: {group}" for group in cluster.options.get("impersonate_groups") or []]
    url = "ws" + cluster.server[len("http") :] + path + "?" + query
    tls: dict[str, t.Any] = {"cert_reqs": ssl.CERT_REQUIRED if configuration.verify_ssl else ssl.CERT_NONE}
    if not configuration.verify_ssl:
        tls["check_hostname"] = False
    if configuration.tls_server_name:
        tls["server_hostname"] = configuration.tls_server_name
    for ours, theirs in (("ssl_ca_cert", "ca_certs"), ("cert_file", "certfile"), ("key_file", "keyfile")):
        if getattr(configuration, ours):
            tls[theirs] = getattr(configuration, ours)
    options: dict[str, t.Any] = {}
    if configuration.proxy:
        proxy = urllib.parse.urlsplit(configuration.proxy)
        options = {
            "http_proxy_host": proxy.hostname,
            "http_proxy_port": proxy.port or 80,
            "http_no_proxy": [name.strip() for name in (configuration.no_proxy or "").split(",") if name.strip()],
        }
        if proxy.username:
            options["http_proxy_auth"] = (proxy.username, proxy.password or "")
    try:
        return websocket.create_connection(
            url,
            timeout=timeout,
            header=headers,
            subprotocols=["v4.channel.k8s.io"],
            sslopt=tls,
            suppress_origin=True,
            **options,
        )
    except websocket.WebSocketBadStatusException as error:
        message = _message(getattr(error, "resp_body", None)) or str(error)
        if error.status_code in (401, 403):
            raise ApiError(
                f"the API server refused a command in a container: {message}",
                "the kubeconfig's user may {}, and get it as well".format(rights_of("POST", path)),
                "have a Role with the verbs get and create on pods/exec bound to the user",
                error.status_code,
            ) from error
        raise ExecError(f"no shell in the container: {message}", "a running container", "see the pod") from error
    except (websocket.WebSocketException, OSError) as error:
        raise ApiError(
            f"no answer from the API server {cluster.server}: {error}",
            "the API server passes commands to containers",
            "check that the API server reaches the node's kubelet",
            0,
        ) from error


def _message(body: bytes | None) -> str:
    try:
        return str(json.loads(body or b"{}").get("message") or "")
    except ValueError:
        return (body or b"").decode("utf-8", "replace")[:300]
