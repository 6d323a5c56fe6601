#!/usr/bin/env python3
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Benchmark of the controller with 100, 500 and 2,000 machines, on the lab (make lab, site.yml played).

tools/bench/run scale [--sizes SMALL,MIDDLE,LARGE] [--output FOLDER] [PLAYBOOK...]
Other than three sizes are measured, and make no ratios.

PLAYBOOK-time    growth of the controller's CPU seconds per machine from 500 to 2,000, against that from 100 to 500
PLAYBOOK-growth  the same of its memory
PLAYBOOK-memory  its peak of memory with 2,000, forks included, against 600 MB
PLAYBOOK-calls   API calls with 2,000 against those with 100

The lab's VMs are real and reached over ssh; all others are connections (connection/recorded.py) that answer in Ansible's worker, a
quarter of a second later, what the first of the lab's VMs answered to the same module, under an address of their own. Their
WorkloadEntries are in the API server, made for this. So the figures hold what the controller does, and nothing of what ssh and machines
do. No request is sent from a pod. Memory is PSS: what is shared between Ansible and its forks counts once.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import json
import os
import pathlib
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import typing as t

import verify
import yaml
from ansible_collections.hybridmesh.istio.plugins.module_utils._cluster import istiod_names
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from common import Api, Report, say

SIZES = (100, 500, 2000)
# As many as Ansible and AWX take by default.
FORKS = 5
# Seconds between two looks at the memory. A worker lives for about half a second, and is at its largest at the end.
PAUSE = 0.1
# Runs of each size but the largest. The fewer the machines, the fewer the looks, and the easier the peak is missed.
ROUNDS = 3
MEGABYTES = 600
PLAYBOOKS = ("renew", "verify")


class Counter(http.server.ThreadingHTTPServer):
    """Hands requests on to the API server and counts them."""

    daemon_threads = True

    def __init__(self, api: Api) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.api = api
        self.calls: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    """One request; answers are handed on as they come, which a WATCH needs."""

    server: Counter

    def pass_on(self) -> None:
        self.server.calls.append(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        connection = self.server.api.connect()
        headers = {key: value for key, value in self.headers.items() if key.lower() in ("content-type", "accept")}
        connection.request(self.command, self.path, body or None, headers)
        answer = connection.getresponse()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers.get("Content-Type", ""))
        self.end_headers()
        try:
            while piece := answer.read1(65536):
                self.wfile.write(piece)
        except OSError:
            # A WATCH that the other side has seen enough of.
            pass
        connection.close()

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = pass_on

    def log_message(self, format: str, *args: t.Any) -> None:
        """Says nothing."""


class Measured(t.NamedTuple):
    """One run."""

    seconds: float
    cpu: float
    megabytes: float
    calls: int


def still(process: int) -> list[int]:
    """Stops a process, and tells its children.

    Raises:
        OSError: it is gone.
    """
    os.kill(process, signal.SIGSTOP)
    folder = pathlib.Path(f"/proc/{process}")
    while (folder / "stat").read_text().rpartition(")")[2].split()[0] not in "TZX":
        time.sleep(0.0005)
    return [int(child) for children in folder.glob("task/*/children") for child in children.read_text().split()]


def pss_of(root: int) -> int:
    """KiB of a process and all below it. They stand still for that: what is shared counts twice if its sharers change in between."""
    total, todo, found = 0, [root], []
    try:
        while todo:
            with contextlib.suppress(OSError):
                found.append(todo.pop())
                todo += still(found[-1])
        for process in found:
            with contextlib.suppress(OSError):
                rollup = pathlib.Path(f"/proc/{process}/smaps_rollup").read_text()
                total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    finally:
        for process in found:
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGCONT)
    return total


def inventory(folder: pathlib.Path, size: int, real: int, first: str, group: bool) -> str:
    """The lab's inventory, and as many more machines as are missing."""
    hosts: dict[str, t.Any] = {}
    for number in range(size - real):
        words = {first: verify.address(number), "chapter10vm": verify.NAMESPACE}
        words.update({"envoydummy": verify.GROUP, "chapter10-sa": "bench"})
        hosts[f"bench{number:04}"] = {
            "ansible_connection": "recorded",
            "ansible_host": verify.address(number),
            "bench_answers": str(folder),
            "bench_words": words if group else {},
            **({"mesh_workload_group": f"{verify.NAMESPACE}/{verify.GROUP}"} if group else {}),
        }
    path = folder / f"{size}.json"
    path.write_text(json.dumps({"mesh_vms": {"hosts": hosts}}))
    return str(path)


def run(playbook: str, hosts: str, counter: Counter, folder: pathlib.Path, said: pathlib.Path) -> Measured:
    """Runs a playbook on all of them; what it says goes to a file."""
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{counter.server_port}"}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    counter.calls.clear()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started, peak = time.monotonic(), 0
    options = {"mesh_kubeconfig": str(kubeconfig), "mesh_verify_from": None}
    command = ["ansible-playbook", f"playbooks/{playbook}.yml", "-i", "inventories/lab", "-i", hosts]
    with open(said, "w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [*command, "--forks", str(FORKS), "-e", json.dumps(options)],
            env={**os.environ, "ANSIBLE_CONNECTION_PLUGINS": str(pathlib.Path(__file__).parent / "connection")},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        while process.poll() is None:
            peak = max(peak, pss_of(process.pid))
            time.sleep(PAUSE)
    seconds = time.monotonic() - started
    if process.returncode:
        raise SystemExit(f"{playbook}: {said.read_text()[-4000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(seconds, cpu, peak / 1024, len(counter.calls))


def together(runs: t.Sequence[Measured]) -> Measured:
    """Several runs of one size: the time that one takes, and the highest of all peaks."""
    seconds, cpu, megabytes, calls = zip(*runs, strict=True)
    return Measured(statistics.median(seconds), statistics.median(cpu), max(megabytes), max(calls))


def slope(found: t.Mapping[int, Measured], name: str, low: int, high: int) -> float:
    """Growth for each further machine."""
    return float((getattr(found[high], name) - getattr(found[low], name)) / (high - low))


def measure(
    playbook: str,
    options: argparse.Namespace,
    counter: Counter,
    folder: pathlib.Path,
    real: dict[str, str],
    report: Report,
) -> None:
    """One playbook, in all sizes."""
    found: dict[int, Measured] = {}
    for size in options.sizes:
        hosts = inventory(folder, size, len(real), next(iter(real.values())), playbook == "verify")
        said = (options.output or folder) / f"{playbook}-{size}.log"
        rounds = 1 if size == max(SIZES) else ROUNDS
        found[size] = together([run(playbook, hosts, counter, folder, said) for _round in range(rounds)])
        say(
            f"{playbook}, {size} machines: {found[size].seconds:.0f} s, {found[size].cpu:.1f} s of CPU"
            f" ({1000 * found[size].cpu / size:.0f} ms a machine), {found[size].megabytes:.0f} MB, {found[size].calls} API calls"
        )
    if len(options.sizes) != len(SIZES):
        return
    small, middle, large = options.sizes
    for name, field in (("time", "cpu"), ("growth", "megabytes")):
        report.ratio(f"{playbook}-{name}", slope(found, field, middle, large), slope(found, field, small, middle), 1.2)
    report.ratio(f"{playbook}-memory", found[large].megabytes, MEGABYTES, 1)
    report.ratio(f"{playbook}-calls", found[large].calls, found[small].calls, 1)


def sizes(text: str) -> list[int]:
    """Numbers of machines, each larger than the one before."""
    found = [int(word) for word in text.split(",")]
    if found != sorted({number for number in found if number > 0}):
        raise ValueError(text)
    return found


def main() -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("playbooks", nargs="*", metavar="PLAYBOOK", default=PLAYBOOKS)
    parser.add_argument("--sizes", type=sizes, default=SIZES)
    parser.add_argument("--output", type=pathlib.Path)
    options = parser.parse_args()
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
    cluster = Cluster({})
    api = Api(cluster)
    verify.ENTRIES = max(options.sizes)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="bench-scale-"))
    report = Report()
    try:
        listed = json.loads(subprocess.run(["ansible-inventory", "--list"], capture_output=True, check=True).stdout)
        real = {name: listed["_meta"]["hostvars"][name]["ansible_host"] for name in listed["mesh_vms"]["hosts"]}
        recorded = ["ansible-playbook", "tools/bench/record.yml", "-e", json.dumps({"bench_answers": str(folder)})]
        done = subprocess.run(recorded, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise SystemExit(f"the lab's VMs are not well: {done.stdout[-4000:]}")
        verify.make(api, sorted(istiod_names(cluster, "istio-system"))[0])
        for playbook in options.playbooks:
            measure(playbook, options, Counter(api), folder, real, report)
    finally:
        verify.remove(api)
        shutil.rmtree(folder)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
