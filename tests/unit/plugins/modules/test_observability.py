# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module observability against an API server made of a dictionary."""

from __future__ import annotations

import base64
import json

import pytest
import yaml
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.hybridmesh.istio.plugins.module_utils import _cluster_module
from ansible_collections.hybridmesh.istio.plugins.modules import observability

SPACE = "/api/v1/namespaces/observability"
DEPLOYMENTS = "/apis/apps/v1/namespaces/observability/deployments"
TARGETS = f"{SPACE}/services/prometheus:http/proxy/api/v1/targets"
SCRIPT = "print('machines')\n"


class Exit(Exception):
    """The module has ended."""


def run(cluster, check=False, **options):
    ended = {"slept": []}
    now = [0.0]

    def end(own, **result):
        ended.update(result)
        raise Exit

    def sleep(seconds):
        ended["slept"].append(seconds)
        now[0] += seconds

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(basic.AnsibleModule, "exit_json", end)
        patch.setattr(basic.AnsibleModule, "fail_json", end)
        patch.setattr(_cluster_module, "Cluster", lambda _options: cluster)
        patch.setattr(observability.time, "sleep", sleep)
        patch.setattr(observability.time, "monotonic", lambda: now[0])
        arguments = {"wait_for": [], "discovery_script": SCRIPT, **options}
        arguments.update({"_ansible_check_mode": check, "_ansible_diff": True})
        with patch_module_args(arguments), pytest.raises(Exit):
            observability.main()
    return ended


def kinds(result):
    return [f"{item['action']} {item['kind']} {item['name']}" for item in result["objects"]]


def test_check_mode_on_an_empty_cluster(empty_cluster):
    result = run(empty_cluster, check=True)
    assert result["changed"]
    assert result["report"][0] == "would create Namespace observability"
    assert "would create Deployment observability/kiali" in result["report"]
    assert empty_cluster.changes() == []
    assert yaml.safe_load(result["prometheus_config"])["scrape_configs"]
    assert run(empty_cluster, check=True, state="absent")["changed"] is False


def test_it_is_made_once(applying_mesh):
    result = run(applying_mesh)
    assert kinds(result)[0] == "create Namespace observability"
    assert len(result["objects"]) == 15
    again = run(applying_mesh)
    assert (again["changed"], again["objects"], again["diff"]) == (False, [], [])


def test_the_key_is_made_once_and_never_shown(applying_mesh):
    result = run(applying_mesh)
    data = applying_mesh.objects[f"{SPACE}/secrets/kiali-signing-key"]["data"]
    key = base64.b64decode(data["value.txt"]).decode()
    assert len(key) == 32
    for shown in (key, data["value.txt"]):
        assert shown not in json.dumps(result)
    run(applying_mesh, scrape_interval="30s")
    assert applying_mesh.objects[f"{SPACE}/secrets/kiali-signing-key"]["data"] == data


def test_a_changed_option_changes_only_what_it_is_about(applying_mesh):
    run(applying_mesh)
    assert kinds(run(applying_mesh, scrape_interval="30s")) == ["update ConfigMap prometheus"]
    assert kinds(run(applying_mesh, scrape_interval="30s", kiali_auth="anonymous")) == [
        "update ConfigMap kiali",
        # It reads its configuration when it starts.
        "update Deployment kiali",
    ]
    changed = run(applying_mesh, scrape_interval="30s", kiali_auth="anonymous", discovery_script="pass\n")
    assert kinds(changed) == ["update ConfigMap mesh-discovery", "update Deployment prometheus"]


def test_what_is_declared_no_more_goes(applying_mesh):
    run(applying_mesh, storage_size="1Gi")
    result = run(applying_mesh, storage_size="1Gi", kiali=False)
    assert sorted(kinds(result)) == [
        "delete ClusterRole hybridmesh:observability:kiali",
        "delete ClusterRoleBinding hybridmesh:observability:kiali",
        "delete ConfigMap kiali",
        "delete Deployment kiali",
        "delete Secret kiali-signing-key",
        "delete Service kiali",
        "delete ServiceAccount kiali",
    ]
    assert kinds(run(applying_mesh, kiali=False)) == [
        "update Deployment prometheus",
        "delete PersistentVolumeClaim prometheus",
    ]


def test_nothing_is_left(applying_mesh):
    before = set(applying_mesh.objects)
    run(applying_mesh, storage_size="1Gi")
    assert len(applying_mesh.objects) == len(before) + 16
    check = run(applying_mesh, check=True, state="absent")
    assert len(check["objects"]) == 16
    assert kinds(check)[-1] == "delete Namespace observability"
    result = run(applying_mesh, state="absent")
    assert kinds(result) == kinds(check)
    assert set(applying_mesh.objects) == before
    assert run(applying_mesh, state="absent")["changed"] is False


def test_a_namespace_in_which_others_have_something_stays(applying_mesh):
    run(applying_mesh)
    applying_mesh.put({"kind": "ConfigMap", "metadata": {"name": "dashboard", "namespace": "observability"}})
    applying_mesh.put({"kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt", "namespace": "observability"}})
    result = run(applying_mesh, state="absent")
    assert SPACE in applying_mesh.objects
    assert "ConfigMap observability/dashboard" in result["notes"][0]
    assert "kube-root" not in result["notes"][0]
    assert run(applying_mesh, state="absent")["changed"] is False


def test_a_namespace_that_was_there_stays(applying_mesh):
    applying_mesh.put({"kind": "Namespace", "metadata": {"name": "observability"}})
    assert "create Namespace observability" not in kinds(run(applying_mesh))
    assert "delete Namespace observability" not in kinds(run(applying_mesh, state="absent"))
    assert SPACE in applying_mesh.objects


@pytest.mark.parametrize(
    "labels", [{}, {"app.kubernetes.io/managed-by": "hybridmesh.istio", "hybridmesh.istio/observability": "other"}]
)
def test_what_others_made_is_not_touched(applying_mesh, labels):
    applying_mesh.put({"kind": "Namespace", "metadata": {"name": "observability"}})
    applying_mesh.put(
        {"kind": "Deployment", "metadata": {"name": "kiali", "namespace": "observability", "labels": labels}}
    )
    result = run(applying_mesh)
    assert "somebody else made Deployment observability/kiali" in result["found"]
    assert "choose another namespace" in result["next_step"]
    assert applying_mesh.changes() == []
    assert run(applying_mesh, state="absent")["changed"] is False


def test_what_is_not_ready_is_told_with_its_reason(applying_mesh):
    run(applying_mesh)
    labels = applying_mesh.objects[f"{DEPLOYMENTS}/prometheus"]["spec"]["template"]["metadata"]["labels"]
    state = {"name": "prometheus", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    state["lastState"] = {"terminated": {"message": "level=error msg=config err=unknown field"}}
    pod = {"kind": "Pod", "metadata": {"name": "prometheus-1", "namespace": "observability", "labels": labels}}
    applying_mesh.put({**pod, "status": {"containerStatuses": [state]}})
    result = run(applying_mesh, wait_for=["prometheus"], readiness_timeout=5)
    assert "Deployment observability/prometheus has 0 of 1 replicas ready" in result["found"]
    assert "CrashLoopBackOff level=error msg=config err=unknown field" in result["found"]
    assert sum(result["slept"]) >= 5


def test_targets_are_looked_at(applying_mesh):
    run(applying_mesh)
    applying_mesh.objects[f"{DEPLOYMENTS}/prometheus"]["status"] = {"availableReplicas": 1, "updatedReplicas": 1}
    down = {
        "labels": {"job": "mesh-machines", "instance": "10.0.0.1:15020"},
        "health": "down",
        "lastError": "timed out",
    }
    up = {"labels": {"job": "prometheus", "instance": "127.0.0.1:9090"}, "health": "up"}
    applying_mesh.objects[TARGETS] = {"data": {"activeTargets": [down, up]}}
    result = run(applying_mesh, wait_for=["prometheus"])
    assert result["changed"] is False
    assert result["slept"] == []
    assert result["targets"]["prometheus"] == 1
    assert result["down"] == ["mesh-machines: 10.0.0.1:15020: timed out"]
    assert "does not answer Prometheus: mesh-machines: 10.0.0.1:15020: timed out" in result["notes"]
    # Without the right to ask.
    applying_mesh.forbidden.add(TARGETS)
    result = run(applying_mesh, wait_for=["prometheus"])
    assert "not looked for" in result["notes"][0]
    assert result["targets"] == {}


def test_nothing_is_done_where_an_option_is_wrong(applying_mesh):
    result = run(applying_mesh, retention="two weeks")
    assert "retention is 'two weeks'" in result["found"]
    assert applying_mesh.asked == []
