# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What starts a part of this collection on a machine with Python alone. Private to the collection. See plugin_utils/_bare.py.

This file is sent as it is, followed by a call of `start`.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import json
import subprocess
import sys
import types
import typing as t


class Sources:
    """Imports modules from their text, which lies in no file here.

    A finder and loader, and no child of importlib.abc's: to import that takes a tenth of a look.
    """

    def __init__(self, sources: t.Mapping[str, str]) -> None:
        """Takes the text of each module by its full name."""
        self.sources = sources
        # What they lie in: a.b.c lies in a.b, and that in a.
        self.packages = {name.rsplit(".", depth)[0] for name in sources for depth in range(1, name.count(".") + 1)}

    def find_spec(
        self, fullname: str, path: t.Any = None, target: t.Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The module, if it is one of these."""
        package = fullname in self.packages
        if not package and fullname not in self.sources:
            return None
        # The type is that of a child.
        return importlib.machinery.ModuleSpec(fullname, t.cast(t.Any, self), is_package=package)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Leaves that to Python."""

    def exec_module(self, module: types.ModuleType) -> None:
        """Fills it."""
        name = module.__name__
        exec(compile(self.sources.get(name, ""), name, "exec"), module.__dict__)


def run(command: t.Sequence[str]) -> str:
    """What a command prints; one that is missing or fails has just nothing to say."""
    try:
        # No AnsibleModule is here that could run it: that is what this is for.
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except OSError:
        return ""
    return (done.stdout or done.stderr).decode("utf-8", "replace")


def start(sources: t.Mapping[str, str], module: str, function: str, params: str, mark: str) -> None:
    """Prints what `function` of `module` makes of `params` (JSON) and `run`, as JSON in the line that begins with `mark`."""
    sys.meta_path.insert(0, t.cast(t.Any, Sources(sources)))
    work = getattr(importlib.import_module(module), function)
    try:
        result = {"answer": work(json.loads(params), run)}
    except ValueError as error:
        result = {"refused": str(error)}
    sys.stdout.write("\n" + mark + json.dumps(result) + "\n")
