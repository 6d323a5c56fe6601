# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-builder takes what we declare for execution environments, and finds all that the collection needs.

It validates the file and makes the folder that an image is built from; no image is built here.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from ansible_builder._target_scripts import introspect

ROOT = Path(__file__).parents[2]
DECLARED = ROOT / "execution-environment.yml"
VERSION = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["version"]


def create(folder: Path, declared: str) -> subprocess.CompletedProcess[str]:
    """Runs `ansible-builder create` as a user does, beside the artifact of a release."""
    (folder / DECLARED.name).write_text(declared)
    (folder / "dist").mkdir()
    (folder / "dist" / f"hybridmesh-istio-{VERSION}.tar.gz").write_bytes(b"an artifact")
    command = [str(Path(sys.executable).parent / "ansible-builder"), "create", "--file", DECLARED.name]
    command += ["--context", "context", "--output-filename", "Containerfile"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_execution_environment_is_valid(tmp_path: Path) -> None:
    done = create(tmp_path, DECLARED.read_text(encoding="utf-8"))
    assert done.returncode == 0, done.stdout + done.stderr
    made = tmp_path / "context"
    wanted = yaml.safe_load((made / "_build" / "requirements.yml").read_text())["collections"]
    names = {item["name"] for item in wanted}
    assert {"kubernetes.core", "google.cloud", "awx.awx"} <= names
    # What the image is built from has the artifact of this version, at the path by which it is installed.
    artifact = f"collections/hybridmesh-istio-{VERSION}.tar.gz"
    assert artifact in names
    assert (made / "_build" / artifact).read_bytes() == b"an artifact"


def test_a_mistake_is_refused(tmp_path: Path) -> None:
    done = create(tmp_path, DECLARED.read_text(encoding="utf-8").replace("ansible_runner:", "ansible_runer:"))
    assert done.returncode != 0
    assert "ansible_runer" in done.stdout + done.stderr


def test_builders_find_what_the_collection_needs(tmp_path: Path) -> None:
    place = tmp_path / "ansible_collections" / "hybridmesh" / "istio"
    place.mkdir(parents=True)
    for name in ("meta", "requirements.txt", "bindep.txt"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, place / name)
    (place / "MANIFEST.json").write_text("{}")
    found = introspect.process(data_dir=str(tmp_path))
    python = [line for line in found["python"]["hybridmesh.istio"] if not line.startswith("#")]
    assert [line.split(">")[0] for line in python] == ["kubernetes", "google-auth", "requests"]
    system = [line.split()[0] for line in found["system"]["hybridmesh.istio"] if not line.startswith("#")]
    assert system == ["openssh-clients", "openssh-client"]
