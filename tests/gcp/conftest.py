# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests share: a server of their own for each, and playbooks run as a user does, with the real modules."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import typing as t

import pytest

from .server.front import World
from .server.state import Settings

ROOT = pathlib.Path(__file__).resolve().parents[2]

VMS = {"name": "app", "workload_group": "shop/app", "ports": [8080], "count": 2}
SCALED = {"name": "web", "workload_group": "shop/web", "ports": [80], "autoscale": {"min": 1, "max": 3}}
DECLARED: dict[str, t.Any] = {
    "gcp_infra_vms": [VMS, SCALED],
    "gcp_infra_ssh_keys": ["ops:ssh-ed25519 AAAA ops"],
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
    def words(self) -> str:
        """The output with each run of white space as one blank."""
        return re.sub(r"\s+", " ", self.output)


class Cloud:
    """The server, and the playbooks that are run against it."""

    def __init__(self, world: World, folder: pathlib.Path) -> None:
        self.world = world
        self.folder = folder

    def environment(self) -> dict[str, str]:
        """The environment of whatever is run."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("GCP_", "K8S_", "KUBECONFIG"))}
        return {**kept, **self.world.environment(), "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}

    def start(self, *arguments: str, **variables: t.Any) -> subprocess.Popen[str]:
        """Starts the playbook with the declaration, changed by what is given."""
        told = {f"gcp_infra_{name}": value for name, value in variables.items()}
        command = ["ansible-playbook", "playbooks/infra_gcp.yml", "-i", "inventories/gcp/controller.yml", *arguments]
        return subprocess.Popen(
            [*command, "-e", json.dumps({**DECLARED, **told})],
            cwd=ROOT,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def play(self, *arguments: str, **variables: t.Any) -> Run:
        """Runs it to its end."""
        process = self.start(*arguments, **variables)
        output, _error = process.communicate(timeout=600)
        assert not self.world.refused, f"not as Google's schemas have it: {self.world.refused}\n{output}"
        return Run(process.returncode, output)

    def applied(self, **variables: t.Any) -> Run:
        """Runs it, and once more, which changes nothing."""
        run = self.play(**variables)
        assert run.code == 0, run.output
        self.world.requests.clear()
        again = self.play(**variables)
        assert (again.code, again.changed) == (0, 0), again.output
        assert self.world.mutations == []
        return run

    def things(self, part: str) -> list[str]:
        """The paths of what there is, of one collection."""
        return [path for path in sorted(self.world.state.things) if f"/{part}/" in path]

    def thing(self, part: str, name: str) -> dict[str, t.Any]:
        """One of them."""
        return self.world.state.things[next(path for path in self.things(part) if path.endswith(f"/{name}"))]


@pytest.fixture
def cloud(tmp_path: pathlib.Path) -> t.Iterator[Cloud]:
    """An empty project."""
    with World(tmp_path, Settings()) as world:
        yield Cloud(world, tmp_path)
