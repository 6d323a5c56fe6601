# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter sidecar_group."""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _group

DOCUMENTATION = r"""
name: sidecar_group
author: hybridmesh.istio contributors (@hybridmesh)
version_added: 0.1.0
short_description: What the files of a group say about the way to istiod
description:
  - Reads a group's bootstrap files, once for all of its virtual machines.
positional: _input
options:
  _input:
    description: The group's files, as P(hybridmesh.istio.sidecar_bootstrap#lookup) returns them.
    type: dict
    required: true
  istiod_pods:
    description: Addresses of istiod's Pods, where they are known.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Where the group's machines find istiod
  ansible.builtin.debug:
    msg: "{{ (lookup('hybridmesh.istio.sidecar_bootstrap', 'billing', token=false) | hybridmesh.istio.sidecar_group).gateways }}"
"""

RETURN = r"""
_value:
  description:
    - C(files), as they came; C(proxy_config), the C(defaultConfig) of C(mesh.yaml); C(istiod_port); C(gateways) and C(pods), what a
      machine must reach, as C(host:port); C(names) of istiod in C(hosts), and C(mesh_name), the first of them.
  type: dict
"""


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """By name."""
        return {"sidecar_group": _group.of_files}
