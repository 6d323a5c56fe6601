# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what is done about a machine that is gone or stolen."""

from __future__ import annotations

import re

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _lost

IDENTITY = _lost.principal("cluster.local", "shop", "pay")


def test_the_identity_is_denied_everywhere():
    found = _lost.policy("VM 3.corp", IDENTITY, None, "istio-system")
    assert found["metadata"]["namespace"] == "istio-system"
    assert re.fullmatch(r"hybridmesh-lost-vm-3-corp-[0-9a-f]{8}", found["metadata"]["name"])
    assert found["spec"] == {
        "action": "DENY",
        "rules": [{"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/pay"]}}]}],
    }


@pytest.mark.parametrize(("address", "block"), [("10.0.0.3", "10.0.0.3/32"), ("fd00::3", "fd00::3/128")])
def test_or_at_one_address_alone(address, block):
    source = _lost.policy("vm3", IDENTITY, address, "istio-system")["spec"]["rules"][0]["from"][0]["source"]
    assert source["ipBlocks"] == [block]


def test_two_machines_of_one_name_in_two_groups_have_two_policies():
    assert _lost.policy_name("vm3", "a") != _lost.policy_name("vm3", "b")


@pytest.mark.parametrize(
    ("deny", "words"), [("identity", "PERMISSIVE"), ("address", "another address"), ("none", "as before")]
)
def test_what_is_left_open_is_told(deny, words):
    told = " ".join(_lost.left_open(IDENTITY, deny, "10.0.0.3"))
    assert "certificate authority is changed" in told
    assert words in told
