# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is right about declared traffic, and has no effect yet: told, and not refused. Pure. Private."""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _manifest
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_facts import (
    gateway_selector,
    workload_selectors,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_names import said
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_scene import Scene


def notes(scene: Scene) -> list[str]:
    """What somebody may have meant otherwise, one sentence each."""
    return [*_workloads(scene), *_accounts(scene), *_secrets(scene), *_ports(scene)]


def _workloads(scene: Scene) -> t.Iterator[str]:
    # Machines may register later, so that is no error.
    for what, (space, labels) in workload_selectors(scene.declared, scene.facts.services, scene.domain).items():
        if scene.facts.workloads.get((space, labels)) is False:
            words = ", ".join("=".join(pair) for pair in labels)
            yield f"{what}: no Pod and no WorkloadEntry in {space} has the labels {words} so far"


def _accounts(scene: Scene) -> t.Iterator[str]:
    for (space, name), there in sorted(scene.facts.accounts.items()):
        if not there:
            yield f"access names the identity {space}/{name}, and this cluster has no such ServiceAccount"


def _secrets(scene: Scene) -> t.Iterator[str]:
    for space, name in sorted(scene.facts.unreadable):
        if not name.endswith("-cacert"):
            yield f"whether the Secret {space}/{name} is there can't be told: no right to get it"


def _ports(scene: Scene) -> t.Iterator[str]:
    for item in scene.of("Gateway"):
        pods = scene.facts.gateway_pods.get(gateway_selector(item), [])
        opened: set[t.Any] = set()
        for (space, _name), service in scene.facts.services.items():
            spec = service.get("spec") or {}
            selector = (spec.get("selector") or {}).items()
            if selector and any(
                _manifest.ref(pod).namespace == space and selector <= _manifest.labels(pod).items() for pod in pods
            ):
                opened |= {port.get(key) for port in spec.get("ports") or [] for key in ("port", "targetPort")}
        for server in item["spec"].get("servers") or []:
            number = (server.get("port") or {}).get("number")
            # Without a Service the Pods may be reached otherwise, as on their nodes' ports.
            if opened and number not in opened:
                yield f"{said(item)} opens port {number}, which no Service of the gateway's Pods has"
