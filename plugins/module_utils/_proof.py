# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof, on the machine, that it still reaches everything with the capture on. Private to the collection.

Each check is made twice where that tells something: as an ordinary process, whose traffic is captured, and as the
sidecar's user, whose traffic is not. What fails both ways is no fault of the capture.
"""

from __future__ import annotations

import http.client
import json
import re
import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _reach, _vm_facts

ADMIN_PORT = 15000
_SERVFAIL = 2


class Wanted(t.NamedTuple):
    """What the proof looks at.

    Attributes:
        names: names that the machine's own resolver must go on answering as before.
        egress: URLs outside of the mesh (http://, https://, tls://host:port).
        mesh_name: istiod's name, as the hosts file has it.
        mesh_port: its port.
        roots: the mesh's root certificates, PEM.
        dns_capture: whether names of the mesh are resolved by the sidecar.
        user: the sidecar's user and group ID.
        timeout: seconds for each question.
    """

    names: t.Sequence[str]
    egress: t.Sequence[str]
    mesh_name: str
    mesh_port: int
    roots: str
    dns_capture: bool
    user: tuple[int, int]
    timeout: float


def prove(run: _reach.Run, wanted: Wanted, deadline: float) -> list[dict[str, t.Any]]:
    """The verdicts, repeated until all are good or `deadline` (monotonic) has passed.

    Returns:
        A list of `check`, `ok`, `found`, `expected` and `next_step`.
    """
    while True:
        verdicts = [*_capture_is_on(run), *_dns(wanted), *_egress(wanted), *_mesh(wanted)]
        if all(verdict["ok"] for verdict in verdicts) or time.monotonic() >= deadline:
            return verdicts
        time.sleep(0.5)


def _verdict(check: str, ok: bool, found: str, expected: str, next_step: str) -> dict[str, t.Any]:
    return {"check": check, "ok": ok, "found": found, "expected": expected, "next_step": next_step}


def _capture_is_on(run: _reach.Run) -> t.Iterator[dict[str, t.Any]]:
    yield _verdict(
        "capture",
        _vm_facts.capture(run)["applied"],
        "no rule of the capture is set",
        "traffic goes through the sidecar",
        "see journalctl -u istio-capture on the machine",
    )


def _resolver() -> str | None:
    servers = _reach.nameservers(_vm_facts.read("/etc/resolv.conf") or "")
    return servers[0] if servers else None


def ask_resolver(name: str, timeout: float) -> str:
    """`ok` where the machine's resolver answers at all, else what came instead. Without a resolver there is none to fail."""
    server = _resolver()
    if server is None:
        return "ok"
    (answer,) = _reach.apart(lambda: _reach.each(lambda asked: _reach.dns(server, asked, timeout), [name]))
    return "ok" if not answer["error"] and answer["code"] != _SERVFAIL else f"{server}: {_dns_words(answer)}"


def _dns(wanted: Wanted) -> t.Iterator[dict[str, t.Any]]:
    server = _resolver()
    if server is None:
        return

    def ask() -> list[dict[str, t.Any]]:
        return _reach.each(lambda name: _reach.dns(server, name, wanted.timeout), wanted.names)

    for through, past in zip(_reach.apart(ask), _reach.apart(ask, wanted.user)):
        # What the resolver can't answer at all (no way to it, or SERVFAIL) is not for the capture to answer.
        worse = (through["error"] and not past["error"]) or (
            through["code"] == _SERVFAIL and past["code"] not in (None, _SERVFAIL)
        )
        yield _verdict(
            "dns",
            not worse,
            f"{server} asked for {through['name']}: {_dns_words(through)} through the sidecar, {_dns_words(past)} "
            "past it",
            "the machine's names resolve as without the sidecar",
            "see /var/log/istio/istio.log on the machine; is the resolver reachable for the user istio-proxy?",
        )


def _dns_words(answer: t.Mapping[str, t.Any]) -> str:
    if answer["error"]:
        return f"no answer ({answer['error']})"
    code: int = answer["code"]
    return {0: "NOERROR", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}.get(code, f"code {code}")


def _egress(wanted: Wanted) -> t.Iterator[dict[str, t.Any]]:
    def ask() -> list[dict[str, t.Any]]:
        return _reach.each(lambda url: _fetch(url, wanted.timeout), wanted.egress)

    through = _reach.apart(ask)
    past = through if all(answer["ok"] for answer in through) else _reach.apart(ask, wanted.user)
    for answer, without in zip(through, past):
        yield _verdict(
            "egress",
            answer["ok"] or not without["ok"],
            f"{answer['target']} can't be reached through the sidecar ({answer['error']}), but can past it",
            "what is outside of the mesh stays reachable",
            "the mesh's outboundTrafficPolicy may be REGISTRY_ONLY: then add a ServiceEntry, or name in "
            "vm_sidecar_verify_egress what has to be reachable (an empty list leaves this check out)",
        )


def _fetch(url: str, timeout: float) -> dict[str, t.Any]:
    scheme, _separator, rest = url.partition("://")
    if scheme == "http":
        return _reach.http(url, timeout)
    authority = rest.split("/", 1)[0]
    if not re.search(r":\d+$", authority):
        authority += ":443"
    return dict(_reach.tls(authority, timeout), target=url)


def _mesh(wanted: Wanted) -> t.Iterator[dict[str, t.Any]]:
    server = _resolver()
    addresses: list[str] = []
    if wanted.dns_capture and server:
        answer = _reach.dns(server, wanted.mesh_name, wanted.timeout)
        addresses = answer["addresses"]
        if not addresses:
            # A Sidecar resource may hide istiod from this machine; its listeners tell.
            addresses = service_addresses(_admin("/listeners?format=json"), wanted.mesh_port)
            if addresses:
                yield _verdict(
                    "mesh_dns",
                    False,
                    f"{wanted.mesh_name} does not resolve through the sidecar: {_dns_words(answer)}",
                    "names of the mesh resolve on the machine",
                    "see /var/log/istio/istio.log; is the resolver in /etc/resolv.conf the one that programs use?",
                )
    else:
        addresses = service_addresses(_admin("/listeners?format=json"), wanted.mesh_port)
    if not addresses:
        # Nothing of istiod is visible to this group: then Envoy's own configuration is all the proof there is.
        ready = bool(_admin("/ready"))
        yield _verdict(
            "mesh",
            ready,
            "the sidecar is not ready",
            "the sidecar has the mesh's configuration",
            "see /var/log/istio/istio.log on the machine",
        )
        return
    tries = [
        _reach.tls(f"{address}:{wanted.mesh_port}", wanted.timeout, wanted.mesh_name, wanted.roots)
        for address in addresses[:3]
    ]
    yield _verdict(
        "mesh",
        any(answer["ok"] for answer in tries),
        f"istiod does not answer at its Service's address {tries[0]['target']} through the sidecar "
        f"({tries[0]['error']}: {tries[0].get('detail', '')})",
        "the machine reaches a Service of the mesh, which only the sidecar can route",
        "check that the machine reaches pods (route, firewall) and see /var/log/istio/istio.log on it",
    )


def _admin(path: str) -> str:
    """An answer of Envoy's admin interface; empty where there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", ADMIN_PORT, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()
    return text.decode("utf-8", "replace") if answer.status == 200 else ""


def service_addresses(listeners: str, port: int) -> list[str]:
    """The addresses of Services at `port`, from Envoy's list of listeners in JSON."""
    try:
        statuses = json.loads(listeners).get("listener_statuses") or []
    except (ValueError, AttributeError):
        return []
    found = []
    for status in statuses:
        address = (status.get("local_address") or {}).get("socket_address") or {}
        host = address.get("address", "")
        if address.get("port_value") == port and host not in ("0.0.0.0", "::", "127.0.0.1", ""):
            found.append(host)
    return found
