# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the fleet report."""

from __future__ import annotations

import html.parser
import re

from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _fleet, _html

NOW = 1700000000.0


def found(*findings, renewed=False):
    return {
        "version": "1.31.0",
        "certificate_remaining": 3600,
        "token_remaining": -1,
        "capture": "on",
        "proven": NOW - 7200,
        "findings": list(findings),
        "token": {"needed": renewed, "renewed": renewed},
    }


def finding(fails, text="<b>x</b> & y"):
    return {"check": "c", "fails": fails, "found": text, "next_step": "do it"}


def report(**machines):
    contacts = [value if value and "unreachable" in value else None for value in machines.values()]
    renewals = [None if contact else value for contact, value in zip(contacts, machines.values(), strict=True)]
    return _fleet.report(zip(machines, contacts, renewals, strict=True), NOW)


def test_every_machine_has_a_row_and_a_state():
    told = report(
        vm10=found(), vm2=found(finding(True)), vm1=found(finding(False)), vm3={"unreachable": True, "msg": "no route"},
        vm4=None, vm5=found(renewed=True),
    )  # fmt: skip
    assert [(row["vm"], row["state"]) for row in told["by_vm"].values()] == [
        ("vm1", "attention"),
        ("vm2", "failed"),
        ("vm3", "unreachable"),
        ("vm4", "not_reached"),
        ("vm5", "renewed"),
        ("vm10", "ok"),
    ]
    assert told["failed"] == ["vm2", "vm3"]
    assert told["counts"]["ok"] == 1
    assert told["lines"][-4].startswith("6 VMs - ")
    assert "no route" in "\n".join(told["lines"])


def test_the_columns():
    line = report(vm1=found())["lines"][1]
    assert line.split() == ["vm1", "ok", "1.31.0", "1h00m", "expired", "on", "2h00m_ago"]


class Reader(html.parser.HTMLParser):
    """Collects the tags of a page and what they refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in ("meta", "!doctype"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_stands_for_itself_and_escapes():
    page = report(vm1=found(finding(True, "<script>alert(1)</script>")))["html"]
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    assert not {"script", "link", "img", "iframe"} & set(reader.tags)
    assert "&lt;script&gt;" in page
    assert not re.search(r"(src|href)=|url\(", page)


def test_terms_are_escaped_too():
    assert "&lt;a&gt;" in _html.terms([("<a>", "&")])
    assert "&amp;" in _html.heading("&")
