# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is wrong with the input or the surroundings stops the run before the VM is changed, and says what to do."""

from __future__ import annotations

import base64
import contextlib
import os
import pathlib
import typing as t

import pytest
import yaml

from .conftest import ADDRESSES, Lab, Run

VM = "vm1"
GROUP = "chapter10vm/envoydummy"


@pytest.fixture(scope="module")
def bare(lab: Lab) -> Lab:
    """The mesh is up, the groups are there, and vm1 is a bare machine."""
    lab.reset(VM)
    for playbook in ("playbooks/mesh.yml",):
        done = lab.playbook(playbook)
        assert done.code == 0, done.output
    done = lab.role("workload_group", "--limit", VM)
    assert done.code == 0, done.output
    return lab


@contextlib.contextmanager
def unchanged(lab: Lab) -> t.Iterator[None]:
    before = lab.state_of(VM)
    yield
    after = lab.state_of(VM)
    assert {key: after.get(key) for key in before.keys() | after.keys() if after.get(key) != before.get(key)} == {}


def refused(run: Run, *words: str) -> None:
    """The run failed, in the one shape of an error, and named all these words in it."""
    assert run.code != 0, run.output
    assert "Traceback" not in run.output, run.output
    for part in ("Found: ", "Expected: ", "Next step: "):
        assert part in run.words, run.output
    for word in words:
        assert word in run.words, f"{word!r} is not in:\n{run.output}"


def sidecar(lab: Lab, **variables: t.Any) -> Run:
    return lab.role("vm_sidecar", "--limit", VM, variables=variables)


@contextlib.contextmanager
def on_vm(lab: Lab, break_it: str, mend_it: str) -> t.Iterator[None]:
    lab.ssh(VM, break_it)
    try:
        yield
    finally:
        lab.ssh(VM, mend_it)


@contextlib.contextmanager
def in_cluster(lab: Lab, manifest: str) -> t.Iterator[None]:
    lab.apply(manifest)
    try:
        yield
    finally:
        lab.kubectl("delete", "--wait=false", "-f", "-", stdin=manifest, check=False)


def group(name: str, account: str = "chapter10-sa", network: str = "network1") -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata:
  name: {name}
  namespace: chapter10vm
spec:
  metadata:
    labels:
      app: {name}
  template:
    serviceAccount: {account}
    network: {network}
    ports:
      http: 10000
"""


def test_unreachable_cluster(bare: Lab, tmp_path: pathlib.Path) -> None:
    config = yaml.safe_load(pathlib.Path(os.environ["KUBECONFIG"]).read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    path = tmp_path / "unreachable"
    path.write_text(yaml.safe_dump(config))
    with unchanged(bare):
        for run in (
            sidecar(bare, mesh_kubeconfig=str(path)),
            bare.playbook("playbooks/mesh.yml", variables={"mesh_kubeconfig": str(path)}),
        ):
            refused(run, "https://127.0.0.1:9")


def test_kubeconfig_without_rights(bare: Lab, tmp_path: pathlib.Path) -> None:
    with (
        in_cluster(bare, "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: nobody, namespace: default}\n"),
        unchanged(bare),
    ):
        config = yaml.safe_load(pathlib.Path(os.environ["KUBECONFIG"]).read_text())
        config["users"][0]["user"] = {"token": bare.kubectl("create", "token", "nobody", "-n", "default").strip()}
        path = tmp_path / "powerless"
        path.write_text(yaml.safe_dump(config))
        run = sidecar(bare, mesh_kubeconfig=str(path))
    refused(run, 'verb "', 'resource "')


def test_no_such_group(bare: Lab) -> None:
    with unchanged(bare):
        run = sidecar(bare, mesh_workload_group="chapter10vm/nothing")
    # What exists is named, so that a slip of the pen is seen at once.
    refused(run, "chapter10vm/nothing", "envoydummy")


def test_group_of_another_network(bare: Lab) -> None:
    with in_cluster(bare, group("abroad", network="network9")), unchanged(bare):
        run = sidecar(bare, mesh_workload_group="chapter10vm/abroad")
    refused(run, "network9", "network1")


def test_default_service_account(bare: Lab) -> None:
    with in_cluster(bare, group("plain", account="default")), unchanged(bare):
        run = sidecar(bare, mesh_workload_group="chapter10vm/plain")
    refused(run, "default", "ServiceAccount")


def test_service_account_with_rights(bare: Lab) -> None:
    manifest = f"""\
{group("mighty", account="mighty")}
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: mighty, namespace: chapter10vm}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: mighty-vm}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}}
subjects: [{{kind: ServiceAccount, name: mighty, namespace: chapter10vm}}]
"""
    with in_cluster(bare, manifest), unchanged(bare):
        run = sidecar(bare, mesh_workload_group="chapter10vm/mighty")
    refused(run, "mighty", "cluster-admin")


def gateway(name: str, cluster: str = "cluster1", kind: str = "ClusterIP") -> str:
    """A second gateway, as somebody else could have made it; its pod does nothing."""
    return f"""\
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: istio-system, labels: {{istio: {name}}}}}
spec:
  type: {kind}
  selector: {{istio: {name}}}
  ports: [{{name: tls-istiod, port: 15012, targetPort: 15012}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: istio-system, labels: {{istio: {name}}}}}
spec:
  selector: {{matchLabels: {{istio: {name}}}}}
  template:
    metadata: {{labels: {{istio: {name}}}, annotations: {{sidecar.istio.io/inject: "false"}}}}
    spec:
      containers:
        - name: istio-proxy
          image: docker.io/istio/proxyv2:1.31.0-lab
          command: [sleep, "600"]
          env:
            - {{name: ISTIO_META_CLUSTER_ID, value: {cluster}}}
            - {{name: ISTIO_META_MESH_ID, value: mesh1}}
            - {{name: ISTIO_META_NETWORK, value: network1}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: istio-system}}
spec:
  selector: {{istio: {name}}}
  servers: [{{port: {{name: tls-istiod, number: 15012, protocol: TLS}}, tls: {{mode: PASSTHROUGH}}, hosts: ["*"]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: istio-system}}
spec:
  hosts: ["*"]
  gateways: [{name}]
  tls:
    - match: [{{port: 15012, sniHosts: ["*"]}}]
      route: [{{destination: {{host: istiod.istio-system.svc.cluster.local, port: {{number: 15012}}}}}}]
"""


def test_gateway_without_an_address(bare: Lab) -> None:
    with in_cluster(bare, gateway("homeless")), unchanged(bare):
        run = sidecar(bare, vm_sidecar_gateway_service="homeless")
    refused(run, "homeless", "address")


def test_gateway_with_another_cluster_name(bare: Lab) -> None:
    with in_cluster(bare, gateway("foreign", cluster="cluster9", kind="LoadBalancer")), unchanged(bare):
        bare.kubectl(
            "wait",
            "-n",
            "istio-system",
            "svc/foreign",
            "--for=jsonpath={.status.loadBalancer.ingress}",
            "--timeout=60s",
        )
        run = sidecar(bare, vm_sidecar_gateway_service="foreign")
    refused(run, "cluster9", "cluster1")


def test_unsupported_distribution(bare: Lab) -> None:
    breaking = "cp -a --remove-destination $(readlink -f /etc/os-release) /run/os-release.kept; rm /etc/os-release; "
    breaking += "printf 'ID=void\\nPRETTY_NAME=\"Void Linux\"\\n' > /etc/os-release"
    mending = "ln -sfn ../usr/lib/os-release /etc/os-release"
    with on_vm(bare, breaking, mending), unchanged(bare):
        run = sidecar(bare)
    refused(run, "Void Linux")


def wrapper(script: str) -> tuple[str, str]:
    """Commands that put an interpreter with a twist on the VM, and that take it away again."""
    encoded = base64.b64encode(f"#!/bin/sh\n{script}\n".encode()).decode()
    path = "/usr/local/bin/python-with-a-twist"
    return f"echo {encoded} | base64 -d > {path}; chmod 755 {path}", f"rm -r {path} /run/twist || true"


def sidecar_by_wrapper(lab: Lab, folder: pathlib.Path) -> Run:
    twisted = folder / "twisted.yml"
    host = {"ansible_python_interpreter": "/usr/local/bin/python-with-a-twist"}
    twisted.write_text(yaml.safe_dump({"mesh_vms": {"hosts": {VM: host}}}))
    return lab.role("vm_sidecar", "--limit", VM, "-i", "inventories/lab", "-i", str(twisted))


def test_unsupported_architecture(bare: Lab, tmp_path: pathlib.Path) -> None:
    with on_vm(bare, *wrapper('exec setarch i686 /usr/bin/python3 "$@"')), unchanged(bare):
        run = sidecar_by_wrapper(bare, tmp_path)
    refused(run, "i686")


def test_clock_off_by_more_than_the_token_lives(bare: Lab, tmp_path: pathlib.Path) -> None:
    # Machines of the lab share the host's clock, so it is Python's that goes wrong; the look's own keeps away from such things.
    twist = "mkdir -p /run/twist; printf 'import time\\nreal = time.time\\ntime.time = lambda: real() + 7200\\n' "
    twist += '> /run/twist/sitecustomize.py; if [ "$1" = -IS ]; then shift; fi; PYTHONPATH=/run/twist exec /usr/bin/python3 "$@"'
    with on_vm(bare, *wrapper(twist)), unchanged(bare):
        run = sidecar_by_wrapper(bare, tmp_path)
    refused(run, "clock")


def test_wrong_checksum(bare: Lab) -> None:
    with unchanged(bare):
        run = sidecar(bare, vm_sidecar_package_checksum="sha256:" + "0" * 64)
    refused(run, "0" * 64)


def test_port_of_the_sidecar_is_taken(bare: Lab) -> None:
    breaking = "systemd-run --unit=squatter python3 -m http.server 15006; sleep 1"
    with on_vm(bare, breaking, "systemctl stop squatter"), unchanged(bare):
        run = sidecar(bare)
    refused(run, "15006", "python3")


def test_no_way_to_the_gateway(bare: Lab) -> None:
    rule = "OUTPUT -p tcp --dport 15012 -j DROP"
    with on_vm(bare, f"iptables -I {rule}", f"iptables -D {rule}"), unchanged(bare):
        run = sidecar(bare)
    refused(run, "15012", "firewall")


def test_no_route_to_the_pods(bare: Lab) -> None:
    change = "ip route {} unreachable 10.89.0.0/24"
    with on_vm(bare, change.format("add"), change.format("del")), unchanged(bare):
        run = sidecar(bare)
    refused(run, "10.89.", "route")


def test_pods_are_kept_from_the_vm(bare: Lab) -> None:
    rule = f"INPUT -p tcp -s 10.89.0.0/16 -d {ADDRESSES[VM]} --syn -j DROP"
    with on_vm(bare, f"iptables -I {rule}", f"iptables -D {rule}"), unchanged(bare):
        run = sidecar(bare)
    refused(run, "firewall", ADDRESSES[VM])
