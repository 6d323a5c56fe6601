#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: graph_sample_info
version_added: 0.1.0
short_description: What a virtual machine's sidecar sends and receives, for a graph
author: hybridmesh.istio contributors (@hybridmesh)
description:
  - Runs on the virtual machine, in one round trip. Reads the counters of the sidecar's Envoy twice, O(interval) seconds
    apart, and how it talks to those endpoints that had traffic.
  - Sends no requests, changes nothing, and needs no privileges. A sidecar that does not answer is no failure, but told.
options:
  interval:
    description: Seconds between the two readings.
    type: float
    default: 5
  admin_port:
    description: Port of Envoy's admin interface on the loopback address.
    type: int
    default: 15000
extends_documentation_fragment:
  - hybridmesh.istio.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
seealso:
  - module: hybridmesh.istio.graph_info
  - plugin: hybridmesh.istio.mesh_graph
    plugin_type: filter
"""

EXAMPLES = r"""
- name: See what this machine does in the mesh
  hybridmesh.istio.graph_sample_info:
    interval: 10
  register: sampled
"""

RETURN = r"""
sidecar:
  description: The sidecar itself, null where it does not answer.
  returned: always
  type: dict
  contains:
    address:
      description: The address by which the mesh knows this machine.
      type: str
      sample: 10.88.0.21
    namespace:
      description: The namespace it registers in.
      type: str
      sample: chapter10vm
    group:
      description: The WorkloadGroup that it registers with.
      type: str
      sample: envoydummy
    version:
      description: The version of Istio's agent.
      type: str
      sample: 1.31.0
sample:
  description: What happened between the two readings, null where the sidecar does not answer.
  returned: always
  type: dict
  contains:
    seconds:
      description: Seconds between the two.
      type: float
      sample: 5.003
    clusters:
      description:
        - By Envoy's cluster and endpoint, C(total) (the counters that are not 0), C(grew) (what they did in between),
          C(open) (connections), and C(health) (as Envoy takes it, V(healthy) or flags).
      type: dict
    security:
      description: By Envoy's cluster and endpoint, how Envoy talks to it - V(mtls), V(tls) or V(plain).
      type: dict
unread:
  description: Why there is no sample, or no security in it; null where all could be read.
  returned: always
  type: str
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hybridmesh.istio.plugins.module_utils import _admin, _graph_sample, _probe

OF_NODE = ("address", "namespace", "group", "version")


def look(admin, interval):
    """(sidecar, sample, why it is not complete)."""
    try:
        node = _probe.parse_server_info(admin.json("server_info"))._asdict()
        started, before = time.monotonic(), _graph_sample.parse(admin.text("clusters"))
        time.sleep(max(0.0, interval - (time.monotonic() - started)))
        seconds, after = time.monotonic() - started, _graph_sample.parse(admin.text("clusters"))
    except _admin.ERRORS as error:
        return None, None, f"no answer from Envoy's admin interface: {_admin.reason(error)}"
    sample, unread = _graph_sample.sample(before, after, seconds), None
    try:
        for clusters, endpoints in _graph_sample.dump_paths(sample):
            _graph_sample.add_security(sample, admin.json(clusters), admin.json(endpoints))
    except _admin.ERRORS as error:
        unread = f"Envoy does not tell its configuration: {_admin.reason(error)}"
    return {name: node[name] for name in OF_NODE}, sample, unread


def main():
    module = AnsibleModule(
        argument_spec={
            "interval": {"type": "float", "default": 5},
            "admin_port": {"type": "int", "default": 15000},
        },
        supports_check_mode=True,
    )
    params = module.params
    sidecar, sample, unread = look(_admin.Admin(params["admin_port"]), params["interval"])
    module.exit_json(changed=False, sidecar=sidecar, sample=sample, unread=unread)


if __name__ == "__main__":
    main()
