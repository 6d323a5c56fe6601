#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a pod's network reaches virtual machines."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pod_reach_info
short_description: Whether pods reach virtual machines by TCP
version_added: 0.1.0
description:
  - Tries, from the sidecar container of a pod, to reach addresses outside of the cluster, past the pod's capture.
  - Needs no tool in the workload's own containers, since the sidecar's agent does the asking.
  - Where there is no such pod it says so, and fails only if the Kubernetes API refuses.
  - Runs where the Kubernetes API is reached, usually the controller.
author:
  - hybridmesh.istio contributors (@hybridmesh)
extends_documentation_fragment:
  - hybridmesh.istio.attributes
  - hybridmesh.istio.attributes.cluster
  - hybridmesh.istio.cluster
options:
  workload:
    description: The workload to ask from. Its pods must have a sidecar.
    type: dict
    required: true
    suboptions:
      namespace:
        description: Its namespace.
        type: str
        required: true
      deployment:
        description: Name of its Deployment.
        type: str
        required: true
      container:
        description: Not used; it is allowed so that the same dictionary serves other modules as well.
        type: str
  targets:
    description: What to try, as C(address:port).
    type: list
    elements: str
    required: true
  timeout:
    description: Seconds for each target.
    type: int
    default: 3
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Do pods reach the machine's service port
  hybridmesh.istio.pod_reach_info:
    workload: {namespace: lab, deployment: workbench}
    targets: ["192.0.2.21:8080"]
  delegate_to: localhost
"""

RETURN = r"""
tries:
  description: One entry for each target, with C(target), C(rc) and C(output) of the agent; empty if not tested.
  returned: always
  type: list
  elements: dict
not_tested:
  description: Why nothing was tried, null otherwise.
  returned: always
  type: str
"""

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _cluster_module, _pod_reach
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster


def run(module: _cluster_module.Task, cluster: Cluster) -> dict[str, t.Any]:
    """Tries all targets."""
    params = module.params
    namespace = params["workload"]["namespace"]
    try:
        pod = _pod_reach.find_pod(cluster, namespace, params["workload"]["deployment"])
        tries = _pod_reach.try_targets(cluster, namespace, pod, params["targets"], params["timeout"])
    except _pod_reach.NotTested as not_tested:
        return {"changed": False, "tries": [], "not_tested": str(not_tested)}
    return {"changed": False, "tries": tries, "not_tested": None}


OPTIONS: dict[str, t.Any] = {
    "workload": dict(_cluster_module.WORKLOAD, required=True),
    "targets": {"type": "list", "elements": "str", "required": True},
    "timeout": {"type": "int", "default": 3},
}
DEFINITION = _cluster_module.Definition(OPTIONS, run)


def main() -> None:
    """Runs the module."""
    _cluster_module.main(DEFINITION)


if __name__ == "__main__":
    main()
