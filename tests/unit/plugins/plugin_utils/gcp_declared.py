# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A declaration for the tests of what makes infrastructure in Google Cloud."""

from __future__ import annotations

import typing as t

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _gcp_spec

APP = {"name": "app", "workload_group": "shop/app", "ports": [8080], "count": 2}
WEB = {"name": "web", "workload_group": "shop/web", "ports": [80], "autoscale": {"min": 1, "max": 3}}


def declaration(**changes: t.Any) -> dict[str, t.Any]:
    """The declaration, with defaults."""
    given = {"project": "p", "auth_kind": "application", "cluster": {}, "vms": [APP, WEB], "pod_ports": [10000]}
    checked = ArgumentSpecValidator(_gcp_spec.ARGUMENTS).validate({**given, "metrics_ports": [15020], **changes})
    assert not checked.error_messages, checked.error_messages
    found: dict[str, t.Any] = checked.validated_parameters
    return found
