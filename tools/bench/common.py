# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmarks share: both sides in one run, medians, and one line for each ratio."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import http.client
import json
import os
import ssl
import statistics
import subprocess
import time
import typing as t
import urllib.parse

# Requests that make or remove what a benchmark is about; not part of any time that counts.
THREADS = 8


@dataclasses.dataclass
class Report:
    """The lines that a benchmark ends with: `NAME ratio=OURS/THEIRS target=MAX`, smaller is better."""

    lines: list[str] = dataclasses.field(default_factory=list)
    missed: list[str] = dataclasses.field(default_factory=list)

    def ratio(self, name: str, ours: float, theirs: float, target: float) -> None:
        """Takes a ratio in; one above its target is missed."""
        found = ours / theirs
        self.lines.append(f"{name} ratio={found:.3g} target={target:g}")
        if found > target:
            self.missed.append(name)

    def end(self) -> int:
        """Prints the lines; returns the exit status."""
        for name in self.missed:
            print(f"MISSED: {name}")
        print("\n".join(self.lines))
        return 1 if self.missed else 0


def say(text: str) -> None:
    """Progress, at once."""
    print(text, flush=True)


def told(what: str, seconds: t.Sequence[float]) -> float:
    """Prints a series of times and returns its median."""
    middle = statistics.median(seconds)
    say(f"{what}: median {middle:.3f} s of " + ", ".join(f"{value:.3f}" for value in seconds))
    return middle


def timed(run: t.Callable[[], t.Any]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def process(command: t.Sequence[str], environment: t.Mapping[str, str] | None = None) -> tuple[float, int, str]:
    """Runs a program: seconds from its start to its end, its own peak of memory in KiB, and what it printed.

    Raises:
        SystemExit: it failed.
    """
    started = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        # Read by hand: the usage of a child is told by wait4 alone, and once.
        output, errors = child.stdout.read(), child.stderr.read()
        _pid, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command[0]} ended with {child.returncode}: {output[-2000:]}{errors[-2000:]}")
    return seconds, usage.ru_maxrss, output


class Api:
    """The API server over raw connections, for what surrounds a measurement and for the API server's own floor."""

    def __init__(self, cluster: t.Any) -> None:
        """Takes the credentials of a Cluster of the collection, and nothing else of it."""
        configuration = cluster.configuration
        self.context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        self.context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self.context.load_cert_chain(configuration.cert_file, configuration.key_file)
        self.address = urllib.parse.urlsplit(cluster.server)

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(str(self.address.hostname), self.address.port, context=self.context)

    def all(self, requests: t.Sequence[tuple[str, str, t.Any]], ignored: t.Collection[int] = ()) -> None:
        """Sends requests (method, path, body) over THREADS connections, each as soon as the one before is answered."""
        todo = iter(requests)

        def work() -> None:
            connection = self.connect()
            # One line at a time under the interpreter's lock: an iterator over a list may be shared.
            for method, path, body in todo:
                kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
                connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": kind})
                answer = connection.getresponse()
                text = answer.read()
                if answer.status >= 400 and answer.status not in ignored:
                    raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]!r}")
            connection.close()

        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            for job in [pool.submit(work) for _number in range(THREADS)]:
                job.result()
