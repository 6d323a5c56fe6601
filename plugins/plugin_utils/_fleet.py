# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet report: one row for each virtual machine. Pure. Private to the collection."""

from __future__ import annotations

import collections.abc
import datetime
import typing as t

from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _html, _summary, _tables

Mapping = collections.abc.Mapping

# State -> its word in the table; in the order in which they are told.
_WORDS = {
    "failed": "FAILED",
    "unreachable": "UNREACHABLE",
    "attention": "attention",
    "renewed": "renewed",
    "ok": "ok",
    "not_reached": "not_reached",
}
FAILING = ("failed", "unreachable")
_COLUMNS = (
    ("VM", "vm"),
    ("STATE", "word"),
    ("VERSION", "version"),
    ("CERTIFICATE", "certificate"),
    ("TOKEN", "token"),
    ("CAPTURE", "capture"),
    ("PROVEN", "proven"),
)


def report(known: t.Iterable[tuple[t.Any, ...]], now: float) -> dict[str, t.Any]:
    """All rows, the table as lines, and as a page.

    Args:
        known: for every VM to list its name, the result of the first task (read where it says that the VM could not be reached), and what
            `renew` found (None for those without).
        now: seconds since the epoch.
    """
    rows = [_row(host, found, contact, now) for host, contact, found in known]
    rows.sort(key=lambda row: _tables.natural(row["vm"]))
    counts = {state: sum(row["state"] == state for row in rows) for state in _WORDS}
    summary = f"{len(rows)} VMs - " + ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    told = [row for state in _WORDS for row in rows if row["state"] == state and row["reasons"]]
    lines = _tables.columns(
        [[head for head, _key in _COLUMNS]] + [[row[key] for _head, key in _COLUMNS] for row in rows]
    )
    lines += [summary, *(_tables.plain(f"{row['vm']} - {reason}") for row in told for reason in row["reasons"])]
    return {
        "by_vm": {row["vm"]: row for row in rows},
        "counts": counts,
        "failed": [row["vm"] for row in rows if row["state"] in FAILING],
        "lines": lines,
        "html": _page(rows, summary, now),
        "summary": _summary.summary((_outcome(row, now) for row in rows), ("renewed",)),
    }


def _outcome(row: Mapping[str, t.Any], now: float) -> _summary.Outcome:
    left = row["details"].get("certificate_remaining")
    return _summary.Outcome(row["vm"], row["state"], "\n".join(row["reasons"]), None if left is None else now + left)


def _row(host: str, found: t.Any, contact: t.Any, now: float) -> dict[str, t.Any]:
    row: dict[str, t.Any] = {
        "vm": host,
        "state": "not_reached",
        "reasons": [],
        "version": "-",
        "certificate": "-",
        "token": "-",
    }
    row.update(capture="-", proven="-", details={})
    if not isinstance(found, Mapping):
        if isinstance(contact, Mapping) and contact.get("unreachable"):
            row.update(state="unreachable", reasons=[str(contact.get("msg", "no connection"))])
        elif isinstance(contact, Mapping) and contact.get("failed"):
            row.update(state="failed", reasons=[str(contact.get("msg", "it failed"))])
    else:
        findings = found.get("findings") or []
        failing = any(finding["fails"] for finding in findings)
        renewed = (found.get("token") or {}).get("renewed")
        row.update(
            state="failed" if failing else "renewed" if renewed else "attention" if findings else "ok",
            reasons=["{found}. Next step: {next_step}.".format(**finding) for finding in findings],
            version=found.get("version") or "-",
            certificate=_left(found.get("certificate_remaining")),
            token=_left(found.get("token_remaining")),
            capture=found.get("capture") or "-",
            proven=_ago(found.get("proven"), now),
            details=dict(found),
        )
    row["word"] = _WORDS[row["state"]]
    return row


def _left(seconds: t.Any) -> str:
    if seconds is None:
        return "none"
    return "expired" if seconds <= 0 else _tables.span(int(seconds))


def _ago(moment: t.Any, now: float) -> str:
    return "never" if not moment else _tables.span(max(0, int(now - moment))) + "_ago"


def _page(rows: t.Sequence[Mapping[str, t.Any]], summary: str, now: float) -> str:
    moment = datetime.datetime.fromtimestamp(now, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    heads = [head.capitalize() if head != "VM" else head for head, _key in _COLUMNS] + ["What to do"]
    body = [
        (
            [str(row[key]).replace("_", " ") for _head, key in _COLUMNS] + ["\n".join(row["reasons"])],
            _tone(row["state"]),
        )
        for row in rows
    ]
    return _html.page("Virtual machines in the mesh", [_html.text(f"{summary}. {moment}."), _html.table(heads, body)])


def _tone(state: str) -> str:
    return {"failed": "bad", "unreachable": "bad", "attention": "warn", "not_reached": "dim"}.get(state, "good")
