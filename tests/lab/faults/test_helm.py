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
