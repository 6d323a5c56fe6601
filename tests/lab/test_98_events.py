# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source at the lab's API server: a machine in trouble is told, once; and with ansible-rulebook, where it is installed."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import pathlib
import shutil
import subprocess
import typing as t

import pytest

from .conftest import COLLECTIONS, PROJECT, Lab
from .test_4_rights import Job
from .test_97_inventory import VM1, VM2, Inventory

SOURCE = (
    pathlib.Path(COLLECTIONS)
    / "ansible_collections/hybridmesh/istio/extensions/eda/plugins/event_source/workload_entries.py"
)
DEADLINE = 90


class Seen:
    """The queue of a rulebook, with a deadline for what is waited for."""

    def __init__(self) -> None:
        self.events: list[dict[str, t.Any]] = []

    async def put(self, event: dict[str, t.Any]) -> None:
        self.events.append(event)

    async def until(self, kind: str, host: str) -> dict[str, t.Any]:
        for _half_second in range(2 * DEADLINE):
            for event in self.events:
                if (event["kind"], event.get("host")) == (kind, host):
                    return event
            await asyncio.sleep(0.5)
        raise AssertionError(f"no {kind} of {host} within {DEADLINE} s: {self.events}")


def source_main() -> t.Callable[..., t.Coroutine[t.Any, t.Any, None]]:
    """The source's entry point. (runpy, as ansible-rulebook has it, stumbles over Ansible's own import hooks.)"""
    spec = importlib.util.spec_from_file_location("workload_entries", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    main: t.Callable[..., t.Coroutine[t.Any, t.Any, None]] = module.main
    return main


def play(scene: t.Callable[[Seen], t.Coroutine[t.Any, t.Any, None]], **arguments: t.Any) -> Seen:
    """Plays a scene while the source runs."""
    seen = Seen()

    async def both() -> None:
        source = asyncio.create_task(source_main()(seen, arguments))
        acting = asyncio.create_task(scene(seen))
        done, _pending = await asyncio.wait([source, acting], return_when=asyncio.FIRST_COMPLETED)
        source.cancel()
        acting.cancel()
        for task in done:
            task.result()

    asyncio.run(both())
    return seen


@pytest.fixture(scope="module")
def kubeconfig(mesh: Lab) -> str:
    return str(Job(mesh, "inventory").kubeconfig)


@contextlib.contextmanager
def ill(lab: Lab, machine: str) -> t.Iterator[None]:
    """The machine's application does not answer its probe."""
    lab.ssh(machine, "systemctl stop lab-app")
    try:
        yield
    finally:
        lab.ssh(machine, "systemctl start lab-app")
        name = {"vm1": VM1, "vm2": VM2}[machine]
        lab.kubectl(*f"wait workloadentry/{name} -n chapter10vm --for=condition=Healthy --timeout=60s".split())


def test_a_machine_becomes_unhealthy_and_recovers(mesh: Lab, kubeconfig: str) -> None:
    async def scene(seen: Seen) -> None:
        with ill(mesh, "vm2"):
            event = await seen.until("unhealthy", VM2)
            assert (event["group"], event["address"]) == ("chapter10vm/envoydummy", "10.88.0.22")
        await seen.until("recovered", VM2)

    seen = play(scene, kubeconfig=kubeconfig, settle=2, kinds=["unhealthy", "disconnected", "gone", "recovered"])
    assert [event["kind"] for event in seen.events] == ["unhealthy", "recovered"]


def test_a_machine_goes_away(mesh: Lab, kubeconfig: str) -> None:
    async def scene(seen: Seen) -> None:
        mesh.ssh("vm1", "systemctl stop istio")
        await seen.until("disconnected", VM1)
        # What istiod does at the end of its grace period.
        mesh.kubectl("delete", "workloadentry", VM1, "-n", "chapter10vm")
        await seen.until("gone", VM1)

    try:
        seen = play(scene, kubeconfig=kubeconfig, settle=1, namespaces=["chapter10vm"])
    finally:
        mesh.ssh("vm1", "systemctl start istio")
    assert {event["host"] for event in seen.events} == {VM1}
    mesh.kubectl("wait", f"workloadentry/{VM1}", "-n", "chapter10vm", "--for=create", "--timeout=60s")
    mesh.kubectl("wait", f"workloadentry/{VM1}", "-n", "chapter10vm", "--for=condition=Healthy", "--timeout=60s")


def test_the_end_of_certificates_is_asked_of_the_machines(mesh: Lab, kubeconfig: str) -> None:
    async def scene(seen: Seen) -> None:
        event = await seen.until("certificate", VM1)
        assert 0 < event["certificate_left"] < 24 * 3600
        await seen.until("certificate", VM2)

    # More than any certificate has.
    play(scene, kubeconfig=kubeconfig, certificate_interval=2, certificate_left=10**6, kinds=["certificate"])


def test_the_api_server_restarts(mesh: Lab, kubeconfig: str) -> None:
    async def scene(seen: Seen) -> None:
        await asyncio.sleep(3)
        mesh.ssh("cluster1", "systemctl restart kube-apiserver")
        with ill(mesh, "vm2"):
            await seen.until("unhealthy", VM2)

    seen = play(scene, kubeconfig=kubeconfig, settle=1)
    assert "gone" not in {event["kind"] for event in seen.events}


def test_refused_at_the_start(mesh: Lab, kubeconfig: str) -> None:
    async def scene(_seen: Seen) -> None:
        await asyncio.sleep(DEADLINE)

    with pytest.raises(Exception, match="Next step: "):
        play(scene, kubeconfig=kubeconfig, api_key="nobody")
    with pytest.raises(Exception, match="the arguments setle"):
        play(scene, kubeconfig=kubeconfig, setle=1)


@pytest.mark.skipif(not shutil.which("ansible-rulebook"), reason="ansible-rulebook is not installed (it needs Java)")
def test_the_rulebook_diagnoses(mesh: Lab, kubeconfig: str, tmp_path: pathlib.Path) -> None:
    # The folder: of a file alone, ansible-rulebook leaves the group_vars beside it behind.
    place = tmp_path / "inventory"
    place.mkdir()
    inventory = Inventory(place, kubeconfig=kubeconfig)
    settings = tmp_path / "settings.yml"
    settings.write_text(f"mesh_kubeconfig: {os.environ['KUBECONFIG']}\nmesh_events_settle: 1\n")
    command = ["ansible-rulebook", "--rulebook", "hybridmesh.istio.machines", "-i", str(inventory.path.parent)]
    output = tmp_path / "output"
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": COLLECTIONS}
    with output.open("w") as stream:
        running = subprocess.Popen(
            [*command, "--vars", str(settings)],
            cwd=PROJECT,
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        with ill(mesh, "vm2"):
            asyncio.run(_until(output, "PLAY RECAP", running))
    finally:
        running.terminate()
        running.wait(30)
    said = output.read_text()
    assert VM2 in said
    assert "Failed to connect" not in said, said


async def _until(path: pathlib.Path, word: str, running: subprocess.Popen[bytes]) -> None:
    for _half_second in range(2 * DEADLINE):
        said = path.read_text()
        if word in said:
            return
        assert running.poll() is None, said
        await asyncio.sleep(0.5)
    raise AssertionError(f"no {word} within {DEADLINE} s: {path.read_text()}")
