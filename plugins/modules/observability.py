#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus and Kiali for a mesh with virtual machines."""

from __future__ import annotations

DOCUMENTATION = r"""
module: observability
short_description: Prometheus and Kiali for a mesh with virtual machines
version_added: 0.1.0
description:
  - Makes Prometheus, Kiali and all that they need in the cluster, changes it as the options change, and removes what the options no
    longer ask for.
  - Prometheus scrapes istiod, the sidecars of Pods, and those of virtual machines, which a program beside it finds by following the
    cluster's WorkloadEntries.
  - A changed configuration of Prometheus is read while it runs, within about two minutes.
  - An object of the same name that somebody else made is never changed; it is an error.
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
      - Whether Prometheus and Kiali are to be there. V(absent) removes all that was made in the namespace, the volume
        with the metrics included, and the namespace if it was made here and holds nothing else.
    type: str
    choices: [present, absent]
    default: present
  namespace:
    description: Namespace of Prometheus and Kiali. It is made if it is not there.
    type: str
    default: observability
  istio_namespace:
    description: istiod's namespace.
    type: str
    default: istio-system
  revision:
    description: Revision of the istiod that Kiali reads the configuration of. Null for the default one.
    type: str
  prometheus:
    description: Whether Prometheus is wanted.
    type: bool
    default: true
  prometheus_image:
    description: Prometheus's image, with its version. Any from 2.42 on will do.
    type: str
    default: docker.io/prom/prometheus:v3.10.0
  prometheus_url:
    description: URL of a Prometheus that Kiali is to read from. Null for the one that is made here.
    type: str
  discovery_image:
    description: Image for the discovery of virtual machines beside Prometheus. Any with C(python3) 3.8 or newer.
    type: str
    default: docker.io/library/python:3.13.7-alpine
  image_pull_policy:
    description: When the kubelet pulls images.
    type: str
    choices: [Always, IfNotPresent, Never]
    default: IfNotPresent
  image_pull_secrets:
    description: Names of Secrets in the namespace with which images are pulled.
    type: list
    elements: str
    default: []
  node_selector:
    description: Labels of the nodes that both may run on.
    type: dict
    default: {}
  tolerations:
    description: Taints that both tolerate, as Kubernetes has them.
    type: list
    elements: dict
    default: []
  resources:
    description: Prometheus's requests and limits, as Kubernetes has them.
    type: dict
    default: {requests: {cpu: 100m, memory: 512Mi}}
  scrape_interval:
    description: How often everything is scraped and alert rules are evaluated, as a duration of Prometheus.
    type: str
    default: 15s
  retention:
    description: How long metrics are kept, as a duration of Prometheus.
    type: str
    default: 15d
  retention_size:
    description: How much room metrics may take, such as V(8GB). Null for no limit.
    type: str
  storage_size:
    description:
      - Size of a PersistentVolumeClaim for the metrics, such as V(20Gi). Null keeps them in the Pod, and they are lost
        with it; a volume that was there before goes, too.
    type: str
  storage_class:
    description: StorageClass of that volume. Null for the cluster's default.
    type: str
  sidecar_port:
    description: Port on which the agents of virtual machines serve metrics (Istio's C(statusPort)).
    type: int
    default: 15020
  external_labels:
    description: Labels that Prometheus adds to alerts and to what it sends elsewhere, such as a cluster's name.
    type: dict
    default: {}
  alertmanagers:
    description:
      - Alertmanagers that alerts are sent to, as C(HOST:PORT). Without any, alerts are shown by Prometheus alone.
    type: list
    elements: str
    default: []
  extra_scrape_configs:
    description: Further C(scrape_configs), as Prometheus has them.
    type: list
    elements: dict
    default: []
  extra_rule_groups:
    description: Further groups of rules, as Prometheus has them. Their names do not begin with C(mesh-).
    type: list
    elements: dict
    default: []
  disconnected_for:
    description:
      - How long a virtual machine must be disconnected, unhealthy or without an answer before an alert fires.
    type: str
    default: 2m
  gone_window:
    description: For how long the alert fires for a virtual machine whose WorkloadEntry went away.
    type: str
    default: 15m
  autoscaled_groups:
    description: WorkloadGroups (C(NAMESPACE/NAME)) whose machines come and go by themselves, so that none is missed.
    type: list
    elements: str
    default: []
  certificate_warning_hours:
    description:
      - Hours of a certificate that are left when a warning fires. Istio renews certificates of 24 hours when 12 are
        left.
    type: float
    default: 9.0
  certificate_critical_hours:
    description: Hours that are left when the critical alert fires.
    type: float
    default: 3.0
  skew:
    description:
      - Which versions of proxies an alert is about - those of another minor than any istiod's, or all that no istiod
        has exactly.
    type: str
    choices: [minor, exact]
    default: minor
  skew_for:
    description: How long versions must differ before the alert fires. During an upgrade they do.
    type: str
    default: 1d
  kiali:
    description: Whether Kiali is wanted.
    type: bool
    default: true
  kiali_image:
    description: Kiali's image, with its version. The default is the one that Istio 1.30 was tested with.
    type: str
    default: quay.io/kiali/kiali:v2.26
  kiali_auth:
    description: How people log in - with a token of a ServiceAccount, whose rights they have, or not at all.
    type: str
    choices: [token, anonymous]
    default: token
  kiali_view_only:
    description: Whether Kiali may only read. Otherwise it may change Istio's objects and label workloads.
    type: bool
    default: true
  kiali_config:
    description: Kiali's own configuration, laid over the one made here, mapping by mapping; lists are replaced.
    type: dict
    default: {}
  kiali_resources:
    description: Kiali's requests and limits, as Kubernetes has them.
    type: dict
    default: {requests: {cpu: 10m, memory: 128Mi}}
  wait_for:
    description: What must be ready at the end of a run.
    type: list
    elements: str
    choices: [prometheus, kiali]
    default: [prometheus, kiali]
  readiness_timeout:
    description: For how long that is waited for, and for things to be gone when they are removed, in seconds.
    type: int
    default: 300
  targets_timeout:
    description:
      - For how long the first scrape of all that is to be scraped is waited for, in seconds. V(0) does not look.
    type: int
    default: 60
  discovery_script:
    description: The program of the discovery, as the role observability has it. Needed with O(prometheus=true).
    type: str
    default: ""
seealso:
  - module: hybridmesh.istio.graph_info
"""

EXAMPLES = r"""
- name: All that was made goes
  hybridmesh.istio.observability:
    state: absent

- name: Kiali alone, with the Prometheus that is there
  hybridmesh.istio.observability:
    prometheus: false
    prometheus_url: http://prometheus-operated.monitoring:9090
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
      description: Its namespace; empty for objects without one.
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
  description: What Prometheus scrapes and who does not answer it; why a namespace stays.
  returned: success
  type: list
  elements: str
targets:
  description: For each job of Prometheus how many of its targets answer. Empty where that was not looked for.
  returned: success
  type: dict
  sample: {istiod: 1, mesh-machines: 2, mesh-pods: 3}
down:
  description: Targets that do not answer, and why.
  returned: success
  type: list
  elements: str
prometheus_config:
  description: Prometheus's configuration, for a Prometheus of your own. The file of the job mesh-machines comes from the discovery.
  returned: when O(state=present)
  type: str
prometheus_rules:
  description: The alert rules, for a Prometheus of your own.
  returned: when O(state=present)
  type: str
"""

import secrets
import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import (
    _cluster_module,
    _manifest,
    _observability_checks,
    _observability_config,
    _observability_kiali,
    _observability_objects,
    _observability_rules,
    _observability_targets,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._apply import MANAGED_BY, MANAGER, Applier, is_ours
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._install import not_ready
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Change, Object, Ref
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import ApiError

# What an installation consists of; those before others in this list are made before them, and go after them.
KINDS = (
    ("v1", "ServiceAccount"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("v1", "ConfigMap"),
    ("v1", "PersistentVolumeClaim"),
    ("v1", "Service"),
    ("apps/v1", "Deployment"),
)
# What else may lie in a namespace, and would go with it.
OTHERS = (
    ("v1", "Pod"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("batch/v1", "CronJob"),
    ("v1", "Secret"),
)
# What is in each namespace without anybody's doing.
NOBODYS = {"default", "istio-ca-crl", "istio-ca-root-cert", "kube-root-ca.crt"}


class Run:
    """One run of the module."""

    def __init__(self, module: _cluster_module.Task, cluster: Cluster) -> None:
        self.module = module
        self.params: dict[str, t.Any] = module.params
        self.cluster = cluster
        self.applier = Applier(cluster)
        self.namespace: str = self.params["namespace"]
        self.selector = f"{MANAGED_BY}={MANAGER},{_observability_objects.LABEL}={self.namespace}"
        self.notes: list[str] = []
        self.targets: _observability_targets.Targets | None = None

    def run(self) -> dict[str, t.Any]:
        """Brings it about, or away, and tells what came of it."""
        _observability_checks.check(self.params)
        present = self.params["state"] == "present"
        items = self._wanted() if present else []
        changes = self._judged(items)
        leftovers = self._leftovers(items)
        changes += [Change(_manifest.ref(item), "delete", _manifest.normalised(item), None) for item in leftovers]
        space = None if present else self._own_namespace(leftovers)
        if space is not None:
            changes.append(Change(_manifest.ref(space), "delete", _manifest.normalised(space), None))
        if not self.module.check_mode:
            self._bring_about(items, changes)
            if present:
                self._wait_until_ready()
                self._look_at_targets()
        return self._answer(changes, present)

    def _wanted(self) -> list[Object]:
        params = self.params
        items = [_observability_objects.namespace(params)]
        if params["prometheus"]:
            items += _observability_objects.prometheus(params)
        if params["kiali"]:
            items += [self._key(), *_observability_kiali.kiali(params)]
        return items

    def _key(self) -> Object:
        """The Secret that is there, or a new one."""
        new = _observability_kiali.signing_key(self.params, secrets.token_hex(16))
        live = self.applier.get(_manifest.ref(new))
        return new if live is None or not is_ours(live) else dict(new, data=live.get("data") or new["data"])

    def _judged(self, items: list[Object]) -> list[Change]:
        """What would change. Refuses what somebody else made."""
        foreign = []
        changes = []
        for item in items:
            own = _manifest.ref(item)
            live = self.applier.get(own)
            if own.kind == "Namespace":
                # One that is there is not ours to change.
                changes.append(Change(own, "none" if live else "create", None, _manifest.normalised(item)))
            elif live is not None and not self._is_own(live):
                foreign.append(own)
            else:
                changes.append(self.applier.preview(item))
        if foreign:
            first = foreign[0]
            raise MeshError(
                f"somebody else made {', '.join(map(str, foreign))}",
                "names that are free, or objects of this installation",
                f"choose another namespace, or hand each of them over: kubectl -n {first.namespace or 'NAMESPACE'} label"
                f" {first.kind.lower()} {first.name} {MANAGED_BY}={MANAGER} {_observability_objects.LABEL}={self.namespace}",
            )
        return changes

    def _is_own(self, item: Object) -> bool:
        return is_ours(item) and _manifest.labels(item).get(_observability_objects.LABEL) == self.namespace

    def _leftovers(self, items: list[Object]) -> list[Object]:
        """What is ours and not wanted, in the order in which it goes."""
        wanted = {_manifest.ref(item) for item in items}
        found = [
            item
            for api_version, kind in reversed(KINDS)
            for item in self.applier.find(
                api_version, kind, self.selector, "" if kind.startswith("ClusterRole") else self.namespace
            )
        ]
        key = self.applier.get(Ref("v1", "Secret", self.namespace, _observability_kiali.KEY_NAME))
        if key is not None and self._is_own(key):
            found.append(key)
        return [item for item in found if _manifest.ref(item) not in wanted]

    def _own_namespace(self, leftovers: list[Object]) -> Object | None:
        """The namespace where it goes, too: it was made here, and nobody else has anything in it."""
        space = self.applier.get(Ref("v1", "Namespace", "", self.namespace))
        if space is None or not self._is_own(space):
            return None
        going = {_manifest.ref(item) for item in leftovers}
        kinds = [kind for kind in KINDS if not kind[1].startswith("ClusterRole")]
        others = [
            str(_manifest.ref(item))
            for api_version, kind in [*kinds, *OTHERS]
            for item in self.applier.find(api_version, kind, "", self.namespace)
            if _manifest.ref(item) not in going
            and _manifest.ref(item).name not in NOBODYS
            # Pods go with their Deployments.
            and not self._is_own(item)
        ]
        if others:
            self.notes.append(
                f"the namespace {self.namespace} stays, as others have something there: {', '.join(others[:5])}"
            )
            return None
        return space

    def _bring_about(self, items: list[Object], changes: list[Change]) -> None:
        by_ref = {_manifest.ref(item): item for item in items}
        gone = []
        for change in changes:
            if change.action == "delete":
                self.applier.delete(change.ref)
                gone.append(change.ref)
            elif change.action != "none":
                self.applier.apply(by_ref[change.ref])
        deadline = time.monotonic() + self.params["readiness_timeout"]
        while True:
            left = [own for own in gone if self.applier.get(own) is not None]
            if not left:
                return
            if time.monotonic() >= deadline:
                raise MeshError(
                    f"{', '.join(map(str, left))} is still there, {self.params['readiness_timeout']} s after it was deleted",
                    "all that was deleted is gone",
                    f"see what holds it: kubectl get {left[0].kind.lower()} {left[0].name} -n {self.namespace} -o yaml (finalizers)",
                )
            time.sleep(0.5)

    def _wait_until_ready(self) -> None:
        params = self.params
        waited = [name for name in ("prometheus", "kiali") if params[name] and name in params["wait_for"]]
        refs = [Ref("apps/v1", "Deployment", self.namespace, name) for name in waited]
        deadline = time.monotonic() + params["readiness_timeout"]
        while True:
            waiting = [text for text in (not_ready(self.applier.get(own), own) for own in refs) if text]
            if not waiting:
                return
            if time.monotonic() >= deadline:
                raise MeshError(
                    "; ".join([*waiting, *self._pod_problems()]),
                    f"ready within {params['readiness_timeout']} s (readiness_timeout)",
                    f"see the Pods and their events: kubectl -n {self.namespace} get pods,events",
                )
            time.sleep(1)

    def _pod_problems(self) -> list[str]:
        problems = []
        for pod in self.applier.find("v1", "Pod", self.selector, self.namespace):
            for status in (pod.get("status") or {}).get("containerStatuses") or []:
                waiting = (status.get("state") or {}).get("waiting") or {}
                last = (status.get("lastState") or {}).get("terminated") or {}
                said = str(last.get("message") or waiting.get("message") or "").strip()
                if waiting.get("reason"):
                    problems.append(
                        f"{_manifest.ref(pod)}, container {status['name']}: {waiting['reason']} {said[-600:]}".strip()
                    )
        return problems[:5]

    def _look_at_targets(self) -> None:
        params = self.params
        if not params["prometheus"] or "prometheus" not in params["wait_for"] or params["targets_timeout"] <= 0:
            return
        path = f"/api/v1/namespaces/{self.namespace}/services/{_observability_objects.NAME}:http/proxy/api/v1/targets"
        deadline = time.monotonic() + params["targets_timeout"]
        refused = None
        while True:
            try:
                self.targets = _observability_targets.read(self.cluster.request("GET", path, {"state": "active"}))
                refused = None
            except ApiError as error:
                if error.status in (401, 403):
                    self.notes.append(f"whether targets answer was not looked for: {error.expected} is missing")
                    return
                # Its endpoint may be known a moment later than its readiness.
                refused = error
            if self.targets is not None and _observability_targets.is_complete(self.targets, self._machines()):
                break
            if time.monotonic() >= deadline:
                break
            time.sleep(1)
        if refused is not None:
            self.notes.append(f"whether targets answer can't be told: {refused.found}")
        if self.targets is not None:
            self.notes += _observability_targets.told(self.targets)

    def _machines(self) -> int:
        """How many machines have registered by themselves."""
        items = self.applier.find("networking.istio.io/v1", "WorkloadEntry")
        annotation = "istio.io/autoRegistrationGroup"
        return sum(1 for item in items if annotation in ((item.get("metadata") or {}).get("annotations") or {}))

    def _answer(self, changes: list[Change], present: bool) -> dict[str, t.Any]:
        answer: dict[str, t.Any] = {
            "changed": any(change.action != "none" for change in changes),
            "objects": _manifest.told(changes),
            "report": _manifest.summary(changes, self.module.check_mode),
            "notes": self.notes,
            "targets": self.targets.up if self.targets else {},
            "down": self.targets.down if self.targets else [],
        }
        if present:
            text = _observability_config.text
            answer["prometheus_config"] = text(_observability_config.config(self.params))
            answer["prometheus_rules"] = text({"groups": _observability_rules.groups(self.params)})
        if self.module._diff:
            answer["diff"] = _manifest.diff(changes)
        return answer


def run(module: _cluster_module.Task, cluster: Cluster) -> dict[str, t.Any]:
    """Brings Prometheus and Kiali about, or away."""
    return Run(module, cluster).run()


OPTIONS: dict[str, t.Any] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "namespace": {"type": "str", "default": "observability"},
    "istio_namespace": {"type": "str", "default": "istio-system"},
    "revision": {"type": "str"},
    "prometheus": {"type": "bool", "default": True},
    "prometheus_image": {"type": "str", "default": "docker.io/prom/prometheus:v3.10.0"},
    "prometheus_url": {"type": "str"},
    "discovery_image": {"type": "str", "default": "docker.io/library/python:3.13.7-alpine"},
    "image_pull_policy": {"type": "str", "choices": ["Always", "IfNotPresent", "Never"], "default": "IfNotPresent"},
    # Names, which are no secrets.
    "image_pull_secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "node_selector": {"type": "dict", "default": {}},
    "tolerations": {"type": "list", "elements": "dict", "default": []},
    "resources": {"type": "dict", "default": {"requests": {"cpu": "100m", "memory": "512Mi"}}},
    "scrape_interval": {"type": "str", "default": "15s"},
    "retention": {"type": "str", "default": "15d"},
    "retention_size": {"type": "str"},
    "storage_size": {"type": "str"},
    "storage_class": {"type": "str"},
    "sidecar_port": {"type": "int", "default": 15020},
    "external_labels": {"type": "dict", "default": {}},
    "alertmanagers": {"type": "list", "elements": "str", "default": []},
    "extra_scrape_configs": {"type": "list", "elements": "dict", "default": []},
    "extra_rule_groups": {"type": "list", "elements": "dict", "default": []},
    "disconnected_for": {"type": "str", "default": "2m"},
    "gone_window": {"type": "str", "default": "15m"},
    "autoscaled_groups": {"type": "list", "elements": "str", "default": []},
    "certificate_warning_hours": {"type": "float", "default": 9.0},
    "certificate_critical_hours": {"type": "float", "default": 3.0},
    "skew": {"type": "str", "choices": ["minor", "exact"], "default": "minor"},
    "skew_for": {"type": "str", "default": "1d"},
    "kiali": {"type": "bool", "default": True},
    "kiali_image": {"type": "str", "default": "quay.io/kiali/kiali:v2.26"},
    "kiali_auth": {"type": "str", "choices": ["token", "anonymous"], "default": "token"},
    "kiali_view_only": {"type": "bool", "default": True},
    "kiali_config": {"type": "dict", "default": {}},
    "kiali_resources": {"type": "dict", "default": {"requests": {"cpu": "10m", "memory": "128Mi"}}},
    "wait_for": {
        "type": "list",
        "elements": "str",
        "choices": ["prometheus", "kiali"],
        "default": ["prometheus", "kiali"],
    },
    "readiness_timeout": {"type": "int", "default": 300},
    "targets_timeout": {"type": "int", "default": 60},
    "discovery_script": {"type": "str", "default": ""},
}
DEFINITION = _cluster_module.Definition(OPTIONS, run)


def main() -> None:
    """Runs the module."""
    _cluster_module.main(DEFINITION)


if __name__ == "__main__":
    main()
