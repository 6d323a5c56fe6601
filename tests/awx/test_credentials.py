# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWX makes of a credential leads the inventory of registered machines to the cluster: as an update of that inventory does it."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import os
import pathlib
import ssl
import subprocess
import threading
import typing as t

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .declared import ROOT, TYPES
from .server import make_certificates

TOKEN = "secret-of-the-cluster"
LABELS = {"istio.io/workloadGroup": "orders"}
GROUP = {"metadata": {"name": "orders", "namespace": "shop"}, "spec": {"template": {}}}
ENTRY = {
    "metadata": {
        "name": "orders-10.1.0.11",
        "namespace": "shop",
        "annotations": {"istio.io/autoRegistrationGroup": "orders"},
    },
    "spec": {"address": "10.1.0.11", "labels": LABELS},
}


class Api(http.server.BaseHTTPRequestHandler):
    """As much of an API server as the inventory asks for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        path = self.path.partition("?")[0]
        lists = {"workloadgroups": [GROUP], "workloadentries": [ENTRY]}
        items = lists.get(path.removeprefix("/apis/networking.istio.io/v1/"), [])
        answer = {"kind": "List", "metadata": {}, "items": items} if known else {"kind": "Status", "code": 401}
        content = json.dumps(answer).encode()
        self.send_response(200 if known else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: t.Any) -> None:
        """Nothing."""


@contextlib.contextmanager
def serving(folder: pathlib.Path) -> t.Iterator[str]:
    """The URL of such a server."""
    make_certificates(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://localhost:{server.server_address[1]}"
        server.shutdown()


def injected(kind: str, inputs: dict[str, str], folder: pathlib.Path) -> dict[str, str]:
    """The environment that AWX gives a job with a credential of that type."""
    injectors = TYPES[kind]["injectors"]
    assert set(injectors) <= {"env", "file"}
    jinja = ImmutableSandboxedEnvironment()
    known: dict[str, t.Any] = dict(inputs)
    if "file" in injectors:
        file = folder / "injected"
        file.write_text(jinja.from_string(injectors["file"]["template"]).render(known), encoding="utf-8")
        assert TOKEN not in file.read_text(encoding="utf-8")
        known["tower"] = {"filename": str(file)}
    return {name: jinja.from_string(template).render(known) for name, template in injectors["env"].items()}


@pytest.mark.parametrize("kind", ["kubeconfig", "kubeconfig as JSON", "bearer token"])
def test_a_credential_leads_to_the_cluster(kind: str, tmp_path: pathlib.Path) -> None:
    with serving(tmp_path) as url:
        authority = (tmp_path / "ca.pem").read_text(encoding="utf-8")
        encoded = base64.b64encode(authority.encode()).decode()
        kubeconfig = {
            "current-context": "x",
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
            "clusters": [{"name": "x", "cluster": {"server": url, "certificate-authority-data": encoded}}],
            "users": [{"name": "x", "user": {"token": TOKEN}}],
        }
        inputs = {
            "kubeconfig": {"kubeconfig": "".join(f"{key}: {json.dumps(value)}\n" for key, value in kubeconfig.items())},
            "kubeconfig as JSON": {"kubeconfig": json.dumps(kubeconfig)},
            "bearer token": {"host": url, "bearer_token": TOKEN, "ca_cert": authority},
        }[kind]
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("K8S_", "KUBECONFIG"))}
        done = subprocess.run(
            ["ansible-inventory", "-i", "inventories/registered/workloads.yml", "--list", "--export"],
            cwd=ROOT,
            env={
                **kept,
                **injected(kind.partition(" as")[0], inputs, tmp_path),
                "HOME": str(tmp_path),
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    listed = json.loads(done.stdout)
    assert list(listed["_meta"]["hostvars"]) == ["orders-10.1.0.11"]
    assert listed["mesh_vms"]["children"] == ["mesh_group_shop__orders"]

    # AWX keeps what it was told, marked as no templates, and hands it to jobs by a program.
    program = tmp_path / "hosts"
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/hosts.json\n", encoding="utf-8")
    program.chmod(0o700)
    (tmp_path / "hosts.json").write_text(done.stdout, encoding="utf-8")
    shown = "{{ ansible_host }} of {{ mesh_workload_group }}"
    job = subprocess.run(
        ["ansible", "-i", str(program), "mesh_vms", "-m", "ansible.builtin.debug", "-a", f"msg='{shown}'"],
        cwd=tmp_path,
        env={**kept, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert job.returncode == 0, job.stdout + job.stderr
    assert "10.1.0.11 of shop/orders" in job.stdout
