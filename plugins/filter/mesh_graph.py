# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter mesh_graph."""

from __future__ import annotations

import typing as t

DOCUMENTATION = r"""
name: mesh_graph
author: hybridmesh.istio contributors (@hybridmesh)
version_added: 0.1.0
short_description: Who talks to whom in the mesh, as a page, as data and as text
description:
  - Puts together what M(hybridmesh.istio.graph_info) read in the cluster and M(hybridmesh.istio.graph_sample_info) on virtual
    machines.
  - Rates are those of the seconds in which each proxy was read, counted by the one who sends; each try counts.
positional: _input
options:
  _input:
    description:
      - What M(hybridmesh.istio.graph_info) returned. Read are C(mesh), C(services), C(pods), C(workload_entries) and C(samples).
    type: dict
    required: true
  hosts:
    description: Inventory names of the virtual machines.
    type: list
    elements: str
    default: []
  results:
    description:
      - What M(hybridmesh.istio.graph_sample_info) returned on each, in the same order, also where it failed or could not reach the
        machine; anything else than a dictionary for those that were not tried.
    type: list
    elements: raw
    default: []
  addresses:
    description:
      - The address of each in the mesh, in the same order, as far as it is known, or a list of which the first that is not empty
        counts. Leads to the WorkloadEntry of a machine that could not be read.
    type: list
    elements: raw
    default: []
  now:
    description: The time, in seconds since the epoch.
    type: float
    required: true
  cluster_domain:
    description: The cluster's DNS domain.
    type: str
    default: cluster.local
"""

EXAMPLES = r"""
- name: Write the page
  ansible.builtin.copy:
    content: "{{ (found | hybridmesh.istio.mesh_graph(hosts, results, now=now().timestamp())).html }}"
    dest: mesh-graph.html
    mode: '0644'
  vars:
    hosts: "{{ ansible_play_hosts_all }}"
    # What graph_sample_info registered as `sampled` on each.
    results: "{{ hosts | map('extract', hostvars) | map(attribute='sampled', default='') }}"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
_value:
  description:
    - C(html), a self-contained page; C(lines), the busiest part of it as a table of text.
    - C(nodes), each with C(id), C(kind) (V(gateway), V(pods), V(vm), V(vms), V(service), V(external), V(outside), V(refused) or
      V(unseen)), C(name), C(namespace), C(group), C(health), C(well) and C(members).
    - C(edges), each with C(source), C(target), C(kind) (V(calls) or V(serves)), C(protocol), C(requests) and C(connections) a
      second, C(open), C(error_share), C(security) (V(mtls), V(tls), V(passed), V(mixed), V(plain) or V(unknown)), C(ports),
      C(total), C(total_errors) and C(flags).
    - C(totals), with C(requests), C(errors) and C(connections) a second, and C(mtls), the share of what services got that way.
    - C(unread), each with C(proxy) and C(why).
  type: dict
"""


def mesh_graph(
    known: t.Mapping[str, t.Any],
    hosts: t.Iterable[str] = (),
    results: t.Iterable[t.Any] = (),
    addresses: t.Iterable[t.Any] = (),
    now: float = 0,
    cluster_domain: str = "cluster.local",
) -> dict[str, t.Any]:
    """See DOCUMENTATION."""
    names = list(hosts)
    told, places = _as_many(results, len(names)), _as_many(addresses, len(names))
    machines = [
        {"name": name, "address": _first(address), "result": result}
        for name, address, result in zip(names, places, told, strict=True)
    ]
    # For one filter of a collection, each of Ansible's workers loads them all: what only this one needs waits for its call.
    from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _graph

    return _graph.report(known, machines, float(now), cluster_domain)


def _first(address: t.Any) -> str | None:
    several = address if isinstance(address, (list, tuple)) else [address]
    return next((str(one) for one in several if one), None)


def _as_many(values: t.Iterable[t.Any], count: int) -> list[t.Any]:
    found = list(values)
    return [*found, *[None] * (count - len(found))]


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """By name."""
        return {"mesh_graph": mesh_graph}
