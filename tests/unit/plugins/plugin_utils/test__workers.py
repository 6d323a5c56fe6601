# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _workers

# Loaded by its path: a process of its own knows nothing of the collection.
CHILD = """
import gc, importlib.util, json, os, sys
spec = importlib.util.spec_from_file_location("workers", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
for _ in range(int(sys.argv[2])):
    module.share_memory()
# Some Pythons freeze a little of their own when they start.
before = gc.get_freeze_count()
held = [{"number": [number]} for number in range(100000)]
read, write = os.pipe()
if os.fork() == 0:
    gc.collect()
    rollup = open("/proc/self/smaps_rollup").read().splitlines()
    private = sum(int(line.split()[1]) for line in rollup if line.startswith("Private_Dirty:"))
    new = []
    new.append(new)
    del new
    os.write(write, json.dumps({"private": private, "enabled": gc.isenabled(), "found": gc.collect()}).encode())
    os._exit(0)
os.wait()
print(json.dumps({**json.loads(os.read(read, 10000)), "frozen": gc.get_freeze_count() - before}))
"""


def fork(calls):
    command = [sys.executable, "-c", CHILD, str(Path(_workers.__file__)), str(calls)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="this system does not tell what a process shares"
)
def test_a_collection_in_a_worker_leaves_what_it_shares_as_it_is():
    copied, shared = fork(0), fork(2)
    assert shared["private"] < copied["private"] / 2


def test_a_worker_still_collects_its_own_and_the_main_process_everything():
    seen = fork(1)
    assert seen["enabled"]
    assert seen["found"] == 1
    assert seen["frozen"] == 0
