# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a virtual machine shows of why it is not in the mesh, beyond the facts that the roles decide by.

Private to the collection. Reads and asks; changes nothing. What it means is decided elsewhere (`_diagnosis`).
"""

from __future__ import annotations

import collections
import contextlib
import http.client
import json
import os
import re
import socket
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _capture, _reach, _vm_facts, _vm_files

LOGS = ("/var/log/istio/istio.log", "/var/log/istio/istio.err.log")
# Where the sidecar writes while it runs.
WRITTEN = ("/etc/certs", "/etc/istio/proxy", "/var/lib/istio/envoy", "/var/log/istio", "/var/run/secrets")
_TAIL = 64 * 1024
_DISCOVERY = re.compile(r"^\s*discoveryAddress:\s*['\"]?([^'\"\s]+)", re.MULTILINE)
_TIMESTAMP = re.compile(r"^[0-9TZ:.+\[\]-]+\s*")


def broken_settings(run: _reach.Run) -> dict[str, str]:
    """Files that the start script sources and a shell can't read, each with what the shell says."""
    found = {}
    for path in (_vm_files.CLUSTER_ENV, _vm_files.SIDECAR_ENV):
        # Nothing is executed: -n only reads.
        said = run(["bash", "-n", path]).strip() if os.path.exists(path) else ""
        if said:
            found[path] = said
    return found


def unwritable() -> dict[str, str]:
    """Folders that the sidecar writes to and that are full or read-only."""
    found = {}
    for path in WRITTEN:
        with contextlib.suppress(OSError):
            state = os.statvfs(path)
            if state.f_flag & os.ST_RDONLY:
                found[path] = "its file system is read-only"
            elif state.f_bavail * state.f_frsize < 1 << 20:
                found[path] = f"{state.f_bavail * state.f_frsize >> 10} KiB are free on its file system"
            elif state.f_files and not state.f_favail:
                found[path] = "no inode is free on its file system"
    return found


def has_address(address: str | None) -> bool | None:
    """Whether this machine has an address; None where none is pinned."""
    if not address:
        return None
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with contextlib.closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def discovery() -> str | None:
    """`host:port` of istiod, as the sidecar's configuration has it."""
    found = _DISCOVERY.search(_vm_facts.read(_vm_files.MESH_CONFIG) or "")
    return found.group(1) if found else None


def addresses_of(host: str) -> list[str]:
    """What the machine takes a name for; empty where it does not resolve."""
    try:
        return sorted({str(answer[4][0]) for answer in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)})
    except OSError:
        return []


def way_to_istiod(timeout: float, run: _reach.Run) -> dict[str, t.Any]:
    """Name, TCP and TLS on the way to istiod, as the sidecar goes it. To be run apart, as the sidecar's user."""
    target = discovery()
    result: dict[str, t.Any] = {"target": target, "addresses": [], "tcp": [], "tls": None}
    if target is None:
        return result
    host, port = _reach.split_target(target)
    result["addresses"] = addresses_of(host)
    for address in result["addresses"]:
        tried = _reach.tcp(f"{address}:{port}", timeout)
        if not tried["ok"]:
            tried["route"] = _reach.route_to(address, run)
            others = [_reach.tcp(f"{address}:{other}", timeout) for other in (15021, 443)]
            tried["elsewhere"] = any(answer["ok"] or answer["error"] == "refused" for answer in others)
        result["tcp"].append(tried)
    open_ones = [tried["target"] for tried in result["tcp"] if tried["ok"]]
    if open_ones:
        # The sidecar's user can't be asked to read the file: it is its own, and so is this process.
        roots = _vm_facts.read(_vm_files.ROOT_CERTIFICATE) or ""
        result["tls"] = _reach.tls(open_ones[0], timeout, host, roots)
    return result


def _admin(path: str) -> str | None:
    connection = http.client.HTTPConnection("127.0.0.1", 15000, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def envoy() -> dict[str, t.Any]:
    """Envoy's state, and the listeners and updates that it rejected."""
    info = _admin("/server_info")
    if info is None:
        return {"answers": False, "state": None, "rejected": []}
    try:
        state = json.loads(info).get("state")
        dump = json.loads(_admin("/config_dump?resource=dynamic_listeners") or "{}")
    except ValueError:
        return {"answers": True, "state": None, "rejected": []}
    rejected = [
        "{}: {}".format(item.get("name", "a listener"), item["error_state"].get("details", ""))
        for item in dump.get("configs") or []
        if item.get("error_state")
    ]
    stats = _admin("/stats?filter=(cds|lds).update_rejected") or ""
    counts = dict(re.findall(r"(\S+)\.update_rejected: (\d+)", stats))
    return {"answers": True, "state": state, "rejected": rejected, "rejections": counts}


def complaints() -> list[str]:
    """The sidecar's latest warnings and errors, without their times and repetitions, the most frequent of them last."""
    seen: collections.OrderedDict[str, int] = collections.OrderedDict()
    for path in LOGS:
        with contextlib.suppress(OSError), open(path, "rb") as stream:
            stream.seek(max(0, os.path.getsize(path) - _TAIL))
            for line in stream.read().decode("utf-8", "replace").splitlines():
                if re.search(r"\b(warn(ing)?|error|fatal|critical)\b", line, re.IGNORECASE):
                    text = _TIMESTAMP.sub("", line).strip()[:400]
                    seen[text] = seen.pop(text, 0) + 1
    return [f"{text} ({count} times)" if count > 1 else text for text, count in list(seen.items())[-12:]]


def probe(asked: t.Mapping[str, t.Any] | None, timeout: float) -> dict[str, t.Any] | None:
    """The group's own probe, asked on this machine; None where it has none that can be asked from here."""
    if not asked:
        return None
    http_get, tcp = asked.get("httpGet"), asked.get("tcpSocket")
    if http_get and str(http_get.get("scheme") or "http").lower() == "http":
        host, port = http_get.get("host") or "127.0.0.1", http_get.get("port")
        answer = _reach.http(
            "http://{}:{}/{}".format(host, port, str(http_get.get("path") or "/").lstrip("/")), timeout
        )
        fine = answer["ok"] and 200 <= answer["status"] < 400
        return {"target": answer["target"], "ok": fine, "found": _words(answer)}
    if tcp:
        answer = _reach.tcp(f"{tcp.get('host') or '127.0.0.1'}:{tcp.get('port')}", timeout)
        return {"target": answer["target"], "ok": answer["ok"], "found": _words(answer)}
    return None


def _words(answer: t.Mapping[str, t.Any]) -> str:
    if answer.get("status"):
        return f"HTTP status {answer['status']}"
    return "it answers" if answer["ok"] else str(answer.get("detail") or answer["error"])


def unit_result(run: _reach.Run) -> dict[str, str]:
    """How the sidecar's unit ended last."""
    shown = run(["systemctl", "show", "--property=Result,NRestarts,ExecMainStatus", "istio.service"])
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)


def collect(run: _reach.Run, asked_probe: t.Mapping[str, t.Any] | None, timeout: float) -> dict[str, t.Any]:
    """All symptoms, beside what `_vm_facts.collect` returns."""
    facts = _vm_facts.collect(run, ())
    user = _vm_facts.sidecar_user()
    captured = facts["capture"]["applied"]
    # What is sent as the sidecar's user goes past the capture, as what the sidecar sends itself.
    way = _reach.apart(lambda: way_to_istiod(timeout, run), user if captured else None)
    return dict(
        facts,
        broken_settings=broken_settings(run),
        unwritable=unwritable(),
        settings=_capture.parse_environment(_vm_facts.read(_vm_files.CLUSTER_ENV) or ""),
        has_address=has_address(facts["pinned_address"]),
        way=way,
        envoy=envoy(),
        complaints=complaints(),
        probe=_reach.apart(lambda: probe(asked_probe, timeout), user),
        unit_result=unit_result(run),
    )
