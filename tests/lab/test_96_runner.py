# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs as AWX runs them, by ansible-runner: a project that can't be written to, no home, credentials in the environment alone."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import typing as t

import ansible_runner
import pytest
import yaml

from .conftest import ADDRESSES, PROJECT, Lab
from .test_3_verdicts import becomes

VMS = ("vm1", "vm2")
# The kind of token that the API server makes begins with the encoding of '{"alg":'.
ANY_TOKEN = "eyJhbGciOi"


@dataclasses.dataclass(frozen=True)
class Job:
    """One finished job.

    Attributes:
        folder: its private data folder.
        status: `successful` or `failed`.
        events: what happened, as AWX stores it.
        output: what a user of AWX sees.
    """

    folder: pathlib.Path
    status: str
    events: list[dict[str, t.Any]]
    output: str

    @property
    def statistics(self) -> dict[str, t.Any]:
        """AWX's artifacts of the job: what the last event says."""
        data = self.events[-1]["event_data"]
        found: dict[str, t.Any] = data.get("artifact_data") or {}
        return found

    @property
    def changed(self) -> int:
        """How many tasks changed something, over all hosts."""
        return sum(self.events[-1]["event_data"]["changed"].values())

    def everything(self) -> dict[str, str]:
        """All that the job left in files, by path, but for what it was given."""
        given = {"project", "inventory", "env"}
        found = {
            str(path.relative_to(self.folder)): path.read_text(errors="replace")
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and path.relative_to(self.folder).parts[0] not in given
        }
        # ansible-runner keeps what it was started with, the environment included; AWX masks the credentials in it.
        started = json.loads(found["artifacts/job/command"])
        del started["env"]["K8S_AUTH_API_KEY"]
        found["artifacts/job/command"] = json.dumps(started)
        return found


class Awx:
    """Makes private data folders and runs jobs in them."""

    def __init__(self, lab: Lab, folder: pathlib.Path) -> None:
        self.lab = lab
        self.folder = folder
        config = yaml.safe_load(pathlib.Path(os.environ["KUBECONFIG"]).read_text())
        self.cluster = config["clusters"][0]["cluster"]
        self.token = ""

    def inventory(self, hosts: t.Sequence[str]) -> dict[str, t.Any]:
        """What AWX hands to a slice: its hosts and no others, all variables at the hosts."""
        found = json.loads(self.lab.inventory())
        hostvars = {host: found["_meta"]["hostvars"][host] for host in hosts}
        for variables in hostvars.values():
            # Where the cluster is, and with which right, its credential says.
            del variables["mesh_kubeconfig"]
        return {"all": {"children": {"mesh_vms": {"hosts": hostvars}}}}

    def start(self, name: str, playbook: str, hosts: t.Sequence[str], **variables: t.Any) -> subprocess.Popen[str]:
        """Starts a job; ansible-runner is a program of its own, as in an execution node."""
        place = self.folder / name
        for part in ("project", "inventory", "env", "artifacts", "home", "tmp", "facts"):
            (place / part).mkdir(parents=True)
        (place / "inventory" / "hosts.json").write_text(json.dumps(self.inventory(hosts)))
        (place / "env" / "extravars").write_text(json.dumps(variables))
        (place / "env" / "settings").write_text(json.dumps({"idle_timeout": 600, "job_timeout": 900}))
        environment = {
            "ANSIBLE_FORCE_COLOR": "0",
            # What AWX's jobs have beside: a cache of facts.
            "ANSIBLE_CACHE_PLUGIN": "jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(place / "facts"),
            # An execution environment's only places to write to.
            "ANSIBLE_HOME": str(place / "tmp"),
            "XDG_CACHE_HOME": str(place / "tmp"),
            "K8S_AUTH_HOST": self.cluster["server"],
            "K8S_AUTH_SSL_CA_CERT": str(place / "env" / "ca.crt"),
            "K8S_AUTH_API_KEY": self.token,
        }
        (place / "env" / "ca.crt").write_bytes(base64.b64decode(self.cluster["certificate-authority-data"]))
        # Nor does it inherit anything of whoever started it.
        kept = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
        # Nothing can be written to the project, nor to the home.
        script = """
            mount --bind -o ro "$1" "$2/project"
            mount --bind -o ro "$HOME" "$HOME"
            ! touch "$HOME/x" "$2/project/x" 2> /dev/null
            exec ansible-runner run "$2" -p "$3" --ident job -vvvv
        """
        return subprocess.Popen(
            ["unshare", "--mount", "sh", "-ec", script, "sh", str(PROJECT), str(place), playbook],
            env={**kept, **environment, "HOME": str(place / "home")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, name: str, process: subprocess.Popen[str]) -> Job:
        """Waits for a job and reads it back."""
        try:
            said, _errors = process.communicate(timeout=1200)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        place = self.folder / name
        runs = place / "artifacts" / "job"
        assert (runs / "status").is_file(), said
        # Each is a file of its own, in their order.
        files = sorted((runs / "job_events").glob("*.json"), key=lambda path: int(path.name.split("-")[0]))
        events = [json.loads(path.read_text()) for path in files]
        return Job(place, (runs / "status").read_text(), events, said)

    def run(self, name: str, playbook: str, hosts: t.Sequence[str] = VMS, **variables: t.Any) -> Job:
        return self.finish(name, self.start(name, playbook, hosts, **variables))


@pytest.fixture(scope="module")
def awx(mesh: Lab, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Awx]:
    lab = mesh
    made = Awx(lab, tmp_path_factory.mktemp("awx"))
    names = ("serviceaccount", "runner-test", "-n", "kube-system")
    lab.kubectl("create", *names)
    binding = ("clusterrolebinding", "runner-test")
    lab.kubectl("create", *binding, "--clusterrole", "cluster-admin", "--serviceaccount=kube-system:runner-test")
    try:
        made.token = lab.kubectl("create", "token", *names[1:], "--duration", "4h").strip()
        yield made
    finally:
        lab.kubectl("delete", *names)
        lab.kubectl("delete", *binding)


def secrets_of(awx: Awx, vms: t.Sequence[str]) -> list[str]:
    """What no file of a job may hold."""
    found = [awx.token]
    for vm in vms:
        found += awx.lab.ssh(vm, "cat /var/run/secrets/tokens/istio-token; echo; sed -n 2p /etc/certs/key.pem").split()
    assert len(found) == 1 + 2 * len(vms)
    return found


def assert_no_secret(awx: Awx, job: Job, vms: t.Sequence[str] = VMS) -> None:
    texts = {**job.everything(), "stdout": job.output}
    assert len(texts) > 10
    for secret in secrets_of(awx, vms):
        assert [name for name, text in texts.items() if secret in text] == []
    assert [name for name, text in texts.items() if ANY_TOKEN in text] == []


def test_site_on_bare_machines(awx: Awx) -> None:
    awx.lab.reset(*VMS)

    job = awx.run("site", "site.yml")

    assert job.status == "successful", job.output
    assert {event["event"] for event in job.events} >= {"playbook_on_start", "runner_on_ok", "playbook_on_stats"}
    assert_no_secret(awx, job)
    joined = job.statistics["mesh_report_onboard"]
    assert sorted(joined.pop("joined")) == list(VMS)
    assert joined == {"vms": 2, "counts": {"joined": 2}, "changed": [], "failed": {}, "expires": {}}
    proven = job.statistics["mesh_report_verify"]
    assert proven["counts"] == {"ok": 2}
    assert sorted(proven["expires"]) == list(VMS)
    assert all(date.startswith("20") and date.endswith("Z") for date in proven["expires"].values()), proven


def test_again_nothing_changes(awx: Awx) -> None:
    job = awx.run("again", "site.yml")
    assert job.status == "successful", job.output
    assert job.changed == 0, job.output
    assert "WARNING" not in job.output, job.output
    assert job.statistics["mesh_report_onboard"]["counts"] == {"unchanged": 2}


def test_renewal_of_all(awx: Awx) -> None:
    before = secrets_of(awx, VMS)

    job = awx.run("renew", "playbooks/renew.yml", vm_sidecar_renew_all=True)

    assert job.status == "successful", job.output
    assert_no_secret(awx, job)
    assert [name for name, text in job.everything().items() if any(secret in text for secret in before)] == []
    report = job.statistics["mesh_report_renew"]
    assert sorted(report["renewed"]) == list(VMS)
    assert sorted(report["expires"]) == list(VMS)


@contextlib.contextmanager
def stopped(lab: Lab, vm: str) -> t.Iterator[None]:
    lab.ssh(vm, "systemctl stop lab-app")
    try:
        # Before that, a look at its entry may still find it healthy, and one from the pod not find it at all.
        becomes(lab, vm, "unhealthy")
        yield
    finally:
        lab.ssh(vm, "systemctl start lab-app")


def test_failures_say_why(awx: Awx) -> None:
    with stopped(awx.lab, "vm2"):
        job = awx.run("ill", "playbooks/verify.yml", mesh_verify_timeout=15)
    assert job.status == "failed"
    report = job.statistics["mesh_report_verify"]
    assert report["counts"] == {"ok": 1, "failed": 1}
    assert list(report["failed"]) == ["vm2"]
    assert "unhealthy" in report["failed"]["vm2"], report


def test_a_machine_that_is_refused(awx: Awx) -> None:
    job = awx.run(
        "refused", "playbooks/onboard.yml", vm_sidecar_min_free_mb=10_000_000, vm_sidecar_version="1.30.4-lab"
    )
    assert job.status == "failed"
    report = job.statistics["mesh_report_onboard"]
    assert report["counts"] == {"failed": 2}
    assert all("Next step" in reason for reason in report["failed"].values()), report


def test_artifacts_by_the_library(awx: Awx) -> None:
    """What AWX itself reads them with."""
    runner = ansible_runner.interface.Runner(
        ansible_runner.RunnerConfig(private_data_dir=str(awx.folder / "again"), ident="job")
    )
    assert runner.stats["failures"] == {}
    assert set(ADDRESSES) >= set(runner.stats["ok"])
