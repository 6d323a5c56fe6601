# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Diagnoses as text and as a page that can be attached to a ticket. Pure. Private to the collection."""

from __future__ import annotations

import collections.abc
import datetime
import typing as t

from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _html, _tables

Mapping = collections.abc.Mapping


def report(hosts: t.Sequence[str], diagnoses: t.Sequence[Mapping[str, t.Any]], now: float) -> dict[str, t.Any]:
    """All diagnoses.

    Args:
        hosts: names of the VMs.
        diagnoses: what `_diagnosis.diagnose` returned, in the same order.
        now: seconds since the epoch.

    Returns:
        `lines`, `html`, `by_vm`, and `failed` (names of those that are not well).
    """
    by_vm = dict(zip(hosts, diagnoses, strict=True))
    names = sorted(by_vm, key=_tables.natural)
    lines = []
    for name in names:
        lines += _lines(name, by_vm[name])
    bad = [name for name in names if not by_vm[name]["ok"]]
    summary = f"{len(names)} VMs - {len(names) - len(bad)} well, {len(bad)} not"
    moment = datetime.datetime.fromtimestamp(now, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    parts = [_html.text(f"{summary}. {moment}.")]
    for name in names:
        parts += _section(name, by_vm[name])
    return {
        "lines": [*lines, summary],
        "html": _html.page("Why virtual machines are not in the mesh", parts),
        "by_vm": by_vm,
        "failed": bad,
    }


def _lines(name: str, diagnosis: Mapping[str, t.Any]) -> list[str]:
    first = diagnosis["first"]
    if first is None:
        return [f"{name} - well"]
    lines = [
        f"{name} - {first['cause']} - {first['layer']}",
        f"{name} - found - {first['found']}",
        f"{name} - remedy - {first['remedy']}",
    ]
    lines += [f"{name} - also - {finding['cause']} - {finding['found']}" for finding in diagnosis["findings"][1:]]
    return [_tables.plain(line) for line in lines]


def _section(name: str, diagnosis: Mapping[str, t.Any]) -> list[str]:
    first = diagnosis["first"]
    parts = [_html.heading(name)]
    if first is None:
        parts.append(_html.text("Nothing is wrong."))
    else:
        pairs = [
            ("First cause", f"{first['cause']} ({first['layer']})"),
            ("Found", first["found"]),
            ("Remedy", first["remedy"]),
        ]
        parts.append(_html.terms(pairs))
    rows = []
    for layer in diagnosis["layers"]:
        findings = layer["findings"]
        told = "\n".join("{cause}: {found}. {remedy}.".format(**finding) for finding in findings)
        rows.append(([layer["name"], "well" if layer["ok"] else "not well", told], "good" if layer["ok"] else "bad"))
    parts.append(_html.table(["Layer", "State", "Findings"], rows))
    if diagnosis["complaints"]:
        parts.append(_html.terms([("The sidecar's latest complaints", "\n".join(diagnosis["complaints"]))]))
    return parts
