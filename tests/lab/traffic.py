# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client in a pod or on a machine of the lab that sends requests throughout, and counts how many fail."""

from __future__ import annotations

import collections
import os
import shlex
import subprocess
import typing as t

from .conftest import ADDRESSES

SERVICE = "http://envoydummy.chapter10vm.svc.cluster.local/"
FROM_THE_MESH = "http://workbench.lab.svc.cluster.local/"
# At most 20 requests a second, until standard input is closed or ten minutes are over.
_LOOP = """
end=$(($(date +%s) + 600))
exec 3<&0
( cat <&3 > /dev/null; kill $$ ) &
while [ $(date +%s) -lt $end ]; do
  curl -s -o /dev/null -m PATIENCE OPTIONS -w '%{http_code} %{time_total}\\n' URL || true
  sleep 0.05
done
"""


class Traffic:
    """Requests as long as the context lasts.

    Attributes:
        statuses: how many answers there were of each HTTP status; 0 stands for none. Known at the end.
    """

    def __init__(self, command: list[str], url: str, patience: int = 3, options: str = "") -> None:
        """Args: where it runs, whom it asks, for how many seconds it waits for an answer, and further options of curl."""
        self.statuses: dict[int, int] = {}
        loop = _LOOP.replace("PATIENCE", str(patience)).replace("OPTIONS", options).replace("URL", shlex.quote(url))
        self._command = [*command, loop]

    def __enter__(self) -> Traffic:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_error: t.Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.stdin = None
        output, errors = self._process.communicate(timeout=60)
        counted = collections.Counter(int(line.split()[0]) for line in output.splitlines() if line.strip())
        assert counted, f"the client sent nothing: {errors}"
        self.statuses = dict(counted)

    @property
    def sent(self) -> int:
        """All requests."""
        return sum(self.statuses.values())

    @property
    def failed(self) -> int:
        """Those that were not answered with a status below 400."""
        return sum(count for status, count in self.statuses.items() if not 0 < status < 400)

    def told(self, what: str) -> None:
        """Prints the row for the documentation."""
        print(f"{what}: {self.failed} of {self.sent} requests failed {self.statuses}")


def from_pod(url: str = SERVICE) -> Traffic:
    """Requests from the lab's workbench pod, through its sidecar."""
    return Traffic(["kubectl", "exec", "-i", "-n", "lab", "deploy/workbench", "--", "sh", "-c"], url)


def from_machine(machine: str, url: str = FROM_THE_MESH) -> Traffic:
    """Requests from a machine, through its sidecar."""
    command = [*shlex.split(os.environ["LAB_SSH"]), f"root@{ADDRESSES[machine]}", "bash", "-c"]
    traffic = Traffic(command, url)
    # ssh makes one string of its words.
    traffic._command[-1] = shlex.quote(traffic._command[-1])
    return traffic


def from_outside(address: str, host: str, patience: int = 3) -> Traffic:
    """Requests from this host, which is not in the mesh, to a gateway."""
    return Traffic(["bash", "-c"], f"http://{address}/", patience, f"-H 'Host: {host}'")
