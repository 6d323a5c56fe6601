# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a small injected workload in the cluster, for as long as it has a mesh.

workload.py KUBECONFIG MANIFEST. Applied once Istio's injector works (its webhook has a CA bundle: istiod itself writes it
there), deleted when the webhook goes: pods of an earlier mesh would hold certificates that nobody trusts any more.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from kube import Api

PATH = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
PODS = "/api/v1/namespaces/lab/pods?labelSelector=app%3Dworkbench"
# Seconds within which istioctl is done, after its injector has a CA bundle.
SETTLED = 60


def injects(configuration: dict[str, Any]) -> bool:
    """Whether this is a sidecar injector that works."""
    labels = configuration["metadata"].get("labels") or {}
    hooks = configuration.get("webhooks") or []
    return labels.get("app") == "sidecar-injector" and any(hook["clientConfig"].get("caBundle") for hook in hooks)


def kubectl(kubeconfig: str, *words: str) -> bool:
    """Run kubectl; its output goes to the journal."""
    return subprocess.run(["kubectl", f"--kubeconfig={kubeconfig}", *words], check=False).returncode == 0


def injected(pod: dict[str, Any]) -> bool:
    """Whether a pod has a sidecar, of either kind."""
    spec = pod["spec"]
    return any(item["name"] == "istio-proxy" for item in [*spec["containers"], *spec.get("initContainers", [])])


def see_to_sidecars(api: Api, kubeconfig: str) -> None:
    """Deletes pods that were made without a sidecar, until there is one with it.

    When istiod is ready, istioctl switches its injector off before the one of the default revision is there: a pod that is made in between
    has none, and keeps it so.
    """
    deadline = time.monotonic() + SETTLED
    while time.monotonic() < deadline:
        pods = [pod for pod in api.get(PODS)["items"] if "deletionTimestamp" not in pod["metadata"]]
        bare = [pod["metadata"]["name"] for pod in pods if not injected(pod)]
        if pods and not bare:
            return
        if bare:
            print(f"made without a sidecar: {', '.join(bare)}")
            kubectl(kubeconfig, "delete", "pod", "-n", "lab", "--wait=false", *bare)
        time.sleep(1)


def serve(kubeconfig: str, manifest: str) -> None:
    """Follow the webhooks, for ever."""
    injectors: set[str] = set()
    there: bool | None = None
    api = Api(kubeconfig)
    for kind, item in api.events(PATH):
        if kind == "LISTED":
            injectors = {entry["metadata"]["name"] for entry in item["items"] if injects(entry)}
        else:
            injectors.discard(item["metadata"]["name"])
            if kind != "DELETED" and injects(item):
                injectors.add(item["metadata"]["name"])
        if bool(injectors) is there:
            continue
        there = bool(injectors)
        print(f"injectors: {', '.join(sorted(injectors)) or 'none'}")
        if there:
            # The namespace of an earlier mesh may still be on its way out.
            while not kubectl(kubeconfig, "apply", "-f", manifest):
                time.sleep(1)
            see_to_sidecars(api, kubeconfig)
        else:
            kubectl(kubeconfig, "delete", "--ignore-not-found", "--wait=false", "-f", manifest)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2])
