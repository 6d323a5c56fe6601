#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the lab runs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_status
short_description: What of the lab runs
version_added: 0.1.0
description:
  - Looks at the machines from outside, and at the cluster with kubectl. Changes nothing and never waits long.
options:
  state_dir:
    description: Folder of the lab's state.
    type: path
    required: true
  run_dir:
    description: Folder of the pid files.
    type: path
    required: true
  machines:
    description: Name -> address of each machine that should be there.
    type: dict
    required: true
  release_url:
    description: Where the release bucket should answer.
    type: str
    required: true
author:
  - hybridmesh.istio contributors (@hybridmesh)
"""

EXAMPLES = r"""
- name: Lab | Look at it
  lab_status:
    state_dir: /var/lib/hybridmesh-lab
    run_dir: /run/hybridmesh-lab
    release_url: http://10.88.0.10:8000/releases
    machines:
      cluster1: 10.88.0.10
"""

RETURN = r"""
up:
  description: Whether all of it runs and answers.
  returned: always
  type: bool
lines:
  description: The same for people, as a table.
  returned: always
  type: list
  elements: str
"""

import datetime  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import socket  # noqa: E402
import subprocess  # noqa: E402
import time  # noqa: E402
import urllib.request  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils import lab_cgroup, lab_supervisor  # noqa: E402
from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.lab_error import LabError  # noqa: E402

HEAD = ("machine", "address", "system", "state", "ssh", "since", "memory")


def machine_row(name: str, address: str, state_dir: Path, run_dir: Path) -> tuple[bool, tuple[str, ...]]:
    """One machine: whether it is as it should be, and its line of the table."""
    folder = state_dir / "machines" / name
    if not folder.is_dir():
        return False, (name, address, "-", "not made", "-", "-", "-")
    spec = json.loads((folder / "machine.json").read_text(encoding="utf-8"))
    system = os_name(Path(spec["lower"]))
    pid = lab_supervisor.find(run_dir / f"{name}.pid")
    if pid is None:
        return False, (name, address, system, "off", "-", "-", "-")
    ssh = answers_ssh(address)
    return ssh, (name, address, system, "running", "answers" if ssh else "SILENT", age_of(pid), memory_of(name))


def os_name(root: Path) -> str:
    """As /etc/os-release has it. The first line that counts is enough: these are Debian's own."""
    try:
        for line in (root / "etc/os-release").read_text(encoding="utf-8").splitlines():
            key, _equals, value = line.partition("=")
            if key == "PRETTY_NAME":
                return value.strip('"').replace("GNU/Linux ", "")
    except OSError as error:
        return f"base missing: {error.strerror}"
    return "unknown"


def answers_ssh(address: str) -> bool:
    """Whether an sshd answers there."""
    try:
        with socket.create_connection((address, 22), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def age_of(pid: int) -> str:
    """How long a process runs."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return str(datetime.timedelta(seconds=int(seconds)))


def memory_of(name: str) -> str:
    """What the machine's processes have in memory. Not the control group's figure, which counts cached files as well."""
    pages = 0
    for pid in lab_cgroup.processes(name):
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    return f"{pages * os.sysconf('SC_PAGE_SIZE') // 2**20} MiB"


def table(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns as wide as what is in them."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def kubectl(state_dir: Path, *words: str) -> Any:
    """Ask the cluster; raises LabError where it does not answer."""
    command = [str(state_dir / "bin/kubectl"), f"--kubeconfig={state_dir}/admin.kubeconfig", "--request-timeout=5s"]
    try:
        done = subprocess.run([*command, *words, "-o", "json"], capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"kubectl: {error}.", "an answer.", "see `make lab`.") from error
    if done.returncode != 0:
        raise LabError(done.stderr.strip().splitlines()[-1], "an answer.", "see `make lab`.")
    return json.loads(done.stdout)


def condition(item: dict[str, Any], kind: str) -> bool:
    """Whether an object has this condition."""
    return any(
        entry["type"] == kind and entry["status"] == "True" for entry in item.get("status", {}).get("conditions", [])
    )


def cluster_lines(state_dir: Path) -> tuple[bool, list[str]]:
    """The node, the pods, and the Services that have an address."""
    try:
        items = kubectl(state_dir, "get", "nodes,pods,services", "--all-namespaces")["items"]
    except LabError as error:
        return False, [f"Kubernetes: {error}"]
    nodes = [item for item in items if item["kind"] == "Node"]
    pods = [item for item in items if item["kind"] == "Pod"]
    up = bool(nodes) and all(condition(node, "Ready") for node in nodes)
    versions = ", ".join(node["status"]["nodeInfo"]["kubeletVersion"] for node in nodes) or "no node"
    waiting = [pod for pod in pods if not condition(pod, "Ready") and pod["status"].get("phase") != "Succeeded"]
    lines = [
        f"Kubernetes {versions}, node {'ready' if up else 'NOT READY'}, {len(pods) - len(waiting)} of {len(pods)} pods ready"
    ]
    for pod in waiting:
        meta = pod["metadata"]
        lines.append(f"  not ready: pod {meta['namespace']}/{meta['name']}")
    for item in items:
        if item["kind"] == "Service" and item["spec"].get("type") == "LoadBalancer":
            entries = item["status"].get("loadBalancer", {}).get("ingress", [])
            addresses = ", ".join(entry.get("ip", "?") for entry in entries) or "no address yet"
            lines.append(f"  Service {item['metadata']['namespace']}/{item['metadata']['name']}: {addresses}")
    return up, lines


def bucket_line(url: str) -> tuple[bool, str]:
    """Whether the release bucket answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/", timeout=5) as response:
            return True, f"Release bucket {url}: answers {response.status}"
    except OSError as error:
        return False, f"Release bucket {url}: {error}"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state_dir": {"type": "path", "required": True},
            "run_dir": {"type": "path", "required": True},
            "machines": {"type": "dict", "required": True},
            "release_url": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    state_dir, run_dir = Path(module.params["state_dir"]), Path(module.params["run_dir"])
    try:
        record = json.loads((state_dir / "lab.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        module.exit_json(up=False, lines=["The lab is down. Start it with `make lab`."])
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"Found: {state_dir}/lab.json: {error}. Expected: the lab's record. Next step: be root.")
    try:
        rows = [machine_row(name, address, state_dir, run_dir) for name, address in module.params["machines"].items()]
    except (LabError, OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    cluster_up, cluster = cluster_lines(state_dir)
    bucket_up, bucket = bucket_line(module.params["release_url"])
    up = all(good for good, _row in rows) and cluster_up and bucket_up
    title = (
        f"The lab is {'up' if up else 'NOT COMPLETE'}: network {record['network']}, control groups {record['cgroup']}"
    )
    lines = [title, *table([HEAD, *(row for _good, row in rows)]), *cluster, bucket]
    module.exit_json(up=up, lines=lines)


if __name__ == "__main__":
    main()
