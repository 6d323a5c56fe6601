# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that a sidecar leaves on a machine, and how it is taken away. Private to the collection.

Nothing of somebody else's goes: folders that others use as well lose our files alone.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _atomic, _join, _package, _vm_facts, _vm_files

UNITS = ("istio-capture.service", "istio.service")
LOGS = _vm_files.LOGS
TIMER = "hybridmesh-deadman"

# Paths that are ours or the package's alone. A pattern stands for all that it matches.
OURS = (
    "/etc/systemd/system/istio-capture.service",
    "/etc/systemd/system/istio.service.d/50-hybridmesh.conf",
    "/etc/systemd/system/*.wants/istio-capture.service",
    "/etc/systemd/system/*.wants/istio.service",
    # Of machines that were made from an image.
    "/etc/systemd/system/istio-join*",
    "/etc/systemd/system/*.wants/istio-join*",
    "/etc/systemd/system/istio.service.d/60-hybridmesh-join.conf",
    "/etc/systemd/system-preset/10-hybridmesh-join.preset",
    _join.PROGRAM,
    _join.LIBRARY,
    _join.LOCK,
    "/etc/tmpfiles.d/hybridmesh-istio.conf",
    "/etc/logrotate.d/hybridmesh-istio",
    _vm_files.KEY,
    _vm_files.CERTIFICATE,
    _vm_files.ROOT_CERTIFICATE,
    _vm_files.TOKEN,
    "/run/secrets/workload-spiffe-uds",
    "/run/secrets/workload-spiffe-credentials",
    "/run/hybridmesh",
    "/etc/istio",
    "/var/lib/istio",
    "/var/lib/hybridmesh",
    _package.CACHE,
    _vm_files.STATE,
    # Last: until then it can take rules away.
    _vm_files.CAPTURE_SCRIPT,
)
# Folders that go if nothing of somebody else's is in them.
SHARED = ("/etc/systemd/system/istio.service.d", "/etc/certs", "/run/secrets/tokens", "/run/secrets")


def paths(keep_logs: bool) -> list[str]:
    """All that is there of OURS, and the logs unless they are kept."""
    found = [path for pattern in OURS for path in sorted(glob.glob(pattern)) or [pattern] if os.path.lexists(path)]
    return found + ([LOGS] if os.path.lexists(LOGS) and not keep_logs else [])


def processes() -> list[str]:
    """Processes of the sidecar: by their program, or by their user."""
    user = _vm_facts.sidecar_user()
    found = []
    for folder in glob.iglob("/proc/[0-9]*"):
        with contextlib.suppress(OSError):
            program = os.readlink(folder + "/exe").replace(" (deleted)", "")
            if program in _vm_facts.SIDECAR_PROGRAMS or (user is not None and os.stat(folder).st_uid == user[0]):
                found.append(f"{program} (PID {folder.rsplit('/', 1)[1]})")
    return sorted(found)


def remove_paths(keep_logs: bool) -> list[str]:
    """Removes them, and shared folders that are empty then; returns what went."""
    gone = []
    for path in paths(keep_logs):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
        gone.append(path)
    for folder in SHARED:
        with contextlib.suppress(OSError):
            os.rmdir(folder)
            gone.append(folder)
    return gone


def hosts_change() -> _atomic.Change | None:
    """What has to change in the hosts file, so that none of our lines is in it."""
    text = _atomic.read(_vm_files.HOSTS)
    if text is None:
        return None
    state = os.stat(_vm_files.HOSTS)
    wanted = _vm_files.without_block(text)
    return None if wanted == text else _atomic.Change(_vm_files.HOSTS, text, wanted, state.st_mode & 0o7777, "root")


def give_logs_to_root() -> None:
    """Kept logs belong to a user that goes."""
    if not os.path.isdir(LOGS):
        return
    for folder, _folders, files in os.walk(LOGS):
        for path in [folder, *(os.path.join(folder, name) for name in files)]:
            os.chown(path, 0, 0)


def left(run: t.Callable[[t.Sequence[str]], str], keep_logs: bool) -> list[str]:
    """What is still there, in words; empty where the machine is clean."""
    found = [f"the file {path}" for path in paths(keep_logs)]
    found += [f"the process {process}" for process in processes()]
    if _vm_facts.capture(run)["applied"]:
        found.append("rules of the capture (see iptables-save, iptables-legacy-save, nft list ruleset)")
    if _vm_facts.package(run)["version"] is not None:
        found.append("the package " + _package.NAME)
    if _vm_facts.sidecar_user() is not None:
        found.append("the user " + _vm_files.USER)
    found += [f"the unit {name}" for name, unit in _vm_facts.units(run).items() if unit["present"]]
    if hosts_change() is not None:
        found.append("lines in " + _vm_files.HOSTS)
    return found
