#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where requests go in the mesh, and who may send them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: traffic
short_description: Where requests go in the mesh, and who may send them
version_added: 0.1.0
description:
  - Makes Istio's Gateways, VirtualServices, DestinationRules, Sidecars, PeerAuthentications and AuthorizationPolicies from one
    declaration, and removes those of its objects that the declaration no longer has.
  - Everything is judged before anything is applied, and all problems are told at once - weights that do not make 100, backends,
    ports, subsets, gateways and certificates that are not there, two routes for one host on one gateway. The API server judges each
    object by Istio's own schema and webhook.
  - An object of the same name that somebody else made, or another declaration, is never changed; it is an error where it differs from
    what is declared.
author:
  - hybridmesh.istio contributors (@hybridmesh)
extends_documentation_fragment:
  - hybridmesh.istio.attributes
  - hybridmesh.istio.attributes.cluster
  - hybridmesh.istio.cluster
  - hybridmesh.istio.traffic
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  name:
    description: The declaration's name. Each declaration removes only what was made under its own.
    type: str
    default: traffic
  cluster_domain:
    description: The cluster's DNS domain, in which Services have their names.
    type: str
    default: cluster.local
  settle:
    description:
      - Seconds that proxies are given to learn of a new subset before a route sends to it, and of a changed route before a subset
        goes. Only waited for where that is the case.
    type: float
    default: 5.0
  coming_gateways:
    description:
      - Labels of gateways' Pods that an earlier step of the same run installs. In check mode, where that did not happen, it is no
        error that they are not there.
    type: list
    elements: dict
    default: []
  istio_namespace:
    description: istiod's namespace, from which the mesh's trust domain is read where identities are named.
    type: str
    default: istio-system
  revision:
    description: Revision of that istiod. Null for the default one.
    type: str
seealso:
  - module: hybridmesh.istio.workload_group
"""

EXAMPLES = r"""
- name: Requests with a header go to v3, all others to v2
  hybridmesh.istio.traffic:
    rules:
      routes:
        - name: envoydummy
          namespace: chapter10vm
          services: [envoydummy.chapter10vm]
          rules:
            - match:
                - headers: {x-version: v3}
              backends:
                - {service: envoydummy.chapter10vm, subset: v3}
            - backends:
                - {service: envoydummy.chapter10vm, subset: v2}
      destinations:
        - service: envoydummy.chapter10vm
          subsets:
            v2: {version: v2}
            v3: {version: v3}

- name: Only one identity is let in, by mutual TLS
  hybridmesh.istio.traffic:
    name: access
    rules:
      mtls:
        - {namespace: chapter10, mode: STRICT}
      access:
        - name: machines
          namespace: chapter10
          allow:
            - identities: [chapter10vm/chapter10-sa]

- name: All that was made under a name goes
  hybridmesh.istio.traffic:
    name: access
    rules: {}
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
      description: Its namespace.
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
removed:
  description: What was removed, or would be, as it was no longer declared.
  returned: success
  type: list
  elements: str
  sample: [VirtualService chapter10/mockshop]
notes:
  description: >-
    What is declared and has no effect so far, such as a subset without workloads; objects of somebody else that are as declared; and
    in check mode, what is not there yet.
  returned: success
  type: list
  elements: str
"""

import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import (
    _cluster,
    _cluster_module,
    _manifest,
    _traffic_checks,
    _traffic_declared,
    _traffic_facts,
    _traffic_notes,
    _traffic_objects,
    _traffic_plan,
    _traffic_spec,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._apply import MANAGED_BY, MANAGER, Applier, in_parallel
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Change, Object
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import ApiError
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_names import TRAFFIC_LABEL, is_of, said
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_scene import Scene, together

NOTHING = "nothing is declared (the rules are null), so nothing was done; {} would remove what was made before"


class Run:
    """One run of the module."""

    def __init__(self, module: _cluster_module.Task, cluster: Cluster) -> None:
        self.module = module
        self.params: dict[str, t.Any] = module.params
        self.cluster = cluster
        self.applier = Applier(cluster)

    def run(self) -> dict[str, t.Any]:
        """Brings the declaration about and tells what came of it."""
        rules = self.params["rules"]
        if rules is None:
            return {"changed": False, "objects": [], "report": [], "removed": [], "notes": [NOTHING]}
        scene = self._scene(rules)
        found = _traffic_declared.problems(rules, scene.name, scene.domain)
        slips = bool(found)
        found += _traffic_checks.problems(scene)
        changes: list[Change] = []
        notes = _traffic_notes.notes(scene)
        if not slips:
            # What is wrong by itself would only be told once more by the API server.
            for item, result in zip(
                scene.declared, in_parallel(lambda item: self._previewed(item, scene), scene.declared)
            ):
                if isinstance(result, MeshError):
                    found.append(result)
                    continue
                changes.append(result)
                if self._foreign(item, scene) is not None:
                    notes.append(
                        f"{said(item)} is as declared and somebody else's: it stays when it is declared no more"
                    )
        pending = [problem for problem in found if self.module.check_mode and getattr(problem, "pending", False)]
        found = [problem for problem in found if problem not in pending]
        if found:
            raise together(found)
        notes += [f"not there yet: {problem.found}" for problem in pending]
        return self._brought_about(scene, changes, notes)

    def _scene(self, rules: dict[str, t.Any]) -> Scene:
        name, domain = self.params["name"], self.params["cluster_domain"]
        context = _traffic_objects.Context(name, domain, self._trust_domain(rules))
        declared = _traffic_objects.build(rules, context)
        facts = _traffic_facts.read(self.applier, declared, domain)
        if not facts.istio and not self.module.check_mode:
            raise MeshError(
                "the API server does not know Istio's kinds",
                "Istio in the cluster, whose kinds these objects are",
                "install it first (role control_plane)",
            )
        coming = [{key: str(value) for key, value in labels.items()} for labels in self.params["coming_gateways"]]
        return Scene(declared, facts, name, domain, coming)

    def _trust_domain(self, rules: dict[str, t.Any]) -> str:
        """What identities begin with. Only asked for where some are named, as it takes rights in istiod's namespace."""
        usual = _traffic_objects.Context.trust_domain
        if not _traffic_objects.names_identities(rules):
            return usual
        namespace = self.params["istio_namespace"]
        mesh = _cluster.read_mesh(self.cluster, namespace, self.params["revision"] or None)
        if mesh is None and not self.module.check_mode:
            raise MeshError(
                f"there is no Istio in {namespace}, whose trust domain the identities have",
                "istiod's namespace and revision",
                "give them (traffic_istio_namespace, traffic_revision), or install Istio first (role control_plane)",
            )
        return (mesh["trust_domain"] if mesh else "") or usual

    def _foreign(self, item: Object, scene: Scene) -> Object | None:
        """The object of the same name where it is not this declaration's."""
        own = _manifest.ref(item)
        live = next((known for known in scene.facts.live if _manifest.ref(known) == own), None)
        return None if live is None or is_of(live, scene.name) else live

    def _previewed(self, item: Object, scene: Scene) -> Change | MeshError:
        """What applying an object would change, or why it can't be."""
        own = _manifest.ref(item)
        foreign = self._foreign(item, scene)
        try:
            if foreign is None:
                return self.applier.preview(item)
            change = self.applier.preview(dict(item, metadata={"name": own.name, "namespace": own.namespace}))
        except ApiError as error:
            # Anything else is no matter of what was declared. For a field that it does not know the API server answers 500.
            spoken = ("denied the request", "failed to create typed patch object")
            if error.status not in (400, 422) and not any(words in error.found for words in spoken):
                raise
            return MeshError(
                f"{said(item)} ({own.kind}) is refused: {error.found.split(': ', 1)[-1]}",
                "an object that Istio's schema and the cluster's webhooks accept",
                "correct what the message names",
            )
        if change.action == "none":
            return change
        labels = _manifest.labels(foreign)
        other = labels.get(TRAFFIC_LABEL) if labels.get(MANAGED_BY) == MANAGER else None
        return MeshError(
            f"{own} is there, {f'the declaration {other}' if other else 'somebody else'} made it, and it differs from what is"
            f" declared: {'; '.join(_manifest.differences(change))}",
            "a name of its own, or what is there",
            f"take another name, or hand it over: kubectl -n {own.namespace} label {own.kind.lower()} {own.name} --overwrite"
            f" {MANAGED_BY}={MANAGER} {TRAFFIC_LABEL}={scene.name}",
        )

    def _brought_about(self, scene: Scene, changes: list[Change], notes: list[str]) -> dict[str, t.Any]:
        leftovers = scene.leftovers()
        if not self.module.check_mode:
            for step in _traffic_plan.steps(scene.declared, changes, leftovers, scene.domain):
                if step.item is None:
                    time.sleep(max(0.0, self.params["settle"]))
                elif step.act == "apply":
                    self.applier.apply(step.item)
                else:
                    self.applier.delete(_manifest.ref(step.item))
        gone = [Change(_manifest.ref(item), "delete", _manifest.normalised(item), None) for item in reversed(leftovers)]
        changes = changes + gone
        answer: dict[str, t.Any] = {
            "changed": any(change.action != "none" for change in changes),
            "objects": _manifest.told(changes),
            "report": _manifest.summary(changes, self.module.check_mode),
            "removed": [str(change.ref) for change in gone],
            "notes": notes,
        }
        if self.module._diff:
            answer["diff"] = _manifest.diff(changes)
        return answer


def run(module: _cluster_module.Task, cluster: Cluster) -> dict[str, t.Any]:
    """Brings the declaration about."""
    return Run(module, cluster).run()


DEFINITION = _cluster_module.Definition(_traffic_spec.ARGUMENTS, run)


def main() -> None:
    """Runs the module."""
    _cluster_module.main(DEFINITION)


if __name__ == "__main__":
    main()
