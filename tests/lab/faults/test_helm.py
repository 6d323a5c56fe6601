# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Istio by Helm, with the same playbooks: from nothing to the proof, drift, an upgrade, and no way from or to istioctl."""

from __future__ import annotations

import functools
import http.server
import json
import os
import pathlib
import subprocess
import threading
import typing as t

import pytest

from ..conftest import Lab, Run
from ..demo import V1, V2, at_the_ingress, demo
from ..test_4_rights import Job
from ..test_8_traffic import becomes

HELM: dict[str, t.Any] = {"control_plane_method": "helm"}
OLD: dict[str, t.Any] = {**HELM, "control_plane_version": "1.30.4-lab"}
MESH = "playbooks/mesh.yml"


def succeeded(run: Run) -> Run:
    assert run.code == 0, run.output
    return run


def unchanged(run: Run) -> None:
    assert succeeded(run).changed == 0, run.output
    assert "WARNING" not in run.output, run.output


def releases(lab: Lab) -> dict[str, str]:
    """What was released in Istio's namespace: name -> status and chart."""
    done = subprocess.run(
        ["helm", "list", "--all", "-n", "istio-system", "-o", "json"], capture_output=True, text=True, check=True
    )
    return {item["name"]: f"{item['status']} {item['chart']}" for item in json.loads(done.stdout)}


def refused(run: Run, *words: str) -> None:
    assert run.code != 0, run.output
    for word in (*words, "Next step:"):
        assert word in run.words, run.output


@pytest.fixture(scope="module")
def released(lab: Lab) -> t.Iterator[Lab]:
    """Everything by Helm, 1.31."""
    lab.reset()
    check = succeeded(lab.playbook("site.yml", "--check", "--diff", variables=HELM))
    assert "would create Release istio-system/istiod" in check.words, check.output
    assert releases(lab) == {}
    succeeded(lab.playbook("site.yml", variables=HELM))
    yield lab
    lab.reset()


def test_from_an_empty_cluster_to_the_proof(released: Lab) -> None:
    assert releases(released) == {
        "istio-base": "deployed base-1.31.0-lab",
        "istiod": "deployed istiod-1.31.0-lab",
        "istio-eastwestgateway": "deployed gateway-1.31.0-lab",
    }
    proof = succeeded(released.playbook("playbooks/verify.yml", variables=HELM))
    assert "2 VMs - 2 ok" in proof.words, proof.output
    unchanged(released.playbook("site.yml", variables=HELM))
    unchanged(released.playbook(MESH, "--check", "--diff", variables=HELM))


def test_what_somebody_changed_by_hand_is_shown_and_put_right(released: Lab) -> None:
    patch = json.dumps([{"op": "replace", "path": "/spec/template/spec/containers/0/resources", "value": {}}])
    released.kubectl("patch", "deployment", "-n", "istio-system", "istiod", "--type=json", "-p", patch)
    check = succeeded(released.playbook(MESH, "--check", "--diff", variables=HELM))
    assert "would change Deployment istio-system/istiod" in check.words, check.output
    assert succeeded(released.playbook(MESH, variables=HELM)).changed == 1
    unchanged(released.playbook(MESH, variables=HELM))


INGRESS = "istio-ingressgateway"


def ingress_objects(lab: Lab) -> str:
    kinds = "deployments,services,serviceaccounts,poddisruptionbudgets,roles,rolebindings,configmaps"
    named = lab.kubectl("get", kinds, "-n", "istio-system", "-o", "name").splitlines()
    return "\n".join(sorted(name for name in named if "ingress" in name))


def test_the_ingress_gateway_is_a_release_too(released: Lab) -> None:
    """The whole sample by playbook, with the gateway as a release; it goes again, and nothing is left."""
    check = demo(released, "--check", "--diff", **HELM)
    assert check.code == 0, check.output
    assert f"would create Release istio-system/{INGRESS}" in check.words
    assert INGRESS not in releases(released)
    run = succeeded(demo(released, **HELM))
    assert f"created Service istio-system/{INGRESS}" in run.words, run.output
    assert releases(released)[INGRESS] == "deployed gateway-1.31.0-lab"
    becomes(str({V1, V2}), lambda: str(set(at_the_ingress(released, 50))))
    # Its identity is the one that policies name, however it was installed.
    account = released.kubectl(
        "get", "deployment", "-n", "istio-system", INGRESS, "-o", "jsonpath={.spec.template.spec.serviceAccountName}"
    )
    assert account == f"{INGRESS}-service-account"
    unchanged(demo(released, **HELM))
    unchanged(demo(released, "--check", "--diff", **HELM))

    # What is asked for differs, and what somebody changed by hand.
    more = {**HELM, "ingress_gateway_replicas": 1}
    check = succeeded(released.role("ingress_gateway", "--check", "--diff", variables=more))
    assert f"would change Deployment istio-system/{INGRESS}" in check.words, check.output
    succeeded(released.role("ingress_gateway", variables=more))
    unchanged(released.role("ingress_gateway", variables=more))
    released.kubectl("scale", "deployment", "-n", "istio-system", INGRESS, "--replicas=2")
    assert succeeded(released.role("ingress_gateway", variables=more)).changed == 1
    unchanged(released.role("ingress_gateway", variables=more))

    absent = {**HELM, "ingress_gateway_state": "absent"}
    refused(released.role("ingress_gateway", variables=absent), "is used by Gateway chapter10/envoydummy")
    refused(
        released.role("ingress_gateway", variables={**HELM, "ingress_gateway_method": "istioctl"}),
        f"{INGRESS} in istio-system was installed by helm, and istioctl is asked for",
        "set ingress_gateway_method to helm",
    )
    refused(
        released.role("ingress_gateway", variables={**HELM, "ingress_gateway_hub": "registry.example/istio"}),
        "settings that Istio's chart of a gateway does not know: hub",
        "ingress_gateway_method",
    )
    assert releases(released)[INGRESS] == "deployed gateway-1.31.0-lab"

    check = succeeded(demo(released, "--check", **HELM, demo_app_state="absent"))
    assert f"would remove Release istio-system/{INGRESS}" in check.words, check.output
    assert INGRESS in releases(released)
    succeeded(demo(released, **HELM, demo_app_state="absent"))
    assert INGRESS not in releases(released)
    assert ingress_objects(released) == ""
    unchanged(demo(released, **HELM, demo_app_state="absent"))


def test_there_is_no_way_from_helm_to_istioctl(released: Lab) -> None:
    before = releases(released)
    for more in ([], ["--check"]):
        refused(
            released.playbook(MESH, *more),
            "control-plane in istio-system was installed by helm, and istioctl is asked for",
        )
    beside = {"control_plane_revision": "1-31"}
    refused(released.playbook(MESH, variables=beside), "was installed by helm, and istioctl is asked for")
    gateway = {**HELM, "eastwest_gateway_method": "istioctl"}
    refused(released.playbook(MESH, variables=gateway), "eastwest-gateway in istio-system was installed by helm")
    assert releases(released) == before


def test_bad_input_is_refused_before_anything_changes(released: Lab) -> None:
    cases: list[tuple[dict[str, t.Any], str]] = [
        ({"control_plane_charts": "/nowhere"}, "there is no chart base in /nowhere"),
        ({"control_plane_version": "1.30.4-lab"}, "and the older 1.30.4-lab is asked for"),
        ({"control_plane_spec": {"components": {}}}, "the spec has components, which Istio's charts do not know"),
        ({"control_plane_helm_binary": "/nowhere/helm"}, "/nowhere/helm can't be run"),
    ]
    for variables, words in cases:
        refused(released.playbook(MESH, variables={**HELM, **variables}), words)


def test_there_is_no_way_from_istioctl_to_helm(lab: Lab) -> None:
    lab.reset()
    succeeded(lab.playbook(MESH))
    refused(
        lab.playbook(MESH, variables=HELM),
        "control-plane in istio-system was installed by istioctl, and helm is asked for",
    )
    assert releases(lab) == {}
    # A gateway of its own may be by Helm, and stays so.
    gateway = {"ingress_gateway_method": "helm"}
    succeeded(lab.role("ingress_gateway", variables=gateway))
    assert releases(lab) == {INGRESS: "deployed gateway-1.31.0-lab"}
    unchanged(lab.role("ingress_gateway", variables=gateway))
    refused(lab.role("ingress_gateway"), f"{INGRESS} in istio-system was installed by helm, and istioctl is asked for")
    # To remove it nobody has to remember how it was made.
    succeeded(lab.role("ingress_gateway", variables={"ingress_gateway_state": "absent"}))
    assert (releases(lab), ingress_objects(lab)) == ({}, "")
    succeeded(lab.role("ingress_gateway"))
    refused(
        lab.role("ingress_gateway", variables=gateway),
        f"{INGRESS} in istio-system was installed by istioctl, and helm is asked for",
    )
    succeeded(lab.role("ingress_gateway", variables={"ingress_gateway_state": "absent"}))
    assert ingress_objects(lab) == ""


def test_with_the_rights_of_its_job(lab: Lab) -> None:
    """From nothing, and away again, by Helm, with docs/rights/mesh.yml and no more."""
    lab.reset()
    lab.apply("{apiVersion: v1, kind: Namespace, metadata: {name: istio-system}}")
    job = Job(lab, "mesh")
    by_helm = ("-e", "control_plane_method=helm")
    succeeded(job.playbook(MESH, *by_helm))
    unchanged(job.playbook(MESH, *by_helm))
    gateway = {"mesh_kubeconfig": str(job.kubeconfig)}
    succeeded(lab.role("ingress_gateway", variables=gateway))
    assert set(releases(lab)) == {"istio-base", "istiod", "istio-eastwestgateway", INGRESS}
    succeeded(lab.role("ingress_gateway", variables={**gateway, "ingress_gateway_state": "absent"}))
    assert set(releases(lab)) == {"istio-base", "istiod", "istio-eastwestgateway"}
    for what in (("get", "secrets", "-n", "kube-system"), ("create", "secrets", "-A")):
        assert not job.may(*what)


def test_an_upgrade_from_a_repository(lab: Lab, tmp_path: pathlib.Path) -> None:
    """Both versions from a repository that the test serves; the new one only where an upgrade is allowed."""
    state = pathlib.Path(os.environ["KUBECONFIG"]).parent
    for version in ("1.30.4-lab", "1.31.0-lab"):
        for chart in ("base", "istiod", "gateway"):
            source = state / "charts" / version / chart
            subprocess.run(["helm", "package", str(source), "-d", str(tmp_path)], check=True, capture_output=True)
    subprocess.run(["helm", "repo", "index", str(tmp_path)], check=True, capture_output=True)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = {"mesh_charts": f"http://127.0.0.1:{server.server_address[1]}"}
        lab.reset()
        succeeded(lab.playbook(MESH, variables={**OLD, **place}))
        refused(lab.playbook(MESH, variables={**HELM, **place}), "and 1.31.0-lab is asked for")
        new = {**HELM, **place, "control_plane_allow_upgrade": True}
        succeeded(lab.playbook(MESH, variables=new))
        unchanged(lab.playbook(MESH, variables=new))
        server.shutdown()
    assert releases(lab) == {
        "istio-base": "deployed base-1.31.0-lab",
        "istiod": "deployed istiod-1.31.0-lab",
        "istio-eastwestgateway": "deployed gateway-1.31.0-lab",
    }
    absent = {**HELM, "control_plane_state": "absent"}
    refused(lab.role("control_plane", variables=absent), "proxies are connected to the control plane control-plane")
