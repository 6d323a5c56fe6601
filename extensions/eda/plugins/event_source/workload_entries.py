# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Event source hybridmesh.istio.workload_entries."""

from __future__ import annotations

DOCUMENTATION = r"""
short_description: Machines of a mesh that are in trouble
description:
  - Watches the WorkloadEntries of a mesh, and tells when a VM becomes unhealthy, loses its connection, is gone, or has a certificate
    that is about to end.
  - One watch, whatever the number of VMs. A watch that breaks goes on from where it was; where the API server has forgotten
    that place, everything is listed again, and what has changed in between is told. Where the API server is away, it is tried again
    after a pause that grows.
  - What is wrong when the source starts is told as well.
  - The same of the same VM is not told again within O(quiet), nothing is told that passes within O(settle), and news of many VMs
    at the same time is one event.
  - Each event has C(kind) (V(unhealthy), V(disconnected), V(gone), V(certificate), V(recovered)), C(host) (its name in the inventory
    hybridmesh.istio.workloads of the same O(hostnames)), C(entry), C(namespace), C(group) (C(namespace/name)), C(address), C(network),
    C(locality), C(health), C(message), C(connected_at), C(disconnected_at), C(labels), and with V(certificate) also
    C(certificate_left) in seconds, negative after its end. An event of many VMs has the kind V(many), C(of), C(count), C(hosts), C(groups).
  - When a certificate ends is known to the VM alone; neither a WorkloadEntry nor istiod tells it. With O(certificate_interval), the
    metrics of each VM's agent are read (C(http://ADDRESS:15020/stats/prometheus)), for which the machine that runs the rulebook must reach
    that port. They are read without proof of who answers, so an event V(certificate) is a reason to look (the playbook C(renew) looks), and
    a VM that does not answer is none. Without it, run the playbook C(renew) every night, which reports all dates.
options:
  namespaces:
    description: Only these namespaces, with a watch for each. Without it, one watch on all, which needs a ClusterRole.
    type: list
    elements: str
  workload_groups:
    description: Only these WorkloadGroups, as V(NAMESPACE/GROUP) or V(GROUP).
    type: list
    elements: str
  hostnames:
    description: How C(host) is found, as in the inventory hybridmesh.istio.workloads.
    type: list
    elements: str
    default: [name]
  kinds:
    description: Which kinds of events are wanted. V(recovered) tells the end of V(unhealthy), V(disconnected) and V(gone).
    type: list
    elements: str
    choices: [unhealthy, disconnected, gone, certificate, recovered]
    default: [unhealthy, disconnected, gone, certificate]
  settle:
    description: For how long something must be so before it is told, in seconds.
    type: float
    default: 15
  quiet:
    description: For how long the same is not told again of the same VM, in seconds.
    type: float
    default: 600
  most:
    description: Where more VMs than this have the same news at the same time, they become one event V(many).
    type: int
    default: 10
  certificate_interval:
    description: How often certificates are looked at, in seconds. V(0) for never.
    type: float
    default: 0
  certificate_left:
    description: A certificate with less than this left is told, in seconds. Sidecars renew theirs at half of its life, so of the usual 24
      hours, less than 6 are left only where that does not work.
    type: float
    default: 21600
  certificate_port:
    description: The port of the agent's metrics.
    type: int
    default: 15020
  kubeconfig:
    description: How the cluster is reached. This and the other options of the connection (C(context), C(host), C(api_key), C(ca_cert), ...)
      are those of the modules; null means E(K8S_AUTH_KUBECONFIG) and so on, then what kubectl would take.
    type: raw
"""

EXAMPLES = r"""
- hybridmesh.istio.workload_entries:
    namespaces: [shop]
    certificate_interval: 900
"""

import asyncio
import concurrent.futures
import http.client
import logging
import math
import pathlib
import sys
import threading
import time
import typing as t

# ansible-rulebook runs this file as it is, and knows of no collection's Python. Ours is five folders up.
_ROOT = pathlib.Path(__file__).resolve().parents[7]
try:
    import ansible_collections
except ImportError:
    sys.path.append(str(_ROOT))
else:
    if str(_ROOT / "ansible_collections") not in list(ansible_collections.__path__):
        ansible_collections.__path__.append(str(_ROOT / "ansible_collections"))

from ansible_collections.hybridmesh.istio.plugins.module_utils import _watch
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import ENVIRONMENT, Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import ApiError
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _workload_events, _workloads

LOGGER = logging.getLogger(__name__)
LONGEST_PAUSE = 60.0
# Machines asked at the same time, and for how long one may take.
AT_A_TIME = 16
PATIENCE = 5.0
# Of the metrics of one machine; more is not read.
LARGEST = 8 * 1024 * 1024

Put = t.Callable[[_watch.Change], None]


def follow(cluster: Cluster, path: str, put: Put, stopped: threading.Event) -> None:
    """Hands over what there is and what changes, until it is stopped; runs in a thread of its own.

    Raises:
        ApiError: the API server refused before it ever answered: the rulebook has to be corrected.
    """
    pause = 1.0
    known = False
    while not stopped.is_set():
        follower = _watch.Follower(cluster, path, sleep=stopped.wait)
        try:
            for change in follower.changes(math.inf):
                put(change)
                known = known or change.kind == _watch.SYNCED
                if change.kind == _watch.SYNCED:
                    pause = 1.0
                if stopped.is_set():
                    return
        except ApiError as error:
            if not known and error.status in (400, 401, 403, 404):
                raise
            LOGGER.warning("workload_entries: tried again in %d s. %s", pause, error)
        except (OSError, ValueError) as error:
            LOGGER.warning("workload_entries: tried again in %d s. Found: %s.", pause, error)
        stopped.wait(pause)
        pause = min(LONGEST_PAUSE, pause * 2)


def ask_certificate(address: str, port: int) -> float | None:
    """The seconds that the certificate of the VM at that address has left, by its agent; None where it does not say."""
    connection = http.client.HTTPConnection(address, port, timeout=PATIENCE)
    try:
        connection.request("GET", "/stats/prometheus")
        response = connection.getresponse()
        if response.status != 200:
            return None
        return _workload_events.seconds_left(response.read(LARGEST).decode("utf-8", "replace"))
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


async def certificates(
    watcher: _workload_events.Watcher, interval: float, port: int, pool: concurrent.futures.Executor
) -> None:
    """Looks at the certificates of all VMs again and again."""
    loop = asyncio.get_running_loop()
    while True:
        asked = watcher.addresses()
        answers = await asyncio.gather(
            *(loop.run_in_executor(pool, ask_certificate, address, port) for address in asked.values())
        )
        left = {key: seconds for key, seconds in zip(asked, answers, strict=False) if seconds is not None}
        LOGGER.debug("workload_entries: %d of %d machines told their certificate's end", len(left), len(asked))
        watcher.certificates(left)
        # The first look may have been before anything was listed.
        await asyncio.sleep(interval if asked else min(interval, 2.0))


async def main(queue: asyncio.Queue[t.Any], args: dict[str, t.Any]) -> None:
    """Entry point of ansible-rulebook."""
    settings, numbers = _workload_events.read_settings(args)
    unknown = set(args) - set(ENVIRONMENT) - set(_workload_events.NUMBERS)
    unknown -= {"namespaces", "workload_groups", "hostnames", "kinds"}
    if unknown:
        raise MeshError(
            "the arguments " + ", ".join(sorted(unknown)), "those that workload_entries has", "correct the rulebook"
        )
    loop = asyncio.get_running_loop()
    watcher = _workload_events.Watcher(settings)
    stopped = threading.Event()
    failed: asyncio.Queue[Exception] = asyncio.Queue()
    # A watcher for each namespace's LIST: one that is complete says nothing of the others.
    watchers = []
    for path in _workloads.paths(settings.wish, "workloadentries"):
        own = watcher if not watchers else _workload_events.Watcher(settings)
        watchers.append(own)
        _start(path, own, args, stopped, loop, failed)
    pool = concurrent.futures.ThreadPoolExecutor(AT_A_TIME, "certificates")
    port, interval = int(numbers["certificate_port"]), numbers["certificate_interval"]
    looking = [asyncio.create_task(certificates(own, interval, port, pool)) for own in watchers if interval]
    try:
        while True:
            if not failed.empty():
                raise failed.get_nowait()
            for task in looking:
                if task.done():
                    task.result()
            for own in watchers:
                for event in own.due(time.monotonic()):
                    await queue.put(event)
            await asyncio.sleep(0.5)
    finally:
        stopped.set()
        for task in looking:
            task.cancel()
        pool.shutdown(wait=False, cancel_futures=True)


def _start(
    path: str,
    watcher: _workload_events.Watcher,
    args: t.Mapping[str, t.Any],
    stopped: threading.Event,
    loop: asyncio.AbstractEventLoop,
    failed: asyncio.Queue[Exception],
) -> None:
    def put(change: _watch.Change) -> None:
        loop.call_soon_threadsafe(lambda: watcher.take(change, time.monotonic()))

    def run() -> None:
        try:
            follow(Cluster({name: args.get(name) for name in ENVIRONMENT}), path, put, stopped)
        except Exception as error:  # what it is, the source says and ends with
            failure = error
            if not stopped.is_set():
                loop.call_soon_threadsafe(failed.put_nowait, failure)

    # It may wait a minute for the API server: the end of the program does not wait for it.
    threading.Thread(target=run, name=path, daemon=True).start()
