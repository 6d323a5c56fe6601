# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the module sidecar_info, on the machine that the tests run on."""

from __future__ import annotations

import socket
import time

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.hybridmesh.istio.plugins.modules import sidecar_info


class Exit(Exception):
    """The module has ended."""


def run(**options):
    ended = {}

    def end(_module, **result):
        ended.update(result)
        raise Exit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(basic.AnsibleModule, "exit_json", end)
        patch.setattr(basic.AnsibleModule, "fail_json", end)
        with patch_module_args(options), pytest.raises(Exit):
            sidecar_info.main()
    return ended


def test_facts_of_this_machine():
    result = run(controller_time=time.time() - 100)
    assert not result["changed"]
    assert 99 < result["vm"]["clock_offset"] < 110
    assert result["vm"]["reach"] == []


def test_targets_that_answer_and_that_do_not():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        good = f"127.0.0.1:{listening.getsockname()[1]}"
        with socket.create_server(("127.0.0.1", 0)) as other:
            bad = f"127.0.0.1:{other.getsockname()[1]}"
        reach = run(targets=[bad, good])["vm"]["reach"]
    assert [(entry["target"], entry["ok"]) for entry in reach] == [(bad, False), (good, True)]
    assert reach[0]["error"] == "refused"
    assert reach[0]["route"]["source"] == "127.0.0.1"


def test_silence_is_looked_into(monkeypatch):
    def silent(target, timeout):
        port = int(target.rsplit(":", 1)[1])
        error = None if port == 15014 else "timeout"
        return {"target": target, "ok": error is None, "error": error, "seconds": timeout}

    monkeypatch.setattr(sidecar_info._look._reach, "tcp", silent)
    assert run(targets=["127.0.0.1:15012"])["vm"]["reach"][0]["elsewhere"] is True
    assert run(targets=["127.0.0.1:15012"], other_ports=[1])["vm"]["reach"][0]["elsewhere"] is False


def test_a_bad_target_is_told():
    assert "host:port" in run(targets=["nonsense"])["msg"]
