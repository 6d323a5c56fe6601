# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `renew` does to all machines, decided in one place. Pure. Private to the collection."""

from __future__ import annotations

import collections.abc
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _plan, _renewal, _vm_files

Mapping = collections.abc.Mapping


def renewals(
    hosts: t.Iterable[str],
    known: Mapping[str, Mapping[str, t.Any]],
    groups: Mapping[str, Mapping[str, t.Any]],
    before: Mapping[str, t.Any] | None = None,
) -> dict[str, t.Any]:
    """Decides for each machine that answered.

    Args:
        hosts: inventory names.
        known: the variables by host (Ansible's hostvars), as the role vm_sidecar leaves them.
        groups: what `_group.of_files` says of each group, by name.
        before: what this said earlier in the same run, of which machines that have failed since are kept.

    Returns:
        `by_vm`, what `_renewal.renewal` says of each; `needed`, the names of those that need a token; `failed`, what somebody has
        to see to, by name.
    """
    by_vm: dict[str, t.Any] = dict((before or {}).get("by_vm") or {})
    needed: list[str] = []
    failed: dict[str, str] = {}
    ways = {name: _way(group) for name, group in groups.items()}
    for host in hosts:
        variables = known[host]
        info = variables.get("__vm_sidecar_info")
        if not isinstance(info, Mapping):
            continue
        if info.get("unreachable"):
            failed[host] = str(info.get("msg") or "no connection")
        if "vm" not in info:
            continue
        wanted = {**ways[variables["__vm_sidecar_group"]], **variables["__vm_sidecar_renew_options"]}
        found = _renewal.renewal(info["vm"], wanted)
        if renewed := variables.get("__vm_sidecar_renewed"):
            found["token"] = {**renewed, "renewed": True}
        elif found["token"]["needed"]:
            needed.append(host)
        by_vm[host] = found
        bad = [finding for finding in found["findings"] if finding["fails"]]
        if bad:
            failed[host] = " ".join("Found: {found}. Next step: {next_step}.".format(**finding) for finding in bad)
    return {"by_vm": by_vm, "needed": needed, "failed": failed}


def _way(group: Mapping[str, t.Any]) -> dict[str, t.Any]:
    files = group["files"]
    return {
        "identity": _plan.identity_of(group["proxy_config"]),
        "roots": _vm_files.fingerprints(files.get("root-cert.pem", "")),
    }
