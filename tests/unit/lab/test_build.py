# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the lab's parts are built: what is built again and what not, and what a build leaves that ends early."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

import pytest

ROLES = Path(__file__).parents[3] / "lab" / "roles"
if not ROLES.is_dir():
    pytest.skip("the lab is not part of the built collection", allow_module_level=True)


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


lab_build = load(ROLES / "build" / "action_plugins" / "lab_build.py")
lab_preflight = load(ROLES / "preflight" / "action_plugins" / "lab_preflight.py")
Job = lab_build.Job


class Tree:
    """Scripts, sources and a cache."""

    def __init__(self, root: Path) -> None:
        self.cache, self.scripts, self.sources = root / "cache", root / "scripts", root / "sources"
        for folder in (self.cache, self.scripts, self.sources):
            folder.mkdir()
        self.said: list[str] = []

    def script(self, name: str, text: str) -> str:
        path = self.scripts / name
        path.write_text(f"#!/bin/sh\nset -e\n{text}\n", encoding="utf-8")
        path.chmod(0o755)
        return name

    def keyed(self, *jobs: Job, salt: str = "go1") -> list[Job]:
        keys: dict[str, str] = {}
        ordered = lab_build.in_order(jobs)
        for job in ordered:
            job.key = keys[job.name] = lab_build.key_of(job, self.scripts, self.sources, salt, keys)
            job.path = self.cache / job.kind / f"{job.name}-{job.key}"
        return ordered

    def build(self, jobs: list[Job]) -> None:
        builder = lab_build.Builder(self.cache, self.scripts, {}, self.said.append)
        lab_build.broom(self.cache / "tmp")
        builder.build([job for job in jobs if not job.path.exists()], {job.name: job.path for job in jobs})


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="jobs get namespaces of their own, which takes root")


def test_jobs_come_after_those_that_they_need() -> None:
    jobs = [
        Job("deb", "x", needs=["istio", "envoy"]),
        Job("envoy", "x"),
        Job("istio", "x", needs=["go"]),
        Job("go", "x"),
    ]
    assert [job.name for job in lab_build.in_order(jobs)] == ["go", "istio", "envoy", "deb"]


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        ([Job("a", "x", needs=["b"]), Job("b", "x", needs=["a"])], "circle: a -> b -> a"),
        ([Job("a", "x", needs=["b"])], "needs b, which is no job"),
    ],
)
def test_jobs_that_cannot_be_ordered(jobs: list[Job], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lab_build.in_order(jobs)


def test_a_key_changes_with_everything_that_goes_in(tree: Tree) -> None:
    tree.script("go.sh", "true")
    tree.script("pack.sh", "true")
    (tree.sources / "module").mkdir()
    (tree.sources / "module" / "go.mod").write_text("one", encoding="utf-8")

    def keys(salt: str = "go1", argument: str = "a") -> dict[str, str]:
        program = Job("program", "go.sh", arguments=[argument], inputs=["module"])
        archive = Job("archive", "pack.sh", needs=["program"], lane="packing")
        return {
            job.name: job.key
            for job in tree.keyed(program, archive, Job("other", "pack.sh", lane="packing"), salt=salt)
        }

    first = keys()
    assert keys() == first
    variants = [keys(salt="go2"), keys(argument="b")]
    (tree.sources / "module" / "go.mod").write_text("two", encoding="utf-8")
    variants.append(keys())
    tree.script("go.sh", "true; true")
    variants.append(keys())
    assert len({keys["program"] for keys in [first, *variants]}) == 5
    assert len({keys["archive"] for keys in [first, *variants]}) == 5
    assert {keys["other"] for keys in [first, *variants]} == {first["other"]}


def test_an_input_that_is_not_there_is_named(tree: Tree) -> None:
    tree.script("go.sh", "true")
    with pytest.raises(ValueError, match="sources/nothing is to be built from, and is not there"):
        tree.keyed(Job("program", "go.sh", inputs=["nothing"]))


@needs_root
def test_results_are_handed_on_and_kept(tree: Tree) -> None:
    tree.script("make.sh", 'echo made >"$1/it"')
    tree.script("pack.sh", 'cp "$2" "$1/packed"')
    jobs = tree.keyed(
        Job("pack", "pack.sh", arguments=["need:make/it"], needs=["make"], lane="packing", kind="release"),
        Job("make", "make.sh"),
    )
    tree.build(jobs)
    assert (jobs[1].path / "packed").read_text(encoding="utf-8") == "made\n"
    assert jobs[1].path.parent == tree.cache / "release"
    assert [line.split(":")[0] for line in tree.said] == ["make", "make", "pack", "pack"]
    tree.said.clear()
    tree.build(jobs)
    assert tree.said == []


@needs_root
def test_a_failed_job_leaves_its_log_and_no_result(tree: Tree) -> None:
    tree.script("bad.sh", 'echo half >"$1/it"; echo no such package >&2; exit 3')
    (job,) = tree.keyed(Job("bad", "bad.sh"))
    with pytest.raises(lab_build.JobError, match="bad gave up with exit status 3") as caught:
        tree.build([job])
    assert lab_build.last_lines(caught.value.log, 5) == ["no such package"]
    assert not job.path.exists()
    tree.script("bad.sh", 'echo whole >"$1/it"')
    (job,) = tree.keyed(Job("bad", "bad.sh"))
    tree.build([job])
    assert (job.path / "it").read_text(encoding="utf-8") == "whole\n"


@needs_root
def test_a_job_that_hangs_is_ended(tree: Tree) -> None:
    tree.script("slow.sh", "sleep 61.7")
    (job,) = tree.keyed(Job("slow", "slow.sh", limit=1))
    with pytest.raises(lab_build.JobError, match="did not end within 1 s"):
        tree.build([job])
    assert not sleeping("61.7")


@needs_root
def test_nothing_outlives_a_build_that_is_killed(tree: Tree) -> None:
    tree.script("slow.sh", 'mkdir "$1/m"; mount -t tmpfs none "$1/m"; (sleep 61.3 &); sleep 61.3')
    (job,) = tree.keyed(Job("slow", "slow.sh"))
    child = os.fork()
    if child == 0:
        tree.build([job])
        os._exit(0)
    deadline = time.monotonic() + 10
    while len(sleeping("61.3")) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(sleeping("61.3")) == 2
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while sleeping("61.3") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not sleeping("61.3")
    assert str(tree.cache) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    lab_build.broom(tree.cache / "tmp")
    assert not (tree.cache / "tmp").exists()


def sleeping(seconds: str) -> list[str]:
    """The processes that sleep for just so long."""
    found = subprocess.run(["pgrep", "-fx", f"sleep {seconds}"], check=False, capture_output=True, text=True)
    return found.stdout.split()


def test_two_builds_take_turns(tmp_path: Path) -> None:
    said: list[str] = []
    entered = threading.Event()

    def second() -> None:
        with lab_build.only_one(tmp_path / "lock", said.append):
            entered.set()

    with lab_build.only_one(tmp_path / "lock", said.append):
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.3)
    thread.join(5)
    assert entered.is_set()
    assert said == [f"another build works in {tmp_path}; waiting until it has ended"]


def test_results_that_nobody_asks_for_are_deleted_after_a_while(tmp_path: Path) -> None:
    for name in ("old", "old-in-use", "new"):
        (tmp_path / "build" / name).mkdir(parents=True)
    long_ago = time.time() - (lab_build.KEEP_DAYS + 1) * 86400
    for name in ("old", "old-in-use"):
        os.utime(tmp_path / "build" / name, (long_ago, long_ago))
    assert lab_build.retire(tmp_path, ["build"], [tmp_path / "build" / "old-in-use"]) == ["old"]
    assert sorted(path.name for path in (tmp_path / "build").iterdir()) == ["new", "old-in-use"]


def test_a_log_is_shown_without_what_moves_the_cursor(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"first\n\x1b[1mworking\x1b[0m 10%\rworking 20%\n\n")
    assert lab_build.last_lines(log, 2) == ["working 10%", "working 20%"]


DEBIAN = {"ID": "debian", "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)"}


@pytest.mark.parametrize(
    ("uid", "machine", "release", "has_apt", "problem"),
    [
        (0, "x86_64", DEBIAN, True, None),
        (0, "x86_64", {"ID": "ubuntu", "ID_LIKE": "debian"}, True, None),
        (1000, "x86_64", DEBIAN, True, "runs as user ID 1000"),
        (0, "aarch64", DEBIAN, True, "processor is aarch64"),
        (0, "x86_64", {"ID": "fedora", "PRETTY_NAME": "Fedora Linux 44"}, False, "runs Fedora Linux 44; the lab needs"),
        (0, "x86_64", {}, False, "runs an unknown system"),
    ],
)
def test_hosts(uid: int, machine: str, release: dict[str, str], has_apt: bool, problem: str | None) -> None:
    found = lab_preflight.problem_with_host(uid, machine, release, has_apt)
    assert found is None if problem is None else problem in found
    assert "\n" not in (found or "")


def test_sizes() -> None:
    gib = 1024**3
    assert lab_preflight.problem_with_size("memory", 4 * gib, 4, "Buy some.") is None
    assert (
        lab_preflight.problem_with_size("memory", 2 * gib, 4, "Buy some.")
        == "There are 2.0 GiB of memory; the lab needs 4 GiB. Buy some."
    )


def test_missing_packages() -> None:
    assert lab_preflight.missing_packages(["dpkg", "no-such-package-at-all"]) == ["no-such-package-at-all"]
