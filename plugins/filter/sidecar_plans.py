# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter sidecar_plans."""

from __future__ import annotations

import typing as t

DOCUMENTATION = r"""
name: sidecar_plans
author: hybridmesh.istio contributors (@hybridmesh)
version_added: 0.1.0
short_description: What has to be done to virtual machines, and what stands in the way
description:
  - Compares what M(hybridmesh.istio.sidecar_info) found on the machines of a batch with what the role C(vm_sidecar) wants there, all of
    them at once. Reads what the role left in the variables of each.
positional: _input, known, groups
extends_documentation_fragment:
  - hybridmesh.istio.hostvars
options:
  groups:
    description: What P(hybridmesh.istio.sidecar_group#filter) says of each group, by name.
    type: dict
    required: true
  mesh_version:
    description: Version of istiod, if there is one.
    type: str
  upgrade:
    description: Whether a machine that asks for no version gets istiod's.
    type: bool
    default: false
  package_checksum:
    description: SHA-256 of the package that is on the controller.
    type: str
  keep_remote_files:
    description: Whether Ansible leaves modules on machines (C(DEFAULT_KEEP_REMOTE_FILES)).
    type: bool
    default: false
  image:
    description: Whether images are made of the machines.
    type: bool
    default: false
  tries:
    description: The RV(hybridmesh.istio.pod_reach_info#module:tries) of M(hybridmesh.istio.pod_reach_info).
    type: list
    elements: dict
    default: []
  refused:
    description: The RV(hybridmesh.istio.workload_capacity_info#module:refused) of M(hybridmesh.istio.workload_capacity_info).
    type: dict
"""

EXAMPLES = r"""
- name: Which machines have something to be done
  ansible.builtin.debug:
    msg: "{{ (ansible_play_batch | hybridmesh.istio.sidecar_plans(hostvars, groups)).work }}"
  run_once: true
"""

RETURN = r"""
_value:
  description:
    - C(by_vm), for each machine that answered C(package), C(token) and C(start), which say what is needed and why, and C(problems).
    - C(problems), by name what has to be put right first, as text; C(vms), by name C(name), C(group) and C(address); C(targets), what a
      pod should reach; and names, C(tokens), C(starts), C(captures), C(running), C(work), C(returns) and C(prepares).
  type: dict
"""


def sidecar_plans(
    hosts: t.Iterable[str], known: t.Mapping[str, t.Any], groups: t.Mapping[str, t.Any], **run: t.Any
) -> dict[str, t.Any]:
    """See DOCUMENTATION."""
    # For one filter of a collection, each of Ansible's workers loads them all: what only this one needs waits for its call.
    from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _plans

    return _plans.plans(hosts, known, _plans.Run(groups, **run))


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """By name."""
        return {"sidecar_plans": sidecar_plans}
