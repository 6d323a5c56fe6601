# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever Kubernetes allows survives: bash's sourcing of cluster.env, and a YAML parser's reading of mesh.yaml."""

from __future__ import annotations

import json
import shutil
import subprocess
import typing as t

import pytest
import yaml
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _bootstrap, _goyaml, _goyaml_writer
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._bootstrap import Group, Mesh
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._settings import COMPUTED, Settings
from hypothesis import given, settings
from hypothesis import strategies as st

BASH = shutil.which("bash")

# The same examples each time: a test that fails by chance helps nobody.
repeatable = settings(derandomize=True, deadline=None, max_examples=80)
# Each of these starts a bash.
fewer = settings(repeatable, max_examples=25)

MESH = Mesh("istio-system", "", "trustDomain: cluster.local", "cluster1", ("192.0.2.1",))
# What an API server takes for text: no lone surrogates (no UTF-8), and etcd's JSON no null character in practice.
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=120)
# Text that shells and YAML readers stumble over.
TRICKY = st.one_of(
    TEXT,
    st.sampled_from(["yes", "~", "0x1F", "1e3", "012", "1_0", "2001-01-01", "==", "<<", "- a", "a: b", "#x", "'", '"', "\\"]),
    st.text("'\"\\$`!#&|;<>(){}[]*?~ \t\r\n:-,%@", max_size=40),
)  # fmt: skip
# Two words that Go, and so istioctl, writes as they are, and reads back; PyYAML takes them for types of YAML 1.1 that it has
# no value for.
TRICKY = TRICKY.filter(lambda text: text not in ("=", "<<"))
# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
NAME = st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", fullmatch=True)
PREFIX = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?(\.[a-z0-9]{1,10}){0,2}", fullmatch=True)
KEY = st.one_of(NAME, st.builds("{}/{}".format, PREFIX, NAME))
LABELS = st.dictionaries(KEY, st.one_of(st.just(""), NAME), max_size=6)
# An annotation of Istio's own says something else than text.
ANNOTATIONS = st.dictionaries(KEY, TRICKY, max_size=4)
# https://kubernetes.io/docs/concepts/services-networking/service/#field-spec-ports
PORTS = st.dictionaries(
    st.from_regex(r"[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?", fullmatch=True), st.integers(1, 65535), max_size=5
)
VARIABLE = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,30}", fullmatch=True).filter(
    # bash keeps some for itself, and whoever sets them sets no text.
    lambda name: name not in COMPUTED and not name.startswith(("BASH", "ISTIO_")) and name not in _OF_BASH
)
_OF_BASH = {"_", "UID", "EUID", "PPID", "SHELLOPTS", "RANDOM", "SECONDS", "LINENO", "DIRSTACK", "GROUPS", "FUNCNAME",
            "IFS", "PATH", "POSIXLY_CORRECT", "LC_ALL", "LANG", "PWD", "OLDPWD", "SHLVL", "OPTIND", "OPTERR"}  # fmt: skip
METADATA = st.dictionaries(VARIABLE, TRICKY, max_size=4)


def group_of(labels: dict[str, str], annotations: dict[str, str], ports: dict[str, int], **template: str) -> Group:
    spec = {"metadata": {"labels": labels, "annotations": annotations}, "template": {"ports": ports, **template}}
    return Group("shop", "payments", annotations, spec, "")


def sourced(text: str) -> dict[str, str]:
    """The variables that a file sets, as the sidecar's start script would have them (`set -a`, then `.`)."""
    assert BASH
    script = "set -a; . /dev/stdin; set +a; exec env -0"
    done = subprocess.run([BASH, "--norc", "-c", script], input=text.encode(), capture_output=True, env={}, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    pairs = (item.partition("=") for item in done.stdout.decode().split("\0") if item)
    return {name: value for name, _equals, value in pairs}


@pytest.mark.skipif(not BASH, reason="there is no bash")
@fewer
@given(LABELS, ANNOTATIONS, PORTS, METADATA, TRICKY, TRICKY)
def test_everything_survives(
    labels: dict[str, str],
    annotations: dict[str, str],
    ports: dict[str, int],
    metadata: dict[str, str],
    network: str,
    locality: str,
) -> None:
    group = group_of(labels, annotations, ports, network=network, locality=locality)
    files = _bootstrap.files(MESH, group, Settings(proxy_metadata=metadata))
    config = yaml.safe_load(files["mesh.yaml"])["defaultConfig"]
    # Istio's own reading is YAML's of Go, which differs from PyYAML's in what is no text.
    assert _goyaml.load(files["mesh.yaml"]) == {"defaultConfig": config}

    variables = config["proxyMetadata"]
    assert {name: variables[name] for name in metadata} == metadata
    assert variables["ISTIO_META_NETWORK"] == network
    told = json.loads(variables["ISTIO_METAJSON_LABELS"])
    name, revision = _bootstrap.canonical_service(labels, "payments")
    own = {_bootstrap.CANONICAL_NAME: name, _bootstrap.CANONICAL_REVISION: revision}
    assert told == {**labels, **own}
    pod_ports = json.loads(variables.get("ISTIO_META_POD_PORTS", "[]"))
    assert {port["name"]: port["containerPort"] for port in pod_ports} == ports

    env = sourced(files["cluster.env"])
    assert {key: env[key] for key in variables} == variables
    assert env["ISTIO_INBOUND_PORTS"] == ",".join(map(str, sorted(set(ports.values()))))


@pytest.mark.skipif(not BASH, reason="there is no bash")
@fewer
@given(st.lists(TRICKY, min_size=1, max_size=30))
def test_quoting(values: list[str]) -> None:
    text = "".join(f"V{number}={_bootstrap.shell_quote(value)}\n" for number, value in enumerate(values))
    assert BASH
    script = "".join(f'printf "%s\\0" "$V{number}"\n' for number in range(len(values)))
    done = subprocess.run([BASH, "--norc"], input=(text + script).encode(), capture_output=True, env={}, check=True)
    assert done.stdout.decode().split("\0")[:-1] == values


JSON = st.recursive(
    st.one_of(TRICKY, st.booleans(), st.integers(-(2**53), 2**53)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TRICKY, inner, max_size=3)),
    max_leaves=8,
)


@repeatable
@given(st.dictionaries(TRICKY, JSON, max_size=4))
def test_yaml_reads_back(document: dict[str, t.Any]) -> None:
    text = _goyaml_writer.dump(document)
    assert _goyaml.load(text) == document
    assert yaml.safe_load(text) == document


@repeatable
@given(JSON)
def test_json_reads_back(document: t.Any) -> None:
    text = _bootstrap.go_json(document)
    assert json.loads(text) == document
    assert not set("<>&\u2028\u2029") & set(text)


def test_what_only_go_reads_back() -> None:
    document = {"a": "<<", "b": ["=", "<<"]}
    assert _goyaml.load(_goyaml_writer.dump(document)) == document
