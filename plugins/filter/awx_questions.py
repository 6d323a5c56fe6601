# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter awx_questions."""

from __future__ import annotations

import typing as t

DOCUMENTATION = r"""
name: awx_questions
author: hybridmesh.istio contributors (@hybridmesh)
version_added: 0.1.0
short_description: What the role awx_setup asks AWX before it changes anything
description:
  - Tells which of AWX's lists must be read.
positional: _input, names
options:
  _input:
    description: The options of the role C(awx_setup), without the prefix of their names.
    type: dict
    required: true
  names:
    description: What things are called.
    type: dict
    required: true
  check:
    description: Whether nothing is made in this run, so that more must be known.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Which lists
  ansible.builtin.debug:
    msg: "{{ my_options | hybridmesh.istio.awx_questions(my_names) | map(attribute='endpoint') }}"
"""

RETURN = r"""
_value:
  description: For each question C(what) it is about, the C(endpoint) of AWX's API, its C(query), and C(by) which field things are told apart.
  type: list
  elements: dict
"""


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """By name."""
        return {"awx_questions": awx_questions}


def awx_questions(
    options: t.Mapping[str, t.Any], names: t.Mapping[str, t.Any], check: bool = False
) -> list[dict[str, t.Any]]:
    """See DOCUMENTATION."""
    # For one filter of a collection, each of Ansible's workers loads them all: what only this one needs waits for its call.
    from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _awx_setup

    return _awx_setup.questions(options, names, check)
