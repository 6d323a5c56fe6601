# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup's files equal those of the real istioctl, byte for byte.

Wants KUBECONFIG (an API server with Istio's CRDs; an istiod is not needed) and istioctl (ISTIOCTL, or in PATH). Each
case is a mesh of its own in namespaces of its own, which are deleted afterwards; a mesh that is there is not touched.
"""

from __future__ import annotations

import base64
import copy
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import typing as t
import uuid

import pytest
from ansible.plugins.loader import init_plugin_loader

ROOT = pathlib.Path(__file__).resolve().parents[2]
COLLECTIONS = (
    ROOT.parents[2] if ROOT.parts[-3:] == ("ansible_collections", "hybridmesh", "istio") else ROOT / "collections"
)
init_plugin_loader([str(COLLECTIONS)])

from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import ApiError, Cluster  # noqa: E402
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _bootstrap, _material  # noqa: E402

ISTIOCTL = os.environ.get("ISTIOCTL") or shutil.which("istioctl")

pytestmark = [
    pytest.mark.skipif(not os.environ.get("KUBECONFIG"), reason="KUBECONFIG names no cluster"),
    pytest.mark.skipif(not ISTIOCTL, reason="there is no istioctl"),
]

MESH = """\
defaultConfig:
  discoveryAddress: istiod.{istio}.svc:15012
  meshId: mesh1
  tracing:
    zipkin:
      address: zipkin.{istio}:9411
enablePrometheusMerge: true
rootNamespace: {istio}
trustDomain: cluster.local
"""

GROUP: dict[str, t.Any] = {
    "metadata": {"labels": {"app": "envoydummy", "version": "v2"}},
    "template": {"serviceAccount": "chapter10-sa", "network": "network1", "ports": {"http": 10000}},
    "probe": {"initialDelaySeconds": 1, "periodSeconds": 5, "httpGet": {"path": "/", "port": 10000}},
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A mesh with one group.

    Attributes:
        name: of the case; `{istio}` in texts stands for the mesh's namespace.
        group: what is laid over GROUP; null removes.
        annotations: of the WorkloadGroup itself.
        mesh: the mesh config.
        revision: of istiod.
        asked: the revision that is asked for.
        flags: istioctl's.
        settings: ours, meaning the same.
        wish: likewise.
        network: the cluster's.
        ingress: status.loadBalancer.ingress of the gateway. An address of nobody: kube-proxy takes over what is here.
        external_ips: of the gateway.
    """

    name: str
    group: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    annotations: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    mesh: str = MESH
    revision: str = ""
    asked: str | None = None
    flags: tuple[str, ...] = ("--autoregister",)
    settings: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    wish: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    network: str = "network1"
    ingress: tuple[t.Mapping[str, str], ...] = ({"ip": "192.0.2.200"},)
    external_ips: tuple[str, ...] = ()


CASES = [
    Case("chapter"),
    Case("without-probe", {"probe": None}),
    Case("tcp-probe", {"probe": {"tcpSocket": {"port": 10000}, "httpGet": None, "failureThreshold": 7}}),
    Case("exec-probe", {"probe": {"exec": {"command": ["sh", "-c", "exit 'no' # x: y"]}, "httpGet": None}}),
    Case(
        "http-probe-headers",
        {"probe": {"httpGet": {"host": "127.0.0.1", "scheme": "HTTPS", "httpHeaders": [{"name": "a", "value": "<&"}]}}},
    ),
    Case("several-ports", {"template": {"ports": {"http": 8080, "grpc": 9090, "tcp-x": 70, "z": 65535}}}),
    Case("locality-weight", {"template": {"locality": "eu/eu-west/$zone 1", "weight": 5}}),
    Case("template-labels", {"template": {"labels": {"app": "other", "team": "pay"}}}),
    Case(
        "canonical-labels",
        {"metadata": {"labels": {"app.kubernetes.io/name": "n", "app.kubernetes.io/version": "3", "istio": "x_y.z"}}},
    ),
    Case("no-labels", {"metadata": {"labels": None, "annotations": {"a": "b"}}}),
    Case("not-registered", flags=(), settings={"autoregister": False}),
    Case("dns-off", flags=("--capture-dns=false",), settings={"autoregister": False, "capture_dns": False}),
    Case("internal-ip", flags=("--internalIP", "10.1.2.3"),
         settings={"autoregister": False, "internal_ip": "10.1.2.3"}),
    Case("external-ip", flags=("--externalIP", "2001:db8::1"),
         settings={"autoregister": False, "external_ip": "2001:db8::1"}),
    Case("ingress-ip", flags=("--autoregister", "--ingressIP", "192.0.2.7"), wish={"ingress_ip": "192.0.2.7"}),
    Case("cluster-id", flags=("--autoregister", "--clusterID", "other"), wish={"cluster_id": "other"}),
    Case("external-ips", ingress=(), external_ips=("192.0.2.1", "192.0.2.2")),
    Case("ipv6-gateway", ingress=({"ip": "2001:db8::5"}, {"ip": "192.0.2.9"})),
    Case("revision", revision="1-31", asked="1-31", mesh=MESH.replace("istiod.", "istiod-1-31.")),
    Case("revision-without-address", revision="canary", asked="canary",
         mesh=MESH.replace("  discoveryAddress: istiod.{istio}.svc:15012\n", "")),
    Case("default-tag", revision="stable", mesh=MESH.replace("istiod.", "istiod-stable.")),
    Case("empty-mesh-config", mesh="", network=""  , group={"template": {"network": None}}),
    Case("trust-domain-unicode", mesh=MESH.replace("cluster.local", "b\u00fccher.example")),
    Case(
        "rich-mesh-config",
        mesh=MESH
        + """\
accessLogFile: /dev/stdout
""",
    ),
    Case(
        "proxy-config-values",
        mesh="""\
defaultConfig:
  discoveryAddress: istiod.{istio}.svc:15012
  concurrency: 0
  statusPort: 15021
  drain_duration: 1m30.5s
  terminationDrainDuration: "5s"
  holdApplicationUntilProxyStarts: true
  interceptionMode: TPROXY
  image: {{imageType: distroless}}
  tracing:
    sampling: 0.00001
    maxPathTagLength: 256
    customTags:
      yes: {{literal: {{value: "on"}}}}
    stackdriver: {{maxNumberOfAnnotations: 5}}
  proxyStatsMatcher:
    inclusionRegexps: [".*", "a: b", "- x"]
  extraStatTags: ["1", "true", ""]
  caCertificatesPem:
  - |
    -----BEGIN CERTIFICATE-----
    abc
    -----END CERTIFICATE-----
  gatewayTopology: {{}}
  runtimeValues: {{"overload.global_downstream_max_connections": "50000"}}
  unknownField: 1
  proxyMetadata:
    PLAIN: value
    QUOTE: it's "so" $HOME `id` \u00fc \U0001f600
    LINES: "one\\n two"
    NUMBER: "0123"
    DATE: "2024-01-01"
    LONG: "a very long text that goes on and on, and then on a bit more, until it must be folded, twice perhaps, or not"
    EMPTY: ""
trustDomain: td1
""",
    ),
    Case(
        "annotation-over-metadata",
        annotations={"proxy.istio.io/config": "concurrency: 3\nproxyMetadata: {A: '1', B: x}\n"},
        group={"metadata": {"annotations": {"proxy.istio.io/config": "proxyMetadata: {B: 'y'}\nstatusPort: 15999"}}},
        mesh=MESH + "\n",
    ),
]  # fmt: skip

# What istioctl does not do, and what it should have written.
WITHOUT_METADATA = "annotation-over-metadata"


def overlay(base: t.Any, over: t.Mapping[str, t.Any]) -> t.Any:
    """`over` laid over `base`; null removes."""
    result = copy.deepcopy(base)
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, t.Mapping) and isinstance(result.get(key), dict) and key != "ports":
            result[key] = overlay(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


class Bench:
    """Makes the objects of a mesh."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.cleanup: list[str] = []

    def create(self, path: str, body: dict[str, t.Any], status: dict[str, t.Any] | None = None) -> None:
        try:
            self.cluster.request("POST", path, body=body)
        except ApiError as error:
            if error.status != 409:
                raise
            self.cluster.request("PUT", f"{path}/{body['metadata']['name']}", body=body)
        if status is not None:
            self.cluster.request(
                "PATCH",
                f"{path}/{body['metadata']['name']}/status",
                body={"status": status},
                content_type="application/merge-patch+json",
            )

    def namespace(self, name: str) -> str:
        path = "/api/v1/namespaces"
        self.create(path, {"metadata": {"name": name}})
        self.cleanup.append(f"{path}/{name}")
        return f"{path}/{name}"

    def pod(self, where: str, name: str, labels: dict[str, str], container: str, env: dict[str, str]) -> None:
        """A Pod that says that it runs; a scheduling gate keeps every kubelet from trying."""
        self.create(
            where + "/pods",
            {
                "metadata": {"name": name, "labels": labels},
                "spec": {
                    "schedulingGates": [{"name": "hybridmesh.example/never"}],
                    "containers": [
                        {
                            "name": container,
                            "image": "docker.io/istio/pilot:1.31.0",
                            "env": [{"name": key, "value": value} for key, value in env.items()],
                        }
                    ],
                },
            },
            {"phase": "Running", "podIP": "10.89.0.9", "conditions": [{"type": "Ready", "status": "True"}]},
        )

    def mesh(self, case: Case, istio: str, vms: str) -> None:
        suffix = f"-{case.revision}" if case.revision else ""
        where = self.namespace(istio)
        group_where = self.namespace(vms)
        values = {"global": {"multiCluster": {"clusterName": "cluster1"}, "network": case.network, "meshID": "mesh1"}}
        self.create(
            where + "/configmaps",
            {"metadata": {"name": "istio" + suffix}, "data": {"mesh": case.mesh.format(istio=istio)}},
        )
        self.create(
            where + "/configmaps",
            {"metadata": {"name": "istio-sidecar-injector" + suffix}, "data": {"values": json.dumps(values)}},
        )
        gateway = {"istio": f"ew-{istio}"}
        ports = [{"name": f"p{port}", "port": port} for port in (15021, 15012)]
        self.create(
            where + "/services",
            {
                "metadata": {"name": "istio-eastwestgateway"},
                "spec": {
                    "type": "LoadBalancer",
                    # Nobody's, so that no load balancer of the cluster minds it.
                    "loadBalancerClass": "hybridmesh.example/none",
                    "selector": gateway,
                    "ports": ports,
                    "externalIPs": [*case.external_ips],
                },
            },
            {"loadBalancer": {"ingress": [*case.ingress]}},
        )
        self.pod(where, "istiod", {"app": "istiod", "istio.io/rev": case.revision or "default"}, "discovery", {})
        self.pod(where, "gateway", gateway, "istio-proxy", {
            "ISTIO_META_CLUSTER_ID": "cluster1",
            "ISTIO_META_MESH_ID": "mesh1",
            "ISTIO_META_NETWORK": case.network,
        })  # fmt: skip
        networking = f"/apis/networking.istio.io/v1/namespaces/{istio}"
        tls = {"number": 15012, "name": "tls-istiod", "protocol": "TLS"}
        self.create(
            networking + "/gateways",
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "Gateway",
                "metadata": {"name": "istiod-gateway"},
                "spec": {
                    "selector": gateway,
                    "servers": [{"port": tls, "tls": {"mode": "PASSTHROUGH"}, "hosts": ["*"]}],
                },
            },
        )
        target = {"host": f"istiod{suffix}.{istio}.svc.cluster.local", "port": {"number": 15012}}
        self.create(
            networking + "/virtualservices",
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "VirtualService",
                "metadata": {"name": "istiod-vs"},
                "spec": {
                    "hosts": ["*"],
                    "gateways": ["istiod-gateway"],
                    "tls": [{"match": [{"port": 15012, "sniHosts": ["*"]}], "route": [{"destination": target}]}],
                },
            },
        )
        if case.revision and not case.asked:
            path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
            name = f"istio-revision-tag-default-{istio}"
            self.create(path, {"metadata": {"name": name, "labels": {"istio.io/rev": case.revision}}})
            self.cleanup.append(f"{path}/{name}")
        self.root_certificate(group_where)
        self.create(group_where + "/serviceaccounts", {"metadata": {"name": "chapter10-sa"}})
        self.create(
            f"/apis/networking.istio.io/v1/namespaces/{vms}/workloadgroups",
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "WorkloadGroup",
                "metadata": {"name": "envoydummy", "annotations": {**case.annotations}},
                "spec": overlay(GROUP, case.group),
            },
        )

    def root_certificate(self, namespace: str) -> None:
        """An istiod that runs writes the config map; without one, the API server's own CA does."""
        if self.cluster.get("/api/v1/namespaces/istio-system/services/istiod"):
            deadline = time.monotonic() + 30
            while not self.cluster.get(namespace + "/configmaps/istio-ca-root-cert"):
                assert time.monotonic() < deadline, "istiod does not write its root certificate"
                time.sleep(0.2)
            return
        with open(self.cluster.configuration.ssl_ca_cert, encoding="utf-8") as stream:
            data = {"root-cert.pem": stream.read()}
        self.create(namespace + "/configmaps", {"metadata": {"name": "istio-ca-root-cert"}, "data": data})

    def remove(self) -> None:
        for path in self.cleanup:
            self.cluster.request("DELETE", path)


def istioctl(folder: pathlib.Path, istio: str, vms: str, case: Case) -> subprocess.CompletedProcess[str]:
    """Runs the real one."""
    command = [str(ISTIOCTL), "x", "workload", "entry", "configure", "--name", "envoydummy", "-n", vms]
    command += ["-i", istio, "-o", str(folder), *case.flags]
    if case.asked:
        command += ["--revision", case.asked]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def as_set(text: str) -> str:
    """The inbound ports in order: istioctl writes them in another order at each call."""
    lines = []
    for line in text.splitlines(keepends=True):
        if line.startswith("ISTIO_INBOUND_PORTS=") and "*" not in line:
            ports = sorted(map(int, line.strip().partition("=")[2].strip("'").split(",")))
            line = "ISTIO_INBOUND_PORTS='" + ",".join(map(str, ports)) + "'\n"
        lines.append(line)
    return "".join(lines)


@pytest.fixture
def bench() -> t.Iterator[Bench]:
    made = Bench(Cluster({}))
    yield made
    made.remove()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equal(case: Case, bench: Bench, tmp_path: pathlib.Path) -> None:
    unique = uuid.uuid4().hex[:8]
    istio, vms = f"bs-istio-{unique}", f"bs-vms-{unique}"
    bench.mesh(case, istio, vms)
    wish = _material.Wish(
        istio_namespace=istio, revision=case.asked, settings=_bootstrap.Settings(**case.settings), **case.wish
    )
    (ours,) = _material.materials(Cluster({}), [_material.Name(vms, "envoydummy")], wish)
    assert ours is not None
    if case.name == WITHOUT_METADATA:
        # istioctl stops with 'assignment to entry in nil map' here, so what it would have written is put down.
        assert "nil map" in istioctl(tmp_path, istio, vms, case).stderr
        env = dict(line.split("=", 1) for line in ours.files["cluster.env"].splitlines())
        assert (env["A"], env["B"]) == ("'1'", "'y'")
        assert env["ISTIO_LOCAL_EXCLUDE_PORTS"] == "'22,15090,15021,15999'"
        assert "  concurrency: 3\n" in ours.files["mesh.yaml"]
        return
    result = istioctl(tmp_path, istio, vms, case)
    assert result.returncode == 0, result.stderr
    theirs = {name: (tmp_path / name).read_text() for name in ours.files}
    theirs["cluster.env"] = as_set(theirs["cluster.env"])
    assert ours.files == theirs


def test_a_load_balancer_with_only_a_name(bench: Bench, tmp_path: pathlib.Path) -> None:
    """istioctl leaves the hosts file empty; ours has the name's address."""
    unique = uuid.uuid4().hex[:8]
    istio, vms = f"bs-istio-{unique}", f"bs-vms-{unique}"
    case = Case("name", ingress=({"hostname": "localhost"},))
    bench.mesh(case, istio, vms)
    assert istioctl(tmp_path, istio, vms, case).returncode == 0
    assert (tmp_path / "hosts").read_text() == ""
    wish = _material.Wish(istio_namespace=istio)
    (ours,) = _material.materials(Cluster({}), [_material.Name(vms, "envoydummy")], wish)
    assert ours is not None
    assert ours.files["hosts"] == f"127.0.0.1 istiod.{istio}.svc\n"


def test_a_group_without_ports(bench: Bench, tmp_path: pathlib.Path) -> None:
    """istioctl captures every port; ours the probe's and the Service's, and all of them when asked to."""
    unique = uuid.uuid4().hex[:8]
    istio, vms = f"bs-istio-{unique}", f"bs-vms-{unique}"
    case = Case("portless", {"template": {"ports": None}, "probe": {"httpGet": {"port": 9000}}})
    bench.mesh(case, istio, vms)
    bench.create(
        f"/api/v1/namespaces/{vms}/services",
        {
            "metadata": {"name": "envoydummy"},
            "spec": {"selector": {"app": "envoydummy"}, "ports": [{"port": 80, "targetPort": 10000}]},
        },
    )
    name = [_material.Name(vms, "envoydummy")]
    (ours,) = _material.materials(Cluster({}), name, _material.Wish(istio_namespace=istio))
    assert ours is not None
    assert "\nISTIO_INBOUND_PORTS='9000,10000'\n" in ours.files["cluster.env"]
    settings = _bootstrap.Settings(inbound_ports="*")
    (ours,) = _material.materials(Cluster({}), name, _material.Wish(istio_namespace=istio, settings=settings))
    assert ours is not None
    assert istioctl(tmp_path, istio, vms, case).returncode == 0
    assert ours.files["cluster.env"] == (tmp_path / "cluster.env").read_text()


PLAY = """\
- hosts: localhost
  gather_facts: false
  vars:
    istio: ISTIO
    mesh_kubeconfig: "{{ lookup('env', 'LAB_TEST_KUBECONFIG') }}"
  tasks:
    - name: The lookup as people use it
      ansible.builtin.copy:
        content: "{{ lookup('hybridmesh.istio.sidecar_bootstrap', 'VMS/envoydummy', istio_namespace=istio) | to_json }}"
        dest: "{{ folder }}/files.json"
        mode: "0600"
      no_log: true
      check_mode: false
    - name: A group that is not there, in check mode
      ansible.builtin.debug:
        msg: "{{ lookup('hybridmesh.istio.sidecar_bootstrap', 'VMS/none', istio_namespace='ISTIO', missing_ok=true) }}"
"""


def play(folder: pathlib.Path, istio: str, vms: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs PLAY with the kubeconfig known to a variable only."""
    (folder / "play.yml").write_text(PLAY.replace("VMS", vms).replace("ISTIO", istio))
    env = {key: value for key, value in os.environ.items() if key not in ("KUBECONFIG", "K8S_AUTH_KUBECONFIG")}
    env.update(LAB_TEST_KUBECONFIG=os.environ["KUBECONFIG"], ANSIBLE_COLLECTIONS_PATH=str(COLLECTIONS))
    ansible = pathlib.Path(sys.executable).with_name("ansible-playbook")
    return subprocess.run(
        [str(ansible), "-i", "localhost,", "-c", "local", "-e", f"folder={folder}", "-vvvv", *arguments, "play.yml"],
        cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_lookup_itself(bench: Bench, tmp_path: pathlib.Path) -> None:
    unique = uuid.uuid4().hex[:8]
    istio, vms = f"bs-istio-{unique}", f"bs-vms-{unique}"
    case = Case("lookup")
    bench.mesh(case, istio, vms)

    result = play(tmp_path, istio, vms, "--check")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "istio-token" not in json.loads((tmp_path / "files.json").read_text())
    assert "msg: {}" in result.stdout or '"msg": {}' in result.stdout

    result = play(tmp_path, istio, vms)
    assert result.returncode == 2
    assert f"no WorkloadGroup {vms}/none" in result.stdout + result.stderr
    files = json.loads((tmp_path / "files.json").read_text())
    assert files["istio-token"] not in result.stdout + result.stderr
    assert istioctl(tmp_path, istio, vms, case).returncode == 0
    for name, text in files.items():
        if name != "istio-token":
            assert text == (tmp_path / name).read_text()
    claims, theirs = (claims_of(token) for token in (files["istio-token"], (tmp_path / "istio-token").read_text()))
    assert claims["aud"] == theirs["aud"] == ["istio-ca"]
    assert claims["sub"] == theirs["sub"]
    assert abs(claims["exp"] - time.time() - 3600) < 60


def claims_of(token: str) -> dict[str, t.Any]:
    payload = token.split(".")[1]
    return t.cast("dict[str, t.Any]", json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))))
