# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""LIST and WATCH through everything that happens to a connection, against a scripted API server."""

from __future__ import annotations

import json
import typing as t

import pytest
import urllib3.exceptions
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import ApiError
from ansible_collections.hybridmesh.istio.plugins.module_utils._watch import Change, Follower, _lines, items_of


class Clock:
    """Time that passes by sleeping, and by watching."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Response:
    headers: t.ClassVar[dict[str, str]] = {"Date": "Mon, 23 Nov 2026 15:00:00 GMT"}

    def __init__(self, clock: Clock, content: t.Any, lasts: float = 2.0, breaks: bool = False) -> None:
        self.clock, self.content, self.lasts, self.breaks = clock, content, lasts, breaks
        self.closed = False
        self.data = json.dumps(content).encode()

    def stream(self, decode_content: bool) -> t.Iterator[bytes]:
        for event in self.content:
            whole = json.dumps(event).encode() + b"\n"
            yield whole[:7]
            yield whole[7:]
        self.clock.now += self.lasts
        if self.breaks:
            raise urllib3.exceptions.ProtocolError("reset")

    def release_conn(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


class Server:
    """Answers requests in the order of a script."""

    def __init__(self, clock: Clock, *script: t.Any) -> None:
        self.clock, self.script = clock, list(script)
        self.queries: list[dict[str, str]] = []
        self.responses: list[Response] = []

    def open(self, method, path, query, timeout=30.0, preload=True):
        assert (method, path) == ("GET", "/entries")
        self.queries.append(dict(query))
        assert preload == ("watch" not in query)
        if not self.script:
            self.clock.now += 100
            answer: t.Any = []
        else:
            answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        response = answer if isinstance(answer, Response) else Response(self.clock, answer)
        self.responses.append(response)
        return response


def item(name: str, version: str = "1") -> dict[str, t.Any]:
    return {"metadata": {"name": name, "resourceVersion": version}}


def page(*names: str, version: str = "10", token: str = "") -> dict[str, t.Any]:
    return {"metadata": {"resourceVersion": version, "continue": token}, "items": [item(name) for name in names]}


def event(kind: str, name: str, version: str) -> dict[str, t.Any]:
    return {"type": kind, "object": item(name, version)}


def failure(status: int) -> ApiError:
    return ApiError("found", "expected", "next", status)


def follow(clock: Clock, server: Server, deadline: float = 50.0) -> tuple[list[tuple[str, str]], Follower]:
    follower = Follower(server, "/entries", clock, clock.sleep)
    seen = [
        (change.kind, (change.resource.get("metadata") or {}).get("name", "")) for change in follower.changes(deadline)
    ]
    return seen, follower


def test_looks_once_in_pages():
    clock = Clock()
    server = Server(clock, page("a", "b", token="more"), page("c"))
    seen, follower = follow(clock, server, deadline=-1)
    assert seen == [("RESET", ""), ("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c"), ("SYNCED", "")]
    assert server.queries == [{"limit": "10000"}, {"limit": "10000", "continue": "more"}]
    assert follower.requests == 2
    assert follower.lists == 1
    assert follower.now().isoformat() == "2026-11-23T15:00:00+00:00"


def test_watches_on_from_where_it_was_over_closed_connections():
    clock = Clock()
    broken = Response(clock, [event("ADDED", "b", "12"), {"type": "BOOKMARK", "object": item("", "20")}], breaks=True)
    server = Server(clock, page("a"), [event("MODIFIED", "a", "11")], broken, [event("DELETED", "a", "21")])
    seen, follower = follow(clock, server)
    assert seen[3:] == [("MODIFIED", "a"), ("ADDED", "b"), ("DELETED", "a")]
    assert [query.get("resourceVersion") for query in server.queries[1:]] == ["10", "11", "20", "21"]
    assert all(response.closed for response in server.responses[1:])
    assert follower.lists == 1


@pytest.mark.parametrize("gone", [failure(410), [{"type": "ERROR", "object": {"code": 410, "reason": "Expired"}}]])
def test_lists_again_when_the_watch_was_compacted(gone):
    clock = Clock()
    server = Server(clock, page("a"), gone, page("b", version="30"), [event("MODIFIED", "b", "31")])
    seen, follower = follow(clock, server)
    assert seen[3:] == [("RESET", ""), ("ADDED", "b"), ("SYNCED", ""), ("MODIFIED", "b")]
    assert follower.lists == 2


def test_lists_again_when_the_pages_expired():
    clock = Clock()
    server = Server(clock, page("a", token="more"), failure(410), page("a", "b"))
    seen, follower = follow(clock, server, deadline=0.1)
    assert seen[-4:] == [("RESET", ""), ("ADDED", "a"), ("ADDED", "b"), ("SYNCED", "")]
    assert follower.lists == 1


@pytest.mark.parametrize("status", [0, 429, 500, 503])
def test_survives_a_restart_and_throttling_with_patience(status):
    clock = Clock()
    server = Server(clock, page("a"), failure(status), failure(status), failure(status), [event("MODIFIED", "a", "11")])
    seen, _follower = follow(clock, server)
    assert seen[-1] == ("MODIFIED", "a")
    assert clock.slept == sorted(clock.slept)
    assert 0 < sum(clock.slept) < 10


@pytest.mark.parametrize("status", [0, 503])
def test_a_first_list_that_fails_is_told_at_once(status):
    clock = Clock()
    with pytest.raises(ApiError):
        follow(clock, Server(clock, failure(status)))
    assert clock.slept == []


@pytest.mark.parametrize("status", [401, 403, 404])
def test_rights_taken_away_meanwhile_are_told(status):
    clock = Clock()
    with pytest.raises(ApiError):
        follow(clock, Server(clock, page("a"), failure(status)))


def test_an_error_in_the_watch_is_tried_again():
    clock = Clock()
    server = Server(clock, page("a"), [{"type": "ERROR", "object": {"code": 500}}], [event("MODIFIED", "a", "11")])
    seen, _follower = follow(clock, server)
    assert seen[-1] == ("MODIFIED", "a")


def test_ends_at_the_deadline_whatever_comes():
    clock = Clock()
    server = Server(clock, page("a"))
    seen, _follower = follow(clock, server, deadline=20)
    assert seen[-1] == ("SYNCED", "")
    assert server.queries[1]["timeoutSeconds"] == "20"


def test_leaving_early_closes_the_watch():
    clock = Clock()
    server = Server(clock, page("a"), [event("MODIFIED", "a", "11"), event("MODIFIED", "a", "12")])
    changes = Follower(server, "/entries", clock, clock.sleep).changes(50)
    assert next(change for change in changes if change.kind == "MODIFIED") == Change("MODIFIED", item("a", "11"))
    changes.close()
    assert server.responses[1].closed


def test_lines_over_chunk_borders():
    assert list(_lines([b'{"a": 1}\n{"a"', b": 2}\n\n", b'{"a": 3'])) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    "items",
    [[], [{"a": 1}], [{"a": '"items":['}, {"b": {"items": []}}, {"c": "]"}], [{"items": [{"x": [1, "]"]}]}, {}]],
)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_items_one_at_a_time(items: list[t.Any], separators: tuple[str, str]) -> None:
    for document in (
        {"kind": "L", "items": items, "metadata": {"continue": "x"}},
        {"metadata": {"continue": "x"}, "items": items, "kind": "L"},
    ):
        rest: dict[str, t.Any] = {}
        assert list(items_of(json.dumps(document, separators=separators) + "\n", rest)) == items
        assert rest.pop("items", []) == []
        assert rest == {"kind": "L", "metadata": {"continue": "x"}}


def test_no_items() -> None:
    assert list(items_of('{"items":null,"metadata":{}}', {})) == []
    assert list(items_of("{}", {})) == []


@pytest.mark.parametrize("text", ["", "no JSON", '{"items":[{}', '{"items":[{},', '{"items":[{}]', '{"items":[x]}'])
def test_a_torn_list(text: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        list(items_of(text, {}))
