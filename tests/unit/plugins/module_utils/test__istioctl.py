# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding, downloading and running istioctl."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import tarfile

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _istioctl
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._istioctl import Finder, Istioctl, archive_name, reason
from ansible_collections.hybridmesh.istio.plugins.module_utils._kubeconfig import Access


@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [
        ("Linux", "x86_64", "istioctl-1.30.3-linux-amd64.tar.gz"),
        ("Linux", "aarch64", "istioctl-1.30.3-linux-arm64.tar.gz"),
        ("Linux", "armv7l", "istioctl-1.30.3-linux-armv7.tar.gz"),
        ("Darwin", "x86_64", "istioctl-1.30.3-osx-amd64.tar.gz"),
        ("Darwin", "arm64", "istioctl-1.30.3-osx-arm64.tar.gz"),
    ],
)
def test_names_of_archives(system, machine, name):
    assert archive_name("1.30.3", system, machine) == name


@pytest.mark.parametrize(("system", "machine"), [("FreeBSD", "amd64"), ("Linux", "riscv64")])
def test_systems_without_istioctl(system, machine):
    with pytest.raises(MeshError, match="give the path of an istioctl"):
        archive_name("1.30.3", system, machine)


def run_of(versions):
    """Runs `istioctl version` of the paths given."""

    def run(command, **_more):
        version = versions.get(command[0])
        if version is None:
            return 1, "", "no such thing"
        return 0, json.dumps({"clientVersion": {"version": version}}), ""

    return run


@pytest.fixture(autouse=True)
def _no_istioctl_in_path(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


def test_a_given_path_decides_the_version(tmp_path):
    path = tmp_path / "istioctl"
    path.touch(mode=0o755)
    finder = Finder(run_of({str(path): "1.30.3"}), None, str(tmp_path / "cache"))
    assert finder.find(None, str(path)) == (str(path), "1.30.3")
    assert finder.find("1.30.3", str(path)) == (str(path), "1.30.3")
    with pytest.raises(MeshError, match=r"is istioctl 1\.30\.3"):
        finder.find("1.31.0", str(path))
    with pytest.raises(MeshError, match="is not an executable file"):
        finder.find("1.31.0", str(tmp_path / "missing"))


def test_neither_version_nor_path(tmp_path):
    with pytest.raises(MeshError, match="neither a version"):
        Finder(run_of({}), None, str(tmp_path)).find(None, None)


def test_one_in_path_is_used_if_it_is_of_that_version(tmp_path, monkeypatch):
    path = tmp_path / "bin" / "istioctl"
    path.parent.mkdir()
    path.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(path.parent))
    finder = Finder(run_of({str(path): "1.30.3"}), "http://127.0.0.1:1", str(tmp_path / "cache"))
    assert finder.find("1.30.3", None) == (str(path), "1.30.3")
    with pytest.raises(MeshError, match=r"127\.0\.0\.1:1/1\.31\.0/istioctl-1\.31\.0-\S+ can't be downloaded"):
        finder.find("1.31.0", None)


@pytest.fixture
def bucket(monkeypatch):
    """What would be downloaded, by URL."""
    files = {}

    def open_url(url, **_more):
        return io.BytesIO(files[url])

    monkeypatch.setattr(_istioctl, "open_url", open_url)
    monkeypatch.setattr(_istioctl.platform, "system", lambda: "Linux")
    monkeypatch.setattr(_istioctl.platform, "machine", lambda: "x86_64")
    return files


def publish(files, name="istioctl", checksum=None):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        info = tarfile.TarInfo(name)
        info.size = 6
        tar.addfile(info, io.BytesIO(b"binary"))
    url = "http://bucket/releases/1.30.3/istioctl-1.30.3-linux-amd64.tar.gz"
    files[url] = stream.getvalue()
    told = checksum or hashlib.sha256(stream.getvalue()).hexdigest()
    files[url + ".sha256"] = f"{told}  istioctl-1.30.3-linux-amd64.tar.gz\n".encode()


def finder_of(tmp_path):
    return Finder(run_of({}), "http://bucket/releases/", str(tmp_path / "cache"))


def test_download_checks_and_keeps(bucket, tmp_path):
    publish(bucket)
    path, version = finder_of(tmp_path).find("1.30.3", None)
    assert (os.path.basename(path), version) == ("istioctl-1.30.3", "1.30.3")
    with open(path, "rb") as stream:
        assert stream.read() == b"binary"
    assert os.access(path, os.X_OK)
    bucket.clear()
    assert finder_of(tmp_path).find("1.30.3", None)[0] == path
    assert os.listdir(tmp_path / "cache") == ["istioctl-1.30.3"]


def test_a_cached_file_that_others_may_write_is_not_trusted(bucket, tmp_path):
    publish(bucket)
    path = finder_of(tmp_path).find("1.30.3", None)[0]
    os.chmod(path, 0o777)
    bucket.clear()
    with pytest.raises(MeshError, match="can't be downloaded"):
        finder_of(tmp_path).find("1.30.3", None)


def test_a_wrong_checksum_installs_nothing(bucket, tmp_path):
    publish(bucket, checksum="0" * 64)
    with pytest.raises(MeshError, match="the SHA-256") as told:
        finder_of(tmp_path).find("1.30.3", None)
    assert "0" * 64 in told.value.expected
    assert not (tmp_path / "cache").exists()


def test_an_archive_without_istioctl(bucket, tmp_path):
    publish(bucket, name="README")
    with pytest.raises(MeshError, match="holds no istioctl"):
        finder_of(tmp_path).find("1.30.3", None)


class Configured:
    """A cluster as far as istioctl needs it."""

    server = "https://api.example:6443"

    def __init__(self, tmp_path, **more):
        ca = tmp_path / "ca.crt"
        ca.write_bytes(b"the CA")
        self.options = {}
        self.files = []
        self.configuration = Access(ssl_ca_cert=str(ca), **more)
        self.bearer = None

    def authorization(self):
        return self.bearer

    def memory_file(self, content):
        handle = os.fdopen(os.memfd_create("test", 0), "w+b")
        handle.write(content)
        handle.flush()
        self.files.append(handle)
        return f"/proc/self/fd/{handle.fileno()}"


def test_kubeconfig_with_a_token(tmp_path):
    cluster = Configured(tmp_path, proxy="http://proxy:3128")
    cluster.bearer = "Bearer secret"
    cluster.options = {"impersonate_user": "jane", "impersonate_groups": ["admins"]}
    made = _istioctl.kubeconfig(cluster)
    assert made["clusters"][0]["cluster"] == {
        "server": "https://api.example:6443",
        "certificate-authority-data": base64.b64encode(b"the CA").decode(),
    }
    assert made["users"][0]["user"] == {"token": "secret", "as": "jane", "as-groups": ["admins"]}


def test_kubeconfig_with_a_certificate_and_without_verification(tmp_path):
    (tmp_path / "c").write_bytes(b"cert")
    (tmp_path / "k").write_bytes(b"key")
    cluster = Configured(tmp_path)
    cluster.configuration.verify_ssl = False
    cluster.configuration.tls_server_name = "kubernetes"
    cluster.configuration.cert_file, cluster.configuration.key_file = str(tmp_path / "c"), str(tmp_path / "k")
    made = _istioctl.kubeconfig(cluster)
    assert made["clusters"][0]["cluster"] == {
        "server": "https://api.example:6443",
        "insecure-skip-tls-verify": True,
        "tls-server-name": "kubernetes",
    }
    assert made["users"][0]["user"] == {"client-certificate-data": "Y2VydA==", "client-key-data": "a2V5"}


def istioctl_of(tmp_path, answer, seen=None):
    def run(command, **more):
        if seen is not None:
            seen.append((command, more))
        return answer

    cluster = Configured(tmp_path, proxy="http://proxy:3128") if seen is not None else Configured(tmp_path)
    return Istioctl("/bin/istioctl", "1.30.3", cluster, run, str(tmp_path), "istio-system")


def test_the_kubeconfig_is_passed_in_memory(tmp_path):
    seen = []
    assert istioctl_of(tmp_path, (0, "kind: A\n", ""), seen).generate({"spec": {"a": 1}}) == [{"kind": "A"}]
    ((command, more),) = seen
    path = command[command.index("--kubeconfig") + 1]
    assert path == f"/proc/self/fd/{more['pass_fds'][0]}"
    assert json.loads(more["data"]) == {"spec": {"a": 1}}
    assert more["environ_update"]["HTTPS_PROXY"] == "http://proxy:3128"
    assert sorted(os.listdir(tmp_path)) == ["ca.crt"]


def test_a_spec_that_is_not_understood(tmp_path):
    told = (1, "", 'Error: unknown field "nonsense"\n')
    with pytest.raises(MeshError, match='unknown field "nonsense"'):
        istioctl_of(tmp_path, told).generate({})


def test_findings_of_the_precheck(tmp_path):
    assert istioctl_of(tmp_path, (0, "", "no issues")).precheck() == []
    findings = "Error [IST0139] (x) conflicts\n\nWarning [IST1] y\n"
    assert istioctl_of(tmp_path, (1, findings, "Error: Issues found")).precheck() == [
        "Error [IST0139] (x) conflicts",
        "Warning [IST1] y",
    ]
    assert istioctl_of(tmp_path, (1, "", "Error: can't reach the cluster")).precheck() == ["can't reach the cluster"]


def test_an_installation_that_is_not_ready_in_time(tmp_path):
    told = (
        "- Processing\nError: failed to install manifests: resources not ready after 5s: deadline\n  Deployment/x (y)\n"
    )
    with pytest.raises(MeshError, match="Deployment/x") as error:
        istioctl_of(tmp_path, (1, "", told)).install({}, 5)
    assert "within 5 s" in error.value.expected
    with pytest.raises(MeshError, match=r"istioctl 1\.30\.3 failed: no rights"):
        istioctl_of(tmp_path, (1, "", "Error: no rights")).install({}, 5)
    istioctl_of(tmp_path, (0, "done", "")).install({}, 5)


def test_versions_of_proxies(tmp_path):
    answer = {
        "meshVersion": [{"Component": "pilot"}],
        "dataPlaneVersion": [{"ID": "vm1.vms", "IstioVersion": "1.30.1"}, {"ID": "pod.lab"}],
    }
    told = "2026-11-23T15:37:58Z\tinfo\tnoise\n" + json.dumps(answer)
    assert istioctl_of(tmp_path, (0, told, "")).proxies() == {"vm1.vms": "1.30.1", "pod.lab": "unknown"}


@pytest.mark.parametrize("told", [(1, "", "Error: no"), (0, '{"meshVersion": []}', ""), (0, "nothing", "")])
def test_proxies_that_can_not_be_listed(tmp_path, told):
    with pytest.raises(MeshError, match="does not tell which proxies"):
        istioctl_of(tmp_path, told).proxies()


def test_messages_without_noise():
    sail = "   |\\\n  / ||\n____\n"
    text = sail + "2026-11-23T15:37:58.8Z\terror\tport forward failed\n\x1b[31mError:\x1b[0m it is: broken\n  why\n"
    assert reason(text) == "it is: broken; why"
    assert reason(sail) == "no message"
