# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidecar's files on a machine against what they must be. Private to the collection.

`sidecar_info` says whether anything differs, in the round trip that it needs anyway; `sidecar` makes it so. Imports nothing of
Ansible (see _bare).
"""

from __future__ import annotations

import os
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _atomic, _capture, _vm_files

Params = t.Mapping[str, t.Any]


def on_machine(options: Params, address: str | None, ssh_ports: t.Sequence[int]) -> dict[str, t.Any]:
    """Options (_vm_options), with what only the machine knows.

    Args:
        options: what `sidecar` would be given, validated.
        address: the machine's address, where the options name none.
        ssh_ports: ports that are never captured, beside those that the options name.
    """
    params = dict(options)
    params["address"] = None if params["image"] else params["address"] or address
    if params["capture"]:
        known = params["capture"]["management_ports"]
        params["capture"] = dict(params["capture"], management_ports=sorted({*known, *ssh_ports}))
    return params


class Comparison(t.NamedTuple):
    """Where a machine differs.

    Attributes:
        changes: what has to be changed.
        recorded: the note of an earlier run on what it left to do, or None.
        effects: what the changes, and those of an earlier run that was cut off, call for.
        reasons: effect -> the paths that call for it now.
    """

    changes: list[_atomic.Change]
    recorded: str | None
    effects: list[str]
    reasons: dict[str, list[str]]

    @property
    def told(self) -> list[str]:
        """The reasons as text."""
        return [f"{effect}: {', '.join(paths)}" for effect, paths in sorted(self.reasons.items())]


def compare(params: Params) -> Comparison:
    """Compares the machine with what is wanted.

    Raises:
        ValueError: a value can't be written the way it must be.
        KeyError: a file of the group is missing.
    """
    files = _own_files(params)
    folders: list[_vm_files.Folder] = []
    if params["files"]:
        files += _group_files(params)
        folders = list(_vm_files.FOLDERS)
    folder_changes = [_atomic.compare_folder(folder.path, folder.owner, folder.mode) for folder in folders]
    changes = [change for change in folder_changes if change is not None]
    if params["files"]:
        changes += _logs()
    reasons: dict[str, list[str]] = {}
    for item in files:
        change = _atomic.compare_file(item.path, item.content, item.owner, item.mode)
        if change is None:
            continue
        changes.append(change)
        # Another owner or mode calls for nothing.
        for effect in item.effects if change.after is not None else ():
            reasons.setdefault(effect, []).append(item.path)
    recorded = _atomic.read(_vm_files.PENDING)
    return Comparison(changes, recorded, _vm_files.merge_pending(recorded, reasons), reasons)


def _as_text(values: Params) -> dict[str, str]:
    """Variables as an environment has them: YAML's true is istio's `true`."""
    return {str(name): str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()}


def _group_files(params: Params) -> list[_vm_files.File]:
    current = {path: _atomic.read(path) for path, _mode, _effects in _vm_files.GROUP_FILES.values()}
    files = _vm_files.group_files(params["files"], current)
    group = _capture.parse_environment(params["files"]["cluster.env"])
    sidecar_env = _capture.parse_environment(_atomic.read(_vm_files.SIDECAR_ENV) or "")
    capture = dict(params["capture"], environment=_as_text(params["capture"]["environment"]))
    unit_environment = _vm_files.unit_environment(
        None if params["image"] else params["address"], _as_text(params["environment"]), params["concurrency"]
    )
    capture_environment = _capture.render_environment(_capture.settings(group, sidecar_env, _capture.Wanted(**capture)))
    hosts = _atomic.read(_vm_files.HOSTS) or ""
    return [
        *files,
        _vm_files.File(_vm_files.UNIT_ENV, unit_environment, effects=("restart",)),
        _vm_files.File(_vm_files.CAPTURE_ENV, capture_environment, effects=("capture",)),
        _vm_files.File(_vm_files.HOSTS, _vm_files.managed_block(hosts, params["files"]["hosts"])),
    ]


def _logs() -> list[_atomic.Change]:
    """Logs that somebody else owns, such as those that were kept when a sidecar was removed: ours could not write them."""
    wanted = _atomic.ids(_vm_files.USER)
    if wanted is None or not os.path.isdir(_vm_files.LOGS):
        return []
    paths = [os.path.join(_vm_files.LOGS, name) for name in sorted(os.listdir(_vm_files.LOGS))]
    states = [(path, os.stat(path)) for path in paths if os.path.isfile(path)]
    return [
        _atomic.Change(path, None, None, state.st_mode & 0o7777, _vm_files.USER)
        for path, state in states
        if state.st_uid != wanted[0]
    ]


def _own_files(params: Params) -> list[_vm_files.File]:
    return [
        _vm_files.File(item["path"], item["content"], "root", int(item["mode"], 8), tuple(item["effects"]))
        for item in params["own_files"]
    ]
