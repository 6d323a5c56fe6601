# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the modules that work on a machine run its programs and tell what went wrong. Private to the collection."""

from __future__ import annotations

import contextlib
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError


def commands(module: AnsibleModule) -> t.Callable[[t.Sequence[str]], tuple[int, str, str]]:
    """How a command is run that has to be there; nobody is asked anything, and what it says is English."""
    module.run_command_environ_update = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}

    def run(command: t.Sequence[str]) -> tuple[int, str, str]:
        code, out, err = module.run_command(list(command))
        return int(code), str(out), str(err)

    return run


def asking(module: AnsibleModule) -> t.Callable[[t.Sequence[str]], str]:
    """How a command is run whose answer is a fact: one that is missing or fails has just nothing to say."""

    def run(command: t.Sequence[str]) -> str:
        try:
            _code, out, err = module.run_command(list(command), handle_exceptions=False)
        except OSError:
            return ""
        return str(out or err)

    return run


@contextlib.contextmanager
def told_errors(module: AnsibleModule) -> t.Iterator[None]:
    """Ends the module with a message where the machine can't be changed as it has to be."""
    try:
        yield
    except MeshError as error:
        module.fail_json(msg=str(error), found=error.found, expected=error.expected, next_step=error.next_step)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        module.fail_json(
            msg=f"Found: {error.strerror or error}{place}. Expected: the sidecar's package and files can be written. "
            "Next step: make room or mend that path, and run again; no file was changed in part."
        )
