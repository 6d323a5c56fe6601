# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proxies that send by a route, and what they have counted. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import (
    _graph_pods,
    _manifest,
    _shift_figures,
    _traffic_facts,
    _traffic_names,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._apply import Applier, in_parallel
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Object
from ansible_collections.hybridmesh.istio.plugins.module_utils._shift_figures import Reading
from ansible_collections.hybridmesh.istio.plugins.module_utils._shift_plan import Backend
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_names import MESH, NETWORKING

# Seconds for asking all of them once.
_PATIENCE = 30.0


class Proxies:
    """The proxies of a route.

    Attributes:
        pods: which they are, as `_graph_pods.pod_from` has them.
    """

    def __init__(
        self,
        applier: Applier,
        route: Object,
        backends: t.Sequence[Backend],
        domain: str,
        namespaces: t.Sequence[str],
        most: int,
        admin_port: int,
    ) -> None:
        self._applier = applier
        self._backends = backends
        self._admin_port = admin_port
        self._labels = _subset_labels(applier.find(NETWORKING, "DestinationRule"), backends, domain)
        self.pods = _graph_pods.choose(self._found(route, namespaces), most)

    def _found(self, route: Object, namespaces: t.Sequence[str]) -> list[dict[str, t.Any]]:
        found: dict[tuple[str, str], dict[str, t.Any]] = {}
        for name in _traffic_names.gateways_of(route):
            if name == MESH:
                pods = [
                    item
                    for space in sorted(set(namespaces)) or [""]
                    for item in self._applier.find("v1", "Pod", namespace=space)
                ]
                kind = "pod"
            else:
                pods, kind = self._gateway_pods(name), "gateway"
            for pod in filter(None, map(_graph_pods.pod_from, pods)):
                if pod["kind"] == kind:
                    found[pod["namespace"], pod["name"]] = pod
        return list(found.values())

    def _gateway_pods(self, name: str) -> list[Object]:
        namespace, _slash, own = name.partition("/")
        gateway = self._applier.get(_manifest.Ref(NETWORKING, "Gateway", namespace, own))
        if gateway is None:
            raise MeshError(
                f"the route is on gateway {name}, which is not in the cluster",
                "the gateway, by whose Pods its requests come",
                "have the role traffic apply what is declared first",
            )
        labels = _traffic_facts.gateway_selector(gateway)
        return self._applier.find("v1", "Pod", ",".join(f"{key}={value}" for key, value in labels))

    def read(self) -> tuple[dict[str, Reading], dict[str, str]]:
        """(readings, why there is none), by `namespace/pod`; all proxies at about the same time."""
        reader = _graph_pods.Reader(self._applier.cluster, self._admin_port, _PATIENCE)
        path = _shift_figures.stats_path(self._backends)

        def ask(pod: t.Mapping[str, t.Any]) -> Reading | str:
            try:
                clusters, stats = reader.ask(pod, _shift_figures.CLUSTERS), reader.ask(pod, path)
            except MeshError as error:
                return error.found
            return _shift_figures.read(clusters, stats, self._backends, self._labels)

        readings: dict[str, Reading] = {}
        unread: dict[str, str] = {}
        for pod, answer in zip(self.pods, in_parallel(ask, self.pods)):
            name = "{}/{}".format(pod["namespace"], pod["name"])
            if isinstance(answer, str):
                unread[name] = answer
            else:
                readings[name] = answer
        return readings, unread


def _subset_labels(rules: t.Iterable[Object], backends: t.Iterable[Backend], domain: str) -> list[dict[str, str]]:
    """The labels of each backend's subset; none where it has no subset."""
    known = {
        (_traffic_names.rule_host(rule, domain), str(subset.get("name"))): dict(subset.get("labels") or {})
        for rule in rules
        for subset in (rule.get("spec") or {}).get("subsets") or []
    }
    return [known.get((backend.host, backend.subset), {}) if backend.subset else {} for backend in backends]
