#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: workload_group
short_description: WorkloadGroups with what belongs to them
version_added: 0.1.0
description:
  - Makes, for each group, its namespace, its ServiceAccount, its WorkloadGroup and, if wanted, its Service.
  - A namespace or ServiceAccount that is there already is used as it is. A WorkloadGroup or Service that somebody else
    made is never changed; it is an error where it differs from what is declared.
  - A Service of a declared group that is no longer declared is removed. A WorkloadGroup is never removed, since
    Kubernetes would remove the entries of all its virtual machines with it; those that are not declared any more are
    listed.
author:
  - hybridmesh.istio contributors (@hybridmesh)
extends_documentation_fragment:
  - hybridmesh.istio.attributes
  - hybridmesh.istio.attributes.cluster
  - hybridmesh.istio.cluster
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  groups:
    description: The groups.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The group's name.
        type: str
        required: true
      namespace:
        description: The group's namespace.
        type: str
        required: true
      labels:
        description: Labels of the group's entries, which Services and policies select.
        type: dict
        default: {}
      annotations:
        description: Annotations of the group's entries.
        type: dict
        default: {}
      service_account:
        description:
          - ServiceAccount that the group's virtual machines are known by. The default is one named after the group.
        type: str
      allow_service_account:
        description: Whether it may be C(default), or one that has rights in the cluster.
        type: bool
        default: false
      ports:
        description: Ports of the workload, as numbers by name, such as 8080 for V(http).
        type: dict
        default: {}
      probe:
        description:
          - The health probe, as a WorkloadGroup's C(spec.probe) has it.
        type: dict
      network:
        description: Network of the virtual machines. Only the cluster's own is supported, which is also the default.
        type: str
      locality:
        description: Locality of the entries, as C(region/zone/subzone).
        type: str
      weight:
        description: Weight of each entry in load balancing.
        type: int
      service:
        description: A Service that selects the group's entries. Null for none.
        type: dict
        suboptions:
          name:
            description: The Service's name. The default is the group's.
            type: str
          selector:
            description: Labels that it selects. The default is the group's label C(app), or all its labels without one.
            type: dict
          ports:
            description: The Service's ports.
            type: list
            elements: dict
            required: true
            suboptions:
              name:
                description: The port's name, from which Istio takes its protocol, such as V(http) or V(tcp-db).
                type: str
                required: true
              port:
                description: The port.
                type: int
                required: true
              targetPort:
                description: Port of the virtual machine. The default is O(groups[].service.ports[].port).
                type: int
              protocol:
                description: Transport protocol.
                type: str
                choices: [TCP, UDP]
                default: TCP
  istio_namespace:
    description: istiod's namespace, from which the cluster's network is read.
    type: str
    default: istio-system
  revision:
    description: Revision of that istiod. Null for the default one.
    type: str
seealso:
  - plugin: hybridmesh.istio.sidecar_bootstrap
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: A group with a Service
  hybridmesh.istio.workload_group:
    groups:
      - name: envoydummy
        namespace: chapter10vm
        service_account: chapter10-sa
        labels: {app: envoydummy, version: v2}
        ports: {http: 10000}
        probe:
          httpGet: {path: /, port: 10000}
          periodSeconds: 5
          initialDelaySeconds: 1
        service:
          ports:
            - {name: http, port: 80, targetPort: 10000}
"""

RETURN = r"""
objects:
  description: Each object that was changed, or would be.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: The object's kind.
      type: str
    namespace:
      description: Its namespace; empty for objects without one.
      type: str
    name:
      description: Its name.
      type: str
    action:
      description: V(create), V(update) or V(delete).
      type: str
report:
  description: The same in words, one line for each object.
  returned: success
  type: list
  elements: str
undeclared:
  description: >-
    WorkloadGroups in the namespaces of the declared ones, made by this collection, that are not declared. They stay.
  returned: success
  type: list
  elements: str
  sample: [chapter10vm/retired]
"""

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import (
    _cluster,
    _cluster_module,
    _manifest,
    _workload_group,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._apply import MANAGED_BY, MANAGER, Applier
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Change, Object
from ansible_collections.hybridmesh.istio.plugins.module_utils._rights import rights_of_accounts

PORT: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "targetPort": {"type": "int"},
    "protocol": {"type": "str", "choices": ["TCP", "UDP"], "default": "TCP"},
}

SERVICE: dict[str, t.Any] = {
    "name": {"type": "str"},
    "selector": {"type": "dict"},
    "ports": {"type": "list", "elements": "dict", "required": True, "options": PORT},
}

GROUP: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "namespace": {"type": "str", "required": True},
    "labels": {"type": "dict", "default": {}},
    "annotations": {"type": "dict", "default": {}},
    "service_account": {"type": "str"},
    "allow_service_account": {"type": "bool", "default": False},
    "ports": {"type": "dict", "default": {}},
    "probe": {"type": "dict"},
    "network": {"type": "str"},
    "locality": {"type": "str"},
    "weight": {"type": "int"},
    "service": {"type": "dict", "options": SERVICE},
}

OPTIONS: dict[str, t.Any] = {
    "groups": {"type": "list", "elements": "dict", "required": True, "options": GROUP},
    "istio_namespace": {"type": "str", "default": "istio-system"},
    "revision": {"type": "str"},
}


class Run:
    """One run of the module."""

    def __init__(self, module: _cluster_module.Task, cluster: Cluster) -> None:
        self.module = module
        self.groups: list[dict[str, t.Any]] = module.params["groups"]
        _workload_group.check_groups(self.groups)
        self.cluster = cluster
        self.applier = Applier(self.cluster)

    def run(self) -> dict[str, t.Any]:
        """Brings the groups about and tells what came of it."""
        networks = self._judge()
        # The order in which they are made: each may need those before it.
        items: list[Object] = []
        changes: list[Change] = []
        for group, network in zip(self.groups, networks):
            for item in (_workload_group.namespace(group), _workload_group.service_account(group)):
                if item not in items:
                    items.append(item)
                    changes.append(self._ensured(item))
            service = _workload_group.service(group)
            for item in [_workload_group.workload_group(group, network), *([service] if service else [])]:
                items.append(item)
                changes.append(self.applier.preview_ours(item))
        leftovers = self._leftover_services()
        if not self.module.check_mode:
            for item, change in zip(items, changes):
                if change.action != "none":
                    self.applier.apply(item)
            for item in leftovers:
                self.applier.delete(_manifest.ref(item))
        changes += [Change(_manifest.ref(item), "delete", _manifest.normalised(item), None) for item in leftovers]
        answer: dict[str, t.Any] = {
            "changed": any(change.action != "none" for change in changes),
            "objects": _manifest.told(changes),
            "report": _manifest.summary(changes, self.module.check_mode),
            "undeclared": self._undeclared(),
        }
        if self.module._diff:
            answer["diff"] = _manifest.diff(changes)
        return answer

    def _judge(self) -> list[str]:
        """Refuses what must not be, before the first change. Returns each group's network."""
        mesh = _cluster.read_mesh(self.cluster, self.module.params["istio_namespace"], self.module.params["revision"])
        if mesh is None and not self.module.check_mode:
            raise MeshError(
                f"there is no Istio in {self.module.params['istio_namespace']}",
                "Istio, whose kinds and network the groups need",
                "install it first (role control_plane)",
            )
        accounts = [(group["namespace"], _workload_group.account_of(group)) for group in self.groups]
        rights = rights_of_accounts(self.cluster, accounts)
        for group, account in zip(self.groups, accounts):
            _workload_group.judge_account(group, rights[account])
        if mesh is None:
            # In check mode, before Istio is there: the network can't be known.
            return [group["network"] or "" for group in self.groups]
        return [_workload_group.judge_network(group, mesh["network"]) for group in self.groups]

    def _ensured(self, item: Object) -> Change:
        """For what must be there, and is not ours to change."""
        own = _manifest.ref(item)
        return Change(own, "create" if self.applier.get(own) is None else "none", None, item)

    def _leftover_services(self) -> list[Object]:
        """Services of declared groups that are no longer declared."""
        declared = {
            (group["namespace"], _workload_group.service_name(group)) for group in self.groups if group["service"]
        }
        selector = f"{MANAGED_BY}={MANAGER},{_workload_group.GROUP_LABEL}"
        names = {(group["namespace"], group["name"]) for group in self.groups}
        found = []
        for namespace in sorted({group["namespace"] for group in self.groups}):
            for item in self.applier.find("v1", "Service", selector, namespace):
                group = _manifest.labels(item)[_workload_group.GROUP_LABEL]
                if (namespace, group) in names and (namespace, _manifest.ref(item).name) not in declared:
                    found.append(item)
        return found

    def _undeclared(self) -> list[str]:
        declared = {(group["namespace"], group["name"]) for group in self.groups}
        found = []
        for namespace in sorted({group["namespace"] for group in self.groups}):
            for item in self.applier.find(
                _workload_group.NETWORKING, "WorkloadGroup", f"{MANAGED_BY}={MANAGER}", namespace
            ):
                if (namespace, _manifest.ref(item).name) not in declared:
                    found.append(f"{namespace}/{_manifest.ref(item).name}")
        return found


def run(module: _cluster_module.Task, cluster: Cluster) -> dict[str, t.Any]:
    """Brings the groups about."""
    return Run(module, cluster).run()


DEFINITION = _cluster_module.Definition(OPTIONS, run)


def main() -> None:
    """Runs the module."""
    _cluster_module.main(DEFINITION)


if __name__ == "__main__":
    main()
