# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the server of tests/gcp, with an empty project, until nobody asks it any more.

Usage: server.py FOLDER PORT. Writes there what there is in its project (things.json). It ends when FOLDER goes, or ten minutes after
the last request.
"""

from __future__ import annotations

import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "tests"))

from gcp.server.front import World
from gcp.server.state import Settings

PATIENCE = 600


def write(path: pathlib.Path, what: object) -> None:
    """Writes a file so that nobody sees half of it."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(what))
    new.replace(path)


def main() -> None:
    """Runs it."""
    folder = pathlib.Path(sys.argv[1])
    with World(folder, Settings(), int(sys.argv[2])) as world:
        asked, last = 0, time.monotonic()
        while time.monotonic() - last < PATIENCE and folder.is_dir():
            with world.lock:
                now, things = len(world.requests), {"things": sorted(world.state.things), "refused": world.refused}
            if now != asked:
                asked, last = now, time.monotonic()
            write(folder / "things.json", things)
            time.sleep(0.5)


if __name__ == "__main__":
    main()
