# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every way to tell the lookups where the API is and who asks, against the real one."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import stat
import typing as t

import pytest
import yaml
from conftest import Lab, Run

# Where a Pod has them. Not configurable, in the kubernetes client neither.
IN_A_POD = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")


@pytest.fixture(scope="module")
def config() -> dict[str, t.Any]:
    """The administrator's kubeconfig."""
    return t.cast("dict[str, t.Any]", yaml.safe_load(pathlib.Path(os.environ["KUBECONFIG"]).read_text()))


@pytest.fixture(scope="module")
def token(mesh: Lab) -> t.Iterator[str]:
    """A token of a ServiceAccount that may read all."""
    mesh.kubectl("create", "serviceaccount", "reader", "-n", "lab")
    mesh.kubectl(
        "create", "clusterrolebinding", "lab-reader", "--clusterrole=cluster-admin", "--serviceaccount=lab:reader"
    )
    yield mesh.kubectl("create", "token", "reader", "-n", "lab").strip()
    mesh.kubectl("delete", "clusterrolebinding", "lab-reader")
    mesh.kubectl("delete", "serviceaccount", "reader", "-n", "lab")


def ask(lab: Lab, folder: pathlib.Path, arguments: str = "", settings: str = "", **options: t.Any) -> Run:
    """Plays one lookup, with no kubeconfig known but what is given."""
    playbook = folder / "play.yml"
    lookup = f"lookup('hybridmesh.istio.sidecar_bootstrap', 'chapter10vm/envoydummy', token=false{arguments})"
    task = {"ansible.builtin.debug": {"msg": "found {{ " + lookup + ".hosts }}"}}
    playbook.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    # The project's settings with a section of our own.
    configuration = folder / "ansible.cfg"
    known = pathlib.Path(os.environ.get("ANSIBLE_CONFIG") or "ansible.cfg").resolve()
    text = known.read_text().replace("= ./", f"= {known.parent}/")
    configuration.write_text(f"{text}\n[hybridmesh_istio]\n{settings}\n")
    environment = {
        "KUBECONFIG": "/nonexistent",
        "HOME": str(folder),
        "ANSIBLE_CONFIG": str(configuration),
        **options.pop("environment", {}),
    }
    return lab.playbook(str(playbook), "-i", "localhost,", environment=environment, **options)


def found(run: Run) -> None:
    assert run.code == 0, run.output
    assert "found 10.88.0.200 istiod.istio-system.svc" in run.output


def test_nothing_said(mesh: Lab, tmp_path: pathlib.Path) -> None:
    run = ask(mesh, tmp_path)
    assert run.code == 2
    assert "set kubeconfig (mesh_kubeconfig for the roles, or K8S_AUTH_KUBECONFIG)" in run.words


def test_argument_variable_environment_and_settings(mesh: Lab, tmp_path: pathlib.Path) -> None:
    path = os.environ["KUBECONFIG"]
    found(ask(mesh, tmp_path, f", kubeconfig='{path}'"))
    found(ask(mesh, tmp_path, variables={"mesh_kubeconfig": path}))
    found(ask(mesh, tmp_path, environment={"K8S_AUTH_KUBECONFIG": path}))
    found(ask(mesh, tmp_path, settings=f"kubeconfig = {path}"))
    # The one that is said first wins: argument, variable, environment, settings.
    wrong = "/nonexistent"
    found(ask(mesh, tmp_path, f", kubeconfig='{path}'", variables={"mesh_kubeconfig": wrong}))
    found(ask(mesh, tmp_path, variables={"mesh_kubeconfig": path}, environment={"K8S_AUTH_KUBECONFIG": wrong}))
    found(ask(mesh, tmp_path, environment={"K8S_AUTH_KUBECONFIG": path}, settings=f"kubeconfig = {wrong}"))


def test_a_dictionary(mesh: Lab, tmp_path: pathlib.Path, config: dict[str, t.Any]) -> None:
    found(ask(mesh, tmp_path, variables={"mesh_kubeconfig": config}))


def test_host_and_token(mesh: Lab, tmp_path: pathlib.Path, config: dict[str, t.Any], token: str) -> None:
    """As a credential of AWX hands them over."""
    cluster = config["clusters"][0]["cluster"]
    authority = tmp_path / "ca.crt"
    authority.write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
    environment = {
        "K8S_AUTH_HOST": cluster["server"],
        "K8S_AUTH_API_KEY": token,
        "K8S_AUTH_SSL_CA_CERT": str(authority),
    }
    run = ask(mesh, tmp_path, environment=environment)
    found(run)
    assert token not in run.output
    variables = {"mesh_host": cluster["server"], "mesh_api_key": token, "mesh_ca_cert": str(authority)}
    found(ask(mesh, tmp_path, variables=variables))


def test_credential_plugin(mesh: Lab, tmp_path: pathlib.Path, config: dict[str, t.Any], token: str) -> None:
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": token}}
    plugin = tmp_path / "plugin"
    plugin.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    command = {
        "apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin), "interactiveMode": "Never",
    }  # fmt: skip
    users = [{"name": config["users"][0]["name"], "user": {"exec": command}}]
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump({**config, "users": users}))
    run = ask(mesh, tmp_path, variables={"mesh_kubeconfig": str(path)})
    found(run)
    assert token not in run.output
    plugin.write_text("#!/bin/sh\nexit 1\n")
    run = ask(mesh, tmp_path, variables={"mesh_kubeconfig": str(path)})
    assert run.code == 2
    assert "gave no credentials" in run.words


def test_in_a_pod(mesh: Lab, tmp_path: pathlib.Path, config: dict[str, t.Any], token: str) -> None:
    """What a Pod has, variables and files, on this machine; the API server and the token are real."""
    if IN_A_POD.exists():
        pytest.skip("this machine is a Pod, or looks like one")
    above = [folder for folder in (IN_A_POD, *IN_A_POD.parents) if not folder.exists()]
    IN_A_POD.mkdir(parents=True, mode=0o700)
    try:
        authority = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"])
        (IN_A_POD / "ca.crt").write_bytes(authority)
        (IN_A_POD / "token").write_text(token)
        host, _colon, port = config["clusters"][0]["cluster"]["server"].rpartition("//")[2].partition(":")
        environment = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        found(ask(mesh, tmp_path, environment=environment))
    finally:
        for file in IN_A_POD.iterdir():
            file.unlink()
        for folder in above:
            folder.rmdir()
