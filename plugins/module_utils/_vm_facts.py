# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that the role must know of a virtual machine, read on the machine. Private to the collection.

Reads only. Imports little, since this runs on every machine at every run.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import platform
import pwd
import re
import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _capture, _certificate, _vm_files
from ansible_collections.hybridmesh.istio.plugins.module_utils._reach import Run

PACKAGE = "istio-sidecar"
PORTS = (15000, 15090)
DNS_PORT = 15053
UNITS = ("istio.service", "istio-capture.service", "hybridmesh-deadman.timer")
HELD = "/run/hybridmesh/held"
# Where the package, its programs and its state go.
DISK_PATHS = ("/usr/local/bin", "/var/lib", "/etc")
SIDECAR_PROGRAMS = ("/usr/local/bin/envoy", "/usr/local/bin/pilot-agent")
_LISTEN = "0A"


def read(path: str) -> str | None:
    """A file's text, or None where it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return None


def system() -> dict[str, t.Any]:
    """The operating system, by os-release, and the machine's kind in Debian's words."""
    values = _capture.parse_environment(read("/etc/os-release") or read("/usr/lib/os-release") or "")
    machine = platform.machine()
    return {
        "os": {
            "id": values.get("ID", ""),
            "version_id": values.get("VERSION_ID", ""),
            "pretty_name": values.get("PRETTY_NAME", ""),
        },
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine),
        "python": platform.python_version(),
        "systemd": os.path.isdir("/run/systemd/system"),
        "hostname": platform.node(),
        "uid": os.geteuid(),
    }


def package(run: Run) -> dict[str, t.Any]:
    """The sidecar's package: `version` (null if not installed), `status`, whether it is `held`, our `record` of its source."""
    query = ["dpkg-query", "-W", "-f", "${db:Status-Want} ${db:Status-Status} ${Version}", PACKAGE]
    want, *shown = run(query).split() or [""]
    record = read(_vm_files.PACKAGE_RECORD)
    try:
        recorded = json.loads(record) if record else None
    except ValueError:
        recorded = None
    present = len(shown) == 2 and shown[0] not in ("not-installed", "config-files")
    return {
        "version": shown[1] if present else None,
        "status": shown[0] if present else "absent",
        "held": present and want == "hold",
        "record": recorded if present else None,
    }


def units(run: Run, names: t.Sequence[str] = UNITS) -> dict[str, dict[str, t.Any]]:
    """State of systemd units: present, active, enabled."""
    shown = run(["systemctl", "show", "--property=Id,LoadState,ActiveState,SubState,UnitFileState", *names])
    result = {name: {"present": False, "active": "inactive", "sub": "dead", "enabled": False} for name in names}
    for block in shown.strip().split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if values.get("Id") in result:
            result[values["Id"]] = {
                "present": values.get("LoadState") not in ("not-found", "", None),
                "active": values.get("ActiveState", "inactive"),
                "sub": values.get("SubState", "dead"),
                "enabled": values.get("UnitFileState") in ("enabled", "static", "generated", "enabled-runtime"),
            }
    return result


def _sockets() -> t.Iterator[tuple[str, int, str]]:
    """(protocol, port, inode) of every listening TCP socket, and of UDP ones on the agent's DNS port."""
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        for line in (read("/proc/net/" + protocol) or "").splitlines()[1:]:
            fields = line.split()
            if len(fields) < 10:
                continue
            port = int(fields[1].rsplit(":", 1)[1], 16)
            if fields[3] == _LISTEN or (protocol.startswith("udp") and port == DNS_PORT):
                yield protocol[:3], port, fields[9]


def _owners(inodes: set[str]) -> dict[str, int]:
    """The process behind each of some sockets, as far as it can be seen."""
    owners = {}
    for link in glob.iglob("/proc/[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            target = os.readlink(link)
            if target.startswith("socket:[") and target[8:-1] in inodes:
                owners[target[8:-1]] = int(link.split("/")[2])
    return owners


def _program(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def _command(pid: int) -> str:
    """What a process is called."""
    return (read(f"/proc/{pid}/comm") or "").strip() or os.path.basename(_program(pid))


def _unit_of(pid: int) -> str:
    """The service of systemd that a process belongs to, by its control groups."""
    found = re.findall(r"/([^/\n]+\.service)(?:/|$)", read(f"/proc/{pid}/cgroup") or "", re.MULTILINE)
    return str(found[-1]) if found else ""


def holders(wanted: int) -> list[dict[str, t.Any]]:
    """Who listens on a TCP port: `pid`, `command` and `unit`, as far as they can be seen."""
    inodes = {inode for protocol, port, inode in _sockets() if (protocol, port) == ("tcp", wanted)}
    owners = _owners(inodes)
    seen = [
        {"pid": pid, "command": _command(pid) if pid else "", "unit": _unit_of(pid) if pid else ""}
        for pid in {owners.get(inode) for inode in inodes}
    ]
    return sorted(seen, key=lambda holder: holder["pid"] or 0)


def listeners(run: Run) -> tuple[list[dict[str, t.Any]], list[int]]:
    """Who listens on the sidecar's ports, and the ports that sshd listens on."""
    sockets = list(_sockets())
    low, high = PORTS
    owners = _owners({inode for protocol, port, inode in sockets if protocol == "tcp" or low <= port <= high})
    seen: dict[tuple[str, int], dict[str, t.Any]] = {}
    ssh: set[int] = set()
    for protocol, port, inode in sockets:
        pid = owners.get(inode)
        program = _program(pid) if pid else ""
        if protocol == "tcp" and os.path.basename(program).startswith("sshd"):
            ssh.add(port)
        if low <= port <= high:
            seen[protocol, port] = {
                "port": port,
                "protocol": protocol,
                "pid": pid,
                "command": _command(pid) if pid else None,
                "sidecar": program.replace(" (deleted)", "") in SIDECAR_PROGRAMS,
            }
    # Where systemd opens the socket for sshd (Ubuntu since 22.10), no process called sshd listens.
    for line in run(["systemctl", "show", "--property=Listen", "ssh.socket"]).splitlines():
        ssh.update(int(port) for port in re.findall(r":(\d+) \(Stream\)", line))
    return [seen[key] for key in sorted(seen)], sorted(ssh | connection_ports())


def connection_ports() -> set[int]:
    """The port of this machine that the ssh connection of this very process came in by."""
    pid = os.getpid()
    while pid > 1:
        # sudo clears the environment, its parents have it still.
        for item in (read(f"/proc/{pid}/environ") or "").split("\0"):
            if item.startswith("SSH_CONNECTION="):
                words = item.split()
                return {int(words[3])} if len(words) == 4 and words[3].isdigit() else set()
        try:
            pid = int((read(f"/proc/{pid}/stat") or "").rsplit(")", 1)[1].split()[1])
        except (IndexError, ValueError):
            break
    return set()


def stale_program() -> bool:
    """Whether a sidecar still runs from a file that was replaced since."""
    for link in glob.iglob("/proc/[0-9]*/exe"):
        with contextlib.suppress(OSError):
            if os.readlink(link) in [program + " (deleted)" for program in SIDECAR_PROGRAMS]:
                return True
    return False


def certificate(now: float) -> dict[str, t.Any]:
    """The workload certificate and the roots in /etc/certs; never the key's content."""
    chain = read(_vm_files.CERTIFICATE)
    result: dict[str, t.Any] = {"present": chain is not None, "key": os.path.exists(_vm_files.KEY)}
    if chain is not None:
        result.update(_certificate.describe_certificate(chain, now))
    result["roots"] = _vm_files.fingerprints(read(_vm_files.ROOT_CERTIFICATE) or "")
    return result


def token(now: float) -> dict[str, t.Any]:
    """Whether there is a token and what it says of itself; never its content."""
    text = read(_vm_files.TOKEN)
    if text is None:
        return {"present": False}
    return dict(_certificate.describe_token(text, now), present=True)


def capture(run: Run) -> dict[str, t.Any]:
    """Whether rules that send traffic to the sidecar are set, by any of the tools that can set them."""
    applied = False
    for program in ("iptables-legacy-save", "iptables-nft-save", "ip6tables-legacy-save", "ip6tables-nft-save"):
        applied = applied or " ISTIO_" in run([program])
    if not applied and os.path.exists("/usr/sbin/nft"):
        applied = "istio-proxy" in run(["/usr/sbin/nft", "list", "tables"])
    bypassed = read(_vm_files.BYPASSED)
    return {
        "applied": applied,
        "held": os.path.exists(HELD),
        "bypassed": bypassed.strip() or "by hand" if bypassed is not None else None,
    }


def hosts(names: t.Container[str]) -> list[dict[str, t.Any]]:
    """The lines of /etc/hosts, outside our own, that speak of some names."""
    entries = []
    for address, line in _vm_files.hosts_lines(_vm_files.without_block(read(_vm_files.HOSTS) or "")):
        about = [name for name in line if name in names]
        if about:
            entries.append({"address": address, "names": about})
    return entries


def disk() -> dict[str, dict[str, t.Any]]:
    """Free space where the sidecar's files go; inodes are null where the file system does not count them."""
    result = {}
    for path in DISK_PATHS:
        with contextlib.suppress(OSError):
            state = os.statvfs(path)
            result[path] = {
                "megabytes": state.f_bavail * state.f_frsize >> 20,
                "inodes": state.f_favail if state.f_files else None,
            }
    return result


def sidecar_user() -> tuple[int, int] | None:
    """User and group ID that the sidecar runs as, once its package is there."""
    try:
        entry = pwd.getpwnam(_vm_files.USER)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid


def pinned_address() -> str | None:
    """The address that the sidecar tells the mesh; None where the role (or a boot) has not written one."""
    return _capture.parse_environment(read(_vm_files.UNIT_ENV) or "").get("ISTIO_SVC_IP")


def _number(text: str | None) -> int | None:
    return int(text) if text and text.strip().isdigit() else None


def collect(run: Run, names: t.Container[str]) -> dict[str, t.Any]:
    """All facts that cost no waiting; `run` runs a command and returns what it prints."""
    now = time.time()
    on_ports, ssh_ports = listeners(run)
    sidecar_env = _capture.parse_environment(read(_vm_files.SIDECAR_ENV) or "")
    return dict(
        system(),
        time=now,
        package=package(run),
        units=units(run),
        listeners=on_ports,
        ssh_ports=ssh_ports,
        stale_program=stale_program(),
        certificate=certificate(now),
        token=token(now),
        capture=capture(run),
        hosts=hosts(names),
        disk=disk(),
        sidecar_env=sidecar_env,
        pinned_address=pinned_address(),
        proven=_number(read(_vm_files.PROVEN)),
        way_back=os.path.exists(_vm_files.PREVIOUS),
    )
