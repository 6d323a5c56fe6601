# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup's files equal those of the real istioctl, byte for byte.

Wants KUBECONFIG (an API server with Istio's CRDs; an istiod is not needed) and LAB_ISTIOCTLS (paths, with colons
between). Each case is a mesh of its own in namespaces of its own, which are deleted afterwards; a mesh that is there is
not touched.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time
import typing as t
import uuid

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _definition, _material, _settings
from bootstrap_cases import DEFAULT_TAG, EQUAL, FAILING, SEVERAL, WITHOUT_HOSTS, Case
from bootstrap_mesh import Bench, group_of
from conftest import COLLECTIONS

FILES = ("cluster.env", "mesh.yaml", "root-cert.pem", "hosts")


class Istioctl:
    """A real one."""

    def __init__(self, path: str) -> None:
        self.path = path
        said = subprocess.run(
            [path, "version", "--remote=false"], capture_output=True, text=True, timeout=60, check=True
        )
        self.version = said.stdout.strip().rpartition(" ")[2]

    def run(self, folder: pathlib.Path, istio: str, vms: str, case: Case) -> subprocess.CompletedProcess[str]:
        """Makes the files of the case's group in the folder."""
        command = [self.path, "x", "workload", "entry", "configure", "-n", vms, "-i", istio, "-o", str(folder)]
        command += [flag.format(istio=istio) for flag in case.flags]
        if case.file:
            (folder / "group.yaml").write_text(json.dumps(group_of(case, vms)))
            command += ["--file", str(folder / "group.yaml")]
        else:
            command += ["--name", "envoydummy"]
        if case.asked:
            command += ["--revision", case.asked]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def files(self, folder: pathlib.Path, istio: str, vms: str, case: Case) -> dict[str, str]:
        """The files of the case's group, with the inbound ports in order."""
        folder = folder / self.version
        folder.mkdir()
        result = self.run(folder, istio, vms, case)
        assert result.returncode == 0, result.stderr
        made = {name: (folder / name).read_text() for name in FILES}
        return {**made, "cluster.env": as_set(made["cluster.env"])}


ISTIOCTLS = [Istioctl(path) for path in os.environ.get("LAB_ISTIOCTLS", "").split(":") if path]


def as_set(text: str) -> str:
    """The inbound ports in order: istioctl writes them in another order at each call."""
    lines = []
    for line in text.splitlines(keepends=True):
        if line.startswith("ISTIO_INBOUND_PORTS=") and "*" not in line:
            ports = sorted(set(map(int, line.strip().partition("=")[2].strip("'").split(","))))
            line = "ISTIO_INBOUND_PORTS='" + ",".join(map(str, ports)) + "'\n"
        lines.append(line)
    return "".join(lines)


@dataclasses.dataclass(frozen=True)
class Mesh:
    """A case's mesh in the cluster: istiod's namespace, and the group's."""

    bench: Bench
    istio: str
    vms: str

    def ours(self, case: Case) -> dict[str, str]:
        """The files that the lookup makes. Addresses are nobody's, so nobody is asked for istiod's certificate."""
        settings = _settings.Settings(**{"autoregister": True, **case.settings})
        service = case.service.format(istio=self.istio)
        wish = _material.Wish(
            istio_namespace=self.istio, revision=case.asked, ingress_service=service, verify_istiod=False,
            settings=settings, **case.wish,
        )  # fmt: skip
        name = _definition.Name(self.vms, "envoydummy")
        definitions = {name: group_of(case, self.vms)} if case.file else {}
        (made,) = _material.materials(self.bench.cluster, [name], wish, definitions)
        assert made is not None
        return made.files


@pytest.fixture
def bench() -> t.Iterator[Bench]:
    made = Bench(Cluster({}))
    yield made
    made.remove()


def mesh_of(bench: Bench, case: Case) -> Mesh:
    unique = uuid.uuid4().hex[:8]
    istio, vms = f"bs-istio-{unique}", f"bs-vms-{unique}"
    bench.mesh(case, istio, vms)
    return Mesh(bench, istio, vms)


def test_what_is_compared() -> None:
    """Enough cases, all of them different, and both of the minors that the lab has."""
    assert {".".join(istioctl.version.split(".")[:2]) for istioctl in ISTIOCTLS} == {"1.30", "1.31"}
    assert len({repr(dataclasses.replace(case, name="")) for case in EQUAL}) == len(EQUAL) >= 60


@pytest.mark.parametrize("case", EQUAL, ids=lambda case: case.name)
def test_equal(case: Case, bench: Bench, tmp_path: pathlib.Path) -> None:
    mesh = mesh_of(bench, case)
    ours = mesh.ours(case)
    for istioctl in ISTIOCTLS:
        assert ours == istioctl.files(tmp_path, mesh.istio, mesh.vms, case), istioctl.version


@pytest.mark.parametrize("case", FAILING.values(), ids=lambda case: case.name)
def test_where_istioctl_fails(case: Case, bench: Bench, tmp_path: pathlib.Path) -> None:
    mesh = mesh_of(bench, case)
    ours = mesh.ours(case)
    for istioctl in ISTIOCTLS:
        assert istioctl.run(tmp_path, mesh.istio, mesh.vms, case).returncode != 0, istioctl.version
    twin = dataclasses.replace(case, **case.twin)
    bench.again(twin, mesh.istio, mesh.vms)
    for istioctl in ISTIOCTLS:
        assert ours == istioctl.files(tmp_path, mesh.istio, mesh.vms, twin), istioctl.version


@pytest.mark.parametrize(("case", "addresses"), WITHOUT_HOSTS.values(), ids=WITHOUT_HOSTS)
def test_issue_31624_where_istioctl_leaves_hosts_empty(
    case: Case, addresses: list[str], bench: Bench, tmp_path: pathlib.Path
) -> None:
    mesh = mesh_of(bench, case)
    ours = mesh.ours(case)
    assert ours["hosts"] == "".join(f"{address} istiod.{mesh.istio}.svc\n" for address in addresses)
    for istioctl in ISTIOCTLS:
        assert {**ours, "hosts": ""} == istioctl.files(tmp_path, mesh.istio, mesh.vms, case), istioctl.version


@pytest.mark.parametrize("case", SEVERAL, ids=lambda case: case.name)
def test_where_istioctl_takes_one_of_several(case: Case, bench: Bench, tmp_path: pathlib.Path) -> None:
    mesh = mesh_of(bench, case)
    ours = mesh.ours(case)
    first, second = ours["hosts"].splitlines(keepends=True)
    assert first != second
    for istioctl in ISTIOCTLS:
        assert {**ours, "hosts": first} == istioctl.files(tmp_path, mesh.istio, mesh.vms, case), istioctl.version


def test_default_tag_of_an_istiod_elsewhere(bench: Bench, tmp_path: pathlib.Path) -> None:
    mesh = mesh_of(bench, DEFAULT_TAG)
    ours = mesh.ours(DEFAULT_TAG)
    for istioctl in ISTIOCTLS:
        case = DEFAULT_TAG
        if istioctl.version.startswith("1.30."):
            assert "not found" in istioctl.run(tmp_path, mesh.istio, mesh.vms, case).stderr
            case = dataclasses.replace(case, asked="stable")
        assert ours == istioctl.files(tmp_path, mesh.istio, mesh.vms, case), istioctl.version


def test_issue_49045_node_port(bench: Bench, tmp_path: pathlib.Path) -> None:
    """istioctl has nothing for it; ours has the node and its port, in all three files."""
    case = Case("node-port", ingress=(), service_type="NodePort")
    mesh = mesh_of(bench, case)
    service = bench.cluster.get(f"/api/v1/namespaces/{mesh.istio}/services/istio-eastwestgateway")
    assert service is not None
    (port,) = (port["nodePort"] for port in service["spec"]["ports"] if port["port"] == 15012)
    (node,) = bench.cluster.list_all("/api/v1/nodes")
    (address,) = (item["address"] for item in node["status"]["addresses"] if item["type"] == "InternalIP")
    ours = mesh.ours(case)
    assert ours["hosts"] == f"{address} istiod.{mesh.istio}.svc\n"
    assert f"discoveryAddress: istiod.{mesh.istio}.svc:{port}\n" in ours["mesh.yaml"]
    assert f"CA_ADDR='istiod.{mesh.istio}.svc:{port}'\n" in ours["cluster.env"]
    assert ISTIOCTLS[0].files(tmp_path, mesh.istio, mesh.vms, case)["hosts"] == ""


def test_a_group_without_ports(bench: Bench, tmp_path: pathlib.Path) -> None:
    """istioctl captures every port; ours the probe's and the Service's, and all of them when asked to."""
    case = Case("portless", {"template": {"ports": None}, "probe": {"httpGet": {"port": 9000}}})
    mesh = mesh_of(bench, case)
    bench.create(
        f"/api/v1/namespaces/{mesh.vms}/services",
        {
            "metadata": {"name": "envoydummy"},
            "spec": {"selector": {"app": "envoydummy"}, "ports": [{"port": 80, "targetPort": 10000}]},
        },
    )
    assert "\nISTIO_INBOUND_PORTS='9000,10000'\n" in mesh.ours(case)["cluster.env"]
    ours = mesh.ours(dataclasses.replace(case, settings={"inbound_ports": "*"}))
    for istioctl in ISTIOCTLS:
        assert ours == istioctl.files(tmp_path, mesh.istio, mesh.vms, case), istioctl.version


PLAY = """\
- hosts: localhost
  gather_facts: false
  vars:
    istio: ISTIO
    mesh_kubeconfig: "{{ lookup('env', 'LAB_TEST_KUBECONFIG') }}"
  tasks:
    - name: The lookup as people use it
      ansible.builtin.copy:
        content: "{{ lookup('hybridmesh.istio.sidecar_bootstrap', 'VMS/envoydummy', istio_namespace=istio, verify_istiod=false) | to_json }}"
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
    env.update(LAB_TEST_KUBECONFIG=os.environ["KUBECONFIG"], ANSIBLE_COLLECTIONS_PATH=COLLECTIONS)
    ansible = pathlib.Path(sys.executable).with_name("ansible-playbook")
    return subprocess.run(
        [str(ansible), "-i", "localhost,", "-c", "local", "-e", f"folder={folder}", "-vvvv", *arguments, "play.yml"],
        cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_lookup_itself(bench: Bench, tmp_path: pathlib.Path) -> None:
    case = Case("lookup")
    mesh = mesh_of(bench, case)
    istio, vms = mesh.istio, mesh.vms

    result = play(tmp_path, istio, vms, "--check")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "istio-token" not in json.loads((tmp_path / "files.json").read_text())
    assert "msg: {}" in result.stdout or '"msg": {}' in result.stdout

    result = play(tmp_path, istio, vms)
    assert result.returncode == 2
    assert f"no WorkloadGroup {vms}/none" in result.stdout + result.stderr
    files = json.loads((tmp_path / "files.json").read_text())
    assert files["istio-token"] not in result.stdout + result.stderr
    assert ISTIOCTLS[-1].run(tmp_path, istio, vms, case).returncode == 0
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
