# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a sidecar on its virtual machine: what they must hold, and what a change of each calls for.

Private to the collection. Pure: contents in, contents out; `sidecar` does the writing.
"""

from __future__ import annotations

import hashlib
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _capture, _certificate

HOSTS = "/etc/hosts"
CLUSTER_ENV = "/var/lib/istio/envoy/cluster.env"
SIDECAR_ENV = "/var/lib/istio/envoy/sidecar.env"
MESH_CONFIG = "/etc/istio/config/mesh"
ROOT_CERTIFICATE = "/etc/certs/root-cert.pem"
CERTIFICATE = "/etc/certs/cert-chain.pem"
KEY = "/etc/certs/key.pem"
TOKEN = "/var/run/secrets/tokens/istio-token"
STATE = "/etc/hybridmesh"
UNIT_ENV = STATE + "/sidecar.env"
CAPTURE_ENV = STATE + "/capture.env"
PACKAGE_RECORD = STATE + "/package.json"
PENDING = STATE + "/pending"
BYPASSED = STATE + "/bypassed"
PROVEN = STATE + "/proven"
# The role's own program.
CAPTURE_SCRIPT = "/usr/local/sbin/istio-capture"
PREVIOUS = "/var/lib/hybridmesh/previous"

LOGS = "/var/log/istio"

BEGIN = "# BEGIN hybridmesh.istio"
END = "# END hybridmesh.istio"
USER = "istio-proxy"


class File(t.NamedTuple):
    """One file as it must be.

    Attributes:
        effects: what a change calls for: `restart` (of the sidecar), `capture` (applied anew), `reload` (of systemd).
    """

    path: str
    content: str
    owner: str = "root"
    mode: int = 0o644
    effects: tuple[str, ...] = ()


class Folder(t.NamedTuple):
    """One folder as it must be."""

    path: str
    owner: str = "root"
    mode: int = 0o755


FOLDERS = (
    Folder(STATE),
    Folder("/etc/certs", USER),
    Folder("/etc/istio"),
    Folder("/etc/istio/config", USER),
    Folder("/etc/istio/proxy", USER),
    Folder("/var/lib/istio/envoy", USER),
    Folder("/var/run/secrets", USER),
    Folder("/var/run/secrets/tokens", USER, 0o700),
)

# Name in the lookup's result -> where it goes, its mode, and what its change calls for.
GROUP_FILES = {
    "cluster.env": (CLUSTER_ENV, 0o644, ("restart", "capture")),
    "mesh.yaml": (MESH_CONFIG, 0o644, ("restart",)),
    # The agent writes this one itself, too, with this mode. It reads its roots when it connects, so only a restart
    # makes sure that new ones are in use.
    "root-cert.pem": (ROOT_CERTIFICATE, 0o600, ("restart",)),
}


def group_files(files: t.Mapping[str, str], current: t.Mapping[str, str | None]) -> list[File]:
    """The group's files as they must be, given what is on the machine.

    What says the same in other words stays as it is: istioctl writes a group's ports in random order, and the agent
    writes the root certificate that it got back into the file that it was given.
    """
    result = []
    for name, (path, mode, effects) in GROUP_FILES.items():
        content, there = files[name], current.get(path)
        if there is not None and _same(name, content, there):
            content = there
        result.append(File(path, content, USER, mode, effects))
    return result


def _same(name: str, content: str, there: str) -> bool:
    if name == "cluster.env":
        return _same_environment(content, there)
    if name == "root-cert.pem":
        return set(fingerprints(content)) <= set(fingerprints(there))
    return content == there


def _same_environment(one: str, other: str) -> bool:
    def normal(text: str) -> dict[str, t.Any]:
        values: dict[str, t.Any] = dict(_capture.parse_environment(text))
        values["ISTIO_INBOUND_PORTS"] = sorted(str(values.get("ISTIO_INBOUND_PORTS", "")).split(","))
        return values

    # A line that is no assignment is none of ours, and a shell may stumble over it.
    lines = [line for line in other.splitlines() if line.strip()]
    return len(lines) == len(_capture.parse_environment(other)) and normal(one) == normal(other)


def fingerprints(pem: str) -> list[str]:
    """SHA-256 fingerprints of the certificates in a PEM text, in order."""
    return [hashlib.sha256(der).hexdigest() for der in _certificate.pem_blocks(pem)]


def hosts_lines(text: str) -> list[tuple[str, list[str]]]:
    """The (address, names) pairs of a hosts file's text."""
    pairs = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        if len(words) > 1:
            pairs.append((words[0], words[1:]))
    return pairs


def managed_block(current: str, lines: str) -> str:
    """A file's text with our lines in it: in place where they are, at the end where they are not.

    An empty `lines` takes the block away. Markers without a partner are treated as ordinary lines, so that nothing
    of somebody else's is ever swallowed.
    """
    old = current.splitlines(keepends=True)
    stripped = [line.rstrip("\r\n") for line in old]
    new = [BEGIN + "\n", *(line + "\n" for line in lines.splitlines() if line.strip()), END + "\n"]
    if len(new) == 2:
        new = []
    begin = None
    for number, line in enumerate(stripped):
        if line == BEGIN:
            begin = number
        elif line == END and begin is not None:
            return "".join(old[:begin] + new + old[number + 1 :])
    if not new:
        return current
    if old and not old[-1].endswith("\n"):
        old[-1] += "\n"
    return "".join(old + new)


def without_block(text: str) -> str:
    """A file's text without our lines."""
    return managed_block(text, "")


def unit_environment(address: str | None, settings: t.Mapping[str, str], concurrency: int | None = None) -> str:
    """The EnvironmentFile of the sidecar's unit: what is this machine's own; without an address in an image."""
    values = dict(settings)
    # An address that the agent finds for itself is that of the first interface, which may be any.
    if address is not None:
        values["ISTIO_SVC_IP"] = address
    # The start script sets no rules; istio-capture.service does, once the sidecar is ready.
    values["ISTIO_CUSTOM_IP_TABLES"] = "true"
    if concurrency is not None:
        flags = values.get("ISTIO_AGENT_FLAGS", "")
        values["ISTIO_AGENT_FLAGS"] = f"{flags} --concurrency {concurrency}".strip()
    return _capture.render_environment(values)


def merge_pending(recorded: str | None, effects: t.Iterable[str]) -> list[str]:
    """The effects that are still to be done: those of an earlier run that was cut off, and those of this one."""
    return sorted(set((recorded or "").split()) | set(effects))
