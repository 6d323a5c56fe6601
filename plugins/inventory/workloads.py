# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventory plugin hybridmesh.istio.workloads."""

from __future__ import annotations

DOCUMENTATION = r"""
name: workloads
author: hybridmesh.istio contributors (@hybridmesh)
version_added: 0.1.0
short_description: Virtual machines of a mesh, from its WorkloadGroups and WorkloadEntries
description:
  - Every VM that has registered in the mesh is a host, so that the playbooks for the time after onboarding (C(verify), C(renew),
    C(upgrade), C(diagnose), C(offboard), ...) need no other list of VMs.
  - Two lists are asked of the API, of WorkloadGroups and of WorkloadEntries, in pages, however many VMs there are; with
    O(namespaces) two for each of these.
  - The name of the file must end in C(workloads.yml) or C(workloads.yaml).
  - A VM that never registered, or whose entry is deleted (istiod deletes the entries of those that are gone for longer than its
    grace period), is not in the mesh, and so not in this inventory. What a VM's ssh needs (C(ansible_user), ...) belongs into
    C(group_vars/mesh_vms.yml) beside the file.
  - Ansible goes on without an inventory that can't be read, with a warning. Set C(unparsed_is_failed) in the section
    C(inventory) of C(ansible.cfg) (or E(ANSIBLE_INVENTORY_UNPARSED_FAILED)), so that this is an error.
notes:
  - Groups. All hosts are in O(group). Those of a WorkloadGroup are also in C(mesh_group_NAMESPACE__GROUP), where each
    character that no group's name may have is an underscore. A WorkloadGroup without VMs is an empty group.
  - Variables for each host. C(ansible_host) is the address of the entry, C(mesh_workload_group) its WorkloadGroup as
    C(namespace/name), which is what the roles ask for.
  - More variables, all beginning with C(mesh_entry_). C(name), C(namespace), C(group), C(address), C(network), C(service_account),
    C(ports), C(weight), C(labels), C(annotations), C(created_at) as the entry has them; C(app) and C(version) of the application,
    by its labels; C(locality), and its parts C(region), C(zone), C(subzone); C(health) is V(healthy), V(unhealthy) or
    V(not_checked) (the group has no probe), C(health_message) why; C(connected), C(connected_at), C(disconnected_at) and
    C(istiod), which istiod it is connected to.
  - The version of a VM's sidecar is not among what Istio writes into its entry. The report of the playbook C(renew) has it.
  - What a label or an annotation holds is never taken for a template.
options:
  plugin:
    description: Says that the file is for this plugin.
    type: str
    required: true
    choices: [hybridmesh.istio.workloads]
  namespaces:
    description: Only the VMs of these namespaces. Without it, all namespaces are listed, which needs a ClusterRole.
    type: list
    elements: str
    default: []
  workload_groups:
    description: Only the VMs of these WorkloadGroups, each as V(NAMESPACE/GROUP) or V(GROUP).
    type: list
    elements: str
    default: []
  health:
    description: Only the VMs of this health. Without it, all.
    type: list
    elements: str
    choices: [healthy, unhealthy, not_checked]
    default: []
  disconnected:
    description: Whether VMs whose sidecar is not connected to istiod now are hosts as well.
    type: bool
    default: true
  manual:
    description: Whether WorkloadEntries that belong to no WorkloadGroup, because somebody wrote them, are hosts as well. They have
      no C(mesh_workload_group), and are left out where O(workload_groups) is set.
    type: bool
    default: false
  hostnames:
    description:
      - What a VM is called in the inventory; V(name) is the name of its entry, V(address) its address, V(label:KEY) and
        V(annotation:KEY) what its entry has of that name. The first that there is, else the entry's name. What
        is no name for a host (V(localhost), patterns, blanks) counts as not there.
      - Two VMs of the same name are an error.
    type: list
    elements: str
    default: [name]
  group:
    description: The group of all hosts. The playbooks of this collection run on V(mesh_vms).
    type: str
    default: mesh_vms
extends_documentation_fragment:
  - hybridmesh.istio.cluster
  - hybridmesh.istio.cluster.plugins
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
seealso:
  - module: hybridmesh.istio.workload_entry_info
"""

EXAMPLES = r"""
# production.workloads.yml, with all that is needed: the cluster is that of K8S_AUTH_* or of the kubeconfig.
plugin: hybridmesh.istio.workloads

---
# Those of one namespace that work, by the name that they brought along as a label, and groups by where they are.
plugin: hybridmesh.istio.workloads
kubeconfig: ~/.kube/production
namespaces: [shop]
health: [healthy]
hostnames: ["label:hostname", address]
keyed_groups:
  - key: mesh_entry_zone
    prefix: zone
  - key: mesh_entry_health
    prefix: health
compose:
  # ssh to a management address that the application's labels tell.
  ansible_host: mesh_entry_labels['management-address'] | default(mesh_entry_address)
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/ansible-inventory
cache_timeout: 60
"""

import typing as t

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import ENVIRONMENT, Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._watch import PAGE
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _workloads

SUFFIXES = ("workloads.yml", "workloads.yaml")


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """Hosts and groups from the cluster."""

    NAME = "hybridmesh.istio.workloads"

    def verify_file(self, path: str) -> bool:
        return bool(super().verify_file(path)) and path.endswith(SUFFIXES)

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            wish = self._wish()
            wish.check()
            found = self._known(self.get_cache_key(path), wish, cache)
            self._fill(found, wish)
        except MeshError as error:
            raise AnsibleParserError(f"workloads: {error}") from None

    def _wish(self) -> _workloads.Wish:
        return _workloads.Wish(
            namespaces=self.get_option("namespaces"),
            groups=self.get_option("workload_groups"),
            health=self.get_option("health"),
            disconnected=self.get_option("disconnected"),
            manual=self.get_option("manual"),
            hostnames=self.get_option("hostnames"),
        )

    def _known(self, key: str, wish: _workloads.Wish, cache: bool) -> dict[str, list[t.Any]]:
        """What the cluster has, or what it had according to the cache.

        Everything of the namespaces is cached, whatever the filters: these may change from run to run.
        """
        may_cache = self.get_option("cache")
        # Another choice of namespaces is other data.
        key = "_".join([key, *sorted(wish.namespaces)])
        if may_cache and cache:
            try:
                return t.cast(dict[str, list[t.Any]], self._cache[key])
            except KeyError:
                pass
        found = self._ask(wish)
        if may_cache:
            self._cache[key] = found
        return found

    def _ask(self, wish: _workloads.Wish) -> dict[str, list[t.Any]]:
        cluster = Cluster({name: self._connection(name) for name in ENVIRONMENT})
        found = {
            kind: [
                _workloads.kept(item)
                for path in _workloads.paths(wish, kind)
                for item in cluster.list_all(path, limit=PAGE)
            ]
            for kind in ("workloadgroups", "workloadentries")
        }
        if not found["workloadgroups"]:
            self.display.warning(f"workloads: {cluster.server} has no WorkloadGroup that could be seen")
        return found

    def _connection(self, name: str) -> t.Any:
        """An option of the connection, which may be a template: secrets come from lookups, not from files."""
        value = self.get_option(name)
        if isinstance(value, str) and self.templar.is_template(value):
            value = self.templar.template(value)
        return None if value == "" else value

    def _fill(self, found: t.Mapping[str, list[t.Any]], wish: _workloads.Wish) -> None:
        everybody = self.inventory.add_group(self.get_option("group"))
        for group in _workloads.group_names(found["workloadgroups"], wish):
            self._add_group(group, everybody)
        strict = self.get_option("strict")
        for host in _workloads.hosts(found["workloadentries"], wish):
            self.inventory.add_host(host.name, group=everybody)
            if host.group:
                self.inventory.add_host(host.name, group=self._add_group(host.group, everybody))
            for name, value in host.variables.items():
                self.inventory.set_variable(host.name, name, value)
            # Of this host alone: what other sources say of it comes later.
            self._set_composite_vars(self.get_option("compose"), host.variables, host.name, strict=strict)
            variables = {**host.variables, **self.inventory.get_host(host.name).get_vars()}
            self._add_host_to_composed_groups(self.get_option("groups"), variables, host.name, strict=strict)
            self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, host.name, strict=strict)

    def _add_group(self, group: str, everybody: str) -> str:
        name = str(self.inventory.add_group(_workloads.group_variable_name(group)))
        self.inventory.add_child(everybody, name)
        return name
