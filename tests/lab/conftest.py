# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests on the lab share: running playbooks as a user does, and looking at machines behind Ansible's back.

They need a running lab and the environment that `make lab-env` prints; `make test-lab` brings both.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shlex
import subprocess
import textwrap
import typing as t

import pytest
from ansible.plugins.loader import init_plugin_loader
from ansible.utils.collection_loader import AnsibleCollectionConfig

# The folder with site.yml, playbooks/ and inventories/: a user's of an installed collection, or the checkout.
PROJECT = pathlib.Path(os.environ.get("LAB_PROJECT") or pathlib.Path(__file__).resolve().parents[2])
# Where the collection is installed that the tests import, or the checkout.
COLLECTIONS = os.environ.get("LAB_COLLECTIONS") or str(pathlib.Path(__file__).resolve().parents[2] / "collections")
# pytest imports this file, and tests do.
if AnsibleCollectionConfig.collection_finder is None:
    init_plugin_loader([COLLECTIONS])

ADDRESSES = {"cluster1": "10.88.0.10", **{f"vm{number}": f"10.88.0.{20 + number}" for number in range(1, 9)}}


@dataclasses.dataclass(frozen=True)
class Run:
    """One finished ansible-playbook.

    Attributes:
        code: its exit status.
        output: standard output and error as the user saw them.
    """

    code: int
    output: str

    @property
    def recap(self) -> dict[str, dict[str, int]]:
        """The counts of PLAY RECAP: host -> {ok, changed, unreachable, failed, ...}."""
        found = re.findall(r"^(\S+)\s+: (ok=.*)$", self.output, re.MULTILINE)
        return {
            host: {key: int(value) for key, value in (pair.split("=") for pair in counts.split())}
            for host, counts in found
        }

    @property
    def changed(self) -> int:
        """How many tasks changed something, over all hosts."""
        return sum(counts["changed"] for counts in self.recap.values())

    @property
    def words(self) -> str:
        """The output with each run of white space as one blank, so that folded messages can be searched."""
        return re.sub(r"\s+", " ", self.output)

    def round_trips(self, address: str) -> int:
        """How often this run (made with -vvv) had the machine execute something over ssh."""
        return len(re.findall(rf"^<{re.escape(address)}> SSH: EXEC ", self.output, re.MULTILINE))


class Lab:
    """The lab as a test sees it."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder

    def playbook(
        self,
        name: str,
        *arguments: str,
        variables: t.Mapping[str, t.Any] | None = None,
        environment: t.Mapping[str, str] | None = None,
        timeout: int = 900,
    ) -> Run:
        """Runs a playbook of the project (a path from its root) with the default inventory."""
        command = ["ansible-playbook", name, *arguments]
        if variables:
            command += ["-e", json.dumps(variables)]
        done = subprocess.run(
            command,
            cwd=PROJECT,
            env={**os.environ, "ANSIBLE_FORCE_COLOR": "0", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Run(done.returncode, done.stdout)

    def inventory(self) -> str:
        """The default inventory, as JSON."""
        command = ["ansible-inventory", "--list"]
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout

    def role(self, role: str, *arguments: str, **options: t.Any) -> Run:
        """Plays one role alone on the VMs, as somebody's own playbook would."""
        playbook = self.folder / f"{role}.yml"
        playbook.write_text(
            textwrap.dedent(
                f"""\
                - name: Play one role alone
                  hosts: mesh_vms
                  gather_facts: false
                  roles:
                    - role: hybridmesh.istio.{role}
                """
            )
        )
        return self.playbook(str(playbook), *arguments, **options)

    def module(
        self,
        name: str,
        check: bool = True,
        machine: str = "localhost",
        variables: t.Mapping[str, t.Any] | None = None,
        **options: t.Any,
    ) -> dict[str, t.Any]:
        """Runs a module of the collection, on this machine where none is named, and returns its answer."""
        command = ["ansible", machine, "-m", f"hybridmesh.istio.{name}", "-a", json.dumps(options)]
        if variables:
            command += ["-e", json.dumps(variables)]
        done = subprocess.run(
            command,
            cwd=PROJECT,
            env={**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        _head, arrow, answer = done.stdout.partition(" => ")
        assert arrow, done.stdout + done.stderr
        assert not check or done.returncode == 0, done.stdout
        return {**json.loads(answer), "failed": done.returncode != 0}

    def ssh(self, machine: str, script: str, check: bool = True) -> str:
        """Runs a script on a machine of the lab and returns what it printed."""
        command = [*shlex.split(os.environ["LAB_SSH"]), f"root@{ADDRESSES[machine]}", "bash -s"]
        done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=120, check=False)
        assert not check or done.returncode == 0, f"{machine}: {script}: {done.stdout}{done.stderr}"
        return done.stdout

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Runs kubectl as the lab's administrator and returns what it printed."""
        done = subprocess.run(
            ["kubectl", *arguments], input=stdin, capture_output=True, text=True, timeout=120, check=False
        )
        assert not check or done.returncode == 0, f"kubectl {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def apply(self, manifest: str) -> None:
        """Applies a manifest given as YAML text."""
        self.kubectl("apply", "-f", "-", stdin=textwrap.dedent(manifest))

    def state_of(self, machine: str) -> dict[str, str]:
        """All that a run could have changed on a machine: files with size and time, packages, units, packet filters.

        Left out is what changes by itself or by the mere fact of a login.
        """
        listing = self.ssh(
            machine,
            r"""
            find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/tmp -o -path /var/log \
                -o -path /root/.ansible -o -path /var/lib/systemd -o -path /var/cache \) -prune \
                -o \( -type f -o -type l \) -printf '%p\t%s %T@ %m %u\n'
            dpkg-query -W -f 'package ${Package}\t${Version}\n'
            systemctl list-unit-files --no-legend --plain --type service,timer | awk '{print "unit " $1 "\t" $2}'
            for table in iptables iptables-legacy ip6tables ip6tables-legacy; do
                $table-save 2>/dev/null | grep -v '^#' | sed "s/\[.*\]//; s/^/$table /; s/$/\t/"
            done
            """,
        )
        return dict(line.split("\t", 1) for line in listing.splitlines() if "\t" in line)

    @contextlib.contextmanager
    def machines(self, number: int) -> t.Iterator[None]:
        """The lab with so many VMs for a while; new ones are bare."""

        def bring(vms: int) -> None:
            done = self.playbook("lab/up.yml", environment={"LAB_VMS": str(vms)})
            assert done.code == 0, done.output

        before = len(json.loads(self.inventory())["mesh_vms"]["hosts"])
        bring(number)
        yield
        # Entries of machines that are gone would count as machines that do not serve.
        self.kubectl("delete", "workloadentry", "-n", "chapter10vm", "--all")
        bring(before)

    def reset(self, *machines: str) -> None:
        """Makes machines bare again, as after `make lab`; all of them (and the cluster) where none is named."""
        done = self.playbook("lab/reset.yml", variables={"lab_reset": ",".join(machines) or "lab_machines"})
        assert done.code == 0, done.output


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    missing = [name for name in ("KUBECONFIG", "LAB_SSH") if name not in os.environ]
    assert not missing, f'{missing} not set: run `make test-lab`, or eval "$(make -s lab-env)" first'
    return Lab(tmp_path_factory.mktemp("playbooks"))


@pytest.fixture(scope="module")
def mesh(lab: Lab) -> Lab:
    """The lab with everything that site.yml makes. Each file brings it about anew: the one before may have broken things."""
    done = lab.playbook("site.yml")
    assert done.code == 0, done.output
    return lab
