# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The index in docs/ and the example inventory know what there is, and only that."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
INDEX = (ROOT / "docs/README.md").read_text(encoding="utf-8")
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if (path / "tasks").is_dir())
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))


def read(path: Path) -> t.Any:
    """A YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def entry_points(role: str) -> set[str]:
    """The entry points of a role."""
    return set(read(ROOT / "roles" / role / "meta/argument_specs.yml")["argument_specs"])


def test_index_lists_every_playbook() -> None:
    assert sorted(set(re.findall(r"`hybridmesh\.istio\.([a-z_]+)` \|", INDEX))) == PLAYBOOKS


def test_index_lists_every_entry_point_of_every_role() -> None:
    listed = re.findall(r"\| \[([a-z_]+)\]\(\.\./roles/([a-z_]+)/README\.md\) \| ((?:`[a-z_]+`(?:, )?)+) \|", INDEX)
    found: dict[str, set[str]] = {}
    for name, folder, entries in listed:
        assert name == folder
        found.setdefault(name, set()).update(re.findall(r"`([a-z_]+)`", entries))
    assert found == {role: entry_points(role) for role in ROLES}


def roles_of(plays: list[dict[str, t.Any]]) -> t.Iterator[tuple[str, str]]:
    """(role, entry point) of all that some plays run."""
    for play in plays:
        yield from ((item["role"], "main") for item in play.get("roles", []))
        for task in play.get("tasks", []):
            included = task.get("ansible.builtin.include_role") or task.get("ansible.builtin.import_role")
            if included:
                yield included["name"], included.get("tasks_from", "main")


def test_index_names_the_roles_of_a_playbook_as_it_does() -> None:
    row = r"\| `hybridmesh\.istio\.([a-z_]+)` \| \[([a-z_]+)\]\([^)]*\) \| `([a-z_]+)`"
    for playbook, role, entry in re.findall(row, INDEX):
        plays = read(ROOT / "playbooks" / f"{playbook}.yml")
        assert (f"hybridmesh.istio.{role}", entry) in list(roles_of(plays))


def test_example_inventory_sets_only_variables_that_exist() -> None:
    text = (ROOT / "inventories/static/group_vars/all.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"^(?:# )?([a-z]+_[a-z_]+):", text, re.MULTILINE))
    known = {option for role in ROLES for option in read(ROOT / "roles" / role / "defaults/main.yml")}
    read_by_defaults = {
        name
        for role in ROLES
        for name in re.findall(r"\bmesh_\w+", (ROOT / "roles" / role / "defaults/main.yml").read_text(encoding="utf-8"))
    }
    assert named - known - read_by_defaults == set()
