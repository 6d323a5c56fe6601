#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The package of the Istio sidecar on its virtual machine, and the way back to the one before."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sidecar_package
short_description: The Istio sidecar's package on a virtual machine
version_added: 0.1.0
description:
  - Fetches the package, verifies its checksum, installs it over whatever version is there, and holds it, in one round trip.
    Nothing is started or restarted, so a sidecar that runs goes on with the program that it has.
  - Envoy's bootstrap template becomes the new package's (an edited one is kept as C(.dpkg-old)), C(sidecar.env) stays the
    user's.
  - With O(way_back), keeps the present package and files beforehand, to which O(state=previous) goes back without any
    network.
author:
  - hybridmesh.istio contributors (@hybridmesh)
extends_documentation_fragment:
  - hybridmesh.istio.attributes
options:
  state:
    description:
      - V(present) installs the package; V(previous) goes back to the package and files that were kept; V(settled) forgets
        them, once the new ones are proven.
    type: str
    choices: [present, previous, settled]
    default: present
  source:
    description: URL of the package, or its path on the machine. Without it only the hold is seen to.
    type: str
  checksum:
    description: SHA-256 of the package.
    type: str
  checksum_url:
    description: Where it is published, for a package whose O(checksum) is not given.
    type: str
  record:
    description: What to note as the package's origin. By default O(source).
    type: str
  istiod_version:
    description: Version of istiod, which refuses a package that is newer than it or too old for it.
    type: str
  way_back:
    description:
      - Whether the package that is installed is kept, with its files. Where no copy of it is on the machine it is fetched from
        O(way_back_source), and where that fails nothing is installed.
    type: bool
    default: false
  way_back_source:
    description: URL of the package that is installed.
    type: str
  hold:
    description: Whether other upgrades of the machine leave the package alone (C(apt-mark hold)).
    type: bool
    default: true
  keep:
    description:
      - Whether the package file stays in C(/var/cache/hybridmesh) after it is installed, so that an upgrade has a way back
        which needs no network.
    type: bool
    default: true
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: none
    details: The role calls it only where M(hybridmesh.istio.sidecar_info) shows that the package is not right.
seealso:
  - module: hybridmesh.istio.sidecar_info
"""

EXAMPLES = r"""
- name: Install the sidecar of a release
  hybridmesh.istio.sidecar_package:
    source: https://storage.googleapis.com/istio-release/releases/1.31.0/deb/istio-sidecar.deb
    checksum_url: https://storage.googleapis.com/istio-release/releases/1.31.0/deb/istio-sidecar.deb.sha256
    istiod_version: 1.31.0

- name: Go back to the one before
  hybridmesh.istio.sidecar_package:
    state: previous
"""

RETURN = r"""
version:
  description: Version of the package that was installed.
  returned: when one was
  type: str
previous:
  description: Version to which O(state=previous) would go back, or null.
  returned: always
  type: str
"""

import contextlib
import hashlib
import json
import os
import socket
import tempfile
import typing as t
import urllib.error

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.hybridmesh.istio.plugins.module_utils import (
    _atomic,
    _package,
    _sidecar_version,
    _vm_facts,
    _vm_files,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

# Seconds without a byte after which a download is given up.
_SILENCE = 30


def is_url(source: str) -> bool:
    """Whether a package is to be fetched."""
    return "://" in source


def unreachable(source: str, error: object) -> MeshError:
    """What to do where a file can't be had."""
    return MeshError(
        f"{source} can't be fetched: {error}",
        "the package and its checksum can be had from this machine",
        "check vm_sidecar_release_url and vm_sidecar_version; a machine that reaches no such server gets the package "
        "from the controller by vm_sidecar_package_path",
    )


def fetch(source: str, take: t.Callable[[bytes], t.Any] | None = None) -> bytes:
    """Reads a URL; what is long is given to `take` in blocks, and nothing is returned.

    Raises:
        MeshError: it can't be had, or not in full.
    """
    try:
        with contextlib.closing(open_url(source, timeout=_SILENCE, http_agent="hybridmesh.istio")) as answer:
            if take is None:
                return bytes(answer.read())
            expected = answer.headers.get("Content-Length")
            received = 0
            for block in iter(lambda: answer.read(1 << 20), b""):
                take(block)
                received += len(block)
            if expected and received != int(expected):
                raise unreachable(source, f"it was cut off after {received} of {expected} bytes")
    except urllib.error.HTTPError as error:
        raise unreachable(source, f"HTTP status {error.code}") from error
    except (urllib.error.URLError, socket.timeout, ConnectionError, ValueError) as error:
        raise unreachable(source, getattr(error, "reason", None) or error) from error
    except Exception as error:
        # http.client.IncompleteRead and what ansible's own client raises have no class in common.
        if isinstance(error, (MeshError, OSError)):
            raise
        raise unreachable(source, error) from error
    return b""


def fetch_file(source: str, path: str) -> str:
    """Reads a URL into a file; returns its SHA-256.

    Raises:
        MeshError: it can't be had, or not in full.
    """
    digest = hashlib.sha256()
    with open(path, "wb") as stream:

        def take(block: bytes) -> None:
            digest.update(block)
            stream.write(block)

        fetch(source, take)
    return digest.hexdigest()


def wanted_sum(source: str, checksum: str | None, checksum_url: str | None) -> str | None:
    """The SHA-256 that the package must have; None where nobody says."""
    if checksum:
        return checksum.partition(":")[2].lower() if ":" in checksum else checksum.lower()
    if not checksum_url:
        return None
    found = _package.published_checksum(fetch(checksum_url).decode("utf-8", "replace"), os.path.basename(source))
    if found is None:
        raise MeshError(
            f"{checksum_url} holds no SHA-256 for {os.path.basename(source)}",
            "the package's checksum, as sha256sum prints it",
            "set vm_sidecar_package_checksum",
        )
    return found


def obtain(source: str, checksum: str | None, checksum_url: str | None) -> tuple[str, str]:
    """The path of a verified copy of the package in our cache, and its SHA-256.

    Raises:
        MeshError: it can't be had, or is another one.
    """
    os.makedirs(_package.CACHE, mode=0o755, exist_ok=True)
    handle, path = tempfile.mkstemp(prefix=".fetched.", suffix=".deb", dir=_package.CACHE)
    os.close(handle)
    try:
        if is_url(source):
            expected = wanted_sum(source, checksum, checksum_url)
            found = fetch_file(source, path)
        else:
            expected = wanted_sum(source, checksum, None)
            os.replace(source, path)
            found = _package.sum_of(path)
        if expected and found != expected:
            raise MeshError(
                f"{source} has the SHA-256 {found}",
                f"{expected}, which was published or given for it",
                "fetch it again; if it stays so, somebody changed the file: do not use it before you know who",
            )
    except BaseException:
        os.unlink(path)
        raise
    os.chmod(path, 0o644)
    return path, found


def check_version(version: str, istiod: str | None) -> None:
    """Refuses a version that istiod does not support."""
    with contextlib.suppress(ValueError):
        fault = _sidecar_version.skew_fault(version, istiod) if istiod else None
        if fault:
            raise MeshError(
                f"the package is version {version}, {fault} ({istiod})",
                "istiod's version, or one that it supports",
                "upgrade the control plane first, or use the package of its version",
            )


def prepare_way_back(params: t.Mapping[str, t.Any], package: t.Mapping[str, t.Any]) -> None:
    """Sees to it that what is installed now can be had again.

    Raises:
        MeshError: it can't.
    """
    version = package["version"]
    if version is None or (_package.remembered() or {}).get("version") == version:
        return
    path = _package.kept_file(version)
    if not os.path.exists(path):
        source = params["way_back_source"]
        if not source:
            raise MeshError(
                f"the package of {version}, which is installed, is neither on this machine nor known to be elsewhere",
                "a way back before anything is changed",
                "set vm_sidecar_upgrade_way_back to false to go without",
            )
        fetched, _checksum = obtain(source, None, source + ".sha256")
        os.replace(fetched, path)
    _package.remember(version, path, package["record"])


def note_origin(source: str, checksum: str) -> None:
    """Writes down where the package came from, for the next run to compare with."""
    text = json.dumps({"checksum": checksum, "source": source}, sort_keys=True) + "\n"
    change = _atomic.compare_file(_vm_files.PACKAGE_RECORD, text, "root", 0o644)
    if change is not None:
        _atomic.apply([change])


def present(module: AnsibleModule, dpkg: _package.Dpkg, package: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Installs the package."""
    params = module.params
    if not params["source"]:
        dpkg.hold(params["hold"])
        return {"changed": True}
    path, checksum = obtain(params["source"], params["checksum"], params["checksum_url"])
    try:
        fields = dpkg.fields(path)
        check_version(fields.version, params["istiod_version"])
        if params["way_back"]:
            prepare_way_back(params, package)
        dpkg.install(path, fields)
        note_origin(params["record"] or params["source"], checksum)
        if params["hold"]:
            dpkg.hold()
        if params["keep"]:
            _package.keep(path, fields.version)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    return {"changed": True, "version": fields.version}


def previous(module: AnsibleModule, dpkg: _package.Dpkg) -> dict[str, t.Any]:
    """Goes back."""
    note = _package.remembered()
    if note is None:
        return {"changed": False}
    # Without a package only files were changed.
    if note["package"]:
        dpkg.install(note["package"], dpkg.fields(note["package"]))
    _package.restore_files()
    record = note["record"] or {}
    if record:
        note_origin(record.get("source", ""), record.get("checksum", ""))
    if note["package"] and module.params["hold"]:
        dpkg.hold()
    _package.forget()
    return {"changed": True, "version": note["version"]}


def main() -> None:
    """Runs the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "previous", "settled"], "default": "present"},
            "source": {"type": "str"},
            "checksum": {"type": "str"},
            "checksum_url": {"type": "str"},
            "record": {"type": "str"},
            "istiod_version": {"type": "str"},
            "way_back": {"type": "bool", "default": False},
            "way_back_source": {"type": "str"},
            "hold": {"type": "bool", "default": True},
            "keep": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    module.run_command_environ_update = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}

    def run(command: t.Sequence[str]) -> tuple[int, str, str]:
        code, out, err = module.run_command(list(command))
        return int(code), str(out), str(err)

    def text(command: t.Sequence[str]) -> str:
        return run(command)[1]

    state = module.params["state"]
    dpkg = _package.Dpkg(run)
    note = _package.remembered()
    result: dict[str, t.Any] = {"previous": note and note["version"]}
    try:
        if module.check_mode:
            result["changed"] = state == "present" or note is not None
        elif state == "present":
            result.update(present(module, dpkg, _vm_facts.package(text)))
        elif state == "previous":
            result.update(previous(module, dpkg))
        else:
            _package.forget()
            _package.tidy(_vm_facts.package(text)["version"])
            result["changed"] = note is not None
    except MeshError as error:
        module.fail_json(msg=str(error), found=error.found, expected=error.expected, next_step=error.next_step)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        module.fail_json(
            msg=f"Found: {error.strerror or error}{place}. Expected: the package can be written and installed. Next step: "
            "make room or mend that path, and run again."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
