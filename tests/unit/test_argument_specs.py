# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles' argument specs promise is what their defaults do."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if (path / "tasks").is_dir())

PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "path": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
    "raw": (object,),
}


def read(role: str, file: str) -> dict[str, t.Any]:
    """A YAML file of a role, {} where it is not there or empty."""
    path = ROOT / "roles" / role / file
    return (yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None) or {}


def entry_points(role: str) -> dict[str, dict[str, t.Any]]:
    """Entry point -> its spec."""
    return read(role, "meta/argument_specs.yml").get("argument_specs", {})


def options_of(role: str) -> list[tuple[str, str, dict[str, t.Any]]]:
    """(entry point, name, option) of all options."""
    return [
        (entry, name, option)
        for entry, spec in entry_points(role).items()
        for name, option in (spec.get("options") or {}).items()
    ]


def is_computed(value: t.Any) -> bool:
    """Whether a default is only known at run time: null, or an expression."""
    return value is None or (isinstance(value, str) and "{{" in value)


def fits(value: t.Any, option: t.Mapping[str, t.Any]) -> bool:
    """Whether a value is what an option's type, elements, choices and sub-options say."""
    if is_computed(value):
        return True
    kind = option.get("type", "str")
    if not isinstance(value, PYTHON_TYPES[kind]) or (kind == "int" and isinstance(value, bool)):
        return False
    if kind == "list":
        item = {"type": option.get("elements", "raw"), **{k: option[k] for k in ("choices", "options") if k in option}}
        return all(fits(element, item) for element in value)
    if kind == "dict" and option.get("options"):
        return all(key in option["options"] and fits(value[key], option["options"][key]) for key in value)
    return "choices" not in option or value in option["choices"]


@pytest.mark.parametrize("role", ROLES)
def test_every_entry_point_has_a_spec(role: str) -> None:
    # Task files that are only included by others of the role lie in folders of tasks/, or have names that begin with _.
    assert entry_points(role).get("main"), f"roles/{role}/meta/argument_specs.yml has no entry point main"
    for name, spec in entry_points(role).items():
        assert (ROOT / "roles" / role / "tasks" / f"{name}.yml").is_file(), f"entry point {name} has no task file"
        assert spec.get("short_description"), f"entry point {name} has no short_description"
        assert spec.get("description"), f"entry point {name} has no description"


@pytest.mark.parametrize("role", ROLES)
def test_options_and_defaults_have_the_same_names(role: str) -> None:
    defaults = set(read(role, "defaults/main.yml"))
    optional = {name for dummy, name, option in options_of(role) if not option.get("required")}
    assert optional - defaults == set(), "options without a default in defaults/main.yml"
    assert defaults - {name for dummy, name, option in options_of(role)} == set(), (
        "defaults that no argument spec knows"
    )


@pytest.mark.parametrize("role", ROLES)
def test_options_have_the_default_that_defaults_give(role: str) -> None:
    defaults = read(role, "defaults/main.yml")
    for entry, name, option in options_of(role):
        value = defaults.get(name)
        where = f"{entry}: {name}"
        if option.get("required") or is_computed(value):
            assert "default" not in option, f"{where}: known at run time only, so the spec must have no default"
        else:
            assert option.get("default") == value, f"{where}: the spec's default differs from defaults/main.yml"
            assert type(option.get("default")) is type(value), where
        assert fits(value, option), f"{where}: {value!r} is not of type {option.get('type')}"


@pytest.mark.parametrize("role", ROLES)
def test_options_are_the_same_in_all_entry_points(role: str) -> None:
    seen: dict[str, dict[str, t.Any]] = {}
    for entry, name, option in options_of(role):
        shape = {key: option[key] for key in ("type", "elements", "default", "choices", "options") if key in option}
        assert seen.setdefault(name, shape) == shape, f"{entry}: {name} differs from another entry point's"


@pytest.mark.parametrize("role", ROLES)
def test_options_are_named_and_described(role: str) -> None:
    for entry, name, option in options_of(role):
        assert name.startswith(f"{role}_") or name.startswith("mesh_"), f"{entry}: {name} is not the role's own"
        assert undescribed(name, option) == [], f"{entry}: options without a type or a description"


def undescribed(name: str, option: t.Mapping[str, t.Any]) -> list[str]:
    """The names of an option and of its sub-options that lack a type or a description."""
    missing = [] if option.get("description") and option.get("type") else [name]
    for key, value in (option.get("options") or {}).items():
        missing += undescribed(f"{name}.{key}", value)
    return missing
