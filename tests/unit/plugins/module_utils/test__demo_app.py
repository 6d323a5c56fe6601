# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sample application's objects."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _demo_app
from ansible_collections.hybridmesh.istio.plugins.module_utils._demo_app import Options
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError


def options(**more: t.Any) -> Options:
    usual: dict[str, t.Any] = {
        "name": "dummy",
        "namespace": "shop",
        "version": "v1",
        "image": "envoy:1",
        "command": ["envoy"],
        "config": "one",
    }
    return Options(**{**usual, **more})


def made(**more: t.Any) -> dict[str, t.Any]:
    return {item["kind"]: item for item in _demo_app.objects(options(**more))}


def test_one_name_and_one_port_called_http() -> None:
    found = made(port=10001, service_port=8080)
    assert list(found) == ["ServiceAccount", "ConfigMap", "Deployment", "Service"]
    assert {item["metadata"]["name"] for item in found.values()} == {"dummy"}
    (port,) = found["Service"]["spec"]["ports"]
    assert (port["name"], port["port"], port["targetPort"]) == ("http", 8080, 10001)
    template = found["Deployment"]["spec"]["template"]
    assert found["Service"]["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert template["metadata"]["labels"]["version"] == "v1"
    assert template["spec"]["containers"][0]["ports"][0]["containerPort"] == 10001


def test_nothing_that_it_does_not_need() -> None:
    pod = made()["Deployment"]["spec"]["template"]["spec"]
    rights = pod["containers"][0]["securityContext"]
    assert (rights["runAsNonRoot"], rights["readOnlyRootFilesystem"], rights["allowPrivilegeEscalation"]) == (
        True,
        True,
        False,
    )
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert pod["automountServiceAccountToken"] is False


def test_another_configuration_starts_other_pods() -> None:
    def annotations(config: str) -> t.Any:
        return made(config=config)["Deployment"]["spec"]["template"]["metadata"]["annotations"]

    assert annotations("one") == annotations("one")
    assert annotations("one") != annotations("two")


@pytest.mark.parametrize(
    ("revision", "namespace", "pod"),
    [
        (None, {"istio-injection": "enabled"}, {"sidecar.istio.io/inject": "true"}),
        ("1-31", {"istio.io/rev": "1-31"}, {"sidecar.istio.io/inject": "true", "istio.io/rev": "1-31"}),
    ],
)
def test_injection(revision: str | None, namespace: dict[str, str], pod: dict[str, str]) -> None:
    own = _demo_app.namespace(options(revision=revision))["metadata"]
    assert (own["name"], "namespace" in own) == ("shop", False)
    assert namespace.items() <= own["labels"].items()
    labels = made(revision=revision)["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert pod.items() <= labels.items()


@pytest.mark.parametrize("wrong", [{"port": 0}, {"service_port": 70000}, {"name": "Dummy"}, {"version": "1.0"}])
def test_what_kubernetes_would_refuse(wrong: dict[str, t.Any]) -> None:
    (name,) = wrong
    with pytest.raises(MeshError, match=f"{name} is ") as told:
        _demo_app.check_options(options(**wrong))
    assert f"demo_app_{name}" in told.value.next_step


def thing(kind: str, name: str, labels: dict[str, str] | None = None, **more: t.Any) -> dict[str, t.Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "labels": labels or {}, **more}}


def test_what_keeps_a_namespace() -> None:
    items = [
        thing("ConfigMap", "kube-root-ca.crt"),
        thing("ServiceAccount", "default"),
        thing("Service", "dummy", {_demo_app.DEMO_LABEL: "dummy"}),
        thing("Gateway", "dummy", {"hybridmesh.istio/traffic": "demo"}),
        thing("Job", "by-a-controller", ownerReferences=[{"kind": "CronJob"}]),
        thing("Secret", "theirs"),
        thing("Service", "another-demo", {_demo_app.DEMO_LABEL: "another"}),
    ]
    assert _demo_app.others_in(items, "dummy") == ["Secret theirs", "Service another-demo"]


def test_pods_without_a_sidecar() -> None:
    def pod(name: str, **more: t.Any) -> dict[str, t.Any]:
        metadata = {"name": name, **more.pop("metadata", {})}
        return {"metadata": metadata, "spec": {"containers": [{"name": "envoy"}], **more}}

    pods = [
        pod("old-style", containers=[{"name": "envoy"}, {"name": "istio-proxy"}]),
        pod("native", initContainers=[{"name": "istio-proxy", "restartPolicy": "Always"}]),
        pod("going", metadata={"deletionTimestamp": "now"}),
        pod("bare"),
    ]
    assert _demo_app.without_sidecar(pods) == ["bare"]
