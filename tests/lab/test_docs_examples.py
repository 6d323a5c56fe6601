# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of the documentation, run as they stand: pages of docs/, and what ansible-doc shows."""

from __future__ import annotations

import importlib
import pathlib
import re
import typing as t

import pytest
import yaml
from conftest import Lab

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PLUGINS = "ansible_collections.hybridmesh.istio.plugins"
PAGES = ["bootstrap.md", "verify.md"]
# What their examples do is in a test of their own.
ELSEWHERE = {"observability.md": "slow/test_observability.py"}
EXAMPLES = [
    "lookup.sidecar_bootstrap",
    "lookup.sidecar_token",
    "modules.workload_entry_info",
    "modules.token_policy",
]


def tasks_of(text: str) -> list[t.Any]:
    """The tasks of a page, of all its YAML in order; variables are none."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", text, re.M | re.S)
    return [task for block in blocks for task in yaml.safe_load(block) if isinstance(task, dict)]


def run(lab: Lab, name: str, tasks: list[t.Any]) -> None:
    # On a machine of the group, which has a sidecar: some examples put files in their place.
    play = {"hosts": "vm2", "gather_facts": False, "tasks": tasks}
    playbook = lab.folder / f"example-{name}.yml"
    playbook.write_text(yaml.safe_dump([play], sort_keys=False, width=1000))
    done = lab.playbook(str(playbook), "-vvv")
    assert done.code == 0, done.output
    assert not re.search(r"\[(WARNING|DEPRECATION)", done.output), done.output
    # No token: a JSON web token starts with the encoding of '{"alg":'.
    assert "eyJhbGciOi" not in done.output


@pytest.mark.parametrize("page", PAGES)
def test_page(mesh: Lab, page: str) -> None:
    tasks = tasks_of((DOCS / page).read_text())
    assert len(tasks) > 3
    run(mesh, page, tasks)


@pytest.mark.parametrize("plugin", EXAMPLES)
def test_examples(mesh: Lab, plugin: str) -> None:
    module = importlib.import_module(f"{PLUGINS}.{plugin}")
    try:
        run(mesh, plugin, yaml.safe_load(module.EXAMPLES))
    finally:
        if plugin == "modules.token_policy":
            # Its example has another limit than the lab.
            assert mesh.playbook("playbooks/mesh.yml").code == 0


def test_every_page_is_run() -> None:
    with_examples = [page.name for page in sorted(DOCS.glob("*.md")) if tasks_of(page.read_text())]
    assert with_examples == sorted([*PAGES, *ELSEWHERE])


def test_what_limits_calls_prevented_has_a_test_of_that_number() -> None:
    text = (DOCS / "limits.md").read_text(encoding="utf-8").partition("## Prevented")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]*\d{5}[^|]*) \|.*\| ([^|]*) \|$", text, re.MULTILINE)
    assert len(rows) > 20
    for issues, shown_by in rows:
        files = [(ROOT / name).read_text(encoding="utf-8") for name in re.findall(r"`(tests/[^`]*\.py)`", shown_by)]
        names = re.findall(r"(?:def test_|Case\(\")issue[-_][\w-]+", "".join(files))
        assert [number for number in re.findall(r"\b\d{5}\b", issues) if number not in "".join(names)] == [], shown_by
