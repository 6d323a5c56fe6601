# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fields of AWX's resources (24.6) that awx.awx may send, and what they lead to."""

from __future__ import annotations

import dataclasses
import typing as t

STR, INT, BOOL, DICT = (str,), (int,), (bool,), (dict,)
Kinds = dict[str, tuple[type, ...]]


@dataclasses.dataclass(frozen=True)
class Resource:
    """One kind of thing.

    Attributes:
        name: as the API calls one, such as `job_template`.
        fields: what may be set, and of which type.
        required: what must be set.
        links: field -> the collection that its number is of.
        choices: field -> what it may be.
        related: lists of others that are attached to it -> their collection.
        unique: what tells one from another.
        ignored: what is sent, and not taken (as AWX does).
    """

    name: str
    fields: Kinds
    required: tuple[str, ...] = ("name",)
    links: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    choices: t.Mapping[str, tuple[t.Any, ...]] = dataclasses.field(default_factory=dict)
    related: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    unique: tuple[str, ...] = ("name", "organization")
    ignored: tuple[str, ...] = ()


def of(kind: tuple[type, ...], names: str) -> Kinds:
    """Some fields of one type."""
    return dict.fromkeys(names.split(), kind)


_NAMED = of(STR, "name description")
_ORGANIZED: Kinds = {**_NAMED, **of(INT, "organization")}
# Everything that is run.
_LAUNCH: Kinds = {
    **of(STR, "scm_branch limit job_tags skip_tags job_type"),
    **of(INT, "verbosity forks timeout job_slice_count execution_environment inventory"),
    **of(BOOL, "diff_mode"),
}
_JOB_ASKS = (
    "scm_branch diff_mode variables limit tags skip_tags job_type verbosity inventory credential execution_environment"
    " labels forks job_slice_count timeout instance_groups"
)
_WORKFLOW_ASKS = "variables inventory limit scm_branch labels tags skip_tags"


def asks(names: str) -> Kinds:
    return {f"ask_{name}_on_launch": BOOL for name in names.split()}


RESOURCES: dict[str, Resource] = {
    "organizations": Resource(
        "organization",
        {**_NAMED, **of(INT, "max_hosts default_environment")},
        links={"default_environment": "execution_environments"},
        unique=("name",),
    ),
    "execution_environments": Resource(
        "execution_environment",
        {**_ORGANIZED, **of(STR, "image pull"), **of(INT, "credential")},
        required=("name", "image"),
        links={"organization": "organizations", "credential": "credentials"},
        choices={"pull": ("", "always", "missing", "never")},
        unique=("name",),
    ),
    "credential_types": Resource(
        "credential_type",
        {**_NAMED, **of(STR, "kind"), **of(DICT, "inputs injectors")},
        required=("name", "kind"),
        choices={"kind": ("cloud", "net")},
        unique=("name", "kind"),
        ignored=("managed",),
    ),
    "credentials": Resource(
        "credential",
        {**_ORGANIZED, **of(INT, "credential_type"), **of(DICT, "inputs")},
        required=("name", "credential_type", "organization"),
        links={"organization": "organizations", "credential_type": "credential_types"},
        unique=("name", "organization", "credential_type"),
    ),
    "projects": Resource(
        "project",
        {
            **_ORGANIZED,
            **of(STR, "scm_type scm_url scm_branch scm_refspec local_path"),
            **of(BOOL, "scm_clean scm_delete_on_update scm_track_submodules scm_update_on_launch allow_override"),
            **of(INT, "scm_update_cache_timeout timeout credential default_environment"),
        },
        links={
            "organization": "organizations",
            "credential": "credentials",
            "default_environment": "execution_environments",
        },
        choices={"scm_type": ("", "git", "svn", "insights", "archive")},
    ),
    "inventories": Resource(
        "inventory",
        {**_ORGANIZED, **of(STR, "variables kind host_filter"), **of(BOOL, "prevent_instance_group_fallback")},
        required=("name", "organization"),
        links={"organization": "organizations"},
        choices={"kind": ("", "smart", "constructed")},
    ),
    "hosts": Resource(
        "host",
        {**_NAMED, **of(STR, "variables instance_id"), **of(INT, "inventory"), **of(BOOL, "enabled")},
        required=("name", "inventory"),
        links={"inventory": "inventories"},
        unique=("name", "inventory"),
    ),
    "groups": Resource(
        "group",
        {**_NAMED, **of(STR, "variables"), **of(INT, "inventory")},
        required=("name", "inventory"),
        links={"inventory": "inventories"},
        related={"hosts": "hosts", "children": "groups"},
        unique=("name", "inventory"),
    ),
    "inventory_sources": Resource(
        "inventory_source",
        {
            **_NAMED,
            **of(STR, "source source_path source_vars enabled_var enabled_value host_filter limit scm_branch"),
            **of(
                INT, "inventory source_project credential execution_environment update_cache_timeout timeout verbosity"
            ),
            **of(BOOL, "overwrite overwrite_vars update_on_launch"),
        },
        required=("name", "inventory", "source"),
        links={
            "inventory": "inventories",
            "source_project": "projects",
            "credential": "credentials",
            "execution_environment": "execution_environments",
        },
        choices={"source": ("scm", "ec2", "gce", "azure_rm", "vmware", "satellite6", "openstack", "rhv", "controller")},
        unique=("name", "inventory"),
    ),
    "job_templates": Resource(
        "job_template",
        {
            **_NAMED,
            **_LAUNCH,
            **asks(_JOB_ASKS),
            **of(STR, "playbook extra_vars start_at_task host_config_key webhook_service"),
            **of(INT, "project webhook_credential"),
            **of(BOOL, "force_handlers use_fact_cache survey_enabled become_enabled allow_simultaneous"),
            **of(BOOL, "prevent_instance_group_fallback"),
        },
        required=("name", "project", "playbook"),
        links={
            "inventory": "inventories",
            "project": "projects",
            "execution_environment": "execution_environments",
            "webhook_credential": "credentials",
        },
        choices={"job_type": ("run", "check"), "verbosity": (0, 1, 2, 3, 4, 5)},
        related={"credentials": "credentials"},
        # It is the project's.
        ignored=("organization",),
    ),
    "workflow_job_templates": Resource(
        "workflow_job_template",
        {
            **_ORGANIZED,
            **asks(_WORKFLOW_ASKS),
            **of(STR, "limit scm_branch extra_vars job_tags skip_tags"),
            **of(INT, "inventory"),
            **of(BOOL, "survey_enabled allow_simultaneous"),
        },
        links={"organization": "organizations", "inventory": "inventories"},
    ),
    "workflow_job_template_nodes": Resource(
        "workflow_job_template_node",
        {
            **_LAUNCH,
            **of(STR, "identifier"),
            **of(INT, "workflow_job_template unified_job_template"),
            **of(DICT, "extra_data"),
            **of(BOOL, "all_parents_must_converge"),
        },
        required=("workflow_job_template",),
        links={
            "workflow_job_template": "workflow_job_templates",
            "unified_job_template": "unified_job_templates",
            "inventory": "inventories",
            "execution_environment": "execution_environments",
        },
        related=dict.fromkeys(("success_nodes", "failure_nodes", "always_nodes"), "workflow_job_template_nodes"),
        unique=("identifier", "workflow_job_template"),
        ignored=("type",),
    ),
    "schedules": Resource(
        "schedule",
        {
            **_NAMED,
            **_LAUNCH,
            **of(STR, "rrule"),
            **of(INT, "unified_job_template"),
            **of(BOOL, "enabled"),
            **of(DICT, "extra_data"),
        },
        required=("name", "rrule", "unified_job_template"),
        links={"unified_job_template": "unified_job_templates", "inventory": "inventories"},
        unique=("name", "unified_job_template"),
    ),
}

# Whatever can be run has a number that no other has.
RUN = ("projects", "inventory_sources", "job_templates", "workflow_job_templates")
