# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP from a pod to virtual machines, past the pod's capture. Private to the collection.

The agent in the pod's sidecar container can wait for a URL, and runs as the user whose traffic is not captured: so
this needs no tool in the user's own containers, and sees the network as it is.
"""

from __future__ import annotations

import concurrent.futures
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _reach
from ansible_collections.hybridmesh.istio.plugins.module_utils._exec import ExecError, Session

if t.TYPE_CHECKING:
    from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster

SIDECAR = "istio-proxy"
# Each try is a process in one container, which has a memory limit.
THREADS = 4


class NotTested(Exception):
    """There is nothing to test from; the text says why."""


def find_pod(cluster: Cluster, namespace: str, deployment: str) -> str:
    """A running pod of the Deployment that has a sidecar.

    Raises:
        NotTested: there is none.
    """
    where = f"{namespace}/{deployment}"
    found = cluster.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{deployment}")
    if found is None:
        raise NotTested(f"there is no Deployment {where}")
    wanted = found["spec"]["selector"].get("matchLabels") or {}
    query = {"labelSelector": ",".join(f"{key}={value}" for key, value in sorted(wanted.items()))}
    pods = cluster.request("GET", f"/api/v1/namespaces/{namespace}/pods", query).get("items") or []
    for pod in sorted(pods, key=lambda item: str(item["metadata"]["name"])):
        spec = pod["spec"]
        # A native sidecar is an init container.
        names = [item["name"] for item in spec["containers"] + (spec.get("initContainers") or [])]
        running = pod.get("status", {}).get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")
        if running and SIDECAR in names:
            return str(pod["metadata"]["name"])
    raise NotTested(f"no running pod of the Deployment {where} has a sidecar")


def wait_command(target: str, timeout: int) -> list[str]:
    """The agent's command that asks for http://TARGET/ until `timeout` seconds have passed."""
    host, port = _reach.split_target(target)
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return [
        "pilot-agent",
        "wait",
        # Only the cause is wanted, not the progress.
        "--log_output_level=default:none",
        f"--url=http://{authority}/",
        f"--timeoutSeconds={timeout}",
        f"--requestTimeoutMillis={timeout * 1000 - 500}",
        "--periodMillis=100",
    ]


def try_targets(
    cluster: Cluster, namespace: str, pod: str, targets: t.Sequence[str], timeout: int
) -> list[dict[str, t.Any]]:
    """Tries all targets from the pod; each answer has `target`, `rc` and `output`."""

    def ask(target: str) -> dict[str, t.Any]:
        session = Session(cluster, namespace, pod, SIDECAR, wait_command(target, timeout), 20)
        try:
            return {"target": target, "rc": 0, "output": session.read_all(timeout * 2 + 10)}
        except ExecError as error:
            return {"target": target, "rc": 1, "output": error.found}
        finally:
            session.close()

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(ask, targets))
