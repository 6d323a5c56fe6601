# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What no image may hold, since all machines that are made from it would share it. Private to the collection."""

from __future__ import annotations

import contextlib
import glob
import os
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _capture, _join, _vm_facts, _vm_files

MACHINE_ID = "/etc/machine-id"
DBUS_MACHINE_ID = "/var/lib/dbus/machine-id"
HOST_KEYS = "/etc/ssh/ssh_host_*_key"
# What runs of this machine's own: an image's joins when it is started.
RUNNING = ("istio.service", "istio-capture.service")
CERTIFICATES = "/etc/certs"
# Notes about this machine that are no secret, and true of no other.
NOTES = (_vm_files.PROVEN, _join.JOINED, _vm_files.PENDING)

CLEAN = "set vm_sidecar_image_clean to true"


class Trace(t.NamedTuple):
    """One thing that must not be in an image.

    Attributes:
        kind: sidecar, key, certificate, token, ssh_host_key, machine_id or address.
        what: it, in words.
        remedy: what to do about it by hand.
        path: the file, None where it is none.
        cleanable: whether the role may take it away.
    """

    kind: str
    what: str
    remedy: str
    path: str | None = None
    cleanable: bool = True


def traces(run: t.Callable[[t.Sequence[str]], str], source: t.Mapping[str, t.Any]) -> list[Trace]:
    """All of them.

    Args:
        run: runs a command and returns what it prints.
        source: the source of the image's machines; its file is theirs, not the image's.
    """
    return [*_running(run), *_certificates(), *_tokens(source), *_host_keys(), *_machine_ids(), *_addresses()]


def _running(run: t.Callable[[t.Sequence[str]], str]) -> t.Iterator[Trace]:
    for name, unit in _vm_facts.units(run, RUNNING).items():
        if unit["active"] in ("active", "activating"):
            yield Trace("sidecar", f"{name} runs", "take the machine out of the mesh (playbook offboard)")
        elif unit["enabled"] and unit["present"]:
            yield Trace("sidecar", f"{name} starts at boot", f"systemctl disable {name}")


def _certificates() -> t.Iterator[Trace]:
    known = {_vm_files.KEY, _vm_files.CERTIFICATE}
    for path in sorted(known | set(glob.glob(CERTIFICATES + "/*"))):
        text = _vm_facts.read(path) if os.path.isfile(path) else None
        if text is None:
            continue
        if "PRIVATE KEY" in text or path == _vm_files.KEY:
            yield Trace("key", f"the key {path}", f"rm {path}", path, path in known)
        elif path == _vm_files.CERTIFICATE:
            yield Trace("certificate", f"the certificate {path}", f"rm {path}", path)


def _tokens(source: t.Mapping[str, t.Any]) -> t.Iterator[Trace]:
    if os.path.exists(_vm_files.TOKEN):
        yield Trace("token", f"the token {_vm_files.TOKEN}", f"rm {_vm_files.TOKEN}", _vm_files.TOKEN)
    path = source.get("path") if source.get("kind") == "file" else None
    # What lies in memory, such as cloud-init's data of this very boot, is in no image.
    if path and os.path.exists(path) and not str(os.path.realpath(path)).startswith("/run/"):
        step = f"rm {path}: whoever starts machines gives it to each of them"
        yield Trace("token", f"the source's file {path}", step, path, cleanable=False)


def _host_keys() -> t.Iterator[Trace]:
    for path in sorted(glob.glob(HOST_KEYS)):
        step = f"rm {path}* as the last step, and have them made at boot (cloud-init does, or ssh-keygen -A)"
        yield Trace("ssh_host_key", f"the ssh host key {path}", step, path)


def _machine_ids() -> t.Iterator[Trace]:
    for path in (MACHINE_ID, DBUS_MACHINE_ID):
        if os.path.islink(path):
            continue
        text = (_vm_facts.read(path) or "").strip()
        if text and text != "uninitialized":
            # Empty, not missing: systemd would take a missing one for a machine that was never set up at all.
            yield Trace("machine_id", f"a machine-id in {path}", f"truncate -s 0 {path}", path)


def _addresses() -> t.Iterator[Trace]:
    for path in (_vm_files.UNIT_ENV, _vm_files.SIDECAR_ENV, _vm_files.CLUSTER_ENV):
        values = _capture.parse_environment(_vm_facts.read(path) or "")
        if values.get("ISTIO_SVC_IP"):
            step = f"remove the line ISTIO_SVC_IP from {path}"
            # The role's own file is written anew anyway.
            yield Trace(
                "address",
                f"the pinned address {values['ISTIO_SVC_IP']} in {path}",
                step,
                path,
                path == _vm_files.UNIT_ENV,
            )


def clean(found: t.Iterable[Trace]) -> None:
    """Takes away what may be taken away.

    Raises:
        OSError: it can't be.
    """
    for trace in found:
        if trace.path is None or not trace.cleanable or trace.kind == "address":
            continue
        if trace.kind == "machine_id" and trace.path == MACHINE_ID:
            os.truncate(trace.path, 0)
            continue
        paths = [trace.path, trace.path + ".pub"] if trace.kind == "ssh_host_key" else [trace.path]
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def forget() -> None:
    """Removes the notes about this machine."""
    for path in NOTES:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
