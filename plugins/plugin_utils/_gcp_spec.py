# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of gcp_infra. Pure. Private to the collection."""

from __future__ import annotations

import typing as t

IMAGE = "projects/debian-cloud/global/images/family/debian-12"


def _list(elements: str = "str", **more: t.Any) -> dict[str, t.Any]:
    return {"type": "list", "elements": elements, "default": [], **more}


# How Google is spoken to, as google.cloud has it.
CREDENTIALS: dict[str, t.Any] = {
    "project": {"type": "str"},
    "auth_kind": {"type": "str"},
    "service_account_email": {"type": "str"},
    "service_account_file": {"type": "path"},
    "service_account_contents": {"type": "raw", "no_log": True},
    "access_token": {"type": "str", "no_log": True},
}

CLUSTER: dict[str, t.Any] = {
    "name": {"type": "str", "default": "cluster1"},
    "regional": {"type": "bool", "default": False},
    "release_channel": {"type": "str", "choices": ["RAPID", "REGULAR", "STABLE", "EXTENDED"], "default": "REGULAR"},
    "private_nodes": {"type": "bool", "default": True},
    "private_endpoint": {"type": "bool", "default": False},
    "control_plane_range": {"type": "str", "default": "172.16.0.0/28"},
    "authorized_ranges": _list(),
    "workload_identity": {"type": "bool", "default": True},
}

NODES: dict[str, t.Any] = {
    "name": {"type": "str", "default": "nodes"},
    "count": {"type": "int", "default": 3},
    "machine_type": {"type": "str", "default": "e2-medium"},
    "disk_gb": {"type": "int", "default": 50},
    "disk_type": {"type": "str", "default": "pd-balanced"},
    "labels": {"type": "dict", "default": {}},
    "autoscale": {
        "type": "dict",
        "options": {"min": {"type": "int", "required": True}, "max": {"type": "int", "required": True}},
    },
}

VMS: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "workload_group": {"type": "str", "required": True},
    "ports": {"type": "list", "elements": "int", "required": True},
    "count": {"type": "int", "default": 1},
    "autoscale": {
        "type": "dict",
        "options": {
            "min": {"type": "int", "required": True},
            "max": {"type": "int", "required": True},
            "cpu": {"type": "float", "default": 0.6},
        },
    },
    "zone": {"type": "str"},
    "regional": {"type": "bool", "default": False},
    "machine_type": {"type": "str", "default": "e2-small"},
    "image": {"type": "str", "default": IMAGE},
    "disk_gb": {"type": "int", "default": 10},
    "disk_type": {"type": "str", "default": "pd-balanced"},
    "tags": _list(),
    "labels": {"type": "dict", "default": {}},
    "metadata": {"type": "dict", "default": {}},
    "public_address": {"type": "bool", "default": False},
}

RULES: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "reason": {"type": "str", "required": True},
    "ports": {"type": "list", "elements": "str", "required": True},
    "protocol": {"type": "str", "default": "tcp"},
    "source_ranges": _list(),
    "source_tags": _list(),
    "target_tags": _list(),
    "priority": {"type": "int", "default": 1000},
}

ARGUMENTS: dict[str, t.Any] = {
    **CREDENTIALS,
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "name": {"type": "str", "default": "mesh1"},
    "region": {"type": "str", "default": "australia-southeast1"},
    "zone": {"type": "str"},
    "network": {"type": "str"},
    "subnet": {"type": "str"},
    "subnet_range": {"type": "str", "default": "10.10.0.0/20"},
    "pod_range": {"type": "str", "default": "10.20.0.0/16"},
    "service_range": {"type": "str", "default": "10.30.0.0/20"},
    "nat": {"type": "bool", "default": True},
    "cluster": {"type": "dict", "options": CLUSTER},
    "nodes": {"type": "dict", "options": NODES, "apply_defaults": True},
    "vms": _list("dict", options=VMS),
    "ssh_keys": _list(no_log=False),
    "os_login": {"type": "bool", "default": False},
    "allow_stop": {"type": "bool", "default": False},
    "pod_ports": _list("int"),
    "metrics_ports": _list("int"),
    "vms_join": {"type": "bool", "default": False},
    "iap": {"type": "bool", "default": True},
    "ssh_ranges": _list(),
    "gateway_address": {"type": "bool", "default": True},
    "gateway_internal": {"type": "bool", "default": True},
    "firewall_rules": _list("dict", options=RULES),
    "timeout": {"type": "int", "default": 1800},
}
