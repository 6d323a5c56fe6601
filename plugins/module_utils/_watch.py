# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""LIST in pages, then WATCH, until a deadline: one connection, whatever happens to it. Private to the collection."""

from __future__ import annotations

import datetime
import email.utils
import json
import math
import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import ApiError

try:
    import urllib3.exceptions as _http

    _BROKEN: tuple[type[BaseException], ...] = (_http.HTTPError, OSError)
except ImportError:  # told by _connection.Cluster, with what to do
    _BROKEN = (OSError,)

if t.TYPE_CHECKING:
    from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster

# The first page of a LIST comes from the API server's memory, further ones mostly from etcd, several times as slowly; so
# pages are large, and read an item at a time (10,000 WorkloadEntries are 17 MB of text and 80 MB of objects).
PAGE = 10000
# Asked anew after this many seconds: notices a connection that died without a word, and costs one request a minute.
WATCH_SECONDS = 60.0

_ITEMS = '"items":['

RESET = "RESET"
SYNCED = "SYNCED"


class Change(t.NamedTuple):
    """One thing seen: RESET (forget all, a LIST begins), ADDED, MODIFIED, DELETED, SYNCED (the LIST is complete)."""

    kind: str
    resource: t.Mapping[str, t.Any]


class Follower:
    """Follows one collection of resources.

    Attributes:
        requests: API requests made so far.
        lists: complete LISTs made so far.
        server_time: the API server's clock at the last LIST (the controller's where it said nothing).
    """

    def __init__(
        self,
        cluster: Cluster,
        path: str,
        clock: t.Callable[[], float] = time.monotonic,
        sleep: t.Callable[[float], None] = time.sleep,
    ) -> None:
        self._cluster = cluster
        self._path = path
        self._clock = clock
        self._sleep = sleep
        self.requests = 0
        self.lists = 0
        self.server_time = datetime.datetime.now(datetime.timezone.utc)
        self._listed_at = clock()

    def now(self) -> datetime.datetime:
        """The API server's time, as far as it is known."""
        return self.server_time + datetime.timedelta(seconds=self._clock() - self._listed_at)

    def changes(self, deadline: float) -> t.Iterator[Change]:
        """Yields what there is, and then what changes, until the clock reaches the deadline.

        The first LIST is complete whatever the deadline is: a deadline in the past means to look once.

        Raises:
            ApiError: the first LIST failed, or the API server refuses (401, 403, 404).
        """
        version = ""
        pause = 0.0
        while True:
            try:
                if not version:
                    version = yield from self._list()
                    pause = 0.0
                if self._clock() >= deadline:
                    return
                started = self._clock()
                version = yield from self._watch(version, deadline)
                if self._clock() - started >= 1.0:
                    pause = 0.0
                    continue
            except ApiError as error:
                if error.status == 410:
                    version = ""
                elif not self.lists or error.status in (400, 401, 403, 404, 405):
                    raise
            except _BROKEN:
                pass
            if self._clock() >= deadline:
                return
            if pause:
                # The API server restarts, or asks for patience (429): do not hammer it.
                self._sleep(min(pause, max(0.0, deadline - self._clock())))
            pause = min(2.0, pause * 2 or 0.2)

    def _list(self) -> t.Generator[Change, None, str]:
        yield Change(RESET, {})
        token = ""
        while True:
            query = {"limit": str(PAGE)}
            if token:
                query["continue"] = token
            rest: dict[str, t.Any] = {}
            for resource in items_of(self._page(query), rest):
                yield Change("ADDED", resource)
            metadata = rest.get("metadata") or {}
            token = metadata.get("continue") or ""
            if not token:
                self.lists += 1
                yield Change(SYNCED, {})
                return str(metadata.get("resourceVersion") or "")

    def _page(self, query: t.Mapping[str, str]) -> str:
        self.requests += 1
        response = self._cluster.open("GET", self._path, query)
        try:
            said = response.headers.get("Date")
            self.server_time = (
                email.utils.parsedate_to_datetime(said) if said else datetime.datetime.now(datetime.timezone.utc)
            )
            self._listed_at = self._clock()
            return str(response.data, "utf-8")
        finally:
            response.release_conn()

    def _watch(self, version: str, deadline: float) -> t.Generator[Change, None, str]:
        """Watches from a version on; returns the version to go on from, or '' where everything must be listed again."""
        seconds = max(1, math.ceil(min(WATCH_SECONDS, deadline - self._clock())))
        query = {
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        }
        self.requests += 1
        response = self._cluster.open("GET", self._path, query, timeout=seconds + 1.0, preload=False)
        try:
            for event in _lines(response.stream(decode_content=True)):
                kind, resource = event.get("type"), event.get("object") or {}
                if kind == "ERROR":
                    if resource.get("code") == 410:
                        return ""
                    return version
                version = str((resource.get("metadata") or {}).get("resourceVersion") or version)
                if kind != "BOOKMARK":
                    yield Change(str(kind), resource)
                if self._clock() >= deadline:
                    return version
        except _BROKEN:
            # What was seen counts: go on from there.
            pass
        finally:
            # A watch that is left early can't be used for another request.
            response.close()
        return version


def items_of(text: str, rest: dict[str, t.Any]) -> t.Iterator[dict[str, t.Any]]:
    """The items of a list as the API sends it, one after the other; all else of it is in `rest` at the end.

    Raises:
        ValueError: the text is no such list.
    """
    start = text.find(_ITEMS)
    if start < 0:
        # No items at all: null, or another notation.
        rest.update(json.loads(text))
        yield from rest.pop("items", None) or []
        return
    position = start + len(_ITEMS)
    scan = json.JSONDecoder().raw_decode
    while text[position] != "]":
        item, position = scan(text, position + (text[position] == ","))
        yield item
    rest.update(json.loads(text[:start] + _ITEMS + text[position:]))


def _lines(chunks: t.Iterable[bytes]) -> t.Iterator[dict[str, t.Any]]:
    """The JSON documents of a stream with one a line; a torn last line is dropped with its connection."""
    rest = b""
    for chunk in chunks:
        whole = (rest + chunk).split(b"\n")
        rest = whole.pop()
        for line in whole:
            if line.strip():
                yield json.loads(line)
