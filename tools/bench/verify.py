#!/usr/bin/env python3
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Benchmark of workload_entry_info on the lab's API server, with 10,000 WorkloadEntries shaped as istiod's.

verify-10000   the module, its own start included, against `kubectl get workloadentries -A -o json > /dev/null`
verify-memory  its peak of memory against 150 MB
verify-watch   the API calls while 100 entries turn healthy one by one, against 3: a LIST, a WATCH, the group
"""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._cluster import istiod_names
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._expectation import expectation_from, vms_of
from ansible_collections.hybridmesh.istio.plugins.module_utils._jury import Jury, follow
from ansible_collections.hybridmesh.istio.plugins.module_utils._watch import PAGE, Follower
from common import Api, Report, process, say, told

NAMESPACE = "bench-verify"
GROUP = "bench"
API = f"/apis/networking.istio.io/v1/namespaces/{NAMESPACE}"
ENTRIES = 10_000
SLOW = 100
ROUNDS = 5
MODULE = "ansible_collections.hybridmesh.istio.plugins.modules.workload_entry_info"
LABELS = {"app": GROUP, "version": "v2"}
SPEC = {"network": "network1", "serviceAccount": "bench", "labels": LABELS, "ports": {"http": 10000}}


def address(number: int) -> str:
    return f"198.{18 + number // 65536}.{number // 256 % 256}.{number % 256}"


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


def entry(number: int, istiod: str) -> dict[str, t.Any]:
    """As istiod makes it, annotations included."""
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadEntry",
        "metadata": {
            "name": name_of(number),
            "labels": {**LABELS, "service.istio.io/canonical-name": GROUP, "service.istio.io/canonical-revision": "v2"},
            "annotations": {
                "istio.io/autoRegistrationGroup": GROUP,
                "istio.io/connectedAt": now(),
                "istio.io/workloadController": istiod,
                "proxy.istio.io/health-checks-enabled": "true",
            },
        },
        "spec": {**SPEC, "address": address(number)},
    }


def name_of(number: int) -> str:
    return f"{GROUP}-{address(number)}-network1"


def health(number: int, status: str) -> tuple[str, str, t.Any]:
    condition = {"type": "Healthy", "status": status, "lastProbeTime": now(), "lastTransitionTime": now()}
    return "PATCH", f"{API}/workloadentries/{name_of(number)}/status", {"status": {"conditions": [condition]}}


def make(api: Api, istiod: str) -> None:
    group = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadGroup",
        "metadata": {"name": GROUP},
        "spec": {
            "metadata": {"labels": LABELS},
            "template": {key: value for key, value in SPEC.items() if key != "labels"},
            "probe": {"tcpSocket": {"port": 10000}},
        },
    }
    say(f"making {ENTRIES} WorkloadEntries in namespace {NAMESPACE}")
    api.all([("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})], {409})
    api.all([("DELETE", f"{API}/workloadentries", None)])
    api.all([("POST", f"{API}/workloadgroups", group)], {409})
    api.all([("POST", f"{API}/workloadentries", entry(number, istiod)) for number in range(ENTRIES)], {409})
    api.all([health(number, "True") for number in range(ENTRIES)])


def remove(api: Api) -> None:
    for path in (f"{API}/workloadentries", f"/api/v1/namespaces/{NAMESPACE}"):
        api.all([("DELETE", path, None)], {404})


def arguments(folder: pathlib.Path, numbers: range, **options: t.Any) -> str:
    vms = {f"vm{number}": address(number) for number in numbers}
    given = {"hosts": vms, "group": f"{NAMESPACE}/{GROUP}", "fail_on_mismatch": False, **options}
    path = folder / f"{len(vms)}.json"
    path.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": given}))
    return str(path)


def listing(folder: pathlib.Path, report: Report) -> None:
    command = [sys.executable, "-m", MODULE, arguments(folder, range(ENTRIES))]
    ours, theirs, memory = [], [], []
    for _round in range(ROUNDS):
        with open(os.devnull, "wb") as nowhere:
            started = time.perf_counter()
            subprocess.run(["kubectl", "get", "workloadentries", "-A", "-o", "json"], stdout=nowhere, check=True)
            theirs.append(time.perf_counter() - started)
        seconds, peak, output = process(command)
        answer = json.loads(output)
        if len(answer["verdicts"]) != ENTRIES or answer["failed_vms"]:
            raise SystemExit(f"not all entries are right: {answer.get('msg')} {answer['failed_vms'][:5]}")
        ours.append(seconds)
        memory.append(peak / 1024)
    say(f"API calls of the module: {answer['requests']}, the group and the pages of one LIST")
    slower = told("kubectl get workloadentries -A -o json", theirs)
    report.ratio("verify-10000", told(f"workload_entry_info, {ENTRIES} VMs", ours), slower, 0.6)
    say("peak of memory: " + ", ".join(f"{value:.0f} MiB" for value in memory))
    report.ratio("verify-memory", max(memory) * 1.048576, 150, 1)


def watching(api: Api, cluster: Cluster, report: Report) -> None:
    """Entries turn healthy one by one while the module's own code follows them."""
    api.all([health(number, "False") for number in range(SLOW)])
    group = cluster.get(f"{API}/workloadgroups/{GROUP}")
    vms = vms_of({"group": f"{NAMESPACE}/{GROUP}", "hosts": {f"vm{number}": address(number) for number in range(SLOW)}})
    jury = Jury([expectation_from(vm, group) for vm in vms], {}, 1800, tuple)
    follower = Follower(cluster, f"{API}/workloadentries")
    listed = threading.Event()
    written: dict[str, float] = {}

    def turn() -> None:
        connection = api.connect()
        listed.wait()
        for number in range(SLOW):
            method, path, body = health(number, "True")
            connection.request(method, path, json.dumps(body), {"Content-Type": "application/merge-patch+json"})
            connection.getresponse().read()
            written[f"vm{number}"] = time.monotonic()
            time.sleep(0.02)

    turner = threading.Thread(target=turn)
    turner.start()
    noticed = {}
    for judged in follow(jury, follower, time.monotonic() + 120):
        listed.set()
        for expected in judged:
            noticed[expected.vm] = time.monotonic()
    turner.join()
    if not all(verdict["ok"] for verdict in jury.verdicts.values()):
        raise SystemExit("not all entries were seen to turn healthy")
    # The answer to whoever writes and the event to whoever watches leave the API server side by side.
    delays = [max(0.0, noticed[vm] - written[vm]) * 1000 for vm in written]
    say(
        f"{SLOW} entries turned healthy one by one: noticed {statistics.median(delays):.2f} ms after they were written"
        f" (median), {max(delays):.2f} ms at most; {follower.lists} LIST and {follower.requests} requests in all"
    )
    pages = -(-ENTRIES // PAGE)
    report.ratio("verify-watch-requests", follower.requests, pages + 1, 1)


def main() -> int:
    cluster = Cluster({})
    api = Api(cluster)
    report = Report()
    try:
        make(api, istiod_names(cluster, "istio-system")[0])
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            listing(folder, report)
            watching(api, cluster, report)
    finally:
        say("removing them again")
        remove(api)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
