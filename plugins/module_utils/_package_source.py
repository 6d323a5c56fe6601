# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Getting the sidecar's package onto a machine, and seeing that it is the one that was meant. Private to the collection."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import tempfile
import typing as t
import urllib.error

from ansible.module_utils.urls import open_url
from ansible_collections.hybridmesh.istio.plugins.module_utils import _package
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
