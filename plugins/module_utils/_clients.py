# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which endpoints a client of the mesh has, read from its Envoy. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _pod_reach, _probe
from ansible_collections.hybridmesh.istio.plugins.module_utils._exec import Session

if t.TYPE_CHECKING:
    from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster


def seen_by(cluster: Cluster, namespace: str, pod: str, addresses: t.Container[str]) -> set[str]:
    """Those addresses that are healthy endpoints of some Service for the pod.

    Raises:
        ExecError: its Envoy can't be asked.
    """
    command = ["pilot-agent", "request", "GET", "clusters"]
    session = Session(cluster, namespace, pod, _pod_reach.SIDECAR, command, 20)
    try:
        clusters = _probe.parse_clusters(session.read_all(30))
    finally:
        session.close()
    return {
        _probe.endpoint_address(endpoint)
        for name, endpoints in clusters.items()
        if _probe.host_of(name)
        for endpoint, stats in endpoints.items()
        if _probe.endpoint_address(endpoint) in addresses and stats.get("health_flags", "healthy") == "healthy"
    }
