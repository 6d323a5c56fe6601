# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs beside Prometheus, in the same Pod: tells it which virtual machines there are, as they come and go.

usage: mesh_machines.py TARGETS LISTEN_PORT SIDECAR_PORT [RELOAD_FOLDER]

Follows the cluster's WorkloadEntries. Writes TARGETS, a file for Prometheus's file_sd, whenever they change, and serves
what istiod says of them (connected, healthy) as metrics on the loopback address. Where a RELOAD_FOLDER is given, has
Prometheus read its configuration again when what lies in there has changed.

The standard library alone, Python 3.8 or newer: any image with Python will do.
"""

from __future__ import annotations

import hashlib
import http.server
import ipaddress
import json
import os
import pathlib
import signal
import ssl
import sys
import threading
import time
import typing as t
import urllib.error
import urllib.parse
import urllib.request

ACCOUNT = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
PATH = "/apis/networking.istio.io/v1/workloadentries"
GROUP = "istio.io/autoRegistrationGroup"
# A watch that ended without a word would leave the targets as they are: it is begun anew after so long (seconds).
WATCH = 240
PAGE = 2000

Entry = t.Dict[str, t.Any]
Entries = t.Dict[t.Tuple[str, str], Entry]


def is_machine(entry: Entry) -> bool:
    """Whether a sidecar is to be expected there: an entry that registered itself, or one that says so."""
    annotations = entry["metadata"].get("annotations") or {}
    said = annotations.get("prometheus.io/scrape")
    if said is not None:
        return bool(said == "true")
    return bool(annotations.get(GROUP))


def address_of(entry: Entry, port: str) -> str | None:
    """`address:port`, or None where there is no network address."""
    address = str((entry.get("spec") or {}).get("address") or "")
    if not address or address.startswith("unix:"):
        return None
    annotations = entry["metadata"].get("annotations") or {}
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        version = 4
    host = f"[{address}]" if version == 6 else address
    return f"{host}:{annotations.get('prometheus.io/port') or port}"


def labels_of(entry: Entry) -> dict[str, str]:
    """What every metric of the machine is labelled with."""
    metadata, spec = entry["metadata"], entry.get("spec") or {}
    labels = {**(metadata.get("labels") or {}), **(spec.get("labels") or {})}
    group = str((metadata.get("annotations") or {}).get(GROUP) or "")
    named = {
        "namespace": metadata["namespace"],
        "app": labels.get("service.istio.io/canonical-name") or labels.get("app") or group or metadata["name"],
        "version": labels.get("service.istio.io/canonical-revision") or labels.get("version") or "",
        "group": group,
        "entry": metadata["name"],
        "locality": spec.get("locality") or "",
        "network": spec.get("network") or "",
    }
    return {name: str(value) for name, value in named.items() if value}


def targets(entries: t.Iterable[Entry], port: str) -> list[dict[str, t.Any]]:
    """The machines as file_sd has them, in a fixed order."""
    found = []
    for entry in entries:
        address = address_of(entry, port)
        if address and is_machine(entry):
            found.append({"targets": [address], "labels": labels_of(entry)})
    return sorted(found, key=lambda item: (item["labels"]["namespace"], item["labels"]["entry"]))


def escaped(value: str) -> str:
    """A label's value as the exposition format has it."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def states(entry: Entry) -> dict[str, int]:
    """What istiod says of a machine: metric -> value. Healthy only where health is checked."""
    annotations = entry["metadata"].get("annotations") or {}
    if GROUP not in annotations:
        return {}
    connected = "istio.io/connectedAt" in annotations and "istio.io/disconnectedAt" not in annotations
    found = {"mesh_machine_connected": int(connected)}
    if annotations.get("proxy.istio.io/health-checks-enabled") == "true":
        conditions = (entry.get("status") or {}).get("conditions") or []
        healthy = [condition.get("status") for condition in conditions if condition.get("type") == "Healthy"]
        found["mesh_machine_healthy"] = int(healthy == ["True"])
    return found


HELP = {
    "mesh_machine_connected": "Whether the virtual machine's sidecar is connected to istiod, as its WorkloadEntry says.",
    "mesh_machine_healthy": "Whether the virtual machine's health probe passes, as its WorkloadEntry says.",
    "mesh_machine_targets": "How many virtual machines Prometheus is told to scrape.",
    "mesh_machine_synced_timestamp_seconds": "When the API server last answered for the WorkloadEntries.",
}


def exposition(entries: t.Iterable[Entry], port: str, synced: float) -> str:
    """The metrics of all machines."""
    ordered = sorted(entries, key=lambda entry: (entry["metadata"]["namespace"], entry["metadata"]["name"]))
    lines: dict[str, list[str]] = {name: [] for name in HELP}
    for entry in ordered:
        address = address_of(entry, port)
        labels = dict(labels_of(entry), **({"address": address} if address else {}))
        text = ",".join(f'{name}="{escaped(value)}"' for name, value in sorted(labels.items()))
        for name, value in states(entry).items():
            lines[name].append(f"{name}{{{text}}} {value}")
    lines["mesh_machine_targets"].append(f"mesh_machine_targets {len(targets(ordered, port))}")
    lines["mesh_machine_synced_timestamp_seconds"].append(f"mesh_machine_synced_timestamp_seconds {synced:.3f}")
    return "".join(
        f"# HELP {name} {HELP[name]}\n# TYPE {name} gauge\n" + "".join(f"{line}\n" for line in found)
        for name, found in lines.items()
    )


def write(path: pathlib.Path, text: str) -> bool:
    """Replaces a file as a whole, where its content is another."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
    return True


class Follower:
    """Follows the WorkloadEntries.

    Attributes:
        entries: those that there are, by namespace and name.
        synced: when the API server last answered (seconds since the epoch; 0 for never).
    """

    def __init__(self, ask: t.Callable[[dict[str, str], float], t.Any], changed: t.Callable[[], None]) -> None:
        self._ask = ask
        self._changed = changed
        self.entries: Entries = {}
        self.synced = 0.0

    def list(self) -> str:
        """Reads all of them; returns the version to watch from."""
        entries: Entries = {}
        query = {"limit": str(PAGE)}
        while True:
            with self._ask(query, 60) as answer:
                page = json.load(answer)
            for item in page.get("items") or []:
                entries[self._key(item)] = item
            following = page["metadata"].get("continue")
            if not following:
                break
            query = {"limit": str(PAGE), "continue": following}
        self.entries = entries
        self.synced = time.time()
        self._changed()
        return str(page["metadata"]["resourceVersion"])

    def watch(self, version: str) -> str | None:
        """Follows what changes until the API server ends it. Returns where to go on, None where all must be read again."""
        query = {
            "watch": "1",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH),
            "allowWatchBookmarks": "true",
        }
        with self._ask(query, WATCH + 30) as answer:
            for line in answer:
                event = json.loads(line)
                item = event["object"]
                if event["type"] == "ERROR":
                    return None
                self.synced = time.time()
                version = str(item["metadata"]["resourceVersion"])
                if event["type"] == "DELETED":
                    self.entries.pop(self._key(item), None)
                elif event["type"] != "BOOKMARK":
                    self.entries[self._key(item)] = item
                if event["type"] != "BOOKMARK":
                    self._changed()
        self.synced = time.time()
        return version

    def forget(self) -> None:
        """There is no such kind: no Istio, so no machine."""
        self.entries = {}
        self.synced = time.time()
        self._changed()

    @staticmethod
    def _key(item: Entry) -> tuple[str, str]:
        return item["metadata"]["namespace"], item["metadata"]["name"]


def api(query: dict[str, str], timeout: float) -> t.Any:
    """Asks the API server, as this Pod's ServiceAccount."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    base = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    request = urllib.request.Request(f"{base}{PATH}?{urllib.parse.urlencode(query)}")
    # Tokens are renewed on disk.
    request.add_header("Authorization", f"Bearer {(ACCOUNT / 'token').read_text(encoding='ascii').strip()}")
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    return urllib.request.urlopen(request, timeout=timeout, context=context)


def follow(follower: Follower) -> None:
    """For ever: what goes wrong is told, and tried again."""
    version: str | None = None
    pause = 1.0
    while True:
        try:
            version = follower.list() if version is None else follower.watch(version)
            pause = 1.0
            continue
        except urllib.error.HTTPError as error:
            if error.code == 404:
                follower.forget()
            print(f"the API server answered {error.code}: {error.read()[:300]!r}", flush=True)
            version = None
        except (OSError, ValueError, KeyError) as error:
            print(f"no WorkloadEntries: {error!r}", flush=True)
            version = None
        time.sleep(pause)
        pause = min(pause * 2, 30.0)


def digest_of(folder: pathlib.Path) -> str:
    """A hash over the files of a mounted ConfigMap."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def processes(name: str, proc: pathlib.Path) -> list[int]:
    """The processes of that name."""
    found = []
    for path in proc.glob("[0-9]*/comm"):
        try:
            if path.read_text(encoding="utf-8").strip() == name:
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def reload(folder: pathlib.Path) -> None:
    """Sends Prometheus a SIGHUP whenever its configuration on disk has changed. There is no open door for it that way."""
    known = digest_of(folder)
    while True:
        time.sleep(5)
        try:
            found = digest_of(folder)
        except OSError:
            # In the moment of the change.
            continue
        if found != known:
            known = found
            for process in processes("prometheus", pathlib.Path("/proc")):
                os.kill(process, signal.SIGHUP)
                print("the configuration changed: told Prometheus", flush=True)


def main() -> None:
    """Runs until it is told to end."""
    path, listen, port = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

    def changed() -> None:
        if write(path, json.dumps(targets(list(follower.entries.values()), port), indent=1)):
            print(f"targets: {len(targets(list(follower.entries.values()), port))}", flush=True)

    follower = Follower(api, changed)

    class Handler(http.server.BaseHTTPRequestHandler):
        """Answers each request with the metrics."""

        def do_GET(self) -> None:
            """Any path."""
            body = exposition(list(follower.entries.values()), port, follower.synced).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: t.Any) -> None:
            """Says nothing."""

    def end(*_args: t.Any) -> None:
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", listen), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    if len(sys.argv) > 4:
        threading.Thread(target=reload, args=(pathlib.Path(sys.argv[4]),), daemon=True).start()
    follow(follower)


if __name__ == "__main__":
    main()
