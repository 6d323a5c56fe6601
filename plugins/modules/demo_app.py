#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sample application in the cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: demo_app
short_description: The sample application in the cluster
version_added: 0.1.0
description:
  - Makes a namespace with sidecar injection, and in it a ServiceAccount, a ConfigMap, a Deployment and a Service of one name - an
    Envoy that answers each request as its configuration says.
  - Waits until the Pods are ready, and fails where they got no sidecar.
  - A namespace that is there already is used as it is. An object of the same name that somebody else made is never changed or
    removed; it is an error where it differs from what is declared.
author:
  - hybridmesh.istio contributors (@hybridmesh)
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
options:
  state:
    description:
      - V(absent) removes what this module made, and waits until it is gone. The namespace goes, too, where this module made it and
        nobody else has put anything into it.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: Name of the objects, and value of the label C(app).
    type: str
    default: envoydummy
  namespace:
    description: The namespace.
    type: str
    default: chapter10
  version:
    description: Value of the label C(version).
    type: str
    default: v1
  image:
    description: An image with Envoy. Needed for O(state=present).
    type: str
  command:
    description: How Envoy is called in that image, without arguments.
    type: list
    elements: str
    default: [envoy]
  config:
    description: Envoy's configuration, as text. Needed for O(state=present).
    type: str
  port:
    description: The port that the configuration has Envoy listen on.
    type: int
    default: 10000
  service_port:
    description: The Service's port, which is called C(http).
    type: int
    default: 80
  replicas:
    description: How many Pods.
    type: int
    default: 1
  resources:
    description: Resources of the container, as in a Pod.
    type: dict
  revision:
    description: Revision of the istiod whose sidecars the Pods get. Null for the default one.
    type: str
  timeout:
    description: Seconds until the Pods must be ready, or all must be gone.
    type: int
    default: 180
seealso:
  - module: hybridmesh.istio.traffic
"""

EXAMPLES = r"""
- name: The first version, in the cluster
  hybridmesh.istio.demo_app:
    image: docker.io/envoyproxy/envoy:v1.40.0
    config: "{{ lookup('ansible.builtin.file', 'envoy.yaml') }}"

- name: It goes again
  hybridmesh.istio.demo_app:
    state: absent
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
      description: Its namespace; empty for the namespace itself.
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
notes:
  description: Why a namespace stays.
  returned: success
  type: list
  elements: str
"""

import dataclasses
import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import (
    _cluster_module,
    _demo_app,
    _install,
    _manifest,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._apply import Applier, is_ours
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Change, Object, Ref

OPTIONS: dict[str, t.Any] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "name": {"type": "str", "default": "envoydummy"},
    "namespace": {"type": "str", "default": "chapter10"},
    "version": {"type": "str", "default": "v1"},
    "image": {"type": "str"},
    "command": {"type": "list", "elements": "str", "default": ["envoy"]},
    "config": {"type": "str"},
    "port": {"type": "int", "default": 10000},
    "service_port": {"type": "int", "default": 80},
    "replicas": {"type": "int", "default": 1},
    "resources": {"type": "dict"},
    "revision": {"type": "str"},
    "timeout": {"type": "int", "default": 180},
}


class Run:
    """One run of the module."""

    def __init__(self, module: _cluster_module.Task, cluster: Cluster) -> None:
        self.module = module
        self.params: dict[str, t.Any] = module.params
        fields = [field.name for field in dataclasses.fields(_demo_app.Options)]
        given = {name: self.params[name] for name in fields}
        self.options = _demo_app.Options(**{**given, **{name: given[name] or "" for name in ("image", "config")}})
        self.applier = Applier(cluster)

    def run(self) -> dict[str, t.Any]:
        """Brings the application about, or away, and tells what came of it."""
        changes, notes = self._absent() if self.params["state"] == "absent" else (self._present(), [])
        answer: dict[str, t.Any] = {
            "changed": any(change.action != "none" for change in changes),
            "objects": _manifest.told(changes),
            "report": _manifest.summary(changes, self.module.check_mode),
            "notes": notes,
        }
        if self.module._diff:
            answer["diff"] = _manifest.diff(changes)
        return answer

    def _present(self) -> list[Change]:
        for option in ("image", "config"):
            if not self.params[option]:
                raise MeshError(f"{option} is not given", f"{option}, where state is present", f"give {option}")
        _demo_app.check_options(self.options)
        namespace = _demo_app.namespace(self.options)
        items = [namespace, *_demo_app.objects(self.options)]
        live = self.applier.get(_manifest.ref(namespace))
        if live and (live.get("metadata") or {}).get("deletionTimestamp") and not self.module.check_mode:
            self.applier.wait_until_gone([_manifest.ref(namespace)], self.params["timeout"])
            live = None
        if live is not None and not self._is_own(live):
            items = items[1:]
        changes = [self.applier.preview_ours(item) for item in items]
        if not self.module.check_mode:
            for item, change in zip(items, changes):
                if change.action != "none":
                    self.applier.apply(item)
            self._wait_until_ready()
        return changes

    def _is_own(self, item: Object) -> bool:
        return is_ours(item) and _manifest.labels(item).get(_demo_app.DEMO_LABEL) == self.options.name

    def _wait_until_ready(self) -> None:
        own = Ref("apps/v1", "Deployment", self.options.namespace, self.options.name)
        look = f"kubectl -n {own.namespace} get pods,events"
        deadline = time.monotonic() + self.params["timeout"]
        while True:
            waiting = _install.not_ready(self.applier.get(own), own)
            pods = self._pods()
            bare = _demo_app.without_sidecar(pods)
            # Said at once, as they may be ready without it, or never.
            if pods and bare and len(bare) == len(pods):
                raise MeshError(
                    f"Pods of the application got no sidecar: {', '.join(bare)}",
                    "Istio's injector puts a sidecar into each of them",
                    "install Istio first (role control_plane), or give its revision (demo_app_revision); then delete the Pods:"
                    f" kubectl -n {own.namespace} delete pods -l app={own.name}",
                )
            if not waiting and not bare:
                return
            if time.monotonic() >= deadline:
                raise MeshError(
                    waiting or f"Pods without a sidecar are still there: {', '.join(bare)}",
                    f"the application's Pods are ready within {self.params['timeout']} s",
                    f"see why: {look}; an image that can't be had is another one's turn (demo_app_image)",
                )
            time.sleep(0.5)

    def _pods(self) -> list[Object]:
        selector = ",".join(f"{key}={value}" for key, value in self.options.selector.items())
        return self.applier.find("v1", "Pod", selector, self.options.namespace)

    def _absent(self) -> tuple[list[Change], list[str]]:
        options = self.options
        namespace = Ref("v1", "Namespace", "", options.namespace)
        gone: list[Change] = []
        for item in reversed(_demo_app.objects(options)):
            live = self.applier.get(_manifest.ref(item))
            if live is not None and self._is_own(live):
                gone.append(Change(_manifest.ref(item), "delete", _manifest.normalised(live)))
        notes = []
        live = self.applier.get(namespace)
        if live is not None and self._is_own(live):
            others = _demo_app.others_in(self._in_namespace(), options.name)
            if others:
                notes.append(f"{namespace} stays, as it has {', '.join(others[:6])}")
            else:
                gone.append(Change(namespace, "delete", _manifest.normalised(live)))
        if not self.module.check_mode:
            for change in gone:
                self.applier.delete(change.ref)
            self.applier.wait_until_gone([change.ref for change in gone], self.params["timeout"])
        return gone, notes

    def _in_namespace(self) -> list[Object]:
        return [
            item
            for api, kind in _demo_app.PRECIOUS
            for item in self.applier.find(api, kind, "", self.options.namespace)
        ]


def run(module: _cluster_module.Task, cluster: Cluster) -> dict[str, t.Any]:
    """Brings the application about, or away."""
    return Run(module, cluster).run()


DEFINITION = _cluster_module.Definition(OPTIONS, run)


def main() -> None:
    """Runs the module."""
    _cluster_module.main(DEFINITION)


if __name__ == "__main__":
    main()
