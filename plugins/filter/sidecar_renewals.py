# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter sidecar_renewals."""

from __future__ import annotations

import typing as t

DOCUMENTATION = r"""
name: sidecar_renewals
author: hybridmesh.istio contributors (@hybridmesh)
version_added: 0.1.0
short_description: What expires on virtual machines, and what has to be renewed
description:
  - Judges what M(hybridmesh.istio.sidecar_info) found on the machines of a batch, all of them at once. Reads what the entry point
    C(renew) of the role C(vm_sidecar) left in the variables of each.
positional: _input, known, groups
extends_documentation_fragment:
  - hybridmesh.istio.hostvars
options:
  groups:
    description: What P(hybridmesh.istio.sidecar_group#filter) says of each group, by name.
    type: dict
    required: true
  before:
    description: What this filter said earlier in the run. Machines that have failed since are kept.
    type: dict
"""

EXAMPLES = r"""
- name: Which machines need a token
  ansible.builtin.debug:
    msg: >-
      {{ (ansible_play_batch | hybridmesh.istio.sidecar_renewals(hostvars, groups)).needed }}
  run_once: true
"""

RETURN = r"""
_value:
  description:
    - C(by_vm), for each machine that answered C(token) with C(needed) and C(reason); C(findings), each with C(check), C(fails), C(found)
      and C(next_step); C(version), C(certificate_remaining) and C(token_remaining) in seconds, C(age), C(capture) and C(proven).
    - C(needed), the names of those that need a token; C(failed), by name what somebody has to see to.
  type: dict
"""


def sidecar_renewals(
    hosts: t.Iterable[str],
    known: t.Mapping[str, t.Any],
    groups: t.Mapping[str, t.Any],
    before: t.Mapping[str, t.Any] | None = None,
) -> dict[str, t.Any]:
    """See DOCUMENTATION."""
    # For one filter of a collection, each of Ansible's workers loads them all: what only this one needs waits for its call.
    from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _renewals

    return _renewals.renewals(hosts, known, groups, before)


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """By name."""
        return {"sidecar_renewals": sidecar_renewals}
