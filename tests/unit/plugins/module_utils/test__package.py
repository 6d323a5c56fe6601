# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the package and the way back, in a folder, with commands that only write down how they were called."""

from __future__ import annotations

import os

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _package, _vm_files
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

SUM = "ab" * 32


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """The paths of this file lie under a folder."""
    for name in ("CACHE", "POLICY", "TEMPLATE"):
        monkeypatch.setattr(_package, name, str(tmp_path) + getattr(_package, name))
    monkeypatch.setattr(_vm_files, "PREVIOUS", str(tmp_path / "previous"))
    monkeypatch.setattr(_package, "KEPT_FILES", (str(tmp_path / "one"), str(tmp_path / "two")))
    for folder in (_package.CACHE, os.path.dirname(_package.POLICY), os.path.dirname(_package.TEMPLATE)):
        os.makedirs(folder)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (SUM, SUM),
        (f"{SUM}  istio-sidecar.deb\n", SUM),
        (f"{'cd' * 32} other.deb\n{SUM.upper()} *istio-sidecar.deb\n", SUM),
        (f"{'cd' * 32} a\n{SUM} b\n", None),
        ("<html>", None),
    ],
)
def test_published_checksums(text, found):
    assert _package.published_checksum(text, "istio-sidecar.deb") == found


class Commands:
    """Answers by the command's first word."""

    def __init__(self, **answers):
        self.answers = answers
        self.calls = []

    def __call__(self, command):
        self.calls.append(list(command))
        answer = self.answers.get(command[0].replace("-", "_"), (0, "", ""))
        return answer.pop(0) if isinstance(answer, list) else answer


FIELDS = "Package: istio-sidecar\nVersion: 1.31.0\nArchitecture: amd64\nDepends: iproute2, iptables (>= 1), sudo | x\n"


def test_what_a_package_says_of_itself():
    fields = _package.Dpkg(Commands(dpkg_deb=(0, FIELDS, ""))).fields("x.deb")
    assert fields == ("istio-sidecar", "1.31.0", "amd64", ["iproute2", "iptables", "sudo"])


@pytest.mark.parametrize("answer", [(2, "", "not a Debian archive"), (0, "Package: nginx\nVersion: 1\n", "")])
def test_what_is_not_the_sidecar_is_refused(answer):
    with pytest.raises(MeshError, match="Expected: a Debian package of istio-sidecar"):
        _package.Dpkg(Commands(dpkg_deb=answer)).fields("x.deb")


def there(*names):
    return (0, "".join(f"{name} installed\n" for name in names), "")


def test_dpkg_alone_where_nothing_else_is_needed(machine):
    run = Commands(dpkg_query=there("iproute2", "iptables", "sudo"))
    fields = _package.Fields("istio-sidecar", "1", "amd64", ["iproute2", "iptables", "sudo"])
    _package.Dpkg(run).install("x.deb", fields)
    assert run.calls[-1] == ["dpkg", "--force-confdef", "--force-confold", "--install", "x.deb"]
    assert not os.path.exists(_package.POLICY)


def test_issue_45866_apt_where_something_else_has_to_come_along(machine):
    run = Commands(dpkg_query=there("iproute2"))
    _package.Dpkg(run).install("/x.deb", _package.Fields("istio-sidecar", "1", "amd64", ["iproute2", "sudo"]))
    assert run.calls[-1][:3] == ["apt-get", "install", "--yes"]
    assert "Dpkg::Options::=--force-confold" in run.calls[-1]


def test_a_lock_is_waited_for_and_a_failure_is_told(machine, monkeypatch):
    monkeypatch.setattr(_package.time, "sleep", lambda seconds: None)
    run = Commands(dpkg=[(2, "", "dpkg frontend lock was locked"), (0, "", "")])
    _package.Dpkg(run).install("x.deb", _package.Fields("istio-sidecar", "1", "amd64", []))
    assert len(run.calls) == 2
    with pytest.raises(MeshError, match="no space left"):
        _package.Dpkg(Commands(dpkg=(1, "", "no space left"))).install("x", _package.Fields("s", "1", "a", []))
    assert not os.path.exists(_package.POLICY)


def test_an_administrator_s_policy_for_services_is_respected(machine):
    with open(_package.POLICY, "w", encoding="ascii") as stream:
        stream.write("mine")
    with _package.services_left_alone():
        pass
    with open(_package.POLICY, encoding="ascii") as stream:
        assert stream.read() == "mine"


def test_the_bootstrap_template_is_the_new_package_s(machine):
    for suffix, text in (("", "edited"), (".dpkg-dist", "new")):
        with open(_package.TEMPLATE + suffix, "w", encoding="ascii") as stream:
            stream.write(text)
    _package.take_new_template()
    texts = {}
    for suffix in ("", ".dpkg-old"):
        with open(_package.TEMPLATE + suffix, encoding="ascii") as stream:
            texts[suffix] = stream.read()
    assert texts == {"": "new", ".dpkg-old": "edited"}


def test_there_and_back(machine):
    (machine / "one").write_text("before")
    (machine / "one").chmod(0o640)
    _package.remember("1.30.0", _package.kept_file("1.30.0"), {"source": "x"})
    (machine / "one").write_text("after")
    _package.restore_files()
    assert (machine / "one").read_text() == "before"
    assert (machine / "one").stat().st_mode & 0o777 == 0o640
    assert not (machine / "two").exists()
    assert _package.remembered()["version"] == "1.30.0"
    _package.forget()
    assert _package.remembered() is None


def test_one_package_file_is_kept_and_the_way_back(machine):
    for version in ("1.29.0", "1.30.0"):
        open(_package.kept_file(version), "w", encoding="ascii").close()
    _package.remember("1.30.0", _package.kept_file("1.30.0"), None)
    fetched = os.path.join(_package.CACHE, ".fetched.deb")
    open(fetched, "w", encoding="ascii").close()
    _package.keep(fetched, "1.31.0")
    assert sorted(os.listdir(_package.CACHE)) == ["istio-sidecar_1.30.0.deb", "istio-sidecar_1.31.0.deb"]
    _package.forget()
    _package.tidy("1.31.0")
    assert os.listdir(_package.CACHE) == ["istio-sidecar_1.31.0.deb"]
