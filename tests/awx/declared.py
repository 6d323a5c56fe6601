# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role awx_setup declares, as YAML has it."""

from __future__ import annotations

import typing as t
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "awx_setup"


class Loader(yaml.SafeLoader):
    """With Ansible's tag for text that is no template of its own."""


Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(t.cast(yaml.ScalarNode, node)))


def variables(name: str) -> t.Any:
    """The only variable of a file of variables."""
    document = yaml.load((ROLE / "vars" / "main" / f"{name}.yml").read_text(encoding="utf-8"), Loader)
    return document[f"__awx_setup_{name}"]


SURVEYS: dict[str, list[dict[str, t.Any]]] = variables("surveys")
TYPES: dict[str, dict[str, t.Any]] = variables("credential_types")
TEMPLATES: dict[str, dict[str, t.Any]] = {template["name"]: template for template in variables("templates")}
