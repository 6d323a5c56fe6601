# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the module sidecar, with a machine that is a folder."""

from __future__ import annotations

import base64
import os
import pwd
import stat

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.hybridmesh.istio.plugins.module_utils import _vm_files
from ansible_collections.hybridmesh.istio.plugins.modules import sidecar

ME = pwd.getpwuid(os.geteuid()).pw_name
ROOT = "-----BEGIN CERTIFICATE-----\n" + base64.b64encode(b"one").decode() + "\n-----END CERTIFICATE-----\n"
FILES = {
    "cluster.env": "ISTIO_INBOUND_PORTS='10000'\nISTIO_META_DNS_CAPTURE='true'\n",
    "mesh.yaml": "defaultConfig: {}\n",
    "root-cert.pem": ROOT,
    "hosts": "10.88.0.200 istiod.istio-system.svc\n",
}
PATHS = [
    "HOSTS",
    "CLUSTER_ENV",
    "SIDECAR_ENV",
    "MESH_CONFIG",
    "ROOT_CERTIFICATE",
    "CERTIFICATE",
    "KEY",
    "TOKEN",
    "STATE",
    "UNIT_ENV",
    "CAPTURE_ENV",
    "PACKAGE_RECORD",
    "PENDING",
    "LOGS",
]


class Exit(Exception):
    """The module has ended."""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Every path of the module lies under a folder, and every file belongs to who runs the tests."""

    def inside(path):
        return str(tmp_path) + path

    for name in PATHS:
        monkeypatch.setattr(_vm_files, name, inside(getattr(_vm_files, name)))
    monkeypatch.setattr(
        _vm_files,
        "GROUP_FILES",
        {name: (inside(path), *rest) for name, (path, *rest) in _vm_files.GROUP_FILES.items()},
    )
    monkeypatch.setattr(
        _vm_files, "FOLDERS", tuple(folder._replace(path=inside(folder.path)) for folder in _vm_files.FOLDERS)
    )
    monkeypatch.setattr(sidecar, "TOKEN_FOLDER", _vm_files.FOLDERS[-1])
    monkeypatch.setattr(sidecar._atomic, "ids", lambda owner: (os.geteuid(), os.getegid()))
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (tmp_path / "etc/hosts").chmod(0o644)
    return tmp_path


def run(check=False, diff=True, **options):
    ended = {}

    def end(_module, **result):
        ended.update(result)
        raise Exit

    def fail(_module, msg, **result):
        ended.update(result, msg=msg, failed=True)
        raise Exit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(basic.AnsibleModule, "exit_json", end)
        patch.setattr(basic.AnsibleModule, "fail_json", fail)
        with patch_module_args(dict(options, _ansible_check_mode=check, _ansible_diff=diff)), pytest.raises(Exit):
            sidecar.main()
    return ended


def configure(check=False, **more):
    options = {"files": FILES, "address": "10.88.0.21", "capture": {"management_ports": [22]}}
    return run(check=check, **dict(options, **more))


def tree(folder):
    return {
        str(path.relative_to(folder)): (
            path.read_bytes() if path.is_file() else None,
            stat.S_IMODE(path.stat().st_mode),
        )
        for path in folder.rglob("*")
    }


def test_writes_everything_and_then_nothing(machine):
    first = configure()
    assert first["changed"]
    assert first["effects"] == ["capture", "restart"]
    assert (machine / "etc/istio/config/mesh").read_text() == FILES["mesh.yaml"]
    assert (machine / "etc/hosts").read_text() == (
        "127.0.0.1 localhost\n# BEGIN hybridmesh.istio\n10.88.0.200 istiod.istio-system.svc\n# END hybridmesh.istio\n"
    )
    assert "ISTIO_SVC_IP=10.88.0.21\n" in (machine / "etc/hybridmesh/sidecar.env").read_text()
    assert "ISTIO_INBOUND_PORTS=10000\n" in (machine / "etc/hybridmesh/capture.env").read_text()
    assert stat.S_IMODE((machine / "var/run/secrets/tokens").stat().st_mode) == 0o700
    (machine / "etc/hybridmesh/pending").unlink()
    before = tree(machine)
    second = configure()
    assert (second["changed"], second["files"], second["effects"]) == (False, [], [])
    assert tree(machine) == before


def test_check_mode_tells_everything_and_writes_nothing(machine):
    before = tree(machine)
    result = configure(check=True)
    assert result["changed"]
    assert tree(machine) == before
    assert f"would create {machine}/etc/istio/config/mesh" in result["would"]
    assert any(entry.get("after") == FILES["mesh.yaml"] for entry in result["diff"])


def test_what_a_run_that_was_cut_off_left_undone_is_said_again(machine):
    configure()
    again = configure()
    assert not again["changed"]
    assert again["effects"] == ["capture", "restart"]


@pytest.mark.parametrize(
    ("change", "effects"),
    [
        ({"address": "10.88.0.99"}, ["restart"]),
        ({"concurrency": 2}, ["restart"]),
        ({"environment": {"SECRET_TTL": "720h"}}, ["restart"]),
        ({"capture": {"management_ports": [22, 2222]}}, ["capture"]),
        ({"files": dict(FILES, **{"mesh.yaml": "defaultConfig: {a: b}\n"})}, ["restart"]),
        ({"files": dict(FILES, hosts="10.88.0.201 istiod.istio-system.svc\n")}, []),
        ({"own_files": [{"path": "UNIT", "content": "x", "effects": ["reload", "capture"]}]}, ["capture", "reload"]),
    ],
)
def test_each_change_calls_for_what_it_needs(machine, change, effects):
    configure()
    (machine / "etc/hybridmesh/pending").unlink()
    for item in change.get("own_files", []):
        item["path"] = str(machine / "etc/unit")
    result = configure(**change)
    assert result["changed"]
    assert result["effects"] == effects
    assert [reason.split(":")[0] for reason in result["reasons"]] == effects


def test_a_mode_alone_is_mended_without_a_restart(machine):
    configure()
    (machine / "etc/hybridmesh/pending").unlink()
    (machine / "etc/istio/config/mesh").chmod(0o666)
    result = configure()
    assert (result["changed"], result["effects"]) == (True, [])


def test_values_are_what_istio_reads(machine):
    configure(environment={"ISTIO_META_X": True, "N": 5})
    assert "ISTIO_META_X=true\nISTIO_SVC_IP=10.88.0.21\nN=5\n" in (machine / "etc/hybridmesh/sidecar.env").read_text()


def test_a_token_is_for_its_owner_only_and_never_shown(machine):
    result = run(token="a.SECRET.c")
    path = machine / "var/run/secrets/tokens/istio-token"
    assert path.read_text() == "a.SECRET.c"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert result["changed"]
    assert "SECRET" not in repr(result)


def test_files_and_token_together(machine):
    result = configure(token="a.SECRET.c")
    path = machine / "var/run/secrets/tokens/istio-token"
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("a.SECRET.c", 0o600)
    assert (machine / "etc/istio/config/mesh").read_text() == FILES["mesh.yaml"]
    assert len(result["files"]) == len(set(result["files"]))
    assert result["effects"] == ["capture", "restart"]
    assert "SECRET" not in str(result)
    again = configure(token="a.SECRET.c")
    assert (again["changed"], again["files"]) == (False, [])


def test_a_token_in_check_mode_stays_away(machine):
    assert run(check=True, token="a.SECRET.c")["changed"]
    assert not (machine / "var/run/secrets/tokens/istio-token").exists()


def test_an_empty_token_is_refused(machine):
    assert "token" in run(token="")["msg"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"files": {"hosts": ""}}, "is missing"),
        ({"environment": {"X": "it's"}}, "X holds a quote"),
        ({"capture": None}, "capture"),
    ],
)
def test_bad_options(machine, options, words):
    before = tree(machine)
    result = configure(**options)
    assert result["failed"]
    assert words in result["msg"]
    assert tree(machine) == before


def test_a_path_that_can_t_be_written_is_told(machine):
    (machine / "etc/hybridmesh").write_text("a file, where a folder should be")
    result = configure()
    assert result["failed"]
    assert "Next step" in result["msg"]
    assert not (machine / "etc/istio/config/mesh").exists()


@pytest.fixture
def programs(monkeypatch):
    """What the module would run on the machine, in order; nothing is run."""
    told = []

    def install(package, way_back, dpkg, installed):
        told.append(("install", package["source"], way_back))
        return "1.31.0"

    def run_command(_module, command, **_options):
        told.append(tuple(command))
        return (3, "", "not ready") if command[1:2] == ["trial"] else (0, "", "")

    monkeypatch.setattr(sidecar._package_install, "install", install)
    monkeypatch.setattr(sidecar._vm_facts, "package", lambda run: {"version": None, "record": None})
    monkeypatch.setattr(basic.AnsibleModule, "run_command", run_command)
    return told


def test_package_files_and_start_in_this_order(machine, programs):
    result = configure(
        package={"source": "x.deb"}, token="a.SECRET.c", start={"ready_timeout": 9, "confirm_timeout": 8}
    )
    assert programs == [("install", "x.deb", False), ("/usr/local/sbin/istio-capture", "trial", "9", "8", "restart")]
    assert (machine / "var/run/secrets/tokens/istio-token").read_text() == "a.SECRET.c"
    assert (result["changed"], result["version"]) == (True, "1.31.0")
    # Whoever called it has to undo it, and knows more to tell.
    assert result["start"] == {"rc": 3, "stderr": "not ready"}
    assert "SECRET" not in str(result)


def test_a_start_alone(machine, programs):
    assert run(start={"what": "capture"})["changed"]
    assert programs == [("/usr/local/sbin/istio-capture", "trial", "60", "60", "capture")]


def test_check_mode_installs_and_starts_nothing(machine, programs):
    result = configure(check=True, package={"source": "x.deb"}, start={})
    assert result["changed"]
    assert "start" not in result
    assert programs == []


def test_bad_files_are_told_before_the_package_is_installed(machine, programs):
    assert configure(package={"source": "x.deb"}, environment={"X": "it's"})["failed"]
    assert programs == []
