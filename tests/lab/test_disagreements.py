# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would keep VMs from joining is found by the lookup before a file is made; each case on the API server, or istiod's."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import socket
import subprocess
import time
import typing as t
import uuid

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _definition, _material
from bootstrap_cases import Case
from bootstrap_mesh import NETWORKING, Bench
from conftest import Lab


@dataclasses.dataclass(frozen=True)
class Made:
    """A mesh of objects.

    Attributes:
        bench: what made it.
        istio: istiod's namespace.
        vms: the group's.
    """

    bench: Bench
    istio: str
    vms: str

    def files(self, group: str = "envoydummy", **wish: t.Any) -> dict[str, str]:
        asked = _material.Wish(istio_namespace=self.istio, **{"verify_istiod": False, **wish})
        (made,) = _material.materials(self.bench.cluster, [_definition.Name(self.vms, group)], asked)
        assert made is not None
        return made.files

    def failure(self, **wish: t.Any) -> MeshError:
        """The error, with its three parts."""
        with pytest.raises(MeshError) as caught:
            self.files(**wish)
        assert caught.value.found
        assert caught.value.expected
        assert caught.value.next_step
        return caught.value

    def patch(self, path: str, body: t.Any, kind: str = "merge") -> None:
        self.bench.cluster.request("PATCH", path, body=body, content_type=f"application/{kind}-patch+json")

    def delete(self, path: str) -> None:
        self.bench.cluster.request("DELETE", path, body={"gracePeriodSeconds": 0})

    def pod(self, name: str, container: str, **env: str) -> None:
        """Puts a Pod with other variables in the place of one."""
        path = f"/api/v1/namespaces/{self.istio}"
        labels = self.bench.cluster.request("GET", f"{path}/pods/{name}")["metadata"]["labels"]
        self.delete(f"{path}/pods/{name}")
        self.bench.pod(path, name, labels, container, env)


@pytest.fixture
def made() -> t.Iterator[Made]:
    bench = Bench(Cluster({}))
    unique = uuid.uuid4().hex[:8]
    istio, vms = f"bs-istio-{unique}", f"bs-vms-{unique}"
    bench.mesh(Case("disagreement"), istio, vms)
    yield Made(bench, istio, vms)
    bench.remove()


GATEWAY = {"ISTIO_META_CLUSTER_ID": "cluster1", "ISTIO_META_MESH_ID": "mesh1", "ISTIO_META_NETWORK": "network1"}


def test_all_agree(made: Made) -> None:
    assert made.files()["hosts"] == f"192.0.2.200 istiod.{made.istio}.svc\n"


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("ISTIO_META_CLUSTER_ID", "the cluster name 'other'"),
        ("ISTIO_META_MESH_ID", "the mesh ID 'other'"),
        ("ISTIO_META_NETWORK", "the network 'other'"),
    ],
)
def test_a_gateway_of_another_mesh(made: Made, variable: str, said: str) -> None:
    made.pod("gateway", "istio-proxy", **{**GATEWAY, variable: "other"})
    assert said in made.failure().found


def test_auto_registration_switched_off(made: Made) -> None:
    made.pod("istiod", "discovery", PILOT_ENABLE_WORKLOAD_ENTRY_AUTOREGISTRATION="false")
    assert "auto-registration is switched off" in made.failure().found


def test_audience_that_istiod_does_not_take(made: Made) -> None:
    made.pod("istiod", "discovery", TOKEN_AUDIENCES="api")
    assert "istiod takes tokens with the audience api only" in made.failure().found


def test_istiod_not_exposed(made: Made) -> None:
    route = f"{NETWORKING}/namespaces/{made.istio}/virtualservices/istiod-vs"
    destination = [{"destination": {"host": f"other.{made.istio}.svc.cluster.local", "port": {"number": 15012}}}]
    tls = [{"match": [{"port": 15012, "sniHosts": ["*"]}], "route": destination}]
    made.patch(route, {"spec": {"tls": tls}})
    assert "no VirtualService leads from port 15012 to istiod" in made.failure().found
    made.delete(route)
    assert "no VirtualService leads from port 15012 to istiod" in made.failure().found
    made.delete(f"{NETWORKING}/namespaces/{made.istio}/gateways/istiod-gateway")
    assert "no Gateway opens port 15012" in made.failure().found
    ports = [{"op": "replace", "path": "/spec/ports", "value": [{"name": "p15021", "port": 15021}]}]
    made.patch(f"/api/v1/namespaces/{made.istio}/services/istio-eastwestgateway", ports, "json")
    assert "the Service has no port 15012" in made.failure().found


def test_no_gateway_and_no_address(made: Made) -> None:
    service = f"/api/v1/namespaces/{made.istio}/services/istio-eastwestgateway"
    made.patch(service + "/status", {"status": {"loadBalancer": {"ingress": None}}})
    assert "has no address yet" in made.failure().found
    assert f"no Service {made.istio}/other" in made.failure(ingress_service="other").found


def test_group_and_account(made: Made) -> None:
    asked = _material.Wish(istio_namespace=made.istio, verify_istiod=False)
    with pytest.raises(MeshError) as caught:
        _material.materials(made.bench.cluster, [_definition.Name(made.istio, "envoydummy")], asked)
    assert f"{made.vms}/envoydummy" in caught.value.next_step
    made.delete(f"/api/v1/namespaces/{made.vms}/serviceaccounts/chapter10-sa")
    assert f"no ServiceAccount {made.vms}/chapter10-sa" in made.failure().found


def certificate(folder: pathlib.Path, start: str = "20260101000000Z", end: str = "20500101000000Z") -> str:
    """Makes a self-signed certificate that is valid in that time."""
    (folder / "ca.cnf").write_text(
        "[ca]\ndefault_ca=d\n[d]\ndatabase=index\nnew_certs_dir=.\nserial=serial\ndefault_md=sha256\npolicy=p\n"
        "x509_extensions=x\n[p]\norganizationName=supplied\n[x]\nbasicConstraints=critical,CA:true\n"
    )
    (folder / "index").touch()
    (folder / "serial").write_text("01\n")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key"]
    for command in (
        ["openssl", "req", "-new", *key, "-out", "csr", "-subj", "/O=root"],
        ["openssl", "ca", "-config", "ca.cnf", "-batch", "-notext", "-selfsign", "-keyfile", "key", "-in", "csr",
         "-startdate", start, "-enddate", end, "-out", "crt"],
    ):  # fmt: skip
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return (folder / "crt").read_text()


def tampered(made: Made, pem: str) -> MeshError:
    """What the lookup says of root certificates that are these."""
    reads = made.bench.cluster.get

    def get(path: str, query: t.Any = None) -> t.Any:
        found = reads(path, query)
        if path.endswith("/configmaps/istio-ca-root-cert"):
            # istiod would put its own back within a second.
            return {**(found or {}), "data": {"root-cert.pem": pem}}
        return found

    made.bench.cluster.get = get  # type: ignore[method-assign]
    return made.failure()


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        ("20200101000000Z", "20210101000000Z", "expired at 2021-01-01"),
        ("20900101000000Z", "20910101000000Z", "is valid from 2090-01-01"),
    ],
)
def test_roots_that_are_not_valid_now(made: Made, tmp_path: pathlib.Path, start: str, end: str, said: str) -> None:
    assert said in tampered(made, certificate(tmp_path, start, end)).found


def test_roots_that_istiod_does_not_show(mesh: Lab, tmp_path: pathlib.Path) -> None:
    """The lab's own istiod, through its gateway, and the roots of a mesh that is not its own."""
    cluster = Cluster({})
    reads = cluster.get
    name = _definition.Name("chapter10vm", "envoydummy")
    (right,) = _material.materials(cluster, [name], _material.Wish())
    assert right is not None
    other = certificate(tmp_path)

    def get(path: str, query: t.Any = None) -> t.Any:
        found = reads(path, query)
        return {**found, "data": {"root-cert.pem": other}} if path.endswith("/istio-ca-root-cert") else found

    cluster.get = get  # type: ignore[method-assign]
    with pytest.raises(MeshError) as caught:
        _material.materials(cluster, [name], _material.Wish())
    assert "does not follow from the root certificates" in caught.value.found
    assert _material.materials(cluster, [name], _material.Wish(verify_istiod=False))[0] is not None


@contextlib.contextmanager
def let_through(mesh: Lab, host: str) -> t.Iterator[None]:
    """The gateway lets one name more through to istiod."""
    places = [
        ("gateway", "/spec/servers/0/hosts"),
        ("virtualservice", "/spec/hosts"),
        ("virtualservice", "/spec/tls/0/match/0/sniHosts"),
    ]

    def patch(operation: t.Mapping[str, str]) -> None:
        # Istio wants names in sniHosts to be among the hosts.
        for kind, path in places if operation["op"] == "add" else reversed(places):
            name = "istiod-gateway" if kind == "gateway" else "istiod-vs"
            change = json.dumps([{**operation, "path": path + ("/1" if operation["op"] == "remove" else "/-")}])
            for attempt in range(30):
                # Right after a rollout nobody may answer yet at the webhook's address.
                last = attempt == 29
                if mesh.kubectl("patch", kind, "-n", "istio-system", name, "--type", "json", "-p", change, check=last):
                    break
                time.sleep(1)

    patch({"op": "add", "value": host})
    try:
        yield
    finally:
        patch({"op": "remove"})


def discovery(**wish: t.Any) -> str:
    """The discovery address of the lab's group."""
    (made,) = _material.materials(Cluster({}), [_definition.Name("chapter10vm", "envoydummy")], _material.Wish(**wish))
    assert made is not None
    line = next(line for line in made.files["mesh.yaml"].splitlines() if "discoveryAddress" in line)
    return line.partition(": ")[2]


def becomes(expected: str, **wish: t.Any) -> None:
    """Waits until gateways and istiods have the news."""
    found = ""
    for _attempt in range(60):
        try:
            found = discovery(**wish)
        except MeshError as error:
            found = error.found
        if found.startswith(expected):
            return
        time.sleep(1)
    raise AssertionError(found)


def test_a_name_for_istiod(mesh: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway's name is what VMs look for once the gateway lets it through and istiod is certified for it."""
    own = "istiod.istio-system.svc:15012"
    where = "jsonpath={.status.loadBalancer.ingress[0].ip}"
    gateway = mesh.kubectl("get", "service", "-n", "istio-system", "istio-eastwestgateway", "-o", where)
    monkeypatch.setattr("socket.getaddrinfo", resolver("mesh.example", gateway))
    assert discovery(ingress_ip="mesh.example") == own
    becomes("nobody answers to the name mesh.example at the gateway", discovery_address="mesh.example")
    deployment = ("-n", "istio-system", "deployment/istiod")
    with let_through(mesh, "mesh.example"):
        becomes("istiod's certificate is not for mesh.example, but for istio", discovery_address="mesh.example")
        assert discovery(ingress_ip="mesh.example") == own
        mesh.kubectl("set", "env", *deployment, "ISTIOD_CUSTOM_HOST=mesh.example")
        try:
            mesh.kubectl("rollout", "status", *deployment, "--timeout=120s")
            becomes("mesh.example:15012", ingress_ip="mesh.example")
            becomes("mesh.example:15012", discovery_address="mesh.example")
        finally:
            mesh.kubectl("set", "env", *deployment, "ISTIOD_CUSTOM_HOST-")
            mesh.kubectl("rollout", "status", *deployment, "--timeout=120s")


def resolver(name: str, address: str) -> t.Callable[..., t.Any]:
    """getaddrinfo, with one name more than the machine's DNS has."""
    real = socket.getaddrinfo

    def find(host: t.Any, *arguments: t.Any, **options: t.Any) -> t.Any:
        return real(address if host == name else host, *arguments, **options)

    return find
