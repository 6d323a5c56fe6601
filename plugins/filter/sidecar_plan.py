# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter sidecar_plan."""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _plan

DOCUMENTATION = r"""
name: sidecar_plan
author: hybridmesh.istio contributors (@hybridmesh)
version_added: 0.1.0
short_description: What has to be done to a virtual machine, and what stands in the way
description:
  - Compares what M(hybridmesh.istio.sidecar_info) found on a machine with what the role vm_sidecar wants there.
positional: _input
options:
  _input:
    description: The RV(hybridmesh.istio.sidecar_info#module:vm) of M(hybridmesh.istio.sidecar_info).
    type: dict
    required: true
  wanted:
    description: What is wanted; the role's tasks show its keys.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: See what the role would do
  ansible.builtin.debug:
    msg: "{{ found.vm | hybridmesh.istio.sidecar_plan({'files': files, 'package': {'version': '1.31.0'}}) }}"
"""

RETURN = r"""
_value:
  description:
    - C(package), C(token) and C(start) say what is needed and why; C(problems) says what has to be put right first.
  type: dict
"""


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """By name."""
        return {"sidecar_plan": _plan.plan}
