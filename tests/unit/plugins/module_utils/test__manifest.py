# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Comparison of what istioctl would install with what is there."""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _manifest
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Change, Object, Ref, compare


def item(kind: str, name: str = "x", namespace: str = "ns", **more: t.Any) -> Object:
    own: Object = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}}
    own.update(more)
    return own


def labelled(kind: str, name: str, **labels: str) -> Object:
    result = item(kind, name)
    result["metadata"]["labels"] = {key.replace("__", "/").replace("_", "."): value for key, value in labels.items()}
    return result


def changed(before: Object | None, after: Object | None) -> str:
    return compare(before, after, Ref("v1", "X", "", "x")).action


def test_a_manifest_of_several_documents() -> None:
    text = "kind: A\nmetadata: {name: one}\n---\n---\nkind: B\nmetadata: {name: two, namespace: ns}\n"
    assert [str(_manifest.ref(found)) for found in _manifest.parse(text)] == ["A one", "B ns/two"]


def test_owner_labels_are_those_of_istioctl() -> None:
    chart = labelled("Service", "istiod", app="istiod")
    owned = _manifest.with_owner(chart, "control-plane", "istio-system", "", "1.31.0")
    assert _manifest.labels(owned) == {
        "app": "istiod",
        "operator.istio.io/managed": "Reconcile",
        "operator.istio.io/version": "1.31.0",
        "install.operator.istio.io/owning-resource": "control-plane",
        "install.operator.istio.io/owning-resource-namespace": "istio-system",
        "istio.io/rev": "default",
    }
    assert _manifest.labels(chart) == {"app": "istiod"}


def test_what_the_api_server_writes_is_no_difference() -> None:
    live = item("Deployment", spec={"replicas": 1}, status={"replicas": 1})
    live["metadata"].update(
        {
            "uid": "1",
            "generation": 4,
            "resourceVersion": "7",
            "creationTimestamp": "now",
            "managedFields": [],
            "annotations": {"deployment.kubernetes.io/revision": "2"},
        }
    )
    assert changed(live, item("Deployment", spec={"replicas": 1})) == "none"
    assert changed(live, item("Deployment", spec={"replicas": 2})) == "update"


def test_create_and_delete() -> None:
    assert changed(None, item("Service")) == "create"
    assert changed(item("Service"), None) == "delete"
    assert changed(None, None) == "none"


def webhooks(kind: str, **more: t.Any) -> Object:
    hook: Object = {"name": "a", "clientConfig": {"service": {"name": "istiod"}}, "failurePolicy": "Ignore"}
    hook.update(more)
    return item(kind, webhooks=[hook])


def test_istiods_own_changes_to_webhooks_are_no_difference() -> None:
    ready = {"service": {"name": "istiod"}, "caBundle": "Q0E="}
    for one, other in (({}, {"clientConfig": ready}), ({"clientConfig": ready}, {})):
        kind = "ValidatingWebhookConfiguration"
        assert changed(webhooks(kind, failurePolicy="Fail", **one), webhooks(kind, **other)) == "none"
    elsewhere = {"service": {"name": "istiod-1-31"}, "caBundle": "Q0E="}
    assert changed(webhooks(kind, clientConfig=elsewhere), webhooks(kind)) == "update"


def test_the_failure_policy_of_injection_is_a_difference() -> None:
    kind = "MutatingWebhookConfiguration"
    assert changed(webhooks(kind, failurePolicy="Fail"), webhooks(kind)) == "update"


def test_deactivated_injectors_are_no_difference() -> None:
    kind = "MutatingWebhookConfiguration"
    off = {"matchLabels": {"istio.io/deactivated": "never-match"}}
    on = {"matchLabels": {"istio-injection": "enabled"}}
    live = webhooks(kind, namespaceSelector=off, objectSelector=off)
    assert changed(live, webhooks(kind, namespaceSelector=on, objectSelector={})) == "none"
    assert changed(webhooks(kind, namespaceSelector=on), webhooks(kind, namespaceSelector={})) == "update"


def test_the_component_that_istioctl_adds_is_no_difference() -> None:
    live = labelled("ClusterRole", "istio-reader", operator_istio_io__component="Pilot", app="x")
    assert changed(live, labelled("ClusterRole", "istio-reader", app="x")) == "none"
    assert changed(live, labelled("ClusterRole", "istio-reader", app="y")) == "update"


def test_leftovers_are_what_is_no_longer_declared() -> None:
    owned = [
        labelled("Service", "kept"),
        labelled("Service", "gone"),
        labelled("Deployment", "kept"),
        labelled("CustomResourceDefinition", "never"),
        labelled("Service", "tag", install_operator_istio_io__owning_resource_not_pruned="true"),
    ]
    owned[-1]["metadata"]["labels"] = {_manifest.NOT_PRUNED: "true"}
    left = _manifest.leftovers(owned, [item("Service", "kept")])
    assert [str(_manifest.ref(found)) for found in left] == ["Service ns/gone", "Deployment ns/kept"]


def test_webhooks_of_the_default_tag_are_missed() -> None:
    declared = [item("MutatingWebhookConfiguration", "istio-sidecar-injector")]
    tags = [item(kind, "t") for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")]
    missing = _manifest.tag_webhook_missing
    assert missing(declared, [], "", {})
    assert missing(declared, tags[:1], "", {})
    assert not missing(declared, tags, "", {})
    assert not missing(declared, [], "1-31", {})
    assert not missing([item("Deployment", "gateway")], [], "", {})
    assert not missing(declared, [], "", {"values": {"global": {"operatorManageWebhooks": True}}})


def shown(change: Change) -> str:
    (entry,) = _manifest.diff([change])
    return entry["before"] + entry["after"]


def test_diff_hides_secrets_and_does_not_print_new_schemas() -> None:
    secret = Change(Ref("v1", "Secret", "ns", "s"), "update", {"data": {"k": "b2xk"}}, {"data": {"k": "bmV3"}})
    assert "b2xk" not in shown(secret)
    assert "bmV3" not in shown(secret)
    spec = {"versions": [{"name": "v1", "schema": {"description": "endless"}}]}
    ref = Ref("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "c")
    assert "endless" not in shown(Change(ref, "create", None, {"spec": spec}))
    assert "endless" in shown(Change(ref, "update", {"spec": {}}, {"spec": spec}))


def test_summary_and_told_leave_out_what_stays() -> None:
    changes = [
        Change(Ref("v1", "Service", "ns", "a"), "none", {}, {}),
        Change(Ref("v1", "Service", "ns", "b"), "create", None, {}),
        Change(Ref("v1", "Namespace", "", "c"), "delete", {}, None),
    ]
    assert _manifest.summary(changes, True) == ["would create Service ns/b", "would remove Namespace c"]
    assert _manifest.summary(changes, False) == ["created Service ns/b", "removed Namespace c"]
    assert [entry["action"] for entry in _manifest.told(changes)] == ["create", "delete"]


def test_differences_name_the_paths() -> None:
    change = Change(
        Ref("v1", "X", "", "x"),
        "update",
        {"spec": {"a": 1, "b": {"c": [1]}}},
        {"spec": {"a": 1, "b": {"c": [2]}, "d": 0}},
    )
    assert _manifest.differences(change) == ["spec.b.c: [1] -> [2]", "spec.d: None -> 0"]
