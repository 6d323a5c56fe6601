# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's metadata and its plugins say the same."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import yaml
from ansible_collections.hybridmesh.istio.plugins.doc_fragments.cluster import ModuleDocFragment
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import connection_argument_spec

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("[!_]*.py"))
RUNTIME = yaml.safe_load((ROOT / "meta/runtime.yml").read_text(encoding="utf-8"))


def fragments(module: str) -> list[str]:
    """The documentation fragments that a module extends."""
    source = importlib.import_module(f"ansible_collections.hybridmesh.istio.plugins.modules.{module}")
    named = yaml.safe_load(source.DOCUMENTATION).get("extends_documentation_fragment", [])
    return [named] if isinstance(named, str) else named


def test_action_group_holds_the_modules_that_reach_the_cluster() -> None:
    reaching = [module for module in MODULES if "hybridmesh.istio.cluster" in fragments(module)]
    assert sorted(RUNTIME["action_groups"]["cluster"]) == reaching


@pytest.mark.parametrize("module", MODULES)
def test_modules_document_their_membership(module: str) -> None:
    named = fragments(module)
    assert "hybridmesh.istio.attributes" in named
    assert ("hybridmesh.istio.attributes.cluster" in named) == ("hybridmesh.istio.cluster" in named)


def test_connection_options_are_documented_as_they_are() -> None:
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    actual = connection_argument_spec()
    assert list(documented) == list(actual)
    for name, option in actual.items():
        for key in ("type", "elements", "aliases"):
            assert documented[name].get(key) == option.get(key), f"{name}: {key}"
