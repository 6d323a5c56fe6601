# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what is told of Prometheus's targets, and of the objects of Prometheus and Kiali."""

from __future__ import annotations

import pytest
import yaml
from ansible_collections.hybridmesh.istio.plugins.module_utils import (
    _manifest,
    _observability_kiali,
    _observability_targets,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils import _observability_objects as objects
from ansible_collections.hybridmesh.istio.plugins.modules.observability import OPTIONS


def params(**more):
    return {**{name: option.get("default") for name, option in OPTIONS.items()}, "discovery_script": "pass", **more}


def by_kind(items, kind):
    return next(item for item in items if item["kind"] == kind)


def pod_of(items):
    return by_kind(items, "Deployment")["spec"]["template"]["spec"]


def everything(**more):
    return [
        objects.namespace(params(**more)),
        *objects.prometheus(params(**more)),
        *_observability_kiali.kiali(params(**more)),
    ]


def test_every_object_says_whose_it_is():
    for item in everything(namespace="watch"):
        assert _manifest.labels(item)["hybridmesh.istio/observability"] == "watch"
        assert _manifest.ref(item).namespace == (
            "watch" if item["kind"] not in ("Namespace", "ClusterRole", "ClusterRoleBinding") else ""
        )
    refs = [_manifest.ref(item) for item in everything()]
    assert len(set(refs)) == len(refs)


def test_two_installations_have_nothing_in_common():
    one, two = ({_manifest.ref(item) for item in everything(namespace=name)} for name in ("one", "two"))
    assert not one & two


def test_pods_are_hardened_and_out_of_the_mesh():
    for items in (objects.prometheus(params()), _observability_kiali.kiali(params())):
        template = by_kind(items, "Deployment")["spec"]["template"]
        assert template["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"
        assert template["spec"]["securityContext"]["runAsNonRoot"]
        for container in template["spec"]["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_prometheus_may_only_read():
    for rule in by_kind(objects.prometheus(params()), "ClusterRole")["rules"]:
        assert set(rule["verbs"]) <= {"get", "list", "watch"}
        assert "secrets" not in rule["resources"]


def test_where_metrics_are_kept():
    volume = next(volume for volume in pod_of(objects.prometheus(params()))["volumes"] if volume["name"] == "data")
    assert volume == {"name": "data", "emptyDir": {}}
    kept = objects.prometheus(params(storage_size="1Gi", storage_class="fast", retention_size="900MB"))
    assert by_kind(kept, "PersistentVolumeClaim")["spec"]["storageClassName"] == "fast"
    assert "--storage.tsdb.retention.size=900MB" in pod_of(kept)["containers"][0]["args"]


def test_what_both_pods_take():
    more = {"image_pull_secrets": ["mine"], "node_selector": {"pool": 1}, "tolerations": [{"operator": "Exists"}]}
    for items in (objects.prometheus(params(**more)), _observability_kiali.kiali(params(**more))):
        spec = pod_of(items)
        assert spec["imagePullSecrets"] == [{"name": "mine"}]
        assert spec["nodeSelector"] == {"pool": "1"}
        assert spec["tolerations"] == [{"operator": "Exists"}]


def kiali_config(**more):
    config_map = by_kind(_observability_kiali.kiali(params(**more)), "ConfigMap")
    return yaml.safe_load(config_map["data"]["config.yaml"])


def test_kiali_reads_our_prometheus_or_the_one_that_is_named():
    assert kiali_config()["external_services"]["prometheus"]["url"] == "http://prometheus.observability:9090"
    other = {"prometheus": False, "prometheus_url": "http://other:9090"}
    assert kiali_config(**other)["external_services"]["prometheus"]["url"] == "http://other:9090"


def test_kiali_knows_the_revision_and_what_the_user_adds():
    found = kiali_config(
        revision="canary", istio_namespace="mesh", kiali_config={"auth": {"openid": {"client_id": "x"}}}
    )
    assert found["external_services"]["istio"]["config_map_name"] == "istio-canary"
    assert found["istio_namespace"] == "mesh"
    assert found["auth"] == {"strategy": "token", "openid": {"client_id": "x"}}


@pytest.mark.parametrize("view_only", [True, False])
def test_kiali_may_change_things_only_where_it_is_to(view_only):
    role = by_kind(_observability_kiali.kiali(params(kiali_view_only=view_only)), "ClusterRole")
    changing = {verb for rule in role["rules"] for verb in rule["verbs"]} - {"get", "list", "watch", "create"}
    assert changing == (set() if view_only else {"patch", "delete"})
    created = {resource for rule in role["rules"] if "create" in rule["verbs"] for resource in rule["resources"]}
    assert created == {"pods/portforward", "tokenreviews"} | (set() if view_only else {"*"})


def target(job, health, **more):
    return {"labels": {"job": job, "instance": f"{job}:1"}, "health": health, **more}


def test_targets():
    answer = [
        target("prometheus", "up"),
        target("mesh-machines", "down", lastError="refused"),
        target("mesh-pods", "unknown"),
    ]
    found = _observability_targets.read({"data": {"activeTargets": answer}})
    assert found.up["prometheus"] == 1
    assert found.down == ["mesh-machines: mesh-machines:1: refused"]
    assert not _observability_targets.is_complete(found, 1)
    lines = _observability_targets.told(found)
    assert lines[0].startswith("Prometheus scrapes: 0 istiod, 0 mesh-pods, 0 mesh-machines")
    assert lines[1:] == [
        "does not answer Prometheus: mesh-machines: mesh-machines:1: refused",
        "1 were not scraped yet",
    ]
    done = found._replace(unknown=0)
    assert _observability_targets.is_complete(done, 1)
    # One more has registered, and Prometheus was not told of it yet.
    assert not _observability_targets.is_complete(done, 2)
    many = found._replace(down=[f"mesh-machines: {number}" for number in range(30)], unknown=0)
    assert "and 20 more do not answer" in _observability_targets.told(many)[-1]
