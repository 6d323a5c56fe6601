# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that say what the sidecar's files on a machine must be. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator


def argument_spec() -> dict[str, t.Any]:
    """The options that say what the files must be."""
    ports = {"type": "list", "elements": "int", "default": []}
    words = {"type": "list", "elements": "str", "default": []}
    return {
        "files": {"type": "dict"},
        "address": {"type": "str"},
        "image": {"type": "bool", "default": False},
        "environment": {"type": "dict", "default": {}},
        "concurrency": {"type": "int"},
        "capture": {
            "type": "dict",
            "options": {
                "inbound_ports": {"type": "list", "elements": "str"},
                "management_ports": dict(ports, default=[22]),
                "exclude_inbound_ports": ports,
                "outbound_ranges": dict(words, default=["*"]),
                "exclude_outbound_ranges": words,
                "exclude_outbound_ports": ports,
                "exclude_interfaces": words,
                "environment": {"type": "dict", "default": {}},
            },
        },
        "own_files": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "path": {"type": "path", "required": True},
                "content": {"type": "str", "required": True},
                "mode": {"type": "str", "default": "0644"},
                "effects": {
                    "type": "list",
                    "elements": "str",
                    "choices": ["restart", "capture", "reload"],
                    "default": [],
                },
            },
        },
    }


def validated(options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Options that came as a plain dictionary, as a module would get them.

    Raises:
        ValueError: an option is of the wrong kind.
    """
    checked = ArgumentSpecValidator(argument_spec()).validate(dict(options))
    if checked.error_messages:
        raise ValueError("config: " + "; ".join(checked.error_messages))
    return dict(checked.validated_parameters)
