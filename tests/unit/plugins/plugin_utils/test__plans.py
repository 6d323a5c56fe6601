# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what is decided of many machines; what of each, is in test__plan.py."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.filter.sidecar_plans import FilterModule

GROUPS = {
    "shop/pay": {
        "files": {"root-cert.pem": "", "hosts": "", "cluster.env": "", "mesh.yaml": ""},
        "proxy_config": {},
        "gateways": ["192.0.2.1:15012"],
        "pods": [],
    }
}
PACKAGE = {
    "path": None,
    "url": None,
    "apt": None,
    "release_url": "https://releases.example.com",
    "version": None,
    "checksum": None,
}
OPTIONS = {
    "package": PACKAGE,
    "inbound_ports": None,
    "hold": True,
    "certificate_ttl": None,
    "min_free": 100,
    "token_validity": 3600,
    "address": None,
    "connection": "ssh",
    "become_method": None,
}


def machine(own: str, version: str | None = None, **options: t.Any) -> dict[str, t.Any]:
    package = {"version": version, "status": "installed", "held": True, "record": None}
    vm = {"address": own, "architecture": "x86_64", "package": package, "capture": {"applied": False}, "units": {}}
    return {
        "__vm_sidecar_group": "shop/pay",
        "__vm_sidecar_options": {**OPTIONS, **options},
        "__vm_sidecar_info": {"vm": vm},
    }


def plans(machines: dict[str, dict[str, t.Any]], **run: t.Any) -> dict[str, t.Any]:
    found: dict[str, t.Any] = FilterModule().filters()["sidecar_plans"](
        list(machines), machines, GROUPS, mesh_version="1.31.0", **run
    )
    return found


def test_each_machine_that_answered_is_decided() -> None:
    gone = {"__vm_sidecar_info": {"unreachable": True}}
    found = plans({"new": machine("192.0.2.21"), "pinned": machine("192.0.2.22", address="198.51.100.7"), "gone": gone})
    assert list(found["by_vm"]) == ["new", "pinned"]
    assert found["vms"] == {
        "new": {"name": "new", "group": "shop/pay", "address": "192.0.2.21"},
        "pinned": {"name": "pinned", "group": "shop/pay", "address": "198.51.100.7"},
    }
    assert found["tokens"] == found["starts"] == found["work"] == ["new", "pinned"]
    assert found["captures"] == found["running"] == found["prepares"] == []
    assert found["by_vm"]["new"]["package"]["version"] == "1.31.0"


@pytest.mark.parametrize("source", ["path", "apt"])
def test_a_package_of_another_way_is_prepared(source: str) -> None:
    package = dict(PACKAGE, **{source: "istio-sidecar"})
    found = plans({"one": machine("192.0.2.21", package=package), "two": machine("192.0.2.22")})
    assert found["prepares"] == ["one"]


def test_an_upgrade_takes_istiods_version_where_none_is_asked_for() -> None:
    there = {
        "one": machine("192.0.2.21", "1.30.4"),
        "two": machine("192.0.2.22", "1.30.4", package=dict(PACKAGE, version="1.30.4")),
    }
    assert [plan["package"]["needed"] for plan in plans(there)["by_vm"].values()] == [False, False]
    assert [plan["package"]["needed"] for plan in plans(there, upgrade=True)["by_vm"].values()] == [True, False]


def test_what_is_in_the_way_is_told_by_name() -> None:
    there = {"one": machine("192.0.2.21"), "two": machine("192.0.2.22")}
    before = plans(there)["problems"]
    assert set(plans(there, refused={"two": "one of two serves"})["problems"]) - set(before) <= {"two"}
    assert "one of two serves" in plans(there, refused={"two": "one of two serves"})["problems"]["two"]


def test_an_image_has_no_address_and_needs_no_gateway() -> None:
    found = plans({"one": machine("192.0.2.21")}, image=True)
    assert found["vms"]["one"]["address"] is None
    assert "gateway" not in found["problems"].get("one", "")
