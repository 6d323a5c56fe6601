# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the modules workload_group, eastwest_gateway, istio_install and token_policy, against an API server made of a dictionary."""

from __future__ import annotations

import contextlib

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.hybridmesh.istio.plugins.module_utils import _cluster_module, _gateway_run, _install, _lock
from ansible_collections.hybridmesh.istio.plugins.modules import (
    eastwest_gateway,
    istio_install,
    token_policy,
    workload_group,
)


class Exit(Exception):
    """The module has ended."""


class Free:
    """A lock that nobody else has."""

    def __init__(self, _cluster):
        pass

    def is_somebody_elses(self):
        return False

    def held(self, _timeout):
        return contextlib.nullcontext()


def run(module, cluster, check=False, diff=True, **options):
    ended = {}

    def end(own, **result):
        ended.update(result)
        raise Exit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(basic.AnsibleModule, "exit_json", end)
        patch.setattr(basic.AnsibleModule, "fail_json", end)
        patch.setattr(_lock, "Lock", Free)
        for place in (module, _cluster_module, _gateway_run, _lock):
            patch.setattr(place, "Cluster", lambda _options: cluster, raising=False)
        arguments = {**options, "_ansible_check_mode": check, "_ansible_diff": diff}
        with patch_module_args(arguments), pytest.raises(Exit):
            module.main()
    return ended


def group(**more):
    service = {"ports": [{"name": "http", "port": 80, "targetPort": 10000}]}
    return {"name": "dummy", "namespace": "vms", "labels": {"app": "dummy"}, "service": service, **more}


MADE = ["Namespace vms", "ServiceAccount vms/dummy", "WorkloadGroup vms/dummy", "Service vms/dummy"]


def test_groups_on_an_empty_cluster(empty_cluster):
    empty_cluster.unknown = {"networking.istio.io/v1"}
    result = run(workload_group, empty_cluster, check=True, groups=[group()])
    assert result["report"] == [f"would create {what}" for what in MADE]
    assert len(result["diff"]) == 4
    assert empty_cluster.changes() == []
    assert "install it first" in run(workload_group, empty_cluster, groups=[group()])["next_step"]


def test_groups_are_made_once(applying_mesh):
    result = run(workload_group, applying_mesh, groups=[group(), group(name="second", service=None)])
    own = ["ServiceAccount vms/second", "WorkloadGroup vms/second"]
    assert result["report"] == [f"created {what}" for what in [*MADE, *own]]
    made = applying_mesh.objects["/apis/networking.istio.io/v1/namespaces/vms/workloadgroups/dummy"]
    assert made["spec"]["template"]["network"] == "network1"
    again = run(workload_group, applying_mesh, groups=[group(), group(name="second", service=None)])
    assert (again["changed"], again["report"], again["diff"]) == (False, [], [])


def test_services_no_longer_declared_go_and_groups_stay(applying_mesh):
    run(workload_group, applying_mesh, groups=[group(), group(name="second")])
    result = run(workload_group, applying_mesh, groups=[group(service=None)])
    assert result["report"] == ["removed Service vms/dummy"]
    assert result["undeclared"] == ["vms/second"]
    assert "/api/v1/namespaces/vms/services/second" in applying_mesh.objects
    assert run(workload_group, applying_mesh, groups=[group(service=None)])["changed"] is False


def test_issue_45329_a_group_is_changed_in_place(applying_mesh):
    """Its entries are deleted with it."""
    run(workload_group, applying_mesh, groups=[group()])
    before = len(applying_mesh.changes())
    result = run(workload_group, applying_mesh, groups=[group(labels={"app": "dummy", "track": "stable"})])
    assert result["report"] == ["changed WorkloadGroup vms/dummy"]
    assert not [request for request in applying_mesh.changes()[before:] if request.startswith("DELETE")]


def test_what_is_refused_changes_nothing(applying_mesh):
    binding = {"kind": "ClusterRoleBinding", "metadata": {"name": "admins"}}
    binding["subjects"] = [{"kind": "ServiceAccount", "name": "boss", "namespace": "vms"}]
    binding["roleRef"] = {"kind": "ClusterRole", "name": "cluster-admin"}
    applying_mesh.put(binding)
    for wrong, told in (
        ({"network": "other"}, "network 'other'"),
        ({"service_account": "default"}, "ServiceAccount default"),
        ({"service_account": "boss"}, "cluster-admin"),
    ):
        result = run(workload_group, applying_mesh, groups=[group(name="good"), group(**wrong)])
        assert told in result["found"]
    assert applying_mesh.changes() == []
    allowed = group(service_account="boss", allow_service_account=True)
    assert run(workload_group, applying_mesh, groups=[allowed])["changed"]


def test_groups_of_somebody_else(applying_mesh):
    path = "/apis/networking.istio.io/v1/namespaces/vms/workloadgroups/dummy"
    run(workload_group, applying_mesh, groups=[group()])
    del applying_mesh.objects[path]["metadata"]["labels"]
    before = len(applying_mesh.changes())
    assert run(workload_group, applying_mesh, groups=[group()])["changed"] is False
    result = run(workload_group, applying_mesh, groups=[group(weight=3)])
    assert "spec.template.weight: None -> 3" in result["found"]
    assert "kubectl -n vms label workloadgroup dummy" in result["next_step"]
    assert len(applying_mesh.changes()) == before


def test_gateway_on_an_empty_cluster(empty_cluster):
    result = run(eastwest_gateway, empty_cluster, check=True)
    assert result["report"][0] == "would create Deployment istio-system/istio-eastwestgateway"
    assert (result["changed"], result["addresses"]) == (True, [])
    assert "there is no Istio in istio-system" in run(eastwest_gateway, empty_cluster)["found"]


def test_gateway_of_somebody_else_is_read_only(applying_mesh):
    result = run(eastwest_gateway, applying_mesh)
    assert (result["managed"], result["changed"], result["vm_needs"]) == (False, False, [])
    assert result["addresses"] == ["10.88.0.200"]
    del applying_mesh.objects["/apis/networking.istio.io/v1/namespaces/istio-system/virtualservices/istiod-vs"]
    assert "no VirtualService leads" in run(eastwest_gateway, applying_mesh)["vm_needs"][0]
    assert applying_mesh.changes() == []


class Installed:
    """An installation and an istioctl that have nothing to do."""

    marked = True
    changes = ()
    version = "1.31.0"
    previous_version = ""
    precheck = ()
    unjudged_proxies = ()

    def __init__(self, *arguments):
        self.wanted = arguments[1]

    def judge_version(self, _version):
        return ""

    def converge(self, _istioctl, _check):
        return _install.Result([], self.version, "", [], [])

    def find(self, version, _path):
        return "/bin/istioctl", version


@pytest.fixture
def _installed(monkeypatch):
    monkeypatch.setattr(eastwest_gateway, "Installation", Installed)
    for name in ("Finder", "Istioctl"):
        monkeypatch.setattr(_gateway_run, name, Installed)


def exposing(mesh):
    """The mesh with a gateway of ours that is not exposed yet."""
    for path in [path for path in mesh.objects if path.endswith(("istiod-gateway", "istiod-vs"))]:
        del mesh.objects[path]
    mesh.objects["/api/v1/namespaces/istio-system"] = {"metadata": {"name": "istio-system"}}
    return mesh.objects["/api/v1/namespaces/istio-system/services/istio-eastwestgateway"]


@pytest.mark.usefixtures("_installed")
def test_istiod_is_exposed_once_the_address_is_known(applying_mesh):
    exposing(applying_mesh)
    would = run(eastwest_gateway, applying_mesh, check=True)
    assert applying_mesh.changes() == []
    done = run(eastwest_gateway, applying_mesh)
    assert [line.split()[-1] for line in done["report"]] == ["istio-system/istiod-gateway", "istio-system/istiod-vs"]
    assert [entry["action"] for entry in would["objects"]] == [entry["action"] for entry in done["objects"]]
    assert (done["addresses"], done["hosts"]) == (["10.88.0.200"], ["istiod.istio-system.svc"])
    assert run(eastwest_gateway, applying_mesh)["changed"] is False
    run(eastwest_gateway, applying_mesh, cross_network=True)
    closed = run(eastwest_gateway, applying_mesh)
    assert closed["report"] == ["removed Gateway istio-system/cross-network-gateway"]


@pytest.mark.usefixtures("_installed")
def test_a_public_address_is_refused_before_istiod_is_exposed(applying_mesh):
    service = exposing(applying_mesh)
    service["status"]["loadBalancer"]["ingress"] = [{"ip": "34.1.2.3"}]
    result = run(eastwest_gateway, applying_mesh)
    assert "34.1.2.3 is public" in result["found"]
    assert applying_mesh.changes() == []
    assert run(eastwest_gateway, applying_mesh, public=True)["changed"]


@pytest.mark.usefixtures("_installed")
def test_no_address(applying_mesh):
    service = exposing(applying_mesh)
    service["status"] = {}
    event = {"kind": "Event", "metadata": {"name": "e", "namespace": "istio-system"}, "message": "quota exceeded"}
    applying_mesh.put(event)
    result = run(eastwest_gateway, applying_mesh, address_timeout=0)
    assert "quota exceeded" in result["found"]
    assert "eastwest_gateway_address" in result["next_step"]
    assert run(eastwest_gateway, applying_mesh, check=True)["addresses"] == []
    given = run(eastwest_gateway, applying_mesh, service_type="NodePort", address=["10.1.1.1"])
    assert given["addresses"] == ["10.1.1.1"]


@pytest.mark.usefixtures("_installed")
def test_objects_of_somebody_else_are_not_replaced(applying_mesh):
    exposing(applying_mesh)
    theirs = {"kind": "Gateway", "metadata": {"name": "istiod-gateway", "namespace": "istio-system"}}
    applying_mesh.put(theirs)
    assert "Gateway istio-system/istiod-gateway is there already" in run(eastwest_gateway, applying_mesh)["found"]
    assert applying_mesh.changes() == []


def foreign(mesh, version="1.29.1"):
    containers = [{"name": "discovery", "image": f"istio/pilot:{version}"}]
    mesh.put(
        {
            "kind": "Deployment",
            "metadata": {"name": "istiod", "namespace": "istio-system", "labels": {"app": "istiod"}},
            "spec": {"template": {"spec": {"containers": containers}}},
        }
    )


def test_an_istio_of_somebody_else_is_read_only(applying_mesh):
    foreign(applying_mesh)
    spec = {"values": {"global": {"network": "other"}}}
    result = run(istio_install, applying_mesh, version="1.30.3", spec=spec)
    assert (result["managed"], result["changed"]) == (False, False)
    assert result["foreign"] == ["istiod 1.29.1 in istio-system"]
    assert "the network is 'network1', not 'other'" in result["differences"]
    assert result["vm_needs"] == []
    assert applying_mesh.changes() == []


def test_no_second_istio_beside_that_of_somebody_else(applying_mesh):
    foreign(applying_mesh)
    result = run(istio_install, applying_mesh, version="1.30.3", istio_namespace="mine")
    assert "somebody else's Istio is in the cluster" in result["found"]
    assert applying_mesh.changes() == []


POLICY = [
    "ValidatingAdmissionPolicy hybridmesh-istio-vm-tokens",
    "ValidatingAdmissionPolicyBinding hybridmesh-istio-vm-tokens",
]


def test_token_policy_comes_stays_changes_and_goes(empty_cluster):
    assert run(token_policy, empty_cluster, check=True)["report"] == [f"would create {what}" for what in POLICY]
    assert empty_cluster.changes() == []
    assert run(token_policy, empty_cluster)["report"] == [f"created {what}" for what in POLICY]
    again = run(token_policy, empty_cluster)
    assert (again["changed"], again["report"], again["diff"]) == (False, [], [])
    assert run(token_policy, empty_cluster, max_duration=3600)["report"] == [f"changed {POLICY[0]}"]
    assert run(token_policy, empty_cluster, state="absent")["report"] == [
        f"removed {what}" for what in reversed(POLICY)
    ]
    assert run(token_policy, empty_cluster, state="absent")["changed"] is False


def test_token_policy_of_an_old_api_server(empty_cluster):
    empty_cluster.unknown = {"admissionregistration.k8s.io/v1"}
    assert "control_plane_token_policy: false" in run(token_policy, empty_cluster)["next_step"]
    assert run(token_policy, empty_cluster, state="absent")["changed"] is False
    assert "600 s at least" in run(token_policy, empty_cluster, max_duration=60)["expected"]
