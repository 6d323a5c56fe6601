# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the server of tests/awx, with nothing in it, until nobody asks it any more.

Usage: awx_server.py FOLDER. Writes there where it listens (host) and the names of what there is (things.json). It ends when FOLDER
goes, or ten minutes after the last request.
"""

from __future__ import annotations

import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "tests"))

from awx import rules
from awx.conftest import project_files
from awx.declared import ROOT
from awx.server import World, serving
from awx.state import State

PATIENCE = 600


def write(path: pathlib.Path, text: str) -> None:
    """Writes a file so that nobody sees half of it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def main() -> None:
    """Runs it."""
    folder = pathlib.Path(sys.argv[1])
    state = State(rules.playbooks(ROOT, project_files()))
    with serving(World(state, folder)) as world:
        write(folder / "host", world.environment()["CONTROLLER_HOST"])
        asked, last = 0, time.monotonic()
        while time.monotonic() - last < PATIENCE and folder.is_dir():
            with world.lock:
                now = len(world.requests)
                names = {
                    kind: sorted(str(item.get("name")) for item in items.values())
                    for kind, items in state.objects.items()
                }
                refused = [str(item) for item in state.refused]
            if now != asked:
                asked, last = now, time.monotonic()
            write(folder / "things.json", json.dumps({"names": names, "refused": refused}))
            time.sleep(0.5)


if __name__ == "__main__":
    main()
