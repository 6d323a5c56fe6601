# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is expected of entries, however the user says it."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _expectation
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.modules import workload_entry_info

GROUP = {
    "metadata": {"name": "envoydummy", "namespace": "chapter10vm"},
    "spec": {
        "metadata": {"labels": {"app": "envoydummy"}},
        "template": {
            "serviceAccount": "chapter10-sa",
            "network": "network1",
            "locality": "region/zone",
            "ports": {"http": 10000},
            "labels": {"app": "overridden", "version": "v2"},
        },
        "probe": {"httpGet": {"port": 10000}},
    },
}


def expectation(**changes: t.Any) -> _expectation.Expectation:
    vm = {"name": "vm1", "namespace": "chapter10vm", "group": "envoydummy", "address": "10.88.0.21"}
    return _expectation.expectation_from({**vm, **changes}, GROUP)


def test_overrides_of_the_group():
    expected = expectation(
        labels={"extra": "fine"}, network="network9", service_account="sa", health=False, locality="l"
    )
    assert expected.labels == {"extra": "fine"}
    assert (expected.network, expected.service_account, expected.locality) == ("network9", "sa", "l")
    assert not expected.health


def test_group_labels_as_istiod_merges_them():
    assert expectation().labels == {"app": "envoydummy", "version": "v2"}


def test_split_group():
    assert _expectation.split_group("ns/name", "other") == ("ns", "name")
    assert _expectation.split_group("name", "other") == ("other", "name")
    assert _expectation.split_group("name") == ("", "name")


def test_every_way_to_name_a_machine() -> None:
    vms = _expectation.vms_of(
        {
            "group": "shop/payments",
            "vms": [{"name": "vm1", "group": None, "state": None, "address": "10.0.0.1"}],
            "hosts": {
                "vm2": "10.0.0.2",
                "vm3": {"address": "10.0.0.3", "group": "orders", "state": "absent"},
                "vm4": None,
            },
            "addresses": ["10.0.0.5"],
            "entries": ["payments-10.0.0.6"],
            "namespace": "other",
        }
    )
    found = {vm["name"]: (vm["namespace"], vm["group"], vm.get("address"), vm.get("entry"), vm["state"]) for vm in vms}
    assert found == {
        "vm1": ("shop", "payments", "10.0.0.1", None, "present"),
        "vm2": ("shop", "payments", "10.0.0.2", None, "present"),
        "vm3": ("other", "orders", "10.0.0.3", None, "absent"),
        "vm4": ("shop", "payments", None, None, "present"),
        "10.0.0.5": ("shop", "payments", "10.0.0.5", None, "present"),
        "payments-10.0.0.6": ("shop", "payments", None, "payments-10.0.0.6", "present"),
    }
    assert [vm["state"] for vm in _expectation.vms_of({"group": "a/b", "addresses": ["x"], "state": "absent"})] == [
        "absent"
    ]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"hosts": {"vm1": "10.0.0.1"}}, "no WorkloadGroup for vm1"),
        ({"group": "a/b", "hosts": {"vm1": "x"}, "vms": [{"name": "vm1"}]}, "two virtual machines called vm1"),
        ({"group": "a/b", "hosts": {"vm1": 7}}, "hosts has 7 for vm1"),
        ({"group": "a/b", "hosts": {"vm1": {"adress": "x"}}}, "hosts has adress for vm1"),
        ({"group": "a/b", "hosts": {"vm1": {"labels": "x"}}}, "hosts has labels 'x' for vm1"),
        ({"group": "a/b", "hosts": {"vm1": {"state": "gone"}}}, "hosts has state 'gone' for vm1"),
        ({"group": "a/b", "hosts": {"vm1": {"health": "yes"}}}, "hosts has health 'yes' for vm1"),
    ],
)
def test_what_can_not_be_understood(params: dict[str, t.Any], said: str) -> None:
    with pytest.raises(MeshError) as caught:
        _expectation.vms_of(params)
    assert said in caught.value.found
    assert caught.value.next_step


def test_the_module_says_the_same_of_a_machine() -> None:
    text = workload_entry_info.DOCUMENTATION
    for name in _expectation.OF_A_VM:
        assert f"      {name}:\n" in text
