# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installing the sidecar's package on a machine, with a way back. Private to the collection."""

from __future__ import annotations

import contextlib
import json
import os
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import (
    _atomic,
    _package,
    _package_source,
    _sidecar_version,
    _vm_files,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

Params = t.Mapping[str, t.Any]


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


def prepare_way_back(source: str | None, package: Params) -> None:
    """Sees to it that what is installed now can be had again.

    Args:
        source: URL of the package that is installed, or None.
        package: what `_vm_facts.package` says of it.

    Raises:
        MeshError: it can't.
    """
    version = package["version"]
    if version is None or (_package.remembered() or {}).get("version") == version:
        return
    path = _package.kept_file(version)
    if not os.path.exists(path):
        if not source:
            raise MeshError(
                f"the package of {version}, which is installed, is neither on this machine nor known to be elsewhere",
                "a way back before anything is changed",
                "set vm_sidecar_upgrade_way_back to false to go without",
            )
        fetched, _checksum = _package_source.obtain(source, None, source + ".sha256")
        os.replace(fetched, path)
    _package.remember(version, path, package["record"])


def note_origin(source: str, checksum: str) -> None:
    """Writes down where the package came from, for the next run to compare with."""
    text = json.dumps({"checksum": checksum, "source": source}, sort_keys=True) + "\n"
    change = _atomic.compare_file(_vm_files.PACKAGE_RECORD, text, "root", 0o644)
    if change is not None:
        _atomic.apply([change])


def install(params: Params, way_back: bool, dpkg: _package.Dpkg, package: Params) -> str | None:
    """Fetches, verifies, installs and holds the package; without a source it is only held, or no longer.

    Args:
        params: the module's options about the package.
        way_back: whether what is installed now is kept.
        dpkg: the machine's package manager.
        package: what `_vm_facts.package` says of what is installed.

    Returns:
        The version that was installed, or None.

    Raises:
        MeshError: it can't be had, is another one, or can't be installed.
    """
    if not params["source"]:
        dpkg.hold(params["hold"])
        return None
    path, checksum = _package_source.obtain(params["source"], params["checksum"], params["checksum_url"])
    try:
        fields = dpkg.fields(path)
        check_version(fields.version, params["istiod_version"])
        if way_back:
            prepare_way_back(params["way_back_source"], package)
        dpkg.install(path, fields)
        note_origin(params["record"] or params["source"], checksum)
        if params["hold"]:
            dpkg.hold()
        if params["keep"]:
            _package.keep(path, fields.version)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    return fields.version


def go_back(hold: bool, dpkg: _package.Dpkg) -> str | None:
    """Puts the package and files back that were kept; does nothing where there are none.

    Returns:
        The version that is installed now, None where only files were changed.

    Raises:
        MeshError: it can't be installed.
    """
    note = _package.remembered()
    if note is None:
        return None
    # Without a package only files were changed.
    if note["package"]:
        dpkg.install(note["package"], dpkg.fields(note["package"]))
    _package.restore_files()
    record = note["record"] or {}
    if record:
        note_origin(record.get("source", ""), record.get("checksum", ""))
    if note["package"] and hold:
        dpkg.hold()
    _package.forget()
    version: str | None = note["version"]
    return version
