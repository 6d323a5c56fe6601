# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installations: what is ours, what changes, and what is refused, with an istioctl that only pretends."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _install, _manifest
from ansible_collections.hybridmesh.istio.plugins.module_utils._apply import Applier
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._install import Installation, Wanted, not_ready
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Ref

NAMESPACE = "istio-system"
READY = {"observedGeneration": 1, "availableReplicas": 1, "updatedReplicas": 1}


def item(kind, name, api_version="v1", **more):
    labels = {"app": name, _manifest.COMPONENT: "Pilot"}
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **more}


def webhook(kind, name="injector", **labels):
    own = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "webhooks": []}
    own["metadata"]["labels"] = {_manifest.COMPONENT: "Pilot", **labels}
    return own


def istiod(image="docker.io/istio/pilot:1.30.3"):
    containers = [{"name": "discovery", "image": image}]
    return item(
        "Deployment", "istiod", "apps/v1", spec={"replicas": 1, "template": {"spec": {"containers": containers}}}
    )


class Pretending:
    """Generates what it was told, and installs it into the cluster as istioctl would."""

    def __init__(self, cluster, objects, version="1.30.3", proxies=None, findings=()):
        self.cluster, self.objects, self.version = cluster, objects, version
        self.told, self.findings = proxies or {}, list(findings)
        self.calls = []

    def generate(self, operator):
        self.calls.append("generate")
        return copy.deepcopy(self.objects)

    def precheck(self):
        self.calls.append("precheck")
        return self.findings

    def proxies(self):
        self.calls.append("proxies")
        return self.told

    def install(self, operator, timeout):
        self.calls.append("install")
        for made in self.generate(operator):
            own = operator["metadata"]
            made = _manifest.with_owner(made, own["name"], own["namespace"], "", self.version)
            if made["kind"] == "Deployment":
                made["status"] = dict(READY)
            self.cluster.put(made)
        for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
            self.cluster.put(webhook(kind, "tag", **{_manifest.TAG: "default", _manifest.NOT_PRUNED: "true"}))


def objects():
    return [istiod(), item("Service", "istiod", spec={"ports": []}), webhook("MutatingWebhookConfiguration")]


def wanted(**more):
    return Wanted("control-plane", "control-plane", {"profile": "minimal"}, **more)


def converge(cluster, istioctl, check=False, **more):
    return Installation(cluster, wanted(**more)).converge(istioctl, check)


def told(result):
    return _manifest.summary(result.changes, False)


def test_check_mode_on_an_empty_cluster(empty_cluster):
    istioctl = Pretending(empty_cluster, objects())
    result = converge(empty_cluster, istioctl, check=True)
    assert told(result) == [
        "created Namespace istio-system",
        "created ConfigMap istio-system/hybridmesh-control-plane",
        "created Deployment istio-system/istiod",
        "created Service istio-system/istiod",
        "created MutatingWebhookConfiguration injector",
        "created MutatingWebhookConfiguration istio-revision-tag-default",
    ]
    assert empty_cluster.changes() == []
    assert istioctl.calls == ["generate", "precheck"]


def test_first_and_second_run(empty_cluster):
    istioctl = Pretending(empty_cluster, objects())
    assert converge(empty_cluster, istioctl).previous_version == ""
    marker = empty_cluster.objects["/api/v1/namespaces/istio-system/configmaps/hybridmesh-control-plane"]
    assert marker["data"] == {
        "name": "control-plane",
        "version": "1.30.3",
        "revision": "",
        "role": "control-plane",
    }
    assert empty_cluster.changes() == [
        "APPLY /api/v1/namespaces/istio-system",
        "APPLY /api/v1/namespaces/istio-system/configmaps/hybridmesh-control-plane",
    ]
    second = Pretending(empty_cluster, objects())
    result = converge(empty_cluster, second)
    assert (told(result), second.calls, result.previous_version) == ([], ["generate"], "1.30.3")


def test_what_is_no_longer_declared_is_removed(empty_cluster):
    more = [*objects(), item("Service", "extra")]
    converge(empty_cluster, Pretending(empty_cluster, more))
    result = converge(empty_cluster, Pretending(empty_cluster, objects()))
    assert told(result) == ["removed Service istio-system/extra"]
    assert "/api/v1/namespaces/istio-system/services/extra" not in empty_cluster.objects
    assert told(converge(empty_cluster, Pretending(empty_cluster, objects()))) == []


def test_a_lost_webhook_of_the_default_tag_is_made_again(empty_cluster):
    converge(empty_cluster, Pretending(empty_cluster, objects()))
    del empty_cluster.objects[webhook_path(empty_cluster, "ValidatingWebhookConfiguration", "tag")]
    again = Pretending(empty_cluster, objects())
    assert told(converge(empty_cluster, again)) == ["created MutatingWebhookConfiguration istio-revision-tag-default"]
    assert "install" in again.calls


def webhook_path(cluster, kind, name):
    return Applier(cluster).path(Ref("admissionregistration.k8s.io/v1", kind, "", name))


def test_upgrade_with_leave(empty_cluster):
    converge(empty_cluster, Pretending(empty_cluster, objects()))
    newer = Pretending(empty_cluster, objects(), "1.31.0", {"vm.vms": "1.30.3", "odd.vms": "unknown"})
    result = converge(empty_cluster, newer, allow_upgrade=True)
    assert newer.calls[:3] == ["generate", "proxies", "precheck"]
    assert (result.previous_version, result.version, result.unjudged_proxies) == ("1.30.3", "1.31.0", ["odd.vms"])
    assert told(converge(empty_cluster, newer)) == []


@pytest.mark.parametrize(
    ("version", "allow", "proxies", "reason"),
    [
        ("1.31.0", False, {}, "set allow_upgrade to true"),
        ("1.29.0", True, {}, "the older 1.29.0"),
        ("1.32.0", True, {}, "skips at least one minor"),
        ("1.31.0", True, {"vm.vms": "1.29.0"}, "vm.vms (1.29.0)"),
    ],
)
def test_refused_changes_of_version(empty_cluster, version, allow, proxies, reason):
    converge(empty_cluster, Pretending(empty_cluster, objects()))
    before = copy.deepcopy(empty_cluster.objects)
    for check in (True, False):
        with pytest.raises(MeshError) as error:
            converge(empty_cluster, Pretending(empty_cluster, objects(), version, proxies), check, allow_upgrade=allow)
        assert reason in str(error.value)
    assert empty_cluster.objects == before


def test_findings_of_the_precheck_stop_unless_ignored(empty_cluster):
    istioctl = Pretending(empty_cluster, objects(), findings=["Kubernetes is too old"])
    with pytest.raises(MeshError, match="Kubernetes is too old"):
        converge(empty_cluster, istioctl)
    assert empty_cluster.changes() == []
    assert converge(empty_cluster, istioctl, ignore_precheck=True).precheck == ["Kubernetes is too old"]


def test_objects_of_somebody_else_are_not_touched(empty_cluster):
    empty_cluster.put(item("Service", "istiod"))
    with pytest.raises(MeshError, match="Service istio-system/istiod"):
        converge(empty_cluster, Pretending(empty_cluster, objects()))
    assert empty_cluster.changes() == []


def test_another_installations_objects_are_not_touched(empty_cluster):
    converge(empty_cluster, Pretending(empty_cluster, objects()))
    other = Installation(empty_cluster, Wanted("other", "gateway", {}))
    with pytest.raises(MeshError, match="of the installation control-plane"):
        other.converge(Pretending(empty_cluster, objects()), False)


def test_what_is_not_ready_is_waited_for_and_explained(empty_cluster, monkeypatch):
    converge(empty_cluster, Pretending(empty_cluster, objects()))
    path = "/apis/apps/v1/namespaces/istio-system/deployments/istiod"
    empty_cluster.objects[path]["status"]["availableReplicas"] = 0
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    empty_cluster.put(item("Pod", "istiod-1", status={"containerStatuses": [{"state": waiting}]}))
    monkeypatch.setattr(_install.time, "sleep", lambda _seconds: None)
    with pytest.raises(MeshError, match=r"0 of 1 replicas ready; Pod istio-system/istiod-1: ImagePullBackOff"):
        converge(empty_cluster, Pretending(empty_cluster, objects()), readiness_timeout=0)

    def ready(_seconds):
        empty_cluster.objects[path]["status"]["availableReplicas"] = 1

    monkeypatch.setattr(_install.time, "sleep", ready)
    assert told(converge(empty_cluster, Pretending(empty_cluster, objects()), readiness_timeout=5)) == []


def test_the_operator_names_revision_and_namespace():
    made = wanted(revision="1-31", namespace="mesh").operator()
    assert made["metadata"] == {"name": "control-plane", "namespace": "mesh"}
    assert made["spec"]["revision"] == "1-31"
    assert made["spec"]["values"]["global"] == {"istioNamespace": "mesh"}


def test_the_namespace_is_labelled_with_the_network(empty_cluster):
    spec = {"values": {"global": {"network": "network1"}}}
    installation = Installation(empty_cluster, Wanted("control-plane", "control-plane", spec))
    installation.converge(Pretending(empty_cluster, objects()), False)
    namespace = empty_cluster.objects["/api/v1/namespaces/istio-system"]
    assert namespace["metadata"]["labels"] == {"topology.istio.io/network": "network1"}


DEPLOYMENT = Ref("apps/v1", "Deployment", NAMESPACE, "d")
DAEMONS = Ref("apps/v1", "DaemonSet", NAMESPACE, "d")


@pytest.mark.parametrize(
    ("live", "ref", "told"),
    [
        (None, DEPLOYMENT, "is not there"),
        ({"metadata": {"generation": 2}, "status": {"observedGeneration": 1}}, DEPLOYMENT, "no controller has seen it"),
        ({"spec": {"replicas": 2}, "status": {"availableReplicas": 2, "updatedReplicas": 1}}, DEPLOYMENT, "1 of 2"),
        ({"spec": {"replicas": 0}}, DEPLOYMENT, ""),
        ({"spec": {}, "status": {"availableReplicas": 1, "updatedReplicas": 1}}, DEPLOYMENT, ""),
        ({"status": {"desiredNumberScheduled": 3, "numberReady": 3, "updatedNumberScheduled": 2}}, DAEMONS, "2 of 3"),
    ],
)
def test_readiness(live, ref, told):
    text = not_ready(live, ref)
    assert told in text
    assert bool(text) == bool(told)


def test_control_planes_in_the_cluster(empty_cluster):
    converge(empty_cluster, Pretending(empty_cluster, objects()))
    foreign = istiod("registry:5000/istio/pilot:1.29.1@sha256:abc")
    foreign["metadata"].update(namespace="theirs", labels={"app": "istiod", "istio.io/rev": "stable"})
    empty_cluster.put(foreign)
    found = _install.istiods(Applier(empty_cluster))
    assert [(str(each), each.marked) for each in found] == [
        ("istiod 1.30.3 in istio-system", True),
        ("istiod 1.29.1 in theirs (revision stable)", False),
    ]
