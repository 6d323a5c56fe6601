# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files as text. That they equal istioctl's is tested with the real one (tests/lab/test_bootstrap_equality.py)."""

from __future__ import annotations

import dataclasses
import json
import random
import shlex
import shutil
import subprocess
import typing as t

import pytest
import yaml
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _bootstrap
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._bootstrap import Group, Mesh, Settings

MESH = Mesh(
    istio_namespace="istio-system",
    revision="",
    mesh_config="defaultConfig:\n  discoveryAddress: istiod.istio-system.svc:15012\n  meshId: mesh1\n"
    "trustDomain: cluster.local\n",
    cluster_id="cluster1",
    gateway_addresses=("10.88.0.200",),
)
GROUP = Group(
    namespace="chapter10vm",
    name="envoydummy",
    annotations={},
    spec={
        "metadata": {"labels": {"app": "envoydummy", "version": "v2"}},
        "template": {"serviceAccount": "chapter10-sa", "network": "network1", "ports": {"http": 10000}},
        "probe": {"initialDelaySeconds": 1, "periodSeconds": 5, "httpGet": {"path": "/", "port": 10000}},
    },
    root_cert="PEM\n",
)

# As istioctl 1.31 writes them.
CLUSTER_ENV = """\
CANONICAL_REVISION='v2'
CANONICAL_SERVICE='envoydummy'
ISTIO_INBOUND_PORTS='10000'
ISTIO_LOCAL_EXCLUDE_PORTS='22,15090,15021,15020'
ISTIO_METAJSON_LABELS='{"app":"envoydummy","service.istio.io/canonical-name":"envoydummy","service.istio.io/canonical-revision":"v2","version":"v2"}'
ISTIO_META_AUTO_REGISTER_GROUP='envoydummy'
ISTIO_META_CLUSTER_ID='cluster1'
ISTIO_META_DNS_CAPTURE='true'
ISTIO_META_MESH_ID='mesh1'
ISTIO_META_NETWORK='network1'
ISTIO_META_POD_PORTS='[{"name":"http","containerPort":10000,"protocol":""}]'
ISTIO_META_WORKLOAD_NAME='envoydummy'
ISTIO_NAMESPACE='chapter10vm'
ISTIO_SERVICE='envoydummy.chapter10vm'
ISTIO_SERVICE_CIDR='*'
POD_NAMESPACE='chapter10vm'
SERVICE_ACCOUNT='chapter10-sa'
TRUST_DOMAIN='cluster.local'
"""
MESH_YAML = """\
defaultConfig:
  discoveryAddress: istiod.istio-system.svc:15012
  meshId: mesh1
  proxyMetadata:
    CANONICAL_REVISION: v2
    CANONICAL_SERVICE: envoydummy
    ISTIO_META_AUTO_REGISTER_GROUP: envoydummy
    ISTIO_META_CLUSTER_ID: cluster1
    ISTIO_META_DNS_CAPTURE: "true"
    ISTIO_META_MESH_ID: mesh1
    ISTIO_META_NETWORK: network1
    ISTIO_META_POD_PORTS: '[{"name":"http","containerPort":10000,"protocol":""}]'
    ISTIO_META_WORKLOAD_NAME: envoydummy
    ISTIO_METAJSON_LABELS: '{"app":"envoydummy","service.istio.io/canonical-name":"envoydummy","service.istio.io/canonical-revision":"v2","version":"v2"}'
    POD_NAMESPACE: chapter10vm
    SERVICE_ACCOUNT: chapter10-sa
    TRUST_DOMAIN: cluster.local
  readinessProbe:
    httpGet:
      path: /
      port: 10000
    initialDelaySeconds: 1
    periodSeconds: 5
"""


def group(**spec: t.Any) -> Group:
    return dataclasses.replace(GROUP, spec={**GROUP.spec, **spec})


def mesh_yaml(made: dict[str, str]) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", yaml.safe_load(made["mesh.yaml"])["defaultConfig"])


def test_the_chapters_group() -> None:
    assert _bootstrap.files(MESH, GROUP, Settings()) == {
        "cluster.env": CLUSTER_ENV,
        "mesh.yaml": MESH_YAML,
        "root-cert.pem": "PEM\n",
        "hosts": "10.88.0.200 istiod.istio-system.svc\n",
    }


def test_inputs_are_left_alone() -> None:
    before = json.dumps(GROUP.spec)
    _bootstrap.files(MESH, GROUP, Settings())
    assert json.dumps(GROUP.spec) == before


def test_revision() -> None:
    mesh = dataclasses.replace(MESH, revision="1-31", mesh_config="")
    made = _bootstrap.files(mesh, GROUP, Settings())
    assert made["hosts"] == "10.88.0.200 istiod-1-31.istio-system.svc\n"
    assert "CA_ADDR='istiod-1-31.istio-system.svc:15012'\n" in made["cluster.env"]
    assert mesh_yaml(made)["discoveryAddress"] == "istiod-1-31.istio-system.svc:15012"


@pytest.mark.parametrize(
    ("spec", "service_ports", "asked", "expected"),
    [
        ({"template": {"ports": {"b": 9090, "a": 10000, "c": 80}}}, (), None, "80,9090,10000"),
        ({"template": {"ports": {"b": 80, "a": 80}}}, (5,), None, "80"),
        ({"template": {}}, (9090, 80), None, "80,9090,10000"),
        ({"template": {}, "probe": {"exec": {"command": ["x"]}}}, (), None, ""),
        ({"template": {}, "probe": {"grpc": {"port": 70}}}, (), None, "70"),
        ({}, (), "*", "*"),
        ({}, (), "", ""),
        ({}, (), "1,2", "1,2"),
    ],
)
def test_inbound_ports(spec: t.Any, service_ports: tuple[int, ...], asked: str | None, expected: str) -> None:
    made = dataclasses.replace(group(**spec), service_ports=service_ports)
    assert _bootstrap.inbound_ports(made, asked) == expected


@pytest.mark.parametrize(
    ("mesh_config", "expected"),
    [
        ("", "22,15090,15021,15020"),
        ("defaultConfig: {statusPort: 15999}", "22,15090,15021,15999"),
        ("defaultConfig: {statusPort: 15021}", "22,15090,15021"),
        ("default_config: {status_port: 15090}", "22,15090,15021"),
    ],
)
def test_excluded_ports(mesh_config: str, expected: str) -> None:
    made = _bootstrap.files(dataclasses.replace(MESH, mesh_config=mesh_config), GROUP, Settings())
    assert f"ISTIO_LOCAL_EXCLUDE_PORTS='{expected}'\n" in made["cluster.env"]


def test_addresses_of_the_vm() -> None:
    made = _bootstrap.files(MESH, GROUP, Settings(internal_ip="10.0.0.1"))
    assert "ISTIO_SVC_IP='10.0.0.1'\n" in made["cluster.env"]
    assert "REWRITE_PROBE" not in made["cluster.env"]
    made = _bootstrap.files(MESH, GROUP, Settings(external_ip="192.0.2.1"))
    assert "ISTIO_SVC_IP='192.0.2.1'\n" in made["cluster.env"]
    assert "REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION='true'\n" in made["cluster.env"]


def test_without_registration_and_dns() -> None:
    metadata = mesh_yaml(_bootstrap.files(MESH, GROUP, Settings(autoregister=False, capture_dns=False)))[
        "proxyMetadata"
    ]
    assert "ISTIO_META_AUTO_REGISTER_GROUP" not in metadata
    assert "ISTIO_META_DNS_CAPTURE" not in metadata


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, ("fallback", "latest")),
        ({"app": "a", "version": "1"}, ("a", "1")),
        ({"app": "a", "app.kubernetes.io/name": "b", "version": "1", "app.kubernetes.io/version": "2"}, ("b", "2")),
        (
            {"app": "a", "service.istio.io/canonical-name": "c", "service.istio.io/canonical-revision": "3"},
            ("c", "3"),
        ),
    ],
)
def test_canonical_service(labels: dict[str, str], expected: tuple[str, str]) -> None:
    assert _bootstrap.canonical_service(labels, "fallback") == expected


def test_labels_of_the_template_override() -> None:
    made = group(template={"labels": {"app": "other", "team": "x"}})
    assert made.labels == {"app": "other", "version": "v2", "team": "x"}
    assert mesh_yaml(_bootstrap.files(MESH, made, Settings()))["proxyMetadata"]["CANONICAL_SERVICE"] == "other"


def test_a_group_with_next_to_nothing() -> None:
    made = dataclasses.replace(GROUP, spec={})
    metadata = mesh_yaml(_bootstrap.files(MESH, made, Settings()))["proxyMetadata"]
    assert metadata["SERVICE_ACCOUNT"] == "default"
    assert metadata["CANONICAL_SERVICE"] == "envoydummy"
    assert "ISTIO_META_POD_PORTS" not in metadata


def test_annotations_are_merged() -> None:
    """The group's own first, then those for its VMs; metadata of both and of the mesh add up."""
    made = dataclasses.replace(
        group(metadata={"annotations": {"proxy.istio.io/config": "proxyMetadata: {B: v, C: v}\nconcurrency: 4\n"}}),
        annotations={"proxy.istio.io/config": "proxyMetadata: {A: g, B: g}\ntracing: {sampling: 5}\n"},
    )
    for metadata in ("", "\n  proxyMetadata: {M: mesh}"):
        mesh = dataclasses.replace(MESH, mesh_config="defaultConfig:\n  tracing: {zipkin: {address: z}}" + metadata)
        config = mesh_yaml(_bootstrap.files(mesh, made, Settings()))
        found = config["proxyMetadata"]
        assert (found["A"], found["B"], found["C"]) == ("g", "v", "v")
        assert found.get("M") == ("mesh" if metadata else None)
        assert config["concurrency"] == 4
        assert config["tracing"] == {"sampling": 5}


def test_a_probe_of_the_mesh_config_is_not_the_groups() -> None:
    mesh = dataclasses.replace(MESH, mesh_config="defaultConfig: {readinessProbe: {tcpSocket: {port: 1}}}")
    assert "readinessProbe" not in mesh_yaml(_bootstrap.files(mesh, group(probe=None), Settings()))


@pytest.mark.parametrize(
    ("mesh_config", "annotation", "found"),
    [
        ("{", "", "config map istio-system/istio) is not valid YAML"),
        ("- a", "", "config map istio-system/istio) is no mapping"),
        ("defaultConfig: {proxyMetadata: {A: 1}}", "", "config map istio-system/istio): proxyMetadata.A is 1"),
        ("", "{", "metadata.annotations['proxy.istio.io/config'] of WorkloadGroup chapter10vm/envoydummy is not"),
        ("", "concurrency: two", "of WorkloadGroup chapter10vm/envoydummy: concurrency is 'two'"),
    ],
)
def test_what_istio_could_not_read_either(mesh_config: str, annotation: str, found: str) -> None:
    made = dataclasses.replace(GROUP, annotations={"proxy.istio.io/config": annotation})
    with pytest.raises(MeshError) as caught:
        _bootstrap.files(dataclasses.replace(MESH, mesh_config=mesh_config), made, Settings())
    assert found in caught.value.found


def test_metadata_that_bash_could_not_take() -> None:
    mesh = dataclasses.replace(MESH, mesh_config="defaultConfig: {proxyMetadata: {a.b: x, 9C: x, _OK: x}}")
    made = _bootstrap.files(mesh, GROUP, Settings())
    names = [line.split("=")[0] for line in made["cluster.env"].splitlines()]
    assert "_OK" in names
    assert "a.b" not in names
    assert "9C" not in names
    assert mesh_yaml(made)["proxyMetadata"]["a.b"] == "x"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", "''"), ("w", "w"), ("a", "'a'"), ("*", "'*'"), ("it's", "'it'\"'\"'s'"), ("\\w", "'\\w'"), ("w=%", "w=%")],
)
def test_shell_quote(text: str, expected: str) -> None:
    assert _bootstrap.shell_quote(text) == expected


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
def test_bash_reads_back_what_was_quoted() -> None:
    chance = random.Random(2)
    characters = "aw01 \t\n'\"\\$`!*?[]{}()<>|&;#~=%@+:,./-\u00fc\U0001f600"
    texts = ["".join(chance.choice(characters) for _number in range(chance.randint(0, 12))) for _text in range(500)]
    script = "".join(f"V={_bootstrap.shell_quote(text)}\nprintf '%s\\0' \"$V\"\n" for text in texts)
    done = subprocess.run(["bash"], input=script.encode(), capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == texts
    assert not done.stderr


def test_json_as_go_writes_it() -> None:
    assert _bootstrap.go_json({"a": '<&>\u00fc\u2028"\n'}) == '{"a":"\\u003c\\u0026\\u003e\u00fc\\u2028\\"\\n"}'


def made(settings: Settings, mesh: Mesh = MESH) -> tuple[dict[str, str], dict[str, t.Any]]:
    """The variables of cluster.env, and the defaultConfig of mesh.yaml."""
    files = _bootstrap.files(mesh, GROUP, settings)
    lines = files["cluster.env"].splitlines()
    env = {key: shlex.split(value)[0] if value != "''" else "" for key, value in (line.split("=", 1) for line in lines)}
    return env, yaml.safe_load(files["mesh.yaml"])["defaultConfig"]


def test_settings_of_the_sidecar() -> None:
    env, config = made(
        Settings(
            exclude_inbound_ports=(22, 9100),
            exclude_outbound_ports=(25, 5432),
            include_outbound_ports=(8080,),
            include_outbound_ip_ranges=("10.0.0.0/8", "192.168.0.0/16"),
            exclude_outbound_ip_ranges=("169.254.169.254/32",),
            exclude_interfaces=("docker0", "br0"),
            interception_mode="TPROXY",
            native_nftables=True,
            dual_stack=True,
            concurrency=0,
            proxy_metadata={"OWN": "it's $HOME"},
        )
    )
    assert env["ISTIO_LOCAL_EXCLUDE_PORTS"] == "22,15090,15021,15020,9100"
    assert env["ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE"] == "25,5432"
    assert env["ISTIO_OUTBOUND_PORTS"] == "8080"
    assert env["ISTIO_SERVICE_CIDR"] == "10.0.0.0/8,192.168.0.0/16"
    assert env["ISTIO_SERVICE_EXCLUDE_CIDR"] == "169.254.169.254/32"
    assert env["ISTIO_EXCLUDE_INTERFACES"] == "docker0,br0"
    assert env["ISTIO_INBOUND_INTERCEPTION_MODE"] == config["interceptionMode"] == "TPROXY"
    assert env["NATIVE_NFTABLES"] == "true"
    assert env["ISTIO_DUAL_STACK"] == config["proxyMetadata"]["ISTIO_DUAL_STACK"] == "true"
    assert config["concurrency"] == 0
    assert env["OWN"] == config["proxyMetadata"]["OWN"] == "it's $HOME"


def test_excluded_ports_leave_the_list_of_captured_ones() -> None:
    assert made(Settings(inbound_ports="80,443", exclude_inbound_ports=(443,)))[0]["ISTIO_INBOUND_PORTS"] == "80"
    assert made(Settings(inbound_ports="*", exclude_inbound_ports=(443,)))[0]["ISTIO_INBOUND_PORTS"] == "*"


def test_redirect_is_left_out_of_the_mesh_config_as_istio_does() -> None:
    mesh = dataclasses.replace(MESH, mesh_config="defaultConfig: {interceptionMode: TPROXY}")
    assert made(Settings(), mesh)[1]["interceptionMode"] == "TPROXY"
    env, config = made(Settings(interception_mode="REDIRECT"), mesh)
    assert "interceptionMode" not in config
    assert env["ISTIO_INBOUND_INTERCEPTION_MODE"] == "REDIRECT"


def test_a_line_for_each_address_of_the_gateway() -> None:
    mesh = dataclasses.replace(MESH, gateway_addresses=("192.0.2.1", "192.0.2.2"))
    hosts = _bootstrap.files(mesh, GROUP, Settings())["hosts"]
    assert hosts == "192.0.2.1 istiod.istio-system.svc\n192.0.2.2 istiod.istio-system.svc\n"
