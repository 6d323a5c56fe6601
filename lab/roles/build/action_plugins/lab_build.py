# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the lab's build jobs: only those whose results are missing, side by side, and says meanwhile what is going on.

A module's output is shown when the module has ended, and a build of five minutes that says nothing looks like one that
hangs. An action plugin runs in Ansible's own process and may speak at any time.

A job is a script and what it is given. Its key is a hash over the script, its arguments, its input files and the keys
of the jobs that it needs; its result is the directory KIND/NAME-KEY in the cache. A job writes to a directory of its
own that is renamed when the job has ended well, so a result that exists is whole, and asking for it again costs a look
at its name.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

SAY_EVERY = 15.0  # seconds between two lines on what is running
POLL = 0.3
LOG_LINES = 12  # of a failed job's log that are shown
KEEP_DAYS = 30  # results that no run has asked for in this time are deleted


@dataclass
class Job:
    """What to run, from what, and where the result goes."""

    name: str
    script: str
    kind: str = "build"
    arguments: Sequence[str] = ()  # `need:NAME` in them stands for where that job's result is
    inputs: Sequence[str] = ()  # files and directories among the sources
    needs: Sequence[str] = ()
    lane: str = "go"
    seconds: int = 0  # what it took on 2 cores with nothing in any cache
    limit: int = 3600  # seconds after which it is taken for hung
    key: str = ""
    path: Path = field(default_factory=Path)


class JobError(Exception):
    """A job that failed, and where its log is."""

    def __init__(self, message: str, log: Path) -> None:
        super().__init__(message)
        self.log = log


@dataclass
class Running:
    """A job under way."""

    job: Job
    process: subprocess.Popen[bytes]
    scratch: Path
    log: Path
    started: float


def in_order(jobs: Sequence[Job]) -> list[Job]:
    """The jobs, each after those that it needs."""
    known = {job.name: job for job in jobs}
    done: dict[str, Job] = {}

    def visit(job: Job, above: tuple[str, ...]) -> None:
        if job.name in above:
            raise ValueError(f"jobs need each other in a circle: {' -> '.join((*above, job.name))}")
        for need in job.needs:
            if need not in known:
                raise ValueError(f"job {job.name} needs {need}, which is no job")
            visit(known[need], (*above, job.name))
        done.setdefault(job.name, job)

    for job in jobs:
        visit(job, ())
    return list(done.values())


def digest_of(path: Path) -> dict[str, str]:
    """A hash for each file under `path`, by its name seen from there."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    if not files:
        raise ValueError(f"{path} is to be built from, and is not there")
    return {str(f.relative_to(path.parent)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def key_of(job: Job, scripts: Path, sources: Path, salt: str, needed: Mapping[str, str]) -> str:
    """The job's key: equal keys mean equal results."""
    inputs: dict[str, str] = digest_of(scripts / job.script)
    for name in job.inputs:
        inputs.update(digest_of(sources / name))
    material = {
        "name": job.name,
        "arguments": list(job.arguments),
        "inputs": inputs,
        "needs": {name: needed[name] for name in job.needs},
        "salt": salt if job.lane == "go" else "",  # the toolchain's version: nothing to those who only use its results
    }
    return hashlib.sha256(json.dumps(material, sort_keys=True).encode()).hexdigest()[:16]


def last_lines(log: Path, count: int) -> list[str]:
    """The end of a log, without terminal control."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 16384))
        text = stream.read().decode(errors="replace")
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n")
    return [line.rstrip() for line in plain.splitlines() if line.strip()][-count:]


@contextmanager
def only_one(lock: Path, say: Any) -> Iterator[None]:
    """Keeps two builds from working in one cache at a time."""
    with lock.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another build works in {lock.parent}; waiting until it has ended")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


class Builder:
    """Runs jobs, one per lane at a time."""

    def __init__(self, cache: Path, scripts: Path, environment: Mapping[str, str], say: Any) -> None:
        self.cache = cache
        self.scripts = scripts
        self.environment = environment
        self.say = say
        self.parent = os.getppid()
        self.running: dict[str, Running] = {}

    def build(self, missing: Sequence[Job], results: Mapping[str, Path]) -> None:
        """Builds what is missing; raises JobError when a job fails."""
        waiting = list(missing)
        started = spoke = time.monotonic()
        try:
            while waiting or self.running:
                pending = {job.name for job in waiting} | {r.job.name for r in self.running.values()}
                for job in list(waiting):
                    if job.lane not in self.running and not pending & set(job.needs):
                        waiting.remove(job)
                        self.running[job.lane] = self.start(job, results)
                for lane, run in list(self.running.items()):
                    if self.ended(run):
                        del self.running[lane]
                        spoke = time.monotonic()
                if os.getppid() != self.parent:
                    # Ansible was killed; its worker processes, of which this is one, are not told.
                    raise SystemExit(1)
                if self.running and time.monotonic() - spoke >= SAY_EVERY:
                    spoke = time.monotonic()
                    self.say(self.standing(spoke - started, waiting))
                time.sleep(POLL)
        finally:
            for run in self.running.values():
                run.process.kill()
                run.process.wait()

    def start(self, job: Job, results: Mapping[str, Path]) -> Running:
        scratch = self.cache / "tmp" / job.name
        scratch.mkdir(parents=True, mode=0o755)
        log = self.cache / "logs" / f"{job.name}.log"
        log.parent.mkdir(exist_ok=True)
        arguments = [re.sub(r"\bneed:([\w.-]+)", lambda m: str(results[m[1]]), argument) for argument in job.arguments]
        program = [sys.executable] if job.script.endswith(".py") else []
        # Whatever becomes of this process, the job's processes and mounts must not outlive it: they have process and
        # mount namespaces of their own, whose first process is killed with its parent.
        guard = ["setpriv", "--pdeathsig", "KILL"]
        guard += ["unshare", "--mount", "--mount-proc", "--pid", "--fork", "--kill-child"]
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*guard, *program, str(self.scripts / job.script), str(scratch), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=self.cache,
                env={**os.environ, **self.environment},
            )
        usual = f", about {job.seconds} s when cold" if job.seconds else ""
        self.say(f"{job.name}: started{usual}")
        return Running(job, process, scratch, log, time.monotonic())

    def ended(self, run: Running) -> bool:
        """Whether the job has ended; its result is in place then."""
        job, took = run.job, time.monotonic() - run.started
        status = run.process.poll()
        if status is None and took <= job.limit:
            return False
        if status != 0:
            how = f"gave up with exit status {status}" if status is not None else f"did not end within {job.limit} s"
            raise JobError(f"{job.name} {how}; its log is {run.log}", run.log)
        job.path.parent.mkdir(parents=True, exist_ok=True)
        os.sync()  # so that a name that is there after a power cut has its content, too
        run.scratch.rename(job.path)
        self.say(f"{job.name}: done in {took:.0f} s")
        return True

    def standing(self, elapsed: float, waiting: Sequence[Job]) -> str:
        """One line on what is under way."""
        parts = []
        for run in self.running.values():
            lines = last_lines(run.log, 1)
            doing = f": {lines[0][:60]}" if lines else ""
            usual = f" of about {run.job.seconds}" if run.job.seconds else ""
            parts.append(f"{run.job.name} {time.monotonic() - run.started:.0f}{usual} s{doing}")
        after = f" | {len(waiting)} more to come" if waiting else ""
        return f"{elapsed:4.0f} s | " + " | ".join(parts) + after


def broom(directory: Path) -> None:
    """Takes away what an interrupted build left. Nothing is mounted in there: mounts end with their job."""
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    held = [m for m in mounted if m.startswith(f"{directory}/")]
    if held:
        raise OSError(f"{held[0]} is still mounted, and {directory} is to be cleared; unmount it, then start again")
    if directory.exists():
        shutil.rmtree(directory)


def retire(cache: Path, kinds: Iterable[str], in_use: Iterable[Path]) -> list[str]:
    """Deletes results that were not asked for in a long time; returns their names."""
    for path in in_use:
        os.utime(path)
    oldest = time.time() - KEEP_DAYS * 86400
    old = [path for kind in set(kinds) for path in (cache / kind).iterdir() if path.stat().st_mtime < oldest]
    for path in old:
        shutil.rmtree(path)
    return [path.name for path in old]


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types here
    """The task's action: cache, jobs, environment, salt in; results and keys out."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(
            {
                "cache": {"type": "path", "required": True},
                "scripts": {"type": "path", "required": True},
                "sources": {"type": "path", "required": True},
                "jobs": {"type": "list", "elements": "dict", "required": True},
                "environment": {"type": "dict", "default": {}},
                "salt": {"type": "str", "required": True},
            }
        )
        cache = Path(options["cache"])
        scripts, sources = Path(options["scripts"]), Path(options["sources"])
        try:
            jobs = in_order([Job(**job) for job in options["jobs"]])
            keys: dict[str, str] = {}
            for job in jobs:
                job.key = keys[job.name] = key_of(job, scripts, sources, options["salt"], keys)
                job.path = cache / job.kind / f"{job.name}-{job.key}"
        except (TypeError, ValueError, OSError) as error:
            raise AnsibleActionFail(f"the list of build jobs is not right: {error}") from error
        missing = [job for job in jobs if not job.path.exists()]
        result.update(
            changed=bool(missing),
            built=[job.name for job in missing],
            paths={job.name: str(job.path) for job in jobs},
            job_keys=keys,
        )
        if missing and not self._task.check_mode:
            result.update(self._build(cache, scripts, options["environment"], jobs))
        return result

    def _build(
        self,
        cache: Path,
        scripts: Path,
        environment: Mapping[str, str],
        jobs: Sequence[Job],
    ) -> dict[str, Any]:
        display = Display()
        results = {job.name: job.path for job in jobs}

        def say(line: str) -> None:
            display.display(f"  {line}")

        cache.mkdir(parents=True, exist_ok=True, mode=0o755)
        builder = Builder(cache, scripts, environment, say)
        try:
            with only_one(cache / "build.lock", say):
                broom(cache / "tmp")
                # Another build may have made some of it while this one waited.
                builder.build([job for job in jobs if not job.path.exists()], results)
                gone = retire(cache, {job.kind for job in jobs}, results.values())
        except JobError as error:
            return {
                "failed": True,
                "msg": f"{error}. What was built until now is kept; start again to go on from there.",
                "log": last_lines(error.log, LOG_LINES),
            }
        except OSError as error:
            raise AnsibleActionFail(f"the build cannot work in {cache}: {error}") from error
        if gone:
            say(f"deleted, as not asked for in {KEEP_DAYS} days: {', '.join(gone)}")
        return {}
