# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role vm_sidecar does to all machines of a batch, decided in one place. Pure. Private to the collection."""

from __future__ import annotations

import collections.abc
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _plan

Mapping = collections.abc.Mapping


class Run(t.NamedTuple):
    """What is the same for all machines.

    Attributes:
        groups: what `_group.of_files` says of each group, by name.
        mesh_version: istiod's version; None where there is none.
        upgrade: whether a machine that asks for no version gets istiod's.
        package_checksum: SHA-256 of the package that is on the controller.
        keep_remote_files: whether Ansible leaves modules on machines.
        image: whether images are made, which have no address and need no way to the gateway.
        tries: of a pod at the machines, as `pod_reach_info` returns them.
        refused: why a machine may not be restarted, by name, as `workload_capacity_info` returns it.
    """

    groups: Mapping[str, Mapping[str, t.Any]]
    mesh_version: str | None = None
    upgrade: bool = False
    package_checksum: str | None = None
    keep_remote_files: bool = False
    image: bool = False
    tries: t.Sequence[Mapping[str, t.Any]] = ()
    refused: Mapping[str, t.Any] | None = None


def plans(hosts: t.Iterable[str], known: Mapping[str, Mapping[str, t.Any]], run: Run) -> dict[str, t.Any]:
    """Decides for each machine that answered.

    Args:
        hosts: inventory names.
        known: the variables by host (Ansible's hostvars), as the role vm_sidecar leaves them.
        run: what is the same for all.

    Returns:
        `by_vm`, what `_plan.plan` says of each; `vms`, name, group and address of each, by name; `targets`, what a pod should
        reach; `problems`, what stands in the way of a machine, as text by name; and names: `tokens` of those that need one,
        `starts` of those that are started or get another capture, `captures` of those that get that alone, `running`, `work`,
        `returns` of those that can go back, and `prepares` of those that need something before the package can be installed.
    """
    by_vm: dict[str, t.Any] = {}
    vms: dict[str, t.Any] = {}
    problems: dict[str, str] = {}
    for host in hosts:
        variables = known[host]
        info = variables.get("__vm_sidecar_info")
        if not isinstance(info, Mapping) or "vm" not in info:
            continue
        group = variables["__vm_sidecar_group"]
        wanted = _wanted(variables["__vm_sidecar_options"], group, info["vm"], host, run)
        vms[host] = {"name": host, "group": group, "address": wanted["address"]}
        plan = by_vm[host] = _plan.plan(info["vm"], wanted)
        if plan["problems"]:
            problems[host] = "\n".join(problem["message"] for problem in plan["problems"])
    return {
        "by_vm": by_vm,
        "vms": vms,
        "problems": problems,
        "targets": [plan["pod_target"] for plan in by_vm.values() if plan["pod_target"]],
        "tokens": [host for host, plan in by_vm.items() if plan["token"]["needed"]],
        "starts": [host for host, plan in by_vm.items() if plan["start"]["what"]],
        "captures": [host for host, plan in by_vm.items() if plan["start"]["what"] == "capture"],
        "running": [host for host, plan in by_vm.items() if plan["running"]],
        "work": [host for host, plan in by_vm.items() if plan["work"]],
        "prepares": [host for host, plan in by_vm.items() if plan["stale"] or plan["apart"]],
        "returns": [host for host, plan in by_vm.items() if plan["running"] or plan["way_back"]],
    }


def _wanted(
    options: Mapping[str, t.Any], group: str, info: Mapping[str, t.Any], host: str, run: Run
) -> dict[str, t.Any]:
    """What one machine is compared with."""
    way = run.groups[group]
    package = dict(options["package"], path_checksum=run.package_checksum)
    if run.upgrade and not package["version"]:
        package["version"] = run.mesh_version
    return {
        **options,
        "package": package,
        "files": way["files"],
        "proxy_config": way["proxy_config"],
        "gateways": [] if run.image else way["gateways"],
        "pods": [] if run.image else way["pods"],
        "address": None if run.image else options["address"] or info["address"],
        "mesh_version": run.mesh_version,
        "keep_remote_files": run.keep_remote_files,
        "tries": run.tries,
        "refused": (run.refused or {}).get(host),
    }
