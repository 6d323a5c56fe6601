# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter awx_plan."""

from __future__ import annotations

import typing as t

DOCUMENTATION = r"""
name: awx_plan
author: hybridmesh.istio contributors (@hybridmesh)
version_added: 0.1.0
short_description: What the role awx_setup can do in an AWX that has this and lacks that
description:
  - In check mode, what needs something that is not there yet can't be looked at.
positional: _input, names, there
options:
  _input:
    description: The options of the role C(awx_setup), without the prefix of their names.
    type: dict
    required: true
  names:
    description: What things are called.
    type: dict
    required: true
  there:
    description: What AWX has, as endpoint of its API to names.
    type: dict
    required: true
  check:
    description: Whether nothing is made in this run.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: What can be looked at
  ansible.builtin.debug:
    msg: "{{ my_options | hybridmesh.istio.awx_plan(my_names, what_awx_has, check=ansible_check_mode) }}"
"""

RETURN = r"""
_value:
  description: >-
    C(can), part of the declaration, such as C(project) or C(templates), to whether it can be looked at now; and C(others), what the
    organisation holds that this role did not make.
  type: dict
"""


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """By name."""
        return {"awx_plan": awx_plan}


def awx_plan(
    options: t.Mapping[str, t.Any],
    names: t.Mapping[str, t.Any],
    there: t.Mapping[str, t.Sequence[str]],
    check: bool = False,
) -> dict[str, t.Any]:
    """See DOCUMENTATION."""
    # For one filter of a collection, each of Ansible's workers loads them all: what only this one needs waits for its call.
    from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _awx_setup

    others = _awx_setup.others(names, there) if options["state"] == "absent" else []
    return {"can": _awx_setup.parts(options, names, there, check), "others": others}
