# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import sys

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _bare_start

SOURCES = {
    "far.away.tools": "def twice(n):\n    return 2 * n\n",
    "far.away.work": (
        "from far.away import tools\n"
        "def work(params, run):\n"
        "    if params['n'] < 0:\n"
        "        raise ValueError('too small')\n"
        "    return [tools.twice(params['n']), run(['echo', 'hello'])]\n"
    ),
}


@pytest.fixture
def start(monkeypatch, capsys):
    """Starts the work; returns the line that it printed."""
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))

    def started(params):
        _bare_start.start(SOURCES, "far.away.work", "work", json.dumps(params), "MARK ")
        return json.loads(capsys.readouterr().out.splitlines()[-1].removeprefix("MARK "))

    yield started
    for name in [name for name in sys.modules if name.split(".")[0] == "far"]:
        del sys.modules[name]


def test_modules_come_from_their_text(start):
    assert start({"n": 4}) == {"answer": [8, "hello\n"]}


def test_what_is_refused_is_told(start):
    assert start({"n": -1}) == {"refused": "too small"}


def test_others_are_not_its_business():
    assert _bare_start.Sources(SOURCES).find_spec("far.off") is None


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        (["sh", "-c", "echo out; echo err >&2"], "out\n"),
        (["sh", "-c", "echo err >&2; exit 3"], "err\n"),
        (["/no/such/program"], ""),
        (["cat"], ""),
    ],
)
def test_commands(command, printed):
    assert _bare_start.run(command) == printed
