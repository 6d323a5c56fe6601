# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what is taken off a machine, in a folder."""

from __future__ import annotations

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _vm_files, _vm_remove


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """The paths lie under a folder."""

    def inside(paths):
        return tuple(str(tmp_path) + path for path in paths)

    monkeypatch.setattr(_vm_remove, "OURS", inside(_vm_remove.OURS))
    monkeypatch.setattr(_vm_remove, "SHARED", inside(_vm_remove.SHARED))
    monkeypatch.setattr(_vm_remove, "LOGS", inside([_vm_remove.LOGS])[0])
    monkeypatch.setattr(_vm_files, "HOSTS", str(tmp_path / "hosts"))
    for path in (
        "/etc/certs/key.pem",
        "/etc/systemd/system/istio.service.d/50-hybridmesh.conf",
        "/etc/systemd/system/multi-user.target.wants/istio.service",
        "/var/lib/istio/envoy/cluster.env",
        "/var/log/istio/istio.log",
        "/etc/hybridmesh/capture.env",
    ):
        file = tmp_path / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    return tmp_path


def test_all_of_ours_goes_and_empty_folders_with_it(machine):
    gone = _vm_remove.remove_paths(keep_logs=False)
    assert str(machine / "var/lib/istio") in gone
    assert not (machine / "etc/certs").exists()
    assert not (machine / "etc/systemd/system/istio.service.d").exists()
    assert not (machine / "var/log/istio").exists()
    assert (machine / "etc/systemd/system/multi-user.target.wants").is_dir()
    assert _vm_remove.paths(keep_logs=False) == []


def test_what_is_somebody_else_s_stays(machine):
    (machine / "etc/certs/mine.pem").write_text("x")
    (machine / "etc/systemd/system/istio.service.d/mine.conf").write_text("x")
    _vm_remove.remove_paths(keep_logs=False)
    assert (machine / "etc/certs/mine.pem").exists()
    assert (machine / "etc/systemd/system/istio.service.d/mine.conf").exists()


def test_a_link_goes_and_not_what_it_leads_to(machine):
    (machine / "etc/istio").symlink_to(machine / "elsewhere")
    (machine / "elsewhere").mkdir()
    _vm_remove.remove_paths(keep_logs=False)
    assert not (machine / "etc/istio").is_symlink()
    assert (machine / "elsewhere").is_dir()


def test_logs_stay_if_asked(machine):
    _vm_remove.remove_paths(keep_logs=True)
    assert (machine / "var/log/istio/istio.log").exists()


def test_our_lines_in_the_hosts_file(machine):
    own = f"{_vm_files.BEGIN}\n10.0.0.1 istiod\n{_vm_files.END}\n"
    (machine / "hosts").write_text("127.0.0.1 localhost\n" + own)
    assert _vm_remove.hosts_change().after == "127.0.0.1 localhost\n"
    (machine / "hosts").write_text("127.0.0.1 localhost\n")
    assert _vm_remove.hosts_change() is None
