# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: proof_table
version_added: 0.1.0
short_description: The proof of the mesh as a table of all virtual machines, and as data
author: hybridmesh.istio contributors (@hybridmesh)
description:
  - Puts together what M(hybridmesh.istio.mesh_probe), M(hybridmesh.istio.workload_entry_info) and
    M(hybridmesh.istio.workload_probe) found, and lists every host, also those that failed, could not be reached, or are
    not part of the run.
positional: _input, known
extends_documentation_fragment:
  - hybridmesh.istio.hostvars
options:
  entries:
    description: Verdicts of M(hybridmesh.istio.workload_entry_info).
    type: list
    elements: dict
    default: []
  pods:
    description: Verdicts of M(hybridmesh.istio.workload_probe).
    type: list
    elements: dict
    default: []
  targeted:
    description: The hosts of the play (C(ansible_play_hosts_all)). Null means all.
    type: list
    elements: str
  alive:
    description: Those that have not failed (C(ansible_play_hosts)). Null means all.
    type: list
    elements: str
  from_pod:
    description: Whether requests from a pod were asked for.
    type: bool
    default: false
  check_mode:
    description: Whether what is missing would have been made first, so that it counts as not tested.
    type: bool
    default: false
seealso:
  - plugin: hybridmesh.istio.proof_vms
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Print the table
  ansible.builtin.debug:
    msg: "{{ (ansible_play_hosts | hybridmesh.istio.proof_table(hostvars, entries=seen.verdicts)).lines }}"
  run_once: true
"""

RETURN = r"""
_value:
  description:
    - C(lines), the table as lines; C(by_vm), a dictionary for each host with C(vm), C(state) (V(ok), V(failed),
      V(unreachable), V(not_reached) or V(not_tested)), C(reasons) and all the evidence;
      C(counts) by state; C(failed), the names of the hosts that failed or could not be reached;
      C(summary), what becomes custom statistics.
  type: dict
"""

from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _known, _proof


def proof_table(
    hosts,
    known,
    entries=(),
    pods=(),
    targeted=None,
    alive=None,
    from_pod=False,
    check_mode=False,
):
    hosts = list(hosts)
    own = ("__mesh_verify_probe", "__vm_sidecar_failure", "__vm_sidecar_info")
    return _proof.prove(
        _known.of_hosts(hosts, known, own, "mesh_verify_proof"),
        entries=list(entries or ()),
        pods=list(pods or ()),
        targeted=frozenset(hosts if targeted is None else targeted),
        alive=frozenset(hosts if alive is None else alive),
        from_pod=bool(from_pod),
        check_mode=bool(check_mode),
    )


class FilterModule:
    def filters(self):
        return {"proof_table": proof_table}
