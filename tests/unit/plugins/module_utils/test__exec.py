# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shell session over a websocket, frame by frame."""

from __future__ import annotations

import json
import typing as t

import pytest
import websocket
from ansible_collections.hybridmesh.istio.plugins.module_utils import _exec
from ansible_collections.hybridmesh.istio.plugins.module_utils._kubeconfig import Access
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import ApiError


class Socket:
    """Plays frames: (channel, content), or an exception."""

    def __init__(self, frames: list[t.Any]) -> None:
        self.frames, self.sent, self.closed = frames, [], False

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def recv(self) -> t.Any:
        frame = self.frames.pop(0) if self.frames else websocket.WebSocketConnectionClosedException("closed")
        if isinstance(frame, Exception):
            raise frame
        return bytes([frame[0]]) + frame[1].encode() if isinstance(frame, tuple) else frame

    def send_binary(self, data: bytes) -> None:
        self.sent.append(data)

    def close(self) -> None:
        self.closed = True


def access() -> Access:
    files = {"ssl_ca_cert": "/ca", "cert_file": "/cert", "key_file": "/key"}
    return Access(**files, tls_server_name="api.example", proxy="http://user:word@proxy:3128", no_proxy="a, b")


class Cluster:
    server = "https://10.0.0.1:6443"
    configuration = access()
    options: t.ClassVar[dict[str, t.Any]] = {"impersonate_user": "u", "impersonate_groups": ["g", "h"]}

    def authorization(self) -> str:
        return "Bearer secret"


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., tuple[_exec.Session, Socket, dict[str, t.Any]]]:
    def make(*frames: t.Any) -> tuple[_exec.Session, Socket, dict[str, t.Any]]:
        socket, seen = Socket(list(frames)), {}

        def create_connection(url: str, **options: t.Any) -> Socket:
            seen.update(options, url=url)
            return socket

        monkeypatch.setattr(websocket, "create_connection", create_connection)
        return _exec.Session(Cluster(), "lab", "pod-1", "app", ["sh", "-c", "a b"], 5), socket, seen

    return make


def test_asks_the_way_the_api_wants_it(connect):
    session, socket, seen = connect()
    assert seen["url"].startswith("wss://10.0.0.1:6443/api/v1/namespaces/lab/pods/pod-1/exec?container=app&stdin=true")
    assert seen["url"].endswith("&command=sh&command=-c&command=a+b")
    assert seen["header"] == [
        "Authorization: Bearer secret",
        "Impersonate-User: u",
        "Impersonate-Group: g",
        "Impersonate-Group: h",
    ]
    assert seen["sslopt"]["certfile"] == "/cert"
    assert seen["sslopt"]["server_hostname"] == "api.example"
    assert (seen["http_proxy_host"], seen["http_proxy_port"], seen["http_proxy_auth"]) == (
        "proxy",
        3128,
        ("user", "word"),
    )
    session.write("ls\n")
    assert socket.sent == [b"\x00ls\n"]
    session.close()
    assert socket.closed


def test_reads_up_to_a_mark_over_frames(connect):
    session, _socket, _seen = connect((1, "one MA"), (2, "noise"), (1, "RKtwo MARK"))
    assert session.read_until("MARK", 5) == "one "
    assert session.read_until("MARK", 5) == "two "


def test_a_command_that_ends_early_says_why(connect):
    status = json.dumps({"status": "Failure", "message": "exit code 127"})
    session, _socket, _seen = connect((2, "sh: not found"), (3, status))
    with pytest.raises(_exec.ExecError, match=r"container app of pod lab/pod-1: exit code 127 sh: not found"):
        session.read_until("MARK", 5)


def test_no_answer_in_time(connect):
    session, _socket, _seen = connect(websocket.WebSocketTimeoutException("slow"))
    with pytest.raises(_exec.ExecError, match="no answer"):
        session.read_until("MARK", 0.1)


def test_reads_all_to_the_end(connect):
    session, _socket, _seen = connect((1, "a"), (1, "b"), (3, json.dumps({"status": "Success"})))
    assert session.read_all(5) == "ab"
    session, _socket, _seen = connect((1, "a"), (3, json.dumps({"status": "Failure", "message": "exit code 1"})))
    with pytest.raises(_exec.ExecError, match="exit code 1"):
        session.read_all(5)


def test_half_an_answer_is_none(connect):
    session, _socket, _seen = connect((1, "half"), websocket.WebSocketTimeoutException("slow"))
    with pytest.raises(_exec.ExecError, match="did not end within 5 s"):
        session.read_all(5)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (
            websocket.WebSocketBadStatusException("%s %s", 403, "x", {}, b'{"message": "cannot create pods/exec"}'),
            ApiError,
            "cannot create pods/exec",
        ),
        (websocket.WebSocketBadStatusException("%s %s", 404, "x", {}, b"not found"), _exec.ExecError, "not found"),
        (ConnectionRefusedError("refused"), ApiError, "refused"),
    ],
)
def test_refusals(monkeypatch, error, kind, text):
    def create_connection(url: str, **options: t.Any) -> t.NoReturn:
        raise error

    monkeypatch.setattr(websocket, "create_connection", create_connection)
    with pytest.raises(kind, match=text) as caught:
        _exec.Session(Cluster(), "lab", "pod-1", "app", ["sh"], 5)
    if "create" in text:
        assert "pods/exec" in caught.value.expected
