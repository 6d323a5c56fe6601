# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests share: a server of their own for each, and playbooks run as a user does, with the real modules."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib
import io
import json
import os
import pathlib
import re
import subprocess
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible.plugins.loader import init_plugin_loader
from ansible.utils.collection_loader import AnsibleCollectionConfig

from .server.front import World
from .server.state import Settings

ROOT = pathlib.Path(__file__).resolve().parents[2]

if AnsibleCollectionConfig.collection_finder is None:
    init_plugin_loader([str(ROOT / "collections")])

from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError  # noqa: E402
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _gcp_auth, _gcp_run  # noqa: E402

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


def run_module(name: str, options: dict[str, t.Any]) -> dict[str, t.Any]:
    """Runs a module of google.cloud, the real one, in this process."""
    module = importlib.import_module(f"ansible_collections.google.cloud.plugins.modules.{name.rpartition('.')[2]}")
    output = io.StringIO()
    try:
        with patch_module_args(options), contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
            module.main()
    except Exception as error:
        # Ansible tells of a module that crashed in the same way.
        return {"failed": True, "msg": f"the module crashed: {error!r}"}
    return dict(json.loads(output.getvalue()))


class Cloud:
    """The server, and what is run against it: the work itself in this process, or whole playbooks as a user does."""

    def __init__(self, world: World, folder: pathlib.Path) -> None:
        self.world = world
        self.folder = folder
        # What of the environment is another one.
        self.own: dict[str, str] = {}

    def environment(self) -> dict[str, str]:
        """The environment of whatever is run."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("GCP_", "K8S_", "KUBECONFIG"))}
        return {
            **kept,
            **self.world.environment(),
            "ANSIBLE_FORCE_COLOR": "0",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            **self.own,
        }

    def start(self, *arguments: str, **variables: t.Any) -> subprocess.Popen[str]:
        """Starts the playbook with the declaration, changed by what is given."""
        told = {f"gcp_infra_{name}": value for name, value in variables.items()}
        command = ["ansible-playbook", "playbooks/infra_gcp.yml", "-i", "inventories/gcp/controller.yml", *arguments]
        # In a file, as Ansible itself says with -vvvv what is given as words.
        file = self.folder / "variables.json"
        file.write_text(json.dumps({**DECLARED, **told}))
        return subprocess.Popen(
            [*command, "-e", f"@{file}"],
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

    def run(self, check: bool = False, **changes: t.Any) -> dict[str, t.Any]:
        """Brings the declaration about, changed by what is given, and returns the result."""
        options = {name.removeprefix("gcp_infra_"): value for name, value in DECLARED.items()}
        options.update({"cluster": {}, "pod_ports": [10000], "metrics_ports": [15020], **changes})
        try:
            declared = _gcp_run.validated(options)
            credentials = _gcp_auth.module_options(declared)
            result = _gcp_run.brought_about(
                declared, lambda name, options: run_module(name, {**options, **credentials}), check, True
            )
        except MeshError as error:
            result = _gcp_run.failure(error)
        assert not self.world.refused, f"not as Google's schemas have it: {self.world.refused}"
        return result

    def applied(self, **changes: t.Any) -> dict[str, t.Any]:
        """The same, and once more, which changes nothing; before it, check mode tells the same and changes nothing."""
        self.world.requests.clear()
        check = self.run(check=True, **changes)
        assert not check.get("failed"), check["msg"]
        assert self.world.mutations == []
        result = self.run(**changes)
        assert not result.get("failed"), result["msg"]
        assert result["steps"] == check["steps"]
        assert result["diff"] == check["diff"]
        self.world.requests.clear()
        again = self.run(**changes)
        assert not again.get("failed"), again["msg"]
        assert again["diff"] == []
        assert not again["changed"]
        assert self.world.mutations == []
        return result

    def things(self, part: str) -> list[str]:
        """The paths of what there is, of one collection."""
        return [path for path in sorted(self.world.state.things) if f"/{part}/" in path]

    def thing(self, part: str, name: str) -> dict[str, t.Any]:
        """One of them."""
        return self.world.state.things[next(path for path in self.things(part) if path.endswith(f"/{name}"))]


@pytest.fixture
def cloud(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Cloud]:
    """An empty project."""
    with World(tmp_path, Settings()) as world:
        for name, value in world.environment().items():
            monkeypatch.setenv(name, value)
        yield Cloud(world, tmp_path)


# What there is after the declaration was brought about once; that takes some seconds, so it is kept.
_MADE: dict[str, t.Any] = {}


@pytest.fixture
def made(cloud: Cloud) -> Cloud:
    """A project in which the declaration is there."""
    if not _MADE:
        result = cloud.run()
        assert not result.get("failed"), result["msg"]
        _MADE.update(copy.deepcopy({"things": cloud.world.state.things, "policy": cloud.world.state.policy}))
    cloud.world.state.things.update(copy.deepcopy(_MADE["things"]))
    cloud.world.state.policy = copy.deepcopy(_MADE["policy"])
    cloud.world.requests.clear()
    return cloud
