# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action gcp_infra: reads, plans, and has google.cloud's modules and Google's APIs bring the plan about."""

from __future__ import annotations

import json
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
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
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_resource import Body, Key
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._in_process import InProcess

Result = dict[str, t.Any]


class ActionModule(InProcess):
    """See the module's documentation."""

    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> Result:
        """Runs the task."""
        result: Result = super(InProcess, self).run(tmp, task_vars)
        checked = ArgumentSpecValidator(_gcp_spec.ARGUMENTS).validate(self._plain_options())
        if checked.error_messages:
            raise AnsibleActionFail(f"gcp_infra: {checked.errors.msg}")
        declared = _gcp_auth.from_environment(checked.validated_parameters)
        secrets = {
            item if isinstance(item, str) else json.dumps(item)
            for item in (declared["access_token"], declared["service_account_contents"])
            if item
        }
        try:
            result.update(self._brought_about(declared, task_vars or {}))
        except MeshError as error:
            told = {"found": error.found, "expected": error.expected, "next_step": error.next_step}
            result.update(told, failed=True, msg=str(error))
        return t.cast(Result, remove_values(result, secrets))

    def _brought_about(self, declared: Result, task_vars: dict[str, t.Any]) -> Result:
        problems = _gcp_declared.problems(declared)
        if problems:
            raise together(problems)
        _gcp_auth.need_library()
        target = _gcp_wanted.target(declared)
        google = Google(declared, target, float(declared["timeout"]))
        reader = Reader(google)
        present = declared["state"] == "present"
        wanted = _gcp_wanted.wanted(declared) if present else []
        self._existing(declared, google)
        there, ours = reader.everything([resource.key for resource in wanted], with_gke=not present)
        plan = _gcp_plan.plan(target, wanted, there, ours, declared["allow_stop"])
        if plan.refused:
            raise together(plan.refused)
        check = bool(self._task.check_mode)
        result: Result = {
            "changed": bool(plan.steps),
            "steps": _gcp_apply.told(plan.steps),
            "report": _gcp_plan.summary(plan.steps, check),
            "cost": _gcp_cost.lines(wanted),
            "notes": plan.notes,
        }
        if self._task.diff:
            result["diff"] = _gcp_plan.diff(plan.steps)
        if not check:
            applier = _gcp_apply.Applier(google, reader, self._module_runner(declared, task_vars), plan.steps)
            done = 0
            try:
                for step in plan.steps:
                    self._display.v(_gcp_plan.summary([step], True)[0])
                    applier.apply(step)
                    done += 1
            except MeshError as error:
                report = _gcp_plan.summary(plan.steps[:done], False)
                return {
                    "changed": done > 0,
                    "failed": True,
                    "msg": f"{error} Done before, and kept: {'; '.join(report) or 'nothing'}.",
                    "found": error.found,
                    "expected": error.expected,
                    "next_step": error.next_step,
                    "report": report,
                }
        return {**result, **self._outputs(declared, reader)}

    def _existing(self, declared: Result, google: Google) -> None:
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

    def _module_runner(self, declared: Result, task_vars: dict[str, t.Any]) -> _gcp_apply.RunModule:
        named = ("project", "auth_kind", "service_account_email", "service_account_file", "access_token")
        credentials: Body = {name: declared[name] for name in named if declared[name]}
        contents = declared["service_account_contents"]
        if contents:
            credentials["service_account_contents"] = contents if isinstance(contents, str) else json.dumps(contents)
        credentials["scopes"] = _gcp_auth.SCOPES

        def run(name: str, options: Body) -> t.Mapping[str, t.Any]:
            return t.cast(
                t.Mapping[str, t.Any],
                self._execute_module(module_name=name, module_args={**options, **credentials}, task_vars=task_vars),
            )

        return run

    def _outputs(self, declared: Result, reader: Reader) -> Result:
        """What the roles after this one need to know."""
        found: Result = {"cluster": None, "gateway_address": None}
        target = _gcp_wanted.target(declared)
        if declared["state"] == "absent":
            return found
        if declared["cluster"]:
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
