# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what is wanted and what is there to what must be done: create, change, remove, or refuse. Pure. Private."""

from __future__ import annotations

import dataclasses
import typing as t

import yaml
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _gcp_changes, _gcp_views
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_kinds import ORDER
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_resource import Key, Resource, Target, is_ours


@dataclasses.dataclass
class Step:
    """One thing to do.

    Attributes:
        action: `create`, `change` or `remove`.
        key: to what.
        wanted: as it is to be; None for a removal.
        found: as it is; None for a creation.
        fields: those that are changed.
        calls: how they are changed.
        along: whether it comes, or goes, with another one: a node pool with its cluster.
    """

    action: str
    key: Key
    wanted: Resource | None = None
    found: Resource | None = None
    fields: tuple[str, ...] = ()
    calls: list[_gcp_changes.Call] = dataclasses.field(default_factory=list)
    along: bool = False

    @property
    def reason(self) -> str:
        """Why it is wanted."""
        return self.wanted.reason if self.wanted else ""


@dataclasses.dataclass
class Plan:
    """All of it: the steps in order, what is refused, and what should be known."""

    steps: list[Step] = dataclasses.field(default_factory=list)
    refused: list[MeshError] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)


def plan(
    target: Target,
    wanted: t.Sequence[Resource],
    found: t.Mapping[Key, Resource],
    ours: t.Iterable[Resource],
    allow_stop: bool = False,
) -> Plan:
    """What leads from what is there to what is wanted.

    Args:
        target: where.
        wanted: what is to be there, each after what it needs.
        found: of these, what is there.
        ours: all that was made for this infrastructure, wanted or not.
        allow_stop: whether machines may be stopped for a change.
    """
    result = Plan()
    for resource in wanted:
        there = found.get(resource.key)
        if there is None:
            result.steps.append(Step("create", resource.key, resource))
        elif not is_ours(there, target.name) and resource.key.kind not in ("project_role",):
            result.refused.append(taken(resource.key, target))
        else:
            _compare(result, target, resource, there, allow_stop)
    keys = {resource.key for resource in wanted}
    leftovers = [resource for resource in ours if resource.key not in keys]
    leftovers.sort(key=lambda resource: ORDER.index(resource.key.kind), reverse=True)
    result.steps += [Step("remove", resource.key, found=resource) for resource in leftovers]
    clusters = {
        (step.action, f"{step.key.location}/{step.key.name}")
        for step in result.steps
        if step.key.kind == "cluster" and step.action != "change"
    }
    for step in result.steps:
        step.along = step.key.kind == "node_pool" and (step.action, step.key.location) in clusters
    return result


def _compare(result: Plan, target: Target, wanted: Resource, there: Resource, allow_stop: bool) -> None:
    before, after = _gcp_views.view(there), _gcp_views.view(wanted)
    fields = tuple(field for field in after if before.get(field) != after[field])
    if not fields:
        return
    try:
        calls = _gcp_changes.changes(_gcp_changes.Scene(target, wanted, there, fields, allow_stop))
    except _gcp_changes.Refused as error:
        said = ", ".join(f"{field} {before.get(field)!r} (declared: {after[field]!r})" for field in fields)
        result.refused.append(
            MeshError(
                f"{wanted.key} in project {target.project} has {said}", "what can be changed in place", str(error)
            )
        )
        return
    result.steps.append(Step("change", wanted.key, wanted, there, fields, calls))
    if wanted.key.kind == "instance_group" and "instanceTemplate" in fields:
        result.notes.append(
            f"{wanted.key}: new machines are made by the new template; those that run already stay as they are until"
            " they are replaced (gcloud compute instance-groups managed rolling-action replace)"
        )


def taken(key: Key, target: Target) -> MeshError:
    """The error for a resource of the same name that is somebody else's."""
    return MeshError(
        f"{key} is in project {target.project} already, and was not made by the infrastructure {target.name}",
        "a name that is free, or a resource of its own making",
        "choose another gcp_infra_name (or name of the VMs, of the cluster), or remove what is there",
    )


def summary(steps: t.Iterable[Step], would: bool) -> list[str]:
    """One line for each step."""
    words = {
        "create": ("created", "would create"),
        "change": ("changed", "would change"),
        "remove": ("removed", "would remove"),
    }
    lines = []
    for step in steps:
        detail = f" - {', '.join(step.fields)}" if step.fields else f" - {step.reason}" if step.reason else ""
        lines.append(f"{words[step.action][would]} {step.key}{detail}")
    return lines


def diff(steps: t.Iterable[Step]) -> list[dict[str, str]]:
    """The steps as Ansible shows differences."""
    return [
        {
            "before_header": str(step.key),
            "after_header": str(step.key),
            "before": _text(step.found),
            "after": _text(step.wanted),
        }
        for step in steps
    ]


def _text(resource: Resource | None) -> str:
    if resource is None:
        return ""
    return str(yaml.safe_dump(_gcp_views.view(resource), default_flow_style=False, sort_keys=True, width=160))
