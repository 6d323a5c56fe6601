# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the server keeps in mind: resources by path, and operations that end some time after they began."""

from __future__ import annotations

import dataclasses
import itertools
import time
import typing as t

from .answers import Json, missing

WWW = "https://www.googleapis.com/compute/v1/"


@dataclasses.dataclass
class Settings:
    """What the server is told about its world.

    Attributes:
        project: the only project there is.
        addresses: what machines get, one after the other; then addresses of a network of its own.
        endpoint: where clusters are.
        ca_certificate: of clusters, in PEM.
        token: what everybody gets as an access token, or what these begin with.
        lifetime: seconds that a token is good for; with None it is one and the same for ever.
        duration: seconds that an operation takes; with 0 it has ended when its request is answered.
    """

    project: str = "my-project"
    addresses: tuple[str, ...] = ()
    endpoint: str = "10.88.0.10"
    ca_certificate: str = "-----BEGIN CERTIFICATE-----"
    token: str = "ya29.local"
    duration: float = 0.0
    lifetime: float | None = None


@dataclasses.dataclass
class Pending:
    """An operation under way: what it does at its end, and when that is."""

    operation: Json
    due: float
    finish: t.Callable[[], None] | None
    error: Json | None = None
    then: t.Callable[[], None] | None = None


class State:
    """Everything there is. Paths are as in `projects/P/global/networks/N`, with the API before a colon."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.things: dict[str, Json] = {}
        self.operations: dict[str, Pending] = {}
        self.policy: Json = {"version": 1, "etag": "BwX1", "bindings": []}
        self._numbers = itertools.count(1)
        self._hosts = itertools.count(10)

    def number(self) -> int:
        """The next number."""
        return next(self._numbers)

    def address(self) -> str:
        """The next machine's address: the first of the settings that no machine has."""
        used = {
            interface.get("networkIP")
            for path, thing in self.things.items()
            if "/instances/" in path
            for interface in thing.get("networkInterfaces", [])
        }
        free = [address for address in self.settings.addresses if address not in used]
        return free[0] if free else f"10.10.0.{next(self._hosts)}"

    def get(self, path: str) -> Json:
        """A thing.

        Raises:
            Refusal: it is not there.
        """
        if path not in self.things:
            raise missing(path.partition(":")[2])
        return self.things[path]

    def under(self, path: str) -> list[tuple[str, Json]]:
        """Everything whose path begins with this one and has one more part."""
        return [
            (name, thing)
            for name, thing in sorted(self.things.items())
            if name.startswith(path + "/") and "/" not in name[len(path) + 1 :]
        ]

    def of_collection(self, api: str, collection: str) -> list[tuple[str, Json]]:
        """Everything of a collection, wherever it is."""
        return [
            (name, thing)
            for name, thing in sorted(self.things.items())
            if name.startswith(f"{api}:") and name.split("/")[-2] == collection
        ]

    def begin(self, api: str, where: Json, kind: str, link: str, finish: t.Callable[[], None] | None) -> Pending:
        """Begins an operation.

        Args:
            api: which API's.
            where: `zone`, `region` or `location`, as the operation says it.
            kind: what it does.
            link: to what.
            finish: takes effect at its end.
        """
        name = f"operation-{self.number()}"
        operation: Json = {
            "name": name,
            "operationType": kind,
            "status": "RUNNING",
            "targetLink": link,
            "insertTime": f"2026-01-01T00:00:00.{self.number():06d}Z",
            **where,
        }
        if api == "compute":
            operation.update(kind="compute#operation", id=str(self.number()), progress=0)
        pending = Pending(operation, time.monotonic() + self.settings.duration, finish)
        self.operations[name] = pending
        return pending

    def settle(self) -> None:
        """Ends the operations whose time has come."""
        for pending in list(self.operations.values()):
            if pending.operation["status"] == "RUNNING" and time.monotonic() >= pending.due:
                pending.operation["status"] = "DONE"
                if pending.error is not None:
                    pending.operation["error"] = pending.error
                elif pending.finish is not None:
                    pending.finish()
                if pending.then is not None:
                    pending.then()
