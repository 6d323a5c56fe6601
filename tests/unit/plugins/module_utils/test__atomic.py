# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of writing several files at once."""

from __future__ import annotations

import errno
import os
import pwd
import stat

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _atomic

ME = pwd.getpwuid(os.geteuid()).pw_name


def compare(path, content, mode=0o644, owner=ME):
    return _atomic.compare_file(str(path), content, owner, mode)


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_creates_changes_and_then_leaves_alone(tmp_path):
    path = tmp_path / "etc" / "file"
    change = compare(path, "one\n", 0o600)
    assert change is not None
    assert change.what == "create"
    _atomic.apply([change])
    assert path.read_text() == "one\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert compare(path, "one\n", 0o600) is None
    again = compare(path, "two\n", 0o600)
    assert again is not None
    assert again.what == "change"
    assert again.before == "one\n"


def test_a_wrong_mode_alone_is_mended_in_place(tmp_path):
    path = tmp_path / "file"
    path.write_text("same")
    path.chmod(0o777)
    inode = path.stat().st_ino
    change = compare(path, "same", 0o640)
    assert change is not None
    assert change.after is None
    _atomic.apply([change])
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_ino == inode


def test_folders(tmp_path):
    path = tmp_path / "a" / "b"
    change = _atomic.compare_folder(str(path), ME, 0o700)
    assert change is not None
    assert change.what == "create folder"
    _atomic.apply([change])
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert _atomic.compare_folder(str(path), ME, 0o700) is None


def test_a_link_keeps_being_one(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    _atomic.apply([compare(link, "new")])
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_full_disk_changes_no_file_and_leaves_nothing_behind(tmp_path, monkeypatch):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("old")
    two.write_text("old")
    changes = [compare(one, "new"), compare(two, "new")]
    calls = []

    def full(_handle):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        _atomic.apply(changes)
    assert one.read_text() == "old"
    assert two.read_text() == "old"
    assert names(tmp_path) == ["one", "two"]


def test_a_file_that_is_a_mount_point_is_written_in_place(tmp_path, monkeypatch):
    path = tmp_path / "hosts"
    path.write_text("old")

    def busy(_source, _target):
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(os, "rename", busy)
    _atomic.apply([compare(path, "new")])
    assert path.read_text() == "new"
    assert names(tmp_path) == ["hosts"]


def test_a_user_that_does_not_exist_yet_is_no_difference_but_can_t_own(tmp_path):
    path = tmp_path / "file"
    path.write_text("same")
    path.chmod(0o644)
    assert compare(path, "same", owner="nobody-has-this-name") is None
    with pytest.raises(OSError, match="does not exist"):
        _atomic.apply([compare(path, "new", owner="nobody-has-this-name")])
    assert path.read_text() == "same"


def test_bytes_that_are_no_utf_8_survive(tmp_path):
    path = tmp_path / "hosts"
    path.write_bytes(b"127.0.0.1 caf\xe9\n")
    _atomic.apply([compare(path, (_atomic.read(str(path)) or "") + "more\n")])
    assert path.read_bytes() == b"127.0.0.1 caf\xe9\nmore\n"
