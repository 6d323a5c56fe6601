# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of asking the network, on this machine's loopback."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
import struct
import subprocess
import threading
import time

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _reach


@contextlib.contextmanager
def server(answer):
    """A TCP server on a free port that runs `answer` with each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _address = listening.accept()
                    with connection:
                        answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def test_tcp_says_whether_it_connects_or_is_refused():
    with server(lambda connection: None) as port:
        assert _reach.tcp(f"127.0.0.1:{port}", 3)["ok"]
    result = _reach.tcp(f"127.0.0.1:{closed_port()}", 3)
    assert not result["ok"]
    assert result["error"] == "refused"
    assert result["detail"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), "timeout"),
        (socket.gaierror(), "name"),
        (ssl.SSLError(), "tls"),
        (OSError(errno.EHOSTUNREACH, ""), "unreachable"),
        (OSError(errno.ENETUNREACH, ""), "no_route"),
        (OSError(errno.EPERM, ""), "denied"),
        (OSError(errno.ENOTTY, ""), "failed"),
    ],
)
def test_errors_have_a_word_each(error, kind):
    assert _reach.error_kind(error) == kind


@pytest.mark.parametrize(
    ("target", "pair"),
    [("a:1", ("a", 1)), ("[fd00::1]:15012", ("fd00::1", 15012)), ("fd00::1:15012", ("fd00::1", 15012))],
)
def test_targets(target, pair):
    assert _reach.split_target(target) == pair


@pytest.mark.parametrize("target", ["", "host", "host:", ":1", "host:x"])
def test_what_is_no_target(target):
    with pytest.raises(ValueError, match="host:port"):
        _reach.split_target(target)


def test_answers_come_in_the_order_of_the_questions():
    answers = _reach.each(lambda target: {"target": target}, ["a", "b", "c"])
    assert [answer["target"] for answer in answers] == ["a", "b", "c"]
    assert _reach.each(lambda target: {}, []) == []


def routes(get, match):
    def run(command):
        return get if "get" in command else match

    return run


def test_a_route_of_its_own():
    found = _reach.route_to(
        "10.89.0.7", routes("10.89.0.7 via 10.88.0.10 dev host0 src 10.88.0.21 uid 0", "10.89.0.0/16 via 10.88.0.10")
    )
    assert (found["via"], found["device"], found["default"]) == ("10.88.0.10", "host0", False)
    assert found["text"].startswith("10.89.0.7 via")


def test_only_the_default_route():
    found = _reach.route_to("10.89.0.7", routes("10.89.0.7 via 10.88.0.1 dev host0", "default via 10.88.0.1 dev host0"))
    assert found["default"] is True


def test_a_machine_without_the_ip_command():
    found = _reach.route_to("127.0.0.1", lambda command: "")
    assert (found["source"], found["text"], found["default"]) == ("127.0.0.1", None, None)


def test_name_servers():
    assert _reach.nameservers("# x\nsearch a\nnameserver 10.0.0.1\nnameserver fd00::1\nnameserver\n") == [
        "10.0.0.1",
        "fd00::1",
    ]


def dns_reply(number, code=0, addresses=()):
    question = _reach.dns_question("a.test", number)
    header = struct.pack("!6H", number, 0x8180 | code, 1, len(addresses), 0, 0)
    answers = b"".join(
        b"\xc0\x0c" + struct.pack("!2HIH", 1, 1, 30, 4) + socket.inet_aton(address) for address in addresses
    )
    return header + question[12:] + answers


def test_dns_answers_are_read():
    assert _reach.dns_answer(dns_reply(7, 0, ["10.90.0.1", "10.90.0.2"]), 7) == {
        "code": 0,
        "addresses": ["10.90.0.1", "10.90.0.2"],
    }
    assert _reach.dns_answer(dns_reply(7, 3), 7)["code"] == 3


@pytest.mark.parametrize("data", [b"", b"\0" * 12, dns_reply(8), dns_reply(7, 0, ["1.2.3.4"])[:-2]])
def test_what_is_no_answer_to_the_question(data):
    with pytest.raises(ValueError, match=r"answer"):
        _reach.dns_answer(data, 7)


def test_a_name_that_can_t_be_asked_for_is_told():
    assert _reach.dns("127.0.0.1", "a" * 70 + ".test", 1)["error"] == "malformed"


def respond(text):
    def answer(connection):
        connection.recv(1000)
        connection.sendall(text.encode())

    return answer


def test_http_counts_any_status():
    with server(respond("HTTP/1.1 404 Not Found\r\n\r\n")) as port:
        result = _reach.http(f"http://127.0.0.1:{port}/path", 3)
    assert (result["ok"], result["status"]) == (True, 404)


def test_http_wants_bytes_back_not_just_a_connection():
    with server(lambda connection: None) as port:
        assert not _reach.http(f"http://127.0.0.1:{port}", 3)["ok"]
    with server(respond("SSH-2.0-x\r\n")) as port:
        assert _reach.http(f"http://127.0.0.1:{port}", 3)["error"] == "no HTTP answer"


@pytest.fixture(scope="module")
def tls_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /O=test"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=DNS:istiod.istio-system.svc", "-keyout", "k", "-out", "c"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder


def test_tls_verifies_where_it_has_roots(tls_files):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls_files / "c", tls_files / "k")

    def answer(connection):
        with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(1)

    roots = (tls_files / "c").read_text()
    with server(answer) as port:
        target = f"127.0.0.1:{port}"
        assert _reach.tls(target, 3)["ok"]
        assert _reach.tls(target, 3, "istiod.istio-system.svc", roots)["ok"]
        assert _reach.tls(target, 3, "other.istio-system.svc", roots)["error"] == "tls"
    assert _reach.tls(f"127.0.0.1:{closed_port()}", 3)["error"] == "refused"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_apart_as_another_user():
    assert _reach.apart(lambda: [os.getuid(), os.getgid()], (65534, 65533)) == [65534, 65533]
    with pytest.raises(OSError, match="as user 65534"):
        _reach.apart(lambda: 1 / 0, (65534, 65534))


def test_apart_ends_what_hangs(monkeypatch):
    monkeypatch.setattr(_reach, "_CHILD_SECONDS", 1)
    with pytest.raises(OSError, match="no answer"):
        _reach.apart(lambda: time.sleep(30))
