# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each flow that a feature needs passes through the rules, and nothing passes that no feature needs."""

from __future__ import annotations

import ipaddress
import itertools
import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _gcp_flows, _gcp_wanted

from .gcp_declared import APP, WEB, declaration

# Who there is: an address, and network tags.
POD = ("10.20.0.9", ())
NODE = ("10.10.0.2", ("mesh1-node",))
APP_VM = ("10.10.0.3", ("mesh1-app",))
WEB_VM = ("10.10.0.4", ("mesh1-web",))
CONTROL_PLANE = ("172.16.0.2", ())
IAP = ("35.235.240.7", ())
OFFICE = ("192.0.2.9", ())
STRANGER = ("198.51.100.1", ())
PEERS = {
    "pod": POD,
    "node": NODE,
    "app": APP_VM,
    "web": WEB_VM,
    "control plane": CONTROL_PLANE,
    "iap": IAP,
    "office": OFFICE,
    "stranger": STRANGER,
}
PORTS = (22, 80, 443, 8080, 10000, 15012, 15017, 15020)

# Pods are behind their node: what is sent to a pod arrives at a machine with the node's tag.
ALWAYS = {("app", "web", 80), ("app", "app", 8080), ("web", "app", 8080), ("web", "web", 80)}
CLUSTER = {
    ("pod", "app", 8080),
    ("pod", "web", 80),
    ("app", "node", 10000),
    ("web", "node", 10000),
    ("app", "node", 15012),
    ("web", "node", 15012),
    ("pod", "app", 15020),
    ("pod", "web", 15020),
}
INJECTION = {("control plane", "node", 15017)}
THROUGH_IAP = {("iap", "app", 22), ("iap", "web", 22)}
EVERYTHING = ALWAYS | CLUSTER | INJECTION | THROUGH_IAP

# Features -> the flows that they need: who begins, who is called, at which port.
FEATURES: dict[str, tuple[dict[str, t.Any], set[tuple[str, str, int]]]] = {
    "default": ({}, EVERYTHING),
    "public nodes": ({"cluster": {"private_nodes": False}}, EVERYTHING - INJECTION),
    "no cluster": ({"cluster": None}, ALWAYS | THROUGH_IAP),
    "no IAP": ({"iap": False}, EVERYTHING - THROUGH_IAP),
    "no metrics": ({"metrics_ports": []}, {flow for flow in EVERYTHING if flow[2] != 15020}),
    "ssh from an office": (
        {"ssh_ranges": ["192.0.2.0/24"]},
        EVERYTHING | {("office", "app", 22), ("office", "web", 22)},
    ),
    "no applications in pods": ({"pod_ports": []}, {flow for flow in EVERYTHING if flow[1:] != ("node", 10000)}),
    "one group": (
        {"vms": [APP]},
        {flow for flow in EVERYTHING if "web" not in flow},
    ),
    "other ports": (
        {"vms": [{**APP, "ports": [22]}, WEB]},
        {(one, two, 22 if (two, port) == ("app", 8080) else port) for one, two, port in EVERYTHING},
    ),
}


def passes(rules: list[dict[str, t.Any]], source: str, target: str, port: int) -> bool:
    """Whether a packet passes, as Google describes its rules: all is dropped that no rule lets in."""
    address, tags = PEERS[source]
    own = PEERS[target][1]
    for rule in rules:
        if rule["direction"] != "INGRESS" or not set(rule.get("targetTags", own)) & set(own):
            continue
        ranges = [ipaddress.ip_network(text) for text in rule.get("sourceRanges", [])]
        from_there = any(ipaddress.ip_address(address) in known for known in ranges)
        if not from_there and not set(rule.get("sourceTags", [])) & set(tags):
            continue
        if any(str(port) in allowed["ports"] for allowed in rule["allowed"]):
            return True
    return False


@pytest.mark.parametrize("feature", FEATURES)
def test_what_is_needed_passes_and_nothing_else(feature: str) -> None:
    changes, needed = FEATURES[feature]
    wanted = _gcp_wanted.wanted(declaration(**changes))
    rules = [resource.body for resource in wanted if resource.key.kind == "firewall"]
    targets = [name for name, (_address, tags) in PEERS.items() if tags]
    found = {
        (source, target, port)
        for source, target, port in itertools.product(PEERS, targets, PORTS)
        if passes(rules, source, target, port)
    }
    assert found == needed


def test_each_rule_has_a_reason_of_its_own() -> None:
    rules = [resource for resource in _gcp_wanted.wanted(declaration(vms_join=True)) if resource.key.kind == "firewall"]
    reasons = [rule.reason for rule in rules]
    assert all(reasons)
    assert len(set(reasons)) == len(reasons)
    assert all(rule.body["description"] == f"hybridmesh.istio mesh1: {rule.reason}" for rule in rules)


@pytest.mark.parametrize(("private", "to"), [(True, "172.16.0.0/28"), (False, "0.0.0.0/0")])
def test_machines_that_join_ask_the_api_server(private: bool, to: str) -> None:
    found = _gcp_flows.flows(declaration(vms_join=True, cluster={"private_nodes": private}))
    flow = next(flow for flow in found if flow.name == "vms-to-api-server")
    assert (flow.destination_ranges, flow.ports) == ((to,), ("443",))
    assert flow.target_tags == ("mesh1-app", "mesh1-web")
