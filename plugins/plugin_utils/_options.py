# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lookups share in reading their options. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible.utils.display import Display
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import ENVIRONMENT, Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._definition import Name, parse_name
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._tokens import (
    MINIMUM_DURATION,
    request_tokens,
    warning_if_short,
)

# The variables that options of the lookups are read from: those of the doc fragment `cluster` (PLUGINS), then the
# lookups' own.
VARIABLES = (
    "mesh_kubeconfig",
    "mesh_context",
    "mesh_host",
    "mesh_api_key",
    "mesh_ca_cert",
    "mesh_validate_certs",
    "mesh_istio_namespace",
    "mesh_revision",
    "mesh_ingress_service",
    "mesh_ingress_ip",
    "mesh_verify_istiod",
    "mesh_token_duration",
)


class Lookup(t.Protocol):
    """What is used of Ansible's LookupBase."""

    _templar: t.Any

    def get_option(self, option: str, /) -> t.Any: ...

    def set_options(self, *, var_options: t.Any, direct: t.Any) -> None: ...


def read(lookup: Lookup, variables: t.Mapping[str, t.Any] | None, arguments: t.Mapping[str, t.Any]) -> None:
    """Sets the lookup's options from its arguments, variables, ansible.cfg and the environment.

    Ansible hands over variables as they are written. One that is a template has to be resolved before Ansible turns it
    into the option's type: the text of any template would make a boolean false.
    """
    known = {name: variables[name] for name in VARIABLES if name in variables} if variables else {}
    if lookup._templar is not None:
        known = {name: lookup._templar.template(value) for name, value in known.items()}
    given = {name: value for name, value in known.items() if value not in (None, "")}
    lookup.set_options(var_options=given, direct=dict(arguments))


def option(lookup: Lookup, name: str) -> t.Any:
    """An option's value; for those of the connection an empty text means unset, as it does for kubectl."""
    value = lookup.get_option(name)
    return None if value == "" and name in ENVIRONMENT else value


def connect(lookup: Lookup) -> Cluster:
    """The connection that the lookup's options describe.

    Raises:
        MeshError: they lead to no usable configuration.
    """
    return Cluster({name: option(lookup, name) for name in ENVIRONMENT})


def names(lookup: Lookup, terms: t.Iterable[t.Any]) -> list[Name]:
    """The WorkloadGroups that the terms name.

    Raises:
        MeshError: a term is no name of a group.
    """
    return [parse_name(str(term), option(lookup, "namespace")) for term in terms]


def in_check_mode(variables: t.Mapping[str, t.Any] | None) -> bool:
    return bool((variables or {}).get("ansible_check_mode", False))


def tokens(lookup: Lookup, cluster: Cluster, name: Name, account: str, duration: str, count: int) -> list[str]:
    """Tokens for a group's ServiceAccount; `duration` is the option that has it.

    Raises:
        MeshError: the API server makes none, or none that would do.
    """
    asked = int(option(lookup, duration))
    if asked < MINIMUM_DURATION:
        raise MeshError(f"{duration} {asked}", f"{MINIMUM_DURATION} s at least", f"raise {duration}")
    made = request_tokens(cluster, name.namespace, account, asked, count)
    if made:
        warning = warning_if_short(min(made, key=lambda token: token.expires), asked, cluster.server_time)
        if warning:
            Display().warning(warning)
    return [token.token for token in made]
