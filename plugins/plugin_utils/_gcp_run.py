# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of gcp_infra, from a declaration to a result, apart from Ansible. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_scene import together
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import (
    _gcp_apply,
    _gcp_auth,
    _gcp_cost,
    _gcp_declared,
    _gcp_plan,
    _gcp_spec,
    _gcp_wanted,
)
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_api import Google
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_read import Reader
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_resource import Key

Result = dict[str, t.Any]


def validated(options: t.Mapping[str, t.Any]) -> Result:
    """The declaration of some options, with defaults, and with what the environment says of credentials.

    Raises:
        MeshError: they are not of the types that they are documented with.
    """
    checked = ArgumentSpecValidator(_gcp_spec.ARGUMENTS).validate(dict(options))
    if checked.error_messages:
        raise MeshError(checked.errors.msg, "options as documented", "see ansible-doc hybridmesh.istio.gcp_infra")
    return _gcp_auth.from_environment(checked.validated_parameters)


def failure(error: MeshError) -> Result:
    """The result of a run that failed."""
    told = {"found": error.found, "expected": error.expected, "next_step": error.next_step}
    return {**told, "failed": True, "msg": str(error)}


def brought_about(
    declared: Result,
    run_module: _gcp_apply.RunModule,
    check_mode: bool = False,
    diff: bool = False,
    say: t.Callable[[str], None] = lambda _text: None,
) -> Result:
    """Brings a declaration about.

    Args:
        declared: what `validated` returned.
        run_module: runs a module of google.cloud.
        check_mode: whether nothing is to be changed.
        diff: whether differences are to be part of the result.
        say: is told each step before it is taken.

    Raises:
        MeshError: nothing was done, and why.
    """
    problems = _gcp_declared.problems(declared)
    if problems:
        raise together(problems)
    target = _gcp_wanted.target(declared)
    google = Google(declared, target, float(declared["timeout"]))
    reader = Reader(google)
    present = declared["state"] == "present"
    wanted = _gcp_wanted.wanted(declared) if present else []
    if present:
        _existing(declared, google)
    there, ours = reader.everything([resource.key for resource in wanted], with_gke=not present)
    plan = _gcp_plan.plan(target, wanted, there, ours, declared["allow_stop"])
    if plan.refused:
        raise together(plan.refused)
    result: Result = {
        "changed": bool(plan.steps),
        "steps": _gcp_apply.told(plan.steps),
        "report": _gcp_plan.summary(plan.steps, check_mode),
        "cost": _gcp_cost.lines(wanted),
        "notes": [*plan.notes, *(_gcp_declared.notes(declared) if present else [])],
    }
    if diff:
        result["diff"] = _gcp_plan.diff(plan.steps)
    if not check_mode:
        applier = _gcp_apply.Applier(google, reader, run_module, plan.steps)
        for number, step in enumerate(plan.steps):
            say(_gcp_plan.summary([step], True)[0])
            try:
                applier.apply(step)
            except MeshError as error:
                report = _gcp_plan.summary(plan.steps[:number], False)
                kept = f" Done before, and kept: {'; '.join(report) or 'nothing'}."
                return {**failure(error), "changed": number > 0, "msg": str(error) + kept, "report": report}
    return {**result, **_outputs(declared, reader)}


def _existing(declared: Result, google: Google) -> None:
    """Whether the network and the subnet are there that are not to be made."""
    where = f"projects/{declared['project']}"
    paths = {
        "network": f"{where}/global/networks/{declared['network']}",
        "subnet": f"{where}/regions/{declared['region']}/subnetworks/{declared['subnet']}",
    }
    for name, path in paths.items():
        if declared[name] and google.get("compute", path, f"reading the existing {name} {declared[name]}") is None:
            raise MeshError(
                f"there is no {name} {declared[name]} in project {declared['project']}",
                f"one that is there, or none: then a {name} is made",
                f"correct gcp_infra_{name}, or leave it out",
            )


def _outputs(declared: Result, reader: Reader) -> Result:
    """What the roles after this one need to know."""
    found: Result = {"cluster": None, "gateway_address": None}
    target = _gcp_wanted.target(declared)
    if declared["state"] == "absent" or not declared["cluster"]:
        return found
    location = _gcp_wanted.cluster_location(declared)
    cluster = reader.one(Key("cluster", location, declared["cluster"]["name"]))
    if cluster:
        found["cluster"] = {
            "name": cluster.key.name,
            "location": location,
            "endpoint": cluster.body.get("endpoint"),
            "version": cluster.body.get("currentMasterVersion"),
        }
    address = reader.one(Key("address", target.region, f"{target.name}-gateway"))
    found["gateway_address"] = address.body.get("address") if address else None
    return found
