#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: token_policy
version_added: 0.1.0
short_description: Limits what tokens can be had for the ServiceAccounts of virtual machines
author: hybridmesh.istio contributors (@hybridmesh)
description:
  - Makes a ValidatingAdmissionPolicy and its binding, or removes them. With these, a token for the ServiceAccount of a
    WorkloadGroup must have the audience V(istio-ca) and no other, and a limited duration. RBAC can't say that, so
    whoever may request the tokens of virtual machines could request some for the API server, too.
  - The ServiceAccounts are those that the WorkloadGroups of the request's namespace name at that time. Kubelets, which
    request the tokens of Pods, are left alone.
  - Where the policy can't be evaluated, as Istio's kinds are gone or the API server has only just started, requests pass.
  - Needs Kubernetes 1.30.
options:
  state:
    description: Whether the policy is to be there.
    type: str
    choices: [present, absent]
    default: present
  max_duration:
    description: For how long a token may be valid at most, in seconds. 600 is the least that Kubernetes makes.
    type: int
    default: 86400
extends_documentation_fragment:
  - hybridmesh.istio.attributes
  - hybridmesh.istio.attributes.cluster
  - hybridmesh.istio.cluster
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
seealso:
  - plugin: hybridmesh.istio.sidecar_token
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Tokens of virtual machines for istiod alone, and for an hour at most
  hybridmesh.istio.token_policy:
    max_duration: 3600
  delegate_to: localhost
"""

RETURN = r"""
objects:
  description: Each object that was changed, or would be.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: The object's kind.
      type: str
    namespace:
      description: Empty, as these objects have none.
      type: str
    name:
      description: Its name.
      type: str
    action:
      description: V(create), V(update) or V(delete).
      type: str
report:
  description: The same in words, one line for each object.
  returned: success
  type: list
  elements: str
"""

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _cluster_module, _manifest, _token_policy
from ansible_collections.hybridmesh.istio.plugins.module_utils._apply import Applier
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Change, Object


def present(applier: Applier, items: t.Sequence[Object], check_mode: bool) -> list[Change]:
    """Applies the objects one after the other, or says what that would change.

    The API server wants to see the policy before it takes a binding of it, even on trial, from somebody who may not read
    everything: it asks whether they may read the policy's parameters.
    """
    changes: list[Change] = []
    for item in items:
        own = _manifest.ref(item)
        first = check_mode and changes and changes[0].action == "create"
        if first and applier.get(own) is None:
            changes.append(Change(own, "create", None, _manifest.normalised(item)))
            continue
        change = applier.preview(item)
        if change.action != "none" and not check_mode:
            applier.apply(item)
        changes.append(change)
    return changes


def run(module: _cluster_module.Task, cluster: Cluster) -> dict[str, t.Any]:
    """Brings the policy about, or away."""
    cap = module.params["max_duration"]
    if cap < 600:
        raise MeshError(f"max_duration {cap}", "600 s at least, the least that Kubernetes makes", "raise it")
    applier = Applier(cluster)
    items = [_token_policy.policy(cap), _token_policy.binding()]
    if applier.collection_path(items[0]["apiVersion"], items[0]["kind"]) is None:
        if module.params["state"] == "absent":
            return {"changed": False, "objects": [], "report": []}
        raise MeshError(
            f"the API server does not know the kind {items[0]['kind']} of {items[0]['apiVersion']}",
            "Kubernetes 1.30 or newer",
            "upgrade, or do without the policy: control_plane_token_policy: false",
        )
    if module.params["state"] == "present":
        changes = present(applier, items, module.check_mode)
    else:
        refs = [_manifest.ref(item) for item in reversed(items)]
        found = [(own, applier.get(own)) for own in refs]
        changes = [Change(own, "delete", _manifest.normalised(live), None) for own, live in found if live]
        for change in changes if not module.check_mode else ():
            applier.delete(change.ref)
    answer: dict[str, t.Any] = {
        "changed": any(change.action != "none" for change in changes),
        "objects": _manifest.told(changes),
        "report": _manifest.summary(changes, module.check_mode),
    }
    if module._diff:
        answer["diff"] = _manifest.diff(changes)
    return answer


OPTIONS: dict[str, t.Any] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "max_duration": {"type": "int", "default": 86400},
}
DEFINITION = _cluster_module.Definition(OPTIONS, run)


def main() -> None:
    """Runs the module."""
    _cluster_module.main(DEFINITION)


if __name__ == "__main__":
    main()
