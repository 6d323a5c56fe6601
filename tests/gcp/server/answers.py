# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers that are errors, in the shape that Google gives them."""

from __future__ import annotations

import typing as t

Json = dict[str, t.Any]


class Refusal(Exception):
    """A request that is answered with an error."""

    def __init__(
        self, status: int, message: str, reason: str = "", word: str = "", headers: t.Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        inner: Json = {
            "code": status,
            "message": message,
            "errors": [{"message": message, "reason": reason or "invalid"}],
        }
        if word:
            inner["status"] = word
            inner["details"] = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}]
        self.body: Json = {"error": inner}


def invalid(message: str) -> Refusal:
    """A request that no schema or rule allows."""
    return Refusal(400, message, "invalid", "INVALID_ARGUMENT")


def missing(what: str) -> Refusal:
    """A thing that is not there."""
    return Refusal(404, f"The resource '{what}' was not found", "notFound", "NOT_FOUND")


def taken(what: str) -> Refusal:
    """A name that is taken."""
    return Refusal(409, f"The resource '{what}' already exists", "alreadyExists", "ALREADY_EXISTS")


def in_use(what: str, by: str) -> Refusal:
    """A thing that something else needs."""
    message = f"The {what} resource is already being used by '{by}'"
    return Refusal(400, message, "resourceInUseByAnotherResource")
