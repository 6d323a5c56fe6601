# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter run_summary."""

from __future__ import annotations

import typing as t

DOCUMENTATION = r"""
name: run_summary
author: hybridmesh.istio contributors (@hybridmesh)
version_added: 0.1.0
short_description: What a run came to for each virtual machine, as data
description:
  - Reads what the role C(vm_sidecar) left in the variables of each host. The result becomes custom statistics of the run, which
    AWX keeps as the job's artifacts.
positional: _input, known
extends_documentation_fragment:
  - hybridmesh.istio.hostvars
options:
  job:
    description: Which entry point ran.
    type: str
    choices: [onboard, remove]
    default: onboard
  alive:
    description: Those that have not failed (C(ansible_play_hosts)). Null means all.
    type: list
    elements: str
  check_mode:
    description: Whether this run changes nothing.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Keep what came of it
  ansible.builtin.set_stats:
    data:
      mesh_report_onboard: >-
        {{ ansible_play_hosts_all | hybridmesh.istio.run_summary(hostvars, alive=ansible_play_hosts) }}
  run_once: true
"""

RETURN = r"""
_value:
  description:
    - C(vms), how many; C(counts) by state (V(joined), V(changed), V(removed), V(unchanged), V(failed), V(unreachable),
      V(not_reached), in check mode V(would_be_joined) and so on); C(failed), reasons by name; C(expires), empty here; C(joined)
      and C(changed), or C(removed), names.
  type: dict
"""


def run_summary(
    hosts: t.Iterable[str],
    known: t.Mapping[str, t.Any],
    job: str = "onboard",
    alive: t.Iterable[str] | None = None,
    check_mode: bool = False,
) -> dict[str, t.Any]:
    """See DOCUMENTATION."""
    # For one filter of a collection, each of Ansible's workers loads them all: what only this one needs waits for its call.
    from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _known, _summary

    names = list(hosts)
    living = frozenset(names if alive is None else alive)
    judge, own, listed = {
        "onboard": (_summary.onboarded, ("info", "failure", "done"), ("joined", "changed")),
        "remove": (_summary.removed, ("info", "removed"), ("removed",)),
    }[job]
    outcomes = [
        judge(name, dict(zip((*own, "plan"), values, strict=True)), name in living, bool(check_mode))
        for name, *values in _known.of_hosts(
            names, known, [f"__vm_sidecar_{name}" for name in own], "__vm_sidecar_plans"
        )
    ]
    return _summary.summary(outcomes, listed)


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """By name."""
        return {"run_summary": run_summary}
