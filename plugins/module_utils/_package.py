# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidecar's package on a machine: getting the file, installing it, and the way back. Private to the collection.

Commands are run by `Dpkg`, which a module makes with its own way of running them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _vm_files
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

NAME = "istio-sidecar"
CACHE = "/var/cache/hybridmesh"
POLICY = "/usr/sbin/policy-rc.d"
TEMPLATE = "/var/lib/istio/envoy/envoy_bootstrap_tmpl.json"
# What a roll-back puts back beside the package. Certificates and tokens are not of the package's version.
KEPT_FILES = (
    _vm_files.CLUSTER_ENV,
    _vm_files.SIDECAR_ENV,
    _vm_files.MESH_CONFIG,
    _vm_files.ROOT_CERTIFICATE,
    _vm_files.UNIT_ENV,
    _vm_files.CAPTURE_ENV,
    TEMPLATE,
)
# dpkg waits for nobody; apt does, if told to.
_LOCK_PATIENCE = 120

# Runs a command: (exit status, output, errors).
Run = t.Callable[[t.Sequence[str]], t.Tuple[int, str, str]]


def published_checksum(text: str, name: str) -> str | None:
    """The SHA-256 in a checksum file: a bare sum, or that of the line which names the file."""
    sums = []
    for line in text.splitlines():
        words = line.split()
        if words and re.fullmatch(r"[0-9a-fA-F]{64}", words[0]):
            if len(words) > 1 and os.path.basename(words[-1].lstrip("*")) == name:
                return words[0].lower()
            sums.append(words[0].lower())
    return sums[0] if len(sums) == 1 else None


def sum_of(path: str) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def kept_file(version: str) -> str:
    """Where the package of a version is kept."""
    return os.path.join(CACHE, f"{NAME}_{version}.deb")


class Fields(t.NamedTuple):
    """What a package file says of itself."""

    name: str
    version: str
    architecture: str
    depends: list[str]


class Dpkg:
    """The machine's package manager."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def fields(self, path: str) -> Fields:
        """Reads a package file's description.

        Raises:
            MeshError: it is none, or not the sidecar's.
        """
        code, out, err = self._run(["dpkg-deb", "--field", path, "Package", "Version", "Architecture", "Depends"])
        values = dict(line.split(": ", 1) for line in out.splitlines() if ": " in line)
        if code or values.get("Package") != NAME:
            raise MeshError(
                f"{path} is " + (f"the package {values['Package']}" if "Package" in values else f"no package ({err})"),
                f"a Debian package of {NAME}",
                "check where the package comes from (vm_sidecar_package_path, vm_sidecar_package_url)",
            )
        names = [re.split(r"[\s(|:]", part.strip())[0] for part in values.get("Depends", "").split(",")]
        return Fields(NAME, values.get("Version", ""), values.get("Architecture", ""), [name for name in names if name])

    def missing(self, names: t.Sequence[str]) -> list[str]:
        """Packages of a list that are not installed."""
        if not names:
            return []
        _code, out, _err = self._run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names])
        there = {line.split()[0] for line in out.splitlines() if line.endswith(" installed")}
        return [name for name in names if name not in there]

    def install(self, path: str, fields: Fields) -> None:
        """Installs a package file, over whatever version is there. The service is neither started nor restarted.

        Raises:
            MeshError: it can't be installed.
        """
        keep = ["--force-confdef", "--force-confold"]
        if self.missing(fields.depends):
            # Only apt fetches what the package needs; it costs a second, so it is asked only then.
            options = [word for option in keep for word in ("-o", f"Dpkg::Options::={option}")]
            command = ["apt-get", "install", "--yes", "--allow-downgrades", "--allow-change-held-packages"]
            command += ["--no-install-recommends", "-o", f"DPkg::Lock::Timeout={_LOCK_PATIENCE}", *options, path]
        else:
            command = ["dpkg", *keep, "--install", path]
        with services_left_alone():
            code, out, err = self._patiently(command)
        if code:
            raise MeshError(
                f"{command[0]} fails: {(err or out).strip()[-600:]}",
                f"{NAME} {fields.version} can be installed",
                "mend what it says (dpkg --audit, apt-get --fix-broken install) and run again",
            )
        take_new_template()

    def hold(self, on: bool = True) -> None:
        """Keeps other upgrades of the machine from replacing the package, or lets them."""
        code, _out, err = self._run(["apt-mark", "hold" if on else "unhold", NAME])
        if code:
            raise MeshError(f"apt-mark fails: {err.strip()}", f"{NAME} can be held", "see apt-mark showhold")

    def _patiently(self, command: list[str]) -> tuple[int, str, str]:
        end = time.monotonic() + _LOCK_PATIENCE
        while True:
            code, out, err = self._run(command)
            if not code or "lock" not in err or time.monotonic() > end:
                return code, out, err
            time.sleep(1)


@contextlib.contextmanager
def services_left_alone() -> t.Iterator[None]:
    """Keeps packages from starting services meanwhile, as long as the administrator has no policy of his own."""
    ours = not os.path.exists(POLICY)
    if ours:
        with open(POLICY, "w", encoding="ascii") as stream:
            stream.write("#!/bin/sh\nexit 101\n")
        os.chmod(POLICY, 0o755)
    try:
        yield
    finally:
        if ours:
            os.unlink(POLICY)


def take_new_template() -> None:
    """Puts the new package's bootstrap template in place where dpkg kept an edited one.

    It belongs to Envoy's version and changes with almost every minor; the edited one stays beside it as .dpkg-old.
    What the user set in sidecar.env stays.
    """
    if os.path.exists(TEMPLATE + ".dpkg-dist"):
        os.replace(TEMPLATE, TEMPLATE + ".dpkg-old")
        os.replace(TEMPLATE + ".dpkg-dist", TEMPLATE)


def keep(path: str, version: str) -> None:
    """Keeps a package file for a later way back, and no other one beside it and those of `PREVIOUS`."""
    shutil.move(path, kept_file(version))
    tidy(version)


def tidy(version: str | None) -> None:
    """Removes the package files that nothing needs any more."""
    if not os.path.isdir(CACHE):
        return
    wanted = kept_file(version or "")
    spared = {wanted, (remembered() or {}).get("package")}
    for name in os.listdir(CACHE):
        other = os.path.join(CACHE, name)
        if name.startswith(NAME + "_") and other not in spared:
            os.unlink(other)


def remember(version: str | None, package: str | None, record: t.Any) -> None:
    """Notes how to come back to what runs now: its package (None if that does not change) and its files."""
    forget()
    folder = os.path.join(_vm_files.PREVIOUS, "files")
    os.makedirs(folder, mode=0o700)
    os.chmod(_vm_files.PREVIOUS, 0o700)
    files = {}
    for number, path in enumerate(path for path in KEPT_FILES if os.path.exists(path)):
        shutil.copy2(path, os.path.join(folder, str(number)))
        state = os.stat(path)
        os.chown(os.path.join(folder, str(number)), state.st_uid, state.st_gid)
        files[str(number)] = path
    note = {"version": version, "package": package, "record": record, "files": files}
    temporary = _vm_files.PREVIOUS + "/.note"
    with open(temporary, "w", encoding="utf-8") as stream:
        json.dump(note, stream)
        stream.flush()
        os.fsync(stream.fileno())
    # Last: a note that is there is whole.
    os.rename(temporary, _vm_files.PREVIOUS + "/note.json")


def remembered() -> dict[str, t.Any] | None:
    """The note of `remember`, or None."""
    try:
        with open(_vm_files.PREVIOUS + "/note.json", encoding="utf-8") as stream:
            note: dict[str, t.Any] = json.load(stream)
    except (OSError, ValueError):
        return None
    return note


def restore_files() -> None:
    """Puts the files of `remember` back, with their owners and modes."""
    for name, path in (remembered() or {"files": {}})["files"].items():
        source = os.path.join(_vm_files.PREVIOUS, "files", name)
        temporary = path + ".hybridmesh"
        shutil.copy2(source, temporary)
        state = os.stat(source)
        os.chown(temporary, state.st_uid, state.st_gid)
        os.rename(temporary, path)


def forget() -> None:
    """Forgets the way back."""
    shutil.rmtree(_vm_files.PREVIOUS, ignore_errors=True)
