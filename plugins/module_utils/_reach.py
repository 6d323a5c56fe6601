# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking the network, from the virtual machine: TCP, DNS and TLS. Private to the collection.

Every function answers with plain data and never raises for what the network does; what it means is decided
elsewhere (`_preflight`, `_proof`).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import signal
import socket
import struct
import threading
import time
import typing as t

# What a failed connection tells, by the error that the kernel gives.
_ERRORS = {
    errno.ECONNREFUSED: "refused",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "no_route",
    errno.ETIMEDOUT: "timeout",
    errno.EACCES: "denied",
    errno.EPERM: "denied",
    errno.ECONNRESET: "reset",
}


def error_kind(error: BaseException) -> str:
    """One word for a failed connection: timeout, refused, unreachable, no_route, denied, reset, name, tls, failed."""
    if isinstance(error, socket.timeout):
        return "timeout"
    if isinstance(error, socket.gaierror):
        return "name"
    # An SSLError, by its name: see tls.
    if type(error).__module__ == "ssl":
        return "tls"
    if isinstance(error, OSError) and error.errno in _ERRORS:
        return _ERRORS[error.errno]
    return "failed"


def split_target(target: str) -> tuple[str, int]:
    """`host:port` as a pair; the host may be an IPv6 address, in brackets or not.

    Raises:
        ValueError: there is no port.
    """
    host, separator, port = target.rpartition(":")
    if not separator or not port.isdigit() or not host:
        raise ValueError(f"{target!r} is not host:port")
    return host.strip("[]"), int(port)


def tcp(target: str, timeout: float) -> dict[str, t.Any]:
    """Tries to connect to `host:port`."""
    started = time.monotonic()
    result: dict[str, t.Any] = {"target": target, "ok": True, "error": None}
    try:
        socket.create_connection(split_target(target), timeout).close()
    except OSError as error:
        result.update(ok=False, error=error_kind(error), detail=str(error))
    result["seconds"] = round(time.monotonic() - started, 3)
    return result


def each(function: t.Callable[[str], dict[str, t.Any]], targets: t.Sequence[str]) -> list[dict[str, t.Any]]:
    """Asks for all targets at the same time; the answers come in the order of the targets. To be run in `apart`."""
    answers: list[dict[str, t.Any]] = [{} for _target in targets]

    def ask(index: int, target: str) -> None:
        answers[index] = function(target)

    threads = [threading.Thread(target=ask, args=pair, daemon=True) for pair in enumerate(targets)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


# Runs a command and returns what it prints, standard error included.
Run = t.Callable[[t.Sequence[str]], str]


def route_to(host: str, run: Run) -> dict[str, t.Any]:
    """How the kernel would send to `host`: `source`, `device`, `via`, and whether only the default route matches."""
    result: dict[str, t.Any] = {"source": source_address(host), "device": None, "via": None, "default": None}
    result["text"] = None if result["source"] else "there is no route"
    shown = run(["ip", "-o", "route", "get", host]).split()
    if shown:
        result["text"] = " ".join(shown)
        for key, word in (("device", "dev"), ("via", "via")):
            if word in shown[:-1]:
                result[key] = shown[shown.index(word) + 1]
    matching = run(["ip", "-o", "route", "show", "match", host]).splitlines()
    if matching:
        result["default"] = all(line.split()[:1] == ["default"] for line in matching)
    return result


def source_address(host: str) -> str | None:
    """The address that this machine would send from to `host`; None without a route."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Connecting a UDP socket sends nothing, but makes the kernel choose the source address.
    try:
        with contextlib.closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
            probe.connect((host, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return None


def nameservers(resolv_conf: str) -> list[str]:
    """The name servers of a resolv.conf's text."""
    words = [line.split() for line in resolv_conf.splitlines()]
    return [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]


def dns_question(name: str, number: int) -> bytes:
    """A DNS question for the IPv4 address of `name`."""
    labels = [label.encode("idna") for label in name.strip(".").split(".") if label]
    encoded = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + encoded + struct.pack("!2H", 1, 1)


def dns_answer(data: bytes, number: int) -> dict[str, t.Any]:
    """What a DNS server said: `code` (0 NOERROR, 2 SERVFAIL, 3 NXDOMAIN, 5 REFUSED, ...) and the IPv4 `addresses`.

    Raises:
        ValueError: the bytes are no answer to that question.
    """
    try:
        got, flags, questions, answers, _authority, _more = struct.unpack("!6H", data[:12])
        if got != number or not flags & 0x8000:
            raise ValueError("not the answer to the question")
        position = 12
        for _question in range(questions):
            position = _skip_name(data, position) + 4
        addresses = []
        for _answer in range(answers):
            position = _skip_name(data, position)
            kind, _class, _ttl, length = struct.unpack("!2HIH", data[position : position + 10])
            position += 10
            if kind == 1 and length == 4:
                addresses.append(socket.inet_ntoa(data[position : position + 4]))
            position += length
    except (struct.error, IndexError, OSError) as error:
        raise ValueError("a truncated answer") from error
    return {"code": flags & 0xF, "addresses": addresses}


def _skip_name(data: bytes, position: int) -> int:
    while data[position]:
        if data[position] & 0xC0:
            return position + 2
        position += data[position] + 1
    return position + 1


def dns(server: str, name: str, timeout: float) -> dict[str, t.Any]:
    """Asks one name server for one name, by UDP."""
    number = random.SystemRandom().randrange(1 << 16)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    try:
        with contextlib.closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
            probe.settimeout(timeout)
            probe.connect((server, 53))
            probe.send(dns_question(name, number))
            return dict(dns_answer(probe.recv(4096), number), name=name, server=server, error=None)
    except (OSError, ValueError, UnicodeError) as error:
        kind = error_kind(error) if isinstance(error, OSError) else "malformed"
        return {"name": name, "server": server, "error": kind, "code": None, "addresses": []}


def tls(target: str, timeout: float, server_name: str | None = None, roots: str | None = None) -> dict[str, t.Any]:
    """A TLS handshake with `host:port`; verified against `roots` (PEM) and `server_name` where roots are given."""
    # Not loaded at every look at hundreds of machines, which only opens connections.
    import ssl

    result: dict[str, t.Any] = {"target": target, "ok": True, "error": None}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if roots is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            context.load_verify_locations(cadata=roots)
        with contextlib.closing(socket.create_connection(split_target(target), timeout)) as plain:
            plain.settimeout(timeout)
            context.wrap_socket(plain, server_hostname=server_name or split_target(target)[0]).close()
    except (OSError, ValueError) as error:
        result.update(ok=False, error=error_kind(error), detail=str(error))
    return result


def http(url: str, timeout: float) -> dict[str, t.Any]:
    """GETs an http URL; any HTTP status counts, since it proves that bytes came back."""
    result: dict[str, t.Any] = {"target": url, "ok": False, "error": None}
    rest = url.split("://", 1)[1]
    authority, _slash, path = rest.partition("/")
    target = authority if authority.rpartition(":")[2].isdigit() and ":" in authority else authority + ":80"
    try:
        with contextlib.closing(socket.create_connection(split_target(target), timeout)) as plain:
            plain.settimeout(timeout)
            plain.sendall(
                f"GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\nAccept: */*\r\n\r\n".encode()
            )
            line = plain.makefile("rb").readline(200).decode("latin-1")
    except (OSError, ValueError) as error:
        result.update(error=error_kind(error) if isinstance(error, OSError) else "failed", detail=str(error))
        return result
    if line.startswith("HTTP/"):
        result.update(ok=True, status=int(line.split()[1]))
    else:
        result.update(error="no HTTP answer", detail=line.strip())
    return result


# A child that is still at it after so many seconds is ended by the kernel; every question in it has a time-out of its own.
_CHILD_SECONDS = 60


def apart(function: t.Callable[[], t.Any], user: tuple[int, int] | None = None) -> t.Any:
    """Runs `function` in a child process, with another user and group ID if given, and returns what it returned.

    The capture leaves out what runs as the sidecar's user: that is how a root process sees the network as it is
    without the capture.

    Whatever uses threads (`each`) runs in here, too: OpenSSL takes a lock of its own when a thread ends, even after it
    was joined, and a child that is forked at that moment waits for that lock for ever. A process that never had
    threads forks safely.

    Raises:
        OSError: the child ended without a result.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(_CHILD_SECONDS)
            if user:
                os.setgroups([])
                os.setgid(user[1])
                os.setuid(user[0])
            with os.fdopen(writing, "w") as stream:
                json.dump(function(), stream)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as stream:
        text = stream.read()
    os.waitpid(child, 0)
    if not text:
        who = f"as user {user[0]} " if user else ""
        raise OSError(f"the network test that ran {who}in a process of its own gave no answer")
    return json.loads(text)
