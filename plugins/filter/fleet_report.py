# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter fleet_report."""

from __future__ import annotations

import typing as t

DOCUMENTATION = r"""
name: fleet_report
author: hybridmesh.istio contributors (@hybridmesh)
version_added: 0.1.0
short_description: All virtual machines with version, expiry, capture and last proof
description:
  - Puts together what P(hybridmesh.istio.sidecar_renewals#filter) found, and lists every host, also those that could not be
    reached.
positional: _input, known, now
extends_documentation_fragment:
  - hybridmesh.istio.hostvars
options:
  now:
    description: The time, in seconds since the epoch.
    type: float
    required: true
"""

EXAMPLES = r"""
- name: Print it
  ansible.builtin.debug:
    msg: "{{ (ansible_play_hosts_all | hybridmesh.istio.fleet_report(hostvars, now().timestamp())).lines }}"
  run_once: true
"""

RETURN = r"""
_value:
  description:
    - C(lines), the table as lines; C(html), the same as a page; C(by_vm), a dictionary for each host with C(vm), C(state)
      (V(ok), V(renewed), V(attention), V(failed), V(unreachable) or V(not_reached)), C(reasons) and the columns;
      C(counts) by state; C(failed), the names of those that failed or could not be reached;
      C(summary), what becomes custom statistics.
  type: dict
"""


def fleet_report(hosts: t.Iterable[str], known: t.Mapping[str, t.Any], now: float) -> dict[str, t.Any]:
    """See DOCUMENTATION."""
    # For one filter of a collection, each of Ansible's workers loads them all: what only this one needs waits for its call.
    from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _fleet, _known

    return _fleet.report(_known.of_hosts(hosts, known, ["__vm_sidecar_info"], "vm_sidecar_renewals"), float(now))


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """By name."""
        return {"fleet_report": fleet_report}
