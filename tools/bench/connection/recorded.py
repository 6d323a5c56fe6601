# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection to a machine that is not there: it answers what a real one answered to the same module."""

from __future__ import annotations

import json
import pathlib
import re
import time
import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = r"""
name: recorded
short_description: Answers what a real machine answered
description:
  - For the benchmark tools/bench/scale.py.
options:
  answers:
    description: Folder with an answer for each module, as C(MODULE.json).
    type: path
    required: true
    vars:
      - name: bench_answers
  words:
    description: What to replace in an answer, by what.
    type: dict
    default: {}
    vars:
      - name: bench_words
"""

# Seconds, no less than a quick machine takes. As with real ones, so many workers are alive at once as there are forks.
_TAKES = 0.25
_MODULE = re.compile(rb"ansible_collections\.hybridmesh\.istio\.plugins\.modules\.([a-z_]+)")
# What is asked by Python alone (plugin_utils/_bare.py) is named in the command.
_BARE = re.compile(r"(hybridmesh\.istio\.([a-z_]+))\W*$")


class Connection(ConnectionBase):  # type: ignore[misc]
    """Answers after a moment, in Ansible's own worker."""

    transport = "recorded"
    has_pipelining = True
    always_pipeline_modules = True

    def _connect(self) -> Connection:
        self._connected = True
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Runs nothing."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        bare = _BARE.search(cmd)
        module = _MODULE.search(in_data or b"")
        if bare is None and module is None:
            raise AnsibleConnectionFailure(f"no answer is recorded to: {cmd[:200]}")
        name = bare.group(2) if bare else module.group(1).decode()
        answer = pathlib.Path(self.get_option("answers"), f"{name}.json").read_text()
        if bare:
            answer = f"{bare.group(1)}: {json.dumps({'answer': json.loads(answer)['vm']})}"
        for word, other in self.get_option("words").items():
            answer = answer.replace(word, other)
        time.sleep(_TAKES)
        return 0, answer.encode(), b""

    def put_file(self, in_path: str, out_path: str) -> t.NoReturn:
        raise AnsibleConnectionFailure("nothing is copied")

    def fetch_file(self, in_path: str, out_path: str) -> t.NoReturn:
        raise AnsibleConnectionFailure("nothing is fetched")

    def close(self) -> None:
        self._connected = False
