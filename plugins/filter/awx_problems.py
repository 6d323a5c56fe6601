# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter awx_problems."""

from __future__ import annotations

import typing as t

DOCUMENTATION = r"""
name: awx_problems
author: hybridmesh.istio contributors (@hybridmesh)
version_added: 0.1.0
short_description: What is wrong with what the role awx_setup is told
description:
  - Judges the options of the role C(awx_setup) by themselves, or by what AWX has.
positional: _input, names, there
options:
  _input:
    description: The role's options, without the prefix of their names.
    type: dict
    required: true
  names:
    description: What things are called.
    type: dict
  there:
    description: What AWX has, as endpoint of its API to names. With it, only what must be there is judged.
    type: dict
  jobs:
    description: Names of the jobs that the role makes.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Judge what is given
  ansible.builtin.debug:
    msg: "{{ my_options | hybridmesh.istio.awx_problems }}"
"""

RETURN = r"""
_value:
  description: What is wrong, each with what was found, what is expected, and the next step. Never a secret.
  type: list
  elements: str
"""


def awx_problems(
    options: t.Mapping[str, t.Any],
    names: t.Mapping[str, t.Any] | None = None,
    there: t.Mapping[str, t.Sequence[str]] | None = None,
    jobs: t.Sequence[str] = (),
) -> list[str]:
    """See DOCUMENTATION."""
    # For one filter of a collection, each of Ansible's workers loads them all: what only this one needs waits for its call.
    from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _awx_setup

    if names is None or there is None:
        return _awx_setup.problems(options, jobs)
    return _awx_setup.lacking(options, names, there)


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """By name."""
        return {"awx_problems": awx_problems}
