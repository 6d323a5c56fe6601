# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What WorkloadEntries are expected to be, however the user says it. Pure. Private to the collection."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

# What may be said of one VM, in `vms` and as values of `hosts`; each with the type that Ansible gives it.
OF_A_VM: dict[str, dict[str, t.Any]] = {
    "group": {"type": "str"},
    "address": {"type": "str"},
    "entry": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"]},
    "labels": {"type": "dict"},
    "network": {"type": "str"},
    "service_account": {"type": "str"},
    "locality": {"type": "str"},
    "ports": {"type": "dict"},
    "health": {"type": "bool"},
}


@dataclasses.dataclass(frozen=True)
class Expectation:
    """What one VM's entry should be. None means: not judged."""

    vm: str
    namespace: str
    group: str
    address: str
    present: bool = True
    name: str | None = None
    labels: t.Mapping[str, str] | None = None
    network: str | None = None
    service_account: str | None = None
    locality: str | None = None
    ports: t.Mapping[str, int] | None = None
    health: bool = False
    # Why there is nothing to compare with (`group_missing`, `no_address`), instead of an expectation.
    impossible: tuple[str, str, str] | None = None

    def of_entry(self, vm: str, name: str) -> Expectation:
        """The same, expected of the entry with that name."""
        return dataclasses.replace(self, vm=vm, name=name)


def vms_of(params: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """The VMs that the module's options name, as `expectation_from` wants them.

    Raises:
        MeshError: a VM has no group, is named twice, or is described by what can't be understood.
    """
    group, state = params.get("group"), params.get("state") or "present"
    vms: list[dict[str, t.Any]] = [
        {**vm, "group": vm.get("group") or group, "state": vm.get("state") or state} for vm in params.get("vms") or []
    ]
    for name, said in (params.get("hosts") or {}).items():
        vms.append({"group": group, "state": state, **_said(name, said), "name": str(name)})
    for address in params.get("addresses") or []:
        vms.append({"name": address, "address": address, "group": group, "state": state})
    for entry in params.get("entries") or []:
        vms.append({"name": entry, "entry": entry, "group": group, "state": state})
    seen: set[str] = set()
    for vm in vms:
        if vm["name"] in seen:
            raise MeshError("two virtual machines called {}".format(vm["name"]), "one of each name", "leave one out")
        seen.add(vm["name"])
        if not vm["group"]:
            raise MeshError(
                "no WorkloadGroup for {}".format(vm["name"]),
                "NAMESPACE/GROUP, for each virtual machine or for all of them",
                "set the option group",
            )
        vm["namespace"], vm["group"] = split_group(vm["group"], params.get("namespace"))
    return vms


def _said(name: str, said: t.Any) -> dict[str, t.Any]:
    """A value of `hosts`: an address, or a mapping."""
    if said is None or isinstance(said, str):
        return {"address": said}
    if not isinstance(said, dict):
        raise MeshError(f"hosts has {said!r} for {name}", "an address or a mapping", "correct it")
    unknown = sorted(set(said) - set(OF_A_VM))
    if unknown:
        raise MeshError(
            "hosts has {} for {}".format(", ".join(unknown), name), "some of " + ", ".join(OF_A_VM), "correct it"
        )
    for key, value in said.items():
        kind = {"dict": dict, "bool": bool}.get(OF_A_VM[key]["type"], str)
        if value is not None and (not isinstance(value, kind) or value not in OF_A_VM[key].get("choices", [value])):
            raise MeshError(f"hosts has {key} {value!r} for {name}", f"a {kind.__name__}", "correct it")
    return {key: value for key, value in said.items() if value is not None}


def split_group(group: str, namespace: str | None = None) -> tuple[str, str]:
    """(namespace, name) of `namespace/name`, or of a bare name; the namespace may come out empty."""
    left, slash, right = group.partition("/")
    return (left, right) if slash else (namespace or "", left)


def expectation_from(vm: t.Mapping[str, t.Any], group: t.Mapping[str, t.Any] | None) -> Expectation:
    """What is expected of a VM, by its WorkloadGroup and by what the caller says of the VM itself.

    Args:
        vm: `name`, `namespace`, `group`, `address`, and optionally what overrides the group: `labels`, `network`,
            `service_account`, `locality`, `ports`, `health`, `entry` (a name), `state` (present or absent).
        group: the WorkloadGroup as the API returns it, or None where there is none.
    """
    namespace, name = vm["namespace"], vm["group"]
    present = vm.get("state", "present") != "absent"
    base = Expectation(
        vm["name"], namespace, name, vm.get("address") or "", present=present, name=vm.get("entry") or None
    )
    if not base.address and not base.name:
        return dataclasses.replace(
            base,
            impossible=(
                "no_address",
                f"{base.vm} has no known mesh address: no sidecar answered there",
                f"see the sidecar's state on {base.vm} (systemctl status istio), or onboard it",
            ),
        )
    if not present:
        return base
    if group is None:
        return dataclasses.replace(
            base,
            impossible=(
                "group_missing",
                f"there is no WorkloadGroup {namespace or '(namespace unknown)'}/{name}",
                "create it (role workload_group), or correct mesh_workload_group for this VM",
            ),
        )
    spec = group.get("spec") or {}
    template = spec.get("template") or {}
    labels = dict(template.get("labels") or {})
    labels.update((spec.get("metadata") or {}).get("labels") or {})

    def either(option: str, ours: t.Any) -> t.Any:
        return ours if vm.get(option) is None else vm[option]

    return dataclasses.replace(
        base,
        labels=either("labels", labels),
        network=either("network", template.get("network") or None),
        service_account=either("service_account", template.get("serviceAccount") or "default"),
        locality=either("locality", template.get("locality") or None),
        ports=either("ports", template.get("ports") or None),
        health=bool(either("health", bool(spec.get("probe")))),
    )


def twins_of(expectations: t.Sequence[Expectation]) -> dict[str, list[str]]:
    """For each VM, the other VMs expected at the same address and network."""
    places: dict[tuple[str, str], list[str]] = {}
    for expected in expectations:
        if expected.address and expected.present:
            places.setdefault((expected.address, expected.network or ""), []).append(expected.vm)
    return {vm: [other for other in vms if other != vm] for vms in places.values() if len(vms) > 1 for vm in vms}
