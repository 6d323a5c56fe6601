# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: proof_vms
version_added: 0.1.0
short_description: What to ask the Kubernetes API about virtual machines that were probed
author: hybridmesh.istio contributors (@hybridmesh)
description:
  - Turns the results of M(hybridmesh.istio.mesh_probe) into the O(hybridmesh.istio.workload_entry_info#module:vms) of
    M(hybridmesh.istio.workload_entry_info) and M(hybridmesh.istio.workload_probe).
  - Machines that gave no result are left out.
positional: _input, known
extends_documentation_fragment:
  - hybridmesh.istio.hostvars
options:
  namespace:
    description: Namespace of groups that are given by name only. Null means the one that the sidecar says.
    type: str
  entries:
    description:
      - Verdicts of M(hybridmesh.istio.workload_entry_info). If given, only machines whose verdict is V(ok) are
        returned.
    type: list
    elements: dict
seealso:
  - plugin: hybridmesh.istio.proof_table
    plugin_type: filter
"""

EXAMPLES = r"""
- name: See what registered
  hybridmesh.istio.workload_entry_info:
    vms: "{{ ansible_play_hosts | hybridmesh.istio.proof_vms(hostvars) }}"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
_value:
  description: A dictionary with C(name), C(group) and C(address) for each machine that answered.
  type: list
  elements: dict
"""

from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _proof


def proof_vms(hosts, known, namespace=None, entries=None):
    # One host after the other: Ansible makes a host's variables when they are asked for.
    probes = ((host, known[host].get("__mesh_verify_probe")) for host in hosts)
    return _proof.vms_for_api(probes, namespace, None if entries is None else list(entries))


class FilterModule:
    def filters(self):
        return {"proof_vms": proof_vms}
