#!/usr/bin/env python3
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes container images without a container engine: one archive as `docker save` makes it, with any number of images.

usage: images.py OUT SPECIFICATION

OUT/images.tar is written. The specification is JSON: {"images": [image, ...]}, an image being
    name        repository and tag
    base        a root file system to start from (a directory), or null for an empty image
    files       {path in the image: path here} of programs and files that are added
    directories {path in the image: mode, as a string of octal digits}
    text        {path in the image: content} of small text files
    config      the image's configuration as OCI has it (User, Entrypoint, Env, ...)
Images with the same base share its layer.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# What a machine needs and a container does not. Paths below the root.
LEFT_OUT = (
    "boot",
    "dev",
    "etc/systemd",
    "proc",
    "run",
    "sys",
    "tmp",
    "usr/lib/systemd",
    "usr/lib/udev",
    "usr/share/doc",
    "usr/share/locale",
    "usr/share/man",
    "var/cache",
    "var/lib/apt",
    "var/lib/dpkg",
    "var/lib/systemd",
    "var/log",
)
MOUNT_POINTS = {
    "dev": 0o755,
    "proc": 0o555,
    "sys": 0o555,
    "run": 0o755,
    "tmp": 0o1777,
    "var/log": 0o755,
    "var/cache": 0o755,
}


def members_of(base: Path) -> Iterator[Path]:
    """Everything below `base` that belongs into an image, in a fixed order."""
    for folder, directories, files in os.walk(base):
        here = Path(folder)
        inside = here.relative_to(base)
        directories[:] = sorted(d for d in directories if str(inside / d) not in LEFT_OUT)
        for name in sorted([*directories, *files]):
            mode = (here / name).lstat().st_mode
            if stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
                yield here / name


def directory(name: str, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE
    info.mode = mode
    return info


class Layers:
    """Layers on disk, named by their content; equal ones are kept once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bases: dict[Path, str] = {}

    def _finish(self, draft: Path) -> str:
        with draft.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        draft.rename(self.folder / digest)
        return digest

    def base(self, root: Path) -> str:
        """The layer with a whole root file system."""
        if root not in self.bases:
            draft = self.folder / "draft"
            with tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as tar:
                for name, mode in MOUNT_POINTS.items():
                    tar.addfile(directory(name, mode))
                for path in members_of(root):
                    tar.add(path, arcname=str(path.relative_to(root)), recursive=False)
            self.bases[root] = self._finish(draft)
        return self.bases[root]

    def own(self, image: dict[str, Any]) -> str:
        """The layer with what is this image's own."""
        draft = self.folder / "draft"
        made: set[str] = set()
        with tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as tar:

            def parents(name: str) -> None:
                # Where there is a base, its directories keep the modes that they have.
                for parent in reversed(Path(name).parents):
                    here = str(parent)
                    known = image.get("base") and (Path(image["base"]) / here).exists()
                    if here != "." and here not in made and not known:
                        made.add(here)
                        tar.addfile(directory(here, 0o755))

            for name, mode in image.get("directories", {}).items():
                parents(name.lstrip("/"))
                made.add(name.lstrip("/"))
                tar.addfile(directory(name.lstrip("/"), int(mode, 8)))
            for name, source in image.get("files", {}).items():
                parents(name.lstrip("/"))
                info = tarfile.TarInfo(name.lstrip("/"))
                info.size = Path(source).stat().st_size
                info.mode = 0o755 if os.access(source, os.X_OK) else 0o644
                with open(source, "rb") as stream:
                    tar.addfile(info, stream)
            for name, content in image.get("text", {}).items():
                parents(name.lstrip("/"))
                info = tarfile.TarInfo(name.lstrip("/"))
                info.mode = 0o644
                info.size = len(content.encode())
                tar.addfile(info, io.BytesIO(content.encode()))
        return self._finish(draft)


def write(out: Path, images: list[dict[str, Any]]) -> None:
    """The archive with these images."""
    folder = out / "layers"
    folder.mkdir()
    layers = Layers(folder)
    manifest = []
    configurations: dict[str, bytes] = {}
    used: dict[str, None] = {}
    for image in images:
        stack = [layers.base(Path(image["base"]))] if image.get("base") else []
        stack.append(layers.own(image))
        configuration = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": image.get("config", {}),
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in stack]},
            },
            sort_keys=True,
        ).encode()
        name = f"{hashlib.sha256(configuration).hexdigest()}.json"
        configurations[name] = configuration
        used.update(dict.fromkeys(stack))
        manifest.append(
            {"Config": name, "RepoTags": [image["name"]], "Layers": [f"{digest}/layer.tar" for digest in stack]}
        )
    with tarfile.open(out / "images.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in {**configurations, "manifest.json": json.dumps(manifest).encode()}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for digest in used:
            tar.add(folder / digest, arcname=f"{digest}/layer.tar")
    for layer in folder.iterdir():
        layer.unlink()
    folder.rmdir()


if __name__ == "__main__":
    write(Path(sys.argv[1]), json.loads(sys.argv[2])["images"])
