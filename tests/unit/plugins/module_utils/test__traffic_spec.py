# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module, its documentation and the role say the same about a declaration."""

from __future__ import annotations

import typing as t
from pathlib import Path

import yaml
from ansible_collections.hybridmesh.istio.plugins.doc_fragments.traffic import ModuleDocFragment
from ansible_collections.hybridmesh.istio.plugins.module_utils import _traffic_spec
from ansible_collections.hybridmesh.istio.plugins.modules import traffic

ROOT = Path(__file__).parents[4]
KEYS = ("type", "elements", "required", "choices", "default")


def shape(option: t.Mapping[str, t.Any], inner: str = "options", words: bool = False) -> t.Any:
    """What an option is, however it is written down; with `words` also what is said about it."""
    found: dict[str, t.Any] = {key: option[key] for key in KEYS if key in option}
    if words:
        found["description"] = str(option["description"]).replace("C(traffic_name)", "O(name)")
    if inner in option:
        found["options"] = {name: shape(value, inner, words) for name, value in option[inner].items()}
    return found


ROLE = yaml.safe_load((ROOT / "roles/traffic/meta/argument_specs.yml").read_text(encoding="utf-8"))
OF_ROLE = ROLE["argument_specs"]["main"]["options"]
DOCUMENTED = {
    **yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"],
    **yaml.safe_load(traffic.DOCUMENTATION)["options"],
}


def test_role_and_module_check_the_same() -> None:
    for name, option in _traffic_spec.ARGUMENTS.items():
        of_role = shape(OF_ROLE[f"traffic_{name}"])
        assert shape(option) == of_role, name


def test_module_and_role_say_the_same() -> None:
    assert set(DOCUMENTED) == set(_traffic_spec.ARGUMENTS)
    assert shape(DOCUMENTED["rules"], "suboptions", words=True) == shape(OF_ROLE["traffic_rules"], words=True)
    for name, option in DOCUMENTED.items():
        assert shape(option, "suboptions") == shape(_traffic_spec.ARGUMENTS[name]), name
