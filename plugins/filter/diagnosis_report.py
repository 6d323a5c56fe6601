# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter diagnosis_report."""

from __future__ import annotations

import typing as t

DOCUMENTATION = r"""
name: diagnosis_report
author: hybridmesh.istio contributors (@hybridmesh)
version_added: 0.1.0
short_description: Diagnoses as text, as data and as a page
description:
  - Puts together what P(hybridmesh.istio.mesh_diagnosis#filter) found on several machines.
positional: _input
options:
  _input:
    description: Names of the virtual machines.
    type: list
    elements: str
    required: true
  diagnoses:
    description: Their diagnoses, in the same order.
    type: list
    elements: dict
    required: true
  now:
    description: The time, in seconds since the epoch.
    type: float
    required: true
"""

EXAMPLES = r"""
- name: Print it
  ansible.builtin.debug:
    msg: "{{ (ansible_play_hosts | hybridmesh.istio.diagnosis_report(found, now().timestamp())).lines }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: C(lines), C(html) (a self-contained page), C(by_vm), and C(failed), the names of those that are not well.
  type: dict
"""


def diagnosis_report(hosts: t.Iterable[str], diagnoses: t.Iterable[t.Any], now: float) -> dict[str, t.Any]:
    """See DOCUMENTATION."""
    # For one filter of a collection, each of Ansible's workers loads them all: what only this one needs waits for its call.
    from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _diagnosis_report

    return _diagnosis_report.report(list(hosts), list(diagnoses), float(now))


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """By name."""
        return {"diagnosis_report": diagnosis_report}
