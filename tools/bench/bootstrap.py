#!/usr/bin/env python3
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Benchmark of the lookups on the lab, after site.yml: files of a group once, and a token for each of 1,000 VMs.

bootstrap-once    the lookup's own time, first connection included, imports not, against one istioctl call
tokens-istioctl   1,000 tokens against istioctl run four at a time, extrapolated from 100 runs
tokens-floor      1,000 tokens against the same TokenRequests over 8 raw connections, and nothing else
tokens-memory     the peak of memory of a process that makes them against 150 MB
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile
import typing as t

from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, lookup_loader
from ansible.template import Templar

init_plugin_loader([os.environ["PYTHONPATH"]])

from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster  # noqa: E402
from common import Api, Report, process, say, statistics, timed, told  # noqa: E402

GROUP = "chapter10vm/envoydummy"
NAMESPACE, NAME = GROUP.split("/")
ACCOUNT = "chapter10-sa"
VMS = [f"vm{number}" for number in range(1000)]
ROUNDS = 5
SAMPLE = 100
AT_ONCE = 4


def lookup(name: str, **options: t.Any) -> list[t.Any]:
    """A lookup as a template calls it: with a connection of its own each time."""
    loader = DataLoader()
    plugin = lookup_loader.get(f"hybridmesh.istio.{name}", loader=loader, templar=Templar(loader=loader))
    return t.cast("list[t.Any]", plugin.run([GROUP], variables={}, **options))


def istioctl(folder: str) -> None:
    command = ["istioctl", "x", "workload", "entry", "configure", "--name", NAME, "-n", NAMESPACE, "--autoregister"]
    subprocess.run([*command, "-o", folder], capture_output=True, check=True)


def once(report: Report) -> None:
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _round in range(ROUNDS * 2):
            theirs.append(timed(lambda: istioctl(folder)))
            ours.append(timed(lambda: lookup("sidecar_bootstrap")))
    slower = told("istioctl x workload entry configure", theirs)
    report.ratio("bootstrap-once", told("sidecar_bootstrap, one group with a token", ours), slower, 1.5)


def many_istioctls() -> float:
    """Seconds for 1,000 runs, four at a time, as extrapolated from fewer."""
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        seconds = timed(lambda: list(pool.map(istioctl, (f"{folder}/{number}" for number in range(SAMPLE)))))
    say(f"{SAMPLE} runs of istioctl, {AT_ONCE} at a time: {seconds:.2f} s; extrapolated to {len(VMS)}")
    return seconds * len(VMS) / SAMPLE


def floor(api: Api) -> None:
    """The same TokenRequests, and nothing else: no reading of answers but to their end."""
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{ACCOUNT}/token"
    spec = {"audiences": ["istio-ca"], "expirationSeconds": 3600}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    api.all([("POST", path, body)] * len(VMS))


def tokens(report: Report, api: Api) -> None:
    ours, theirs = [], []
    for _round in range(ROUNDS):
        theirs.append(timed(lambda: floor(api)))
        made: list[t.Any] = []
        ours.append(timed(lambda: made.extend(lookup("sidecar_token", vms=VMS))))  # noqa: B023
        if len(set(made[0].values())) != len(VMS):
            raise SystemExit("not each VM has a token of its own")
    lowest = told(f"{len(VMS)} TokenRequests over 8 connections and nothing else", theirs)
    middle = told(f"sidecar_token with {len(VMS)} vms", ours)
    report.ratio("tokens-istioctl", middle, many_istioctls(), 0.05)
    report.ratio("tokens-floor", middle, lowest, 1.5)


def memory(report: Report) -> None:
    peaks = []
    for _round in range(3):
        _seconds, peak, output = process([sys.executable, __file__, "--tokens"])
        if json.loads(output) != len(VMS):
            raise SystemExit("not each VM has a token")
        peaks.append(peak / 1024)
    say("peak of memory of a process that only does this: " + ", ".join(f"{peak:.0f} MiB" for peak in peaks))
    report.ratio("tokens-memory", statistics.median(peaks) * 1.048576, 150, 1)


def main() -> int:
    if sys.argv[1:] == ["--tokens"]:
        print(len(lookup("sidecar_token", vms=VMS)[0]))
        return 0
    report = Report()
    lookup("sidecar_bootstrap", token=False)
    once(report)
    tokens(report, Api(Cluster({})))
    memory(report)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
