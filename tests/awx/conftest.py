# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server, and the playbook run as a user does, with the real modules of awx.awx."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import typing as t

import pytest

from . import rules
from .declared import ROOT
from .server import World, serving
from .state import State

KUBECONFIG = """apiVersion: v1
clusters: [{name: x, cluster: {server: 'https://10.0.0.1:6443'}}]
users: [{name: x, user: {token: secret-of-the-cluster}}]
"""
AUTHORITY = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
BEARER = {"host": "https://10.0.0.1:6443", "bearer_token": "secret-of-the-cluster", "ca_cert": AUTHORITY}
GIVEN: dict[str, t.Any] = {
    "kubeconfig": KUBECONFIG,
    "machine": {"username": "ops", "ssh_key_data": "secret-of-the-machines", "become_method": "sudo"},
    "image": "registry.example/mesh:0.1.0",
    "slices": 3,
    "callback_key": "secret-of-the-callback",
    "variables": {"mesh_workload_group": "shop/orders"},
    "hosts": {"vm1": {"ansible_host": "10.0.0.11"}, "vm2": None},
    "inventory_sources": [{"name": "more", "source_path": "inventories/gcp/gcp_compute.yml"}],
    "registered_jobs": ["renew", "report"],
}


@dataclasses.dataclass(frozen=True)
class Run:
    """One finished ansible-playbook."""

    code: int
    output: str

    @property
    def changed(self) -> int:
        """How many tasks changed something."""
        return sum(int(number) for number in re.findall(r"changed=(\d+)", self.output))

    @property
    def warnings(self) -> list[str]:
        """What Ansible warns of, but for what newer releases of it deprecate in awx.awx itself."""
        told = [line for line in self.output.splitlines() if re.search(r"\[(DEPRECATION )?WARNING\]", line)]
        own = ("ansible.module_utils._text", "ansible.module_utils.six", "disabled by setting `deprecation_warnings")
        return [line for line in told if not any(text in line for text in own)]

    @property
    def words(self) -> str:
        """The output with each run of white space as one blank."""
        return re.sub(r"\s+", " ", self.output)


class Awx:
    """The server, and runs against it."""

    def __init__(self, world: World) -> None:
        self.world = world

    @property
    def state(self) -> State:
        return self.world.state

    def play(self, *arguments: str, environment: t.Mapping[str, str] | None = None, **changes: t.Any) -> Run:
        """Runs the playbook with what is given, changed; None leaves something out."""
        given = {**GIVEN, **changes}
        told = {f"awx_setup_{name}": value for name, value in given.items() if value is not None}
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("CONTROLLER_", "TOWER_"))}
        self.world.requests.clear()
        done = subprocess.run(
            ["ansible-playbook", "playbooks/awx.yml", "-i", "localhost,", *arguments, "-e", json.dumps(told)],
            cwd=ROOT,
            env={
                **kept,
                **self.world.environment(),
                "ANSIBLE_FORCE_COLOR": "0",
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                **(environment or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        return Run(done.returncode, done.stdout)


def project_files() -> list[str]:
    """What a clone of the repository has, or will have: a file that is deleted stays listed until that is committed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    names = [name for name in listed.stdout.splitlines() if name.endswith((".yml", ".yaml"))]
    return [name for name in names if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def awx(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Awx]:
    """An AWX with nothing in it, for all tests of a file, in their order: a run takes a third of a minute."""
    state = State(rules.playbooks(ROOT, project_files()))
    with serving(World(state, tmp_path_factory.mktemp("awx"))) as world:
        yield Awx(world)
