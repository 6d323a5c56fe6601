# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of installing the sidecar's package, with a package manager that writes down what it is told."""

from __future__ import annotations

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _package, _package_install, _vm_files
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

WANTED = {
    "source": None,
    "checksum": None,
    "checksum_url": None,
    "record": "the release",
    "istiod_version": "1.31.0",
    "way_back_source": None,
    "hold": True,
    "keep": True,
}
INSTALLED = {"version": "1.30.4", "record": {"source": "before", "checksum": "1"}}


class Manager:
    """Takes every package file for version 1.31.0."""

    def __init__(self, version="1.31.0"):
        self.version = version
        self.told = []

    def fields(self, path):
        return _package.Fields("istio-sidecar", self.version, "amd64", [])

    def install(self, path, fields):
        with open(path, encoding="ascii") as stream:
            self.told.append(f"install {stream.read()}")

    def hold(self, on=True):
        self.told.append("hold" if on else "unhold")


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    monkeypatch.setattr(_package, "CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(_vm_files, "PREVIOUS", str(tmp_path / "previous"))
    monkeypatch.setattr(_vm_files, "PACKAGE_RECORD", str(tmp_path / "record.json"))
    monkeypatch.setattr(_package, "KEPT_FILES", (str(tmp_path / "cluster.env"),))
    monkeypatch.setattr(_package_install._atomic, "ids", lambda owner: (0, 0))
    monkeypatch.setattr(_package_install._atomic.os, "chown", lambda *arguments: None)
    (tmp_path / "cluster.env").write_text("old")
    (tmp_path / "new.deb").write_text("new")
    return tmp_path


def test_a_package_is_installed_held_recorded_and_kept(machine):
    manager = Manager()
    version = _package_install.install({**WANTED, "source": str(machine / "new.deb")}, False, manager, INSTALLED)
    assert version == "1.31.0"
    assert manager.told == ["install new", "hold"]
    assert '"source": "the release"' in (machine / "record.json").read_text()
    assert [path.name for path in (machine / "cache").iterdir()] == ["istio-sidecar_1.31.0.deb"]
    assert not (machine / "previous").exists()


def test_without_a_source_it_is_only_held():
    manager = Manager()
    assert _package_install.install(WANTED, False, manager, INSTALLED) is None
    assert _package_install.install({**WANTED, "hold": False}, False, manager, INSTALLED) is None
    assert manager.told == ["hold", "unhold"]


def test_the_way_back_leads_to_package_and_files(machine):
    (machine / "cache").mkdir()
    (machine / "cache/istio-sidecar_1.30.4.deb").write_text("old package")
    manager = Manager()
    _package_install.install({**WANTED, "source": str(machine / "new.deb")}, True, manager, INSTALLED)
    (machine / "cluster.env").write_text("new")
    assert _package_install.go_back(True, manager) == "1.30.4"
    assert manager.told == ["install new", "hold", "install old package", "hold"]
    assert (machine / "cluster.env").read_text() == "old"
    assert '"source": "before"' in (machine / "record.json").read_text()
    assert _package_install.go_back(True, manager) is None


def test_a_version_that_is_refused_leaves_everything(machine):
    manager = Manager("1.32.0")
    with pytest.raises(MeshError, match="newer than the control plane"):
        _package_install.install({**WANTED, "source": str(machine / "new.deb")}, False, manager, INSTALLED)
    assert manager.told == []
    assert list((machine / "cache").iterdir()) == []


def test_versions_that_istiod_does_not_support_are_refused():
    _package_install.check_version("1.30.4", "1.31.0")
    _package_install.check_version("own-build", "1.31.0")
    with pytest.raises(MeshError, match="newer than the control plane"):
        _package_install.check_version("1.32.0", "1.31.0")


def test_without_a_way_back_nothing_is_begun():
    with pytest.raises(MeshError, match="a way back before anything is changed"):
        _package_install.prepare_way_back(None, {"version": "1.30.0", "record": None})
