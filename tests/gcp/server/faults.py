# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults that the server can be told to make."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from .answers import Json, Refusal


@dataclasses.dataclass
class Fault:
    """What goes wrong with a method.

    Attributes:
        method: a regular expression for the whole of its ID.
        refusal: what it answers instead; None where it is carried out.
        error: what its operation ends with; None where it succeeds.
        drop: whether the connection is closed without an answer, after the method was carried out.
        vanish: whether what it made is gone again when its operation has ended.
        times: how often.
        after: how many calls go well first.
    """

    method: str
    refusal: Refusal | None = None
    error: Json | None = None
    drop: bool = False
    vanish: bool = False
    times: int = 1000
    after: int = 0


class Faults:
    """The faults that are still to be made."""

    def __init__(self) -> None:
        self.known: list[Fault] = []

    def add(self, method: str, **options: t.Any) -> Fault:
        """One more."""
        self.known.append(Fault(method, **options))
        return self.known[-1]

    def clear(self) -> None:
        """No more of them."""
        self.known.clear()

    def take(self, method: str) -> Fault | None:
        """The fault for this call."""
        for fault in self.known:
            if fault.times > 0 and re.fullmatch(fault.method, method):
                if fault.after > 0:
                    fault.after -= 1
                    continue
                fault.times -= 1
                return fault
        return None


def failing(code: str, message: str) -> Json:
    """The error of an operation that fails late."""
    return {"errors": [{"code": code, "message": message}]}


def disabled(api: str, project: str) -> Refusal:
    """An API that nobody has enabled."""
    message = f"{api} has not been used in project {project} before or it is disabled."
    return Refusal(403, message, "SERVICE_DISABLED", "PERMISSION_DENIED")


def forbidden(right: str, project: str) -> Refusal:
    """A right that is missing."""
    return Refusal(403, f"Required '{right}' permission for 'projects/{project}'", "forbidden", "PERMISSION_DENIED")


def quota(metric: str) -> Refusal:
    """A quota that is used up."""
    return Refusal(403, f"Quota '{metric}' exceeded. Limit: 8.0 in region australia-southeast1.", "quotaExceeded")


def busy(status: int = 429, after: int | None = 1) -> Refusal:
    """An API that asks for patience."""
    headers = {} if after is None else {"Retry-After": str(after)}
    return Refusal(status, "try again", "rateLimitExceeded" if status == 429 else "backendError", headers=headers)
