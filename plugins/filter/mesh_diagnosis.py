# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter mesh_diagnosis."""

from __future__ import annotations

import typing as t

DOCUMENTATION = r"""
name: mesh_diagnosis
author: hybridmesh.istio contributors (@hybridmesh)
version_added: 0.1.0
short_description: Why a virtual machine is not in the mesh
description:
  - Judges, layer by layer, what M(hybridmesh.istio.sidecar_symptoms_info) saw on the machine and what the cluster knows of it.
    Each layer needs those before it, so that the first finding is the cause.
positional: _input
options:
  _input:
    description:
      - What is known; whatever is missing is not judged. C(contact) (the result of looking at the machine), C(vm) (its symptoms),
        C(mesh) (of M(hybridmesh.istio.mesh_info)), C(mesh_error), C(group), C(files), C(proxy_config), C(material_error), C(entry)
        (a verdict of M(hybridmesh.istio.workload_entry_info)), C(state) and C(seen) (of M(hybridmesh.istio.workload_capacity_info)),
        C(review) (of M(hybridmesh.istio.token_review_info)).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Why
  ansible.builtin.debug:
    msg: "{{ ({'vm': seen.vm, 'group': 'shop/billing', 'mesh': cluster.mesh} | hybridmesh.istio.mesh_diagnosis).first }}"
"""

RETURN = r"""
_value:
  description:
    - C(ok); C(first), the first cause (C(cause), C(layer), C(found), C(remedy)), or null; C(findings), all of them in order;
      C(layers); C(complaints), of the sidecar's logs.
  type: dict
"""


def mesh_diagnosis(known: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """See DOCUMENTATION."""
    # For one filter of a collection, each of Ansible's workers loads them all: what only this one needs waits for its call.
    from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _diagnosis

    return _diagnosis.diagnose(known)


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """By name."""
        return {"mesh_diagnosis": mesh_diagnosis}
