# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing several files so that all of them change or none does. Private to the collection.

Everything is first written beside its destination; only when all of it is on the disk are the new files renamed into
place. A full disk or a killed process leaves the old files, whole.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import stat
import tempfile
import typing as t


class Change(t.NamedTuple):
    """One path that is not as it must be.

    Attributes:
        before: the text, None where there was no file; always None for a folder.
        after: the text to write, None for a folder or where only owner or mode differ.
        mode: the permission bits to have.
        owner: the user to belong to.
    """

    path: str
    before: str | None
    after: str | None
    mode: int
    owner: str
    folder: bool = False

    @property
    def what(self) -> str:
        """The kind of change, in a word or two."""
        if self.folder:
            return "owner or mode" if os.path.isdir(self.path) else "create folder"
        if self.after is None:
            return "owner or mode"
        return "create" if self.before is None else "change"


def read(path: str) -> str | None:
    """A file's text; None where there is no file.

    Raises:
        OSError: it is there, but can't be read.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def ids(owner: str) -> tuple[int, int] | None:
    """User and group ID of a user; None where it does not exist (yet)."""
    try:
        user = pwd.getpwnam(owner)
    except KeyError:
        return None
    try:
        return user.pw_uid, grp.getgrnam(owner).gr_gid
    except KeyError:
        return user.pw_uid, user.pw_gid


def _fits(path: str, owner: str, mode: int) -> bool:
    state = os.stat(path)
    wanted = ids(owner)
    # The group is set, but not insisted on: the agent's program is setgid, so what it writes has another one.
    return stat.S_IMODE(state.st_mode) == mode and (wanted is None or state.st_uid == wanted[0])


def compare_file(path: str, content: str, owner: str, mode: int) -> Change | None:
    """What has to change for a file to be as it must be; None where it is."""
    before = read(path)
    if before != content:
        return Change(path, before, content, mode, owner)
    if not _fits(path, owner, mode):
        return Change(path, before, None, mode, owner)
    return None


def compare_folder(path: str, owner: str, mode: int) -> Change | None:
    """What has to change for a folder to be as it must be; None where it is."""
    if os.path.isdir(path) and _fits(path, owner, mode):
        return None
    return Change(path, None, None, mode, owner, folder=True)


def _settle(path: str | int, change: Change) -> None:
    wanted = ids(change.owner)
    if wanted is None:
        raise OSError(errno.ENOENT, f"the user {change.owner} does not exist", change.path)
    # Some file systems refuse chown even where nothing would change.
    state = os.stat(path)
    if (state.st_uid, state.st_gid) != wanted:
        os.chown(path, *wanted)
    if stat.S_IMODE(state.st_mode) != change.mode:
        os.chmod(path, change.mode)


def apply(changes: t.Sequence[Change]) -> None:
    """Makes the changes: folders first, then all files at once.

    Raises:
        OSError: nothing but folders was changed, unless renaming itself failed.
    """
    for change in changes:
        if change.folder:
            os.makedirs(change.path, mode=0o755, exist_ok=True)
            _settle(change.path, change)
    staged: list[tuple[str, Change]] = []
    try:
        for change in changes:
            if change.after is not None:
                staged.append((_stage(change), change))
        while staged:
            _put(*staged[0])
            staged.pop(0)
    finally:
        for temporary, _change in staged:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    for change in changes:
        if change.after is None and not change.folder:
            _settle(change.path, change)


def _stage(change: Change) -> str:
    # A link keeps being one: what it points to is replaced.
    path = os.path.realpath(change.path)
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o755, exist_ok=True)
    # 0600 until it is whole and belongs to its owner.
    handle, temporary = tempfile.mkstemp(prefix=".hybridmesh.", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            stream.write(change.after or "")
            stream.flush()
            os.fsync(stream.fileno())
            _settle(stream.fileno(), change)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return temporary


def _put(temporary: str, change: Change) -> None:
    path = os.path.realpath(change.path)
    try:
        os.rename(temporary, path)
    except OSError as error:
        # A file that is a mount point of its own (/etc/hosts in some containers) can only be written in place.
        if error.errno not in (errno.EBUSY, errno.EXDEV):
            raise
        with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            stream.write(change.after or "")
        os.unlink(temporary)
