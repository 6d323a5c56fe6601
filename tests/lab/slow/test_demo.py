# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chapter as a whole, by playbooks: both versions answer, requests are split as declared, and nothing is left of it at the end."""

from __future__ import annotations

import json
import textwrap
import typing as t

import pytest
import yaml

from ..conftest import Lab, Run
from ..demo import (
    MACHINES,
    PLAYBOOK,
    PODS,
    V1,
    V2,
    at_the_ingress,
    binomial_interval,
    demo,
    from_machine,
    from_pod,
    weights_at_the_ingress,
)
from ..interrupted import reboot
from ..test_2_bad_input import refused
from ..test_4_rights import Job
from ..test_8_traffic import becomes, made

VMS = ("vm1", "vm2")
REQUESTS = 1000
CONFIDENCE = 0.999
# Everything that the playbook may have made in the cluster.
KINDS = "namespaces,deployments,services,configmaps,serviceaccounts,roles,rolebindings,poddisruptionbudgets"
KINDS += ",gateways.networking.istio.io,virtualservices"


def in_the_cluster(lab: Lab) -> set[str]:
    """All objects of these kinds, but for what Kubernetes and Istio put into a namespace by themselves, and jobs' own accounts."""
    items = json.loads(lab.kubectl("get", KINDS, "-A", "-o", "json"))["items"]
    return {
        "{} {}/{}".format(item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"])
        for item in items
        if "hybridmesh" not in (item["metadata"]["name"], item["metadata"].get("namespace"))
    }


def gone(lab: Lab) -> None:
    run = demo(lab, demo_app_state="absent")
    assert run.code == 0, run.output


@pytest.fixture(scope="module")
def bare(mesh: Lab) -> t.Iterator[tuple[Lab, t.Any]]:
    """The mesh without the application, and all that there was before: the cluster's objects, each machine's state."""
    gone(mesh)
    # The rights of another job, which a test below gives away and nobody takes back.
    Job(mesh, "traffic")
    yield mesh, (in_the_cluster(mesh), [mesh.state_of(vm) for vm in VMS])
    gone(mesh)


@pytest.fixture(scope="module")
def shop(bare: tuple[Lab, t.Any]) -> Lab:
    """The application, by the playbook."""
    lab, before = bare
    # As the first thing: what a check says, and that it does nothing.
    check = demo(lab, "--check", "--diff")
    assert check.code == 0, check.output
    assert (in_the_cluster(lab), [lab.state_of(vm) for vm in VMS]) == before
    run = demo(lab)
    assert run.code == 0, run.output
    assert counts(run) == counts(check), f"{check.output}\n{run.output}"
    for line in ("Deployment chapter10/envoydummy", "Service istio-system/istio-ingressgateway"):
        assert f"would create {line}" in check.words
        assert f"created {line}" in run.words
    return lab


def counts(run: Run) -> dict[str, int]:
    return {host: numbers["changed"] for host, numbers in run.recap.items()}


def test_a_second_run_changes_nothing(shop: Lab) -> None:
    run = demo(shop)
    assert (run.code, run.changed) == (0, 0), run.output
    assert "[WARNING]" not in run.output
    assert "[DEPRECATION" not in run.output


def test_each_reaches_the_other(shop: Lab) -> None:
    for vm in VMS:
        assert from_machine(shop, vm, PODS, times=5) == {V1}
        assert from_machine(shop, vm, MACHINES, times=5) == {V2}
    assert from_pod(shop, PODS, times=5) == {V1}
    assert from_pod(shop, MACHINES, times=5) == {V2}


# The last one is what was there before.
@pytest.mark.parametrize("pods", [100, 90, 50])
def test_requests_from_outside_are_split_by_weight(shop: Lab, pods: int) -> None:
    weights = {"pods": pods, "vms": 100 - pods}
    check = demo(shop, "--check", demo_app_weights=weights)
    run = demo(shop, demo_app_weights=weights)
    assert (check.code, run.code) == (0, 0), run.output
    assert check.changed == run.changed == 1, run.output
    wanted = {"chapter10": pods, "chapter10vm": 100 - pods}
    told = [{name: weight for name, weight in wanted.items() if weight}] * 2

    def seen() -> str:
        found = weights_at_the_ingress(shop)
        return str([{name: weight for name, weight in each.items() if weight} for each in found])

    becomes(str(told), seen)
    counted = at_the_ingress(shop, REQUESTS)
    low, high = binomial_interval(REQUESTS, pods / 100, CONFIDENCE)
    print(f"{pods}/{100 - pods}: {counted[V1]} of {REQUESTS} to Pods, expected {low} to {high}")
    assert set(counted) <= {V1, V2}, counted
    assert low <= counted[V1] <= high, counted


def test_a_gateway_in_use_is_not_removed(shop: Lab) -> None:
    run = shop.role("ingress_gateway", variables={"ingress_gateway_state": "absent"})
    refused(run, "is used by Gateway chapter10/envoydummy")
    assert sum(at_the_ingress(shop, 10).values()) == 10


def test_it_is_there_again_after_a_reboot(shop: Lab) -> None:
    reboot(shop, "vm1")
    becomes("active", lambda: shop.ssh("vm1", "systemctl is-active hybridmesh-demo || true").strip())
    assert shop.ssh("vm1", "systemctl is-active lab-app || true").strip() == "inactive"
    becomes(str({V2}), lambda: str(from_machine(shop, "vm1", "http://localhost:10000/")))
    run = demo(shop)
    assert (run.code, run.changed) == (0, 0), run.output


def test_another_version_by_a_variable_of_a_host(shop: Lab, tmp_path: t.Any) -> None:
    more = tmp_path / "more.yml"
    more.write_text("mesh_vms: {hosts: {vm2: {demo_app_vm_version: v7}}}\n")
    run = shop.playbook(PLAYBOOK, "-i", "inventories/lab", "-i", str(more))
    assert run.code == 0, run.output
    assert (counts(run)["vm1"], counts(run)["vm2"]) == (0, 3), run.output
    assert from_machine(shop, "vm1", "http://10.88.0.22:10000/") == {V2.replace("V2", "V7")}
    assert demo(shop).code == 0
    assert from_machine(shop, "vm1", "http://10.88.0.22:10000/") == {V2}


def test_with_the_rights_of_its_job(shop: Lab) -> None:
    """The gateway is there; the application and its routes are made with their own rights, and in a namespace of somebody else's."""
    gone_but_the_gateway = shop.role("demo_app", variables={"demo_app_state": "absent"})
    assert gone_but_the_gateway.code == 0, gone_but_the_gateway.output
    Job(shop, "traffic")
    job = Job(shop, "demo")
    playbook = shop.folder / "demo_with_rights.yml"
    routes = {"ansible.builtin.include_role": {"name": "hybridmesh.istio.demo_app", "tasks_from": "routes"}}
    play = {"hosts": "mesh_vms", "gather_facts": False, "roles": ["hybridmesh.istio.demo_app"], "tasks": [routes]}
    playbook.write_text(yaml.safe_dump([play]))
    try:
        for changed in (True, False):
            run = job.playbook(str(playbook))
            assert (run.code, run.changed > 0) == (0, changed), run.output
        becomes(str({V1, V2}), lambda: str(set(at_the_ingress(shop, 50))))
        for what in (
            ("get", "secrets", "-A"),
            ("create", "pods", "-n", "chapter10"),
            ("create", "deployments", "-n", "lab"),
        ):
            assert not job.may(*what)
        run = job.playbook(str(playbook), "-e", "demo_app_state=absent")
        assert run.code == 0, run.output
    finally:
        shop.kubectl("delete", "namespace", "chapter10", "--ignore-not-found")
        shop.kubectl(
            "delete", "clusterrolebinding,clusterrole", "hybridmesh-demo", "hybridmesh-demo-traffic", check=False
        )
    assert demo(shop).code == 0


def test_somebody_elses_port_stays_theirs(bare: tuple[Lab, t.Any]) -> None:
    lab, _before = bare
    gone(lab)
    state = lab.state_of("vm1")
    run = demo(lab, "--limit", "vm1", demo_app_vm_replaces=[])
    refused(run, "of lab-app.service listens on port 10000", "demo_app_vm_replaces")
    assert lab.state_of("vm1") == state


# A gateway's Service and Deployment as `istioctl` would have made them for somebody.
THEIRS = """\
apiVersion: v1
kind: Service
metadata: {name: istio-ingressgateway, namespace: istio-system, labels: {istio: ingressgateway}}
spec: {selector: {istio: ingressgateway}, ports: [{name: http2, port: 80, targetPort: 8080}]}
"""


def test_a_gateway_of_somebody_else_is_not_touched(bare: tuple[Lab, t.Any]) -> None:
    lab, _before = bare
    gone(lab)
    lab.apply(THEIRS)
    look = ("get", "service", "-n", "istio-system", "istio-ingressgateway", "-o", "yaml")
    try:
        before = lab.kubectl(*look)
        for state in ("present", "absent"):
            run = lab.role("ingress_gateway", variables={"ingress_gateway_state": state})
            assert (run.code, run.changed) == (0, 0), run.output
        assert lab.kubectl(*look) == before
    finally:
        lab.kubectl("delete", "service", "-n", "istio-system", "istio-ingressgateway")


def test_a_namespace_with_something_of_somebody_elses_stays(bare: tuple[Lab, t.Any]) -> None:
    lab, _before = bare
    run = demo(lab)
    assert run.code == 0, run.output
    lab.kubectl("create", "configmap", "-n", "chapter10", "theirs")
    run = demo(lab, demo_app_state="absent")
    assert run.code == 0, run.output
    assert "Namespace chapter10 stays, as it has ConfigMap theirs" in run.words
    assert {item for item in in_the_cluster(lab) if "chapter10/" in item and "istio-ca" not in item} == {
        "ConfigMap chapter10/kube-root-ca.crt",
        "ConfigMap chapter10/theirs",
        "ServiceAccount chapter10/default",
    }
    lab.kubectl("delete", "configmap", "-n", "chapter10", "theirs")
    gone(lab)


BUCKET = "http://10.88.0.10:8000/releases"


def test_an_application_that_is_there_before_the_sidecar(bare: tuple[Lab, t.Any]) -> None:
    lab, _before = bare
    gone(lab)
    lab.reset("vm2")
    # An Envoy of the owner's own.
    version = json.loads(lab.inventory())["_meta"]["hostvars"]["vm2"]["control_plane_version"]
    lab.ssh(
        "vm2",
        textwrap.dedent(
            f"""\
            set -e
            cd /var/tmp
            curl -sSfo sidecar.deb {BUCKET}/{version}/deb/istio-sidecar.deb
            dpkg-deb --fsys-tarfile sidecar.deb | tar -x ./usr/local/bin/envoy
            install -m 0755 usr/local/bin/envoy /usr/local/sbin/own-envoy
            rm -r sidecar.deb usr
            """
        ),
    )
    own = {"demo_app_vm_envoy": "/usr/local/sbin/own-envoy"}
    missing = demo(lab, "--limit", "vm2")
    refused(missing, "/usr/local/bin/envoy is not there", "role vm_sidecar")
    for changed in (True, False):
        run = demo(lab, "--limit", "vm2", **own)
        assert (run.code, run.changed > 0) == (0, changed), run.output
    assert from_machine(lab, "vm1", "http://10.88.0.22:10000/") == {V2}
    for playbook in ("playbooks/onboard.yml", "playbooks/verify.yml"):
        run = lab.playbook(playbook, "--limit", "vm2")
        assert run.code == 0, run.output
    assert "2 VMs - 1 ok, 1 not_reached" in run.words
    assert from_machine(lab, "vm2", PODS, times=5) == {V1}
    # The other machine has the lab's own application, which answers alike; so this one is asked by its address.
    assert from_pod(lab, "http://10.88.0.22:10000/", times=5) == {V2}
    assert "own-envoy" in lab.ssh("vm2", "systemctl show -p ExecStart hybridmesh-demo")
    run = demo(lab, "--limit", "vm2", **own)
    assert (run.code, run.changed) == (0, 0), run.output


def test_nothing_is_left(bare: tuple[Lab, t.Any]) -> None:
    """On vm1, which all of this was done on, and in the cluster."""
    lab, (objects, machines) = bare
    assert demo(lab).code == 0
    check = demo(lab, "--check", demo_app_state="absent")
    assert check.code == 0, check.output
    assert sum(at_the_ingress(lab, 10).values()) == 10
    run = demo(lab, demo_app_state="absent")
    assert run.code == 0, run.output
    assert counts(run) == counts(check), f"{check.output}\n{run.output}"
    again = demo(lab, demo_app_state="absent")
    assert (again.code, again.changed) == (0, 0), again.output
    assert in_the_cluster(lab) == objects
    assert made(lab, "demo") == {}
    after = lab.state_of("vm1")
    before = machines[0]
    differing = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    # What the sidecar itself writes anew is not the application's.
    assert {key for key in differing if "demo" in key} == set()
    assert {
        key
        for key in differing
        if not key.startswith(("/etc/certs/", "/etc/hybridmesh/", "/etc/istio/", "/var/lib/istio/"))
    } == set()
    becomes(str({V2}), lambda: str(from_machine(lab, "vm1", "http://localhost:10000/")))
    assert lab.ssh("vm1", "systemctl is-active lab-app").strip() == "active"
