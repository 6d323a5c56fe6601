# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the files of a sidecar."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _vm_files

LINE = "10.88.0.200 istiod.istio-system.svc"
BLOCK = f"{_vm_files.BEGIN}\n{LINE}\n{_vm_files.END}\n"


def pem(content: str) -> str:
    body = base64.b64encode(content.encode()).decode()
    return f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", BLOCK),
        ("127.0.0.1 localhost\n", "127.0.0.1 localhost\n" + BLOCK),
        ("127.0.0.1 localhost", "127.0.0.1 localhost\n" + BLOCK),
        (f"one\n{_vm_files.BEGIN}\n9.9.9.9 old\n{_vm_files.END}\ntwo\n", f"one\n{BLOCK}two\n"),
        # Markers that belong to nobody are left alone.
        (f"{_vm_files.BEGIN}\nkeep\n", f"{_vm_files.BEGIN}\nkeep\n{BLOCK}"),
        (f"{_vm_files.END}\nkeep\n", f"{_vm_files.END}\nkeep\n{BLOCK}"),
    ],
)
def test_the_block_is_put_in_its_place(before, after):
    assert _vm_files.managed_block(before, LINE + "\n") == after
    assert _vm_files.managed_block(after, LINE + "\n") == after


def test_the_block_goes_away_without_a_trace():
    assert _vm_files.without_block("127.0.0.1 localhost\n" + BLOCK + "::1 ip6\n") == "127.0.0.1 localhost\n::1 ip6\n"
    assert _vm_files.without_block("nothing of ours") == "nothing of ours"


def files(**changes):
    wanted = {"cluster.env": "ISTIO_INBOUND_PORTS=80,443\nA='b'\n", "mesh.yaml": "a: b\n", "root-cert.pem": pem("one")}
    current = {path: None for path, *_rest in _vm_files.GROUP_FILES.values()}
    current.update(changes)
    return {item.path: item for item in _vm_files.group_files(wanted, current)}


def test_new_files_are_the_group_s():
    made = files()
    assert made[_vm_files.CLUSTER_ENV].content.startswith("ISTIO_INBOUND_PORTS=80,443")
    assert made[_vm_files.CLUSTER_ENV].owner == "istio-proxy"
    assert made[_vm_files.CLUSTER_ENV].effects == ("restart", "capture")
    assert made[_vm_files.MESH_CONFIG].effects == ("restart",)


def test_ports_in_another_order_are_no_change():
    there = "A=b\nISTIO_INBOUND_PORTS='443,80'\n"
    assert files(**{_vm_files.CLUSTER_ENV: there})[_vm_files.CLUSTER_ENV].content == there
    other = "A=c\nISTIO_INBOUND_PORTS='443,80'\n"
    assert files(**{_vm_files.CLUSTER_ENV: other})[_vm_files.CLUSTER_ENV].content != other


@pytest.mark.parametrize("line", ["X='unfinished", "rm -rf /nowhere", "fi"])
def test_a_line_that_a_shell_may_stumble_over_is_a_change(line):
    path = _vm_files.CLUSTER_ENV
    text = "ISTIO_INBOUND_PORTS=80,443\nA='b'\n"
    broken = {path: text + line + "\n"}
    wanted = {"cluster.env": text, "mesh.yaml": "a: b\n", "root-cert.pem": pem("one")}
    (found,) = [file for file in _vm_files.group_files(wanted, broken) if file.path == path]
    assert found.content == text


def test_roots_that_the_agent_wrote_back_are_no_change():
    there = pem("two") + "\n\n" + pem("one")
    assert files(**{_vm_files.ROOT_CERTIFICATE: there})[_vm_files.ROOT_CERTIFICATE].content == there
    other = pem("two")
    assert files(**{_vm_files.ROOT_CERTIFICATE: other})[_vm_files.ROOT_CERTIFICATE].content == pem("one")


def test_issue_35428_49797_the_address_is_pinned_and_the_rules_are_left_to_the_capture_unit():
    text = _vm_files.unit_environment("192.0.2.7", {"ISTIO_AGENT_FLAGS": "--log_caller all"}, 2)
    assert text == (
        "ISTIO_AGENT_FLAGS='--log_caller all --concurrency 2'\nISTIO_CUSTOM_IP_TABLES=true\nISTIO_SVC_IP=192.0.2.7\n"
    )


def test_effects_of_a_run_that_was_cut_off_are_not_forgotten():
    assert _vm_files.merge_pending("restart\ncapture\n", ["reload"]) == ["capture", "reload", "restart"]
    assert _vm_files.merge_pending(None, []) == []
