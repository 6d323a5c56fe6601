# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""WorkloadEntries as hosts: names, filters, variables."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._workloads import (
    Wish,
    group_names,
    group_variable_name,
    hosts,
    kept,
    name_of,
    paths,
)


def entry(
    name: str,
    address: str,
    group: str = "orders",
    namespace: str = "shop",
    healthy: bool | None = True,
    disconnected: str = "",
    connected: str = "2026-01-01T00:00:00Z",
    labels: dict[str, str] | None = None,
    **spec: t.Any,
) -> dict[str, t.Any]:
    annotations = {"proxy.istio.io/health-checks-enabled": "true"} if healthy is not None else {}
    if group:
        annotations |= {"istio.io/autoRegistrationGroup": group, "istio.io/connectedAt": connected}
    if disconnected:
        annotations["istio.io/disconnectedAt"] = disconnected
    conditions = [] if healthy is None else [{"type": "Healthy", "status": str(healthy), "message": "refused"}]
    return {
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations, "labels": labels or {}},
        "spec": {"address": address, "labels": labels or {}, **spec},
        "status": {"conditions": conditions},
    }


FLEET = [
    entry("orders-1", "192.0.2.1", labels={"version": "v2", "app": "orders"}, locality="eu/eu-1/a", network="net"),
    entry("orders-2", "192.0.2.2", healthy=False),
    entry("orders-3", "192.0.2.3", disconnected="2026-01-01T01:00:00Z"),
    entry("billing-1", "192.0.2.4", group="billing", namespace="money", healthy=None),
    entry("by-hand", "192.0.2.5", group="", healthy=None),
    entry("socket", "unix:///run/app"),
]


def names(wish: Wish) -> list[str]:
    return [host.name for host in hosts(FLEET, wish)]


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (Wish(), ["billing-1", "orders-1", "orders-2", "orders-3"]),
        (Wish(health=["unhealthy"]), ["orders-2"]),
        (Wish(health=["healthy", "not_checked"]), ["billing-1", "orders-1", "orders-3"]),
        (Wish(disconnected=False), ["billing-1", "orders-1", "orders-2"]),
        (Wish(groups=["billing"]), ["billing-1"]),
        (Wish(groups=["shop/billing"]), []),
        (Wish(groups=["shop/orders"], manual=True), ["orders-1", "orders-2", "orders-3"]),
        (Wish(manual=True), ["billing-1", "by-hand", "orders-1", "orders-2", "orders-3"]),
        (Wish(hostnames=["address"], groups=["orders"]), ["192.0.2.1", "192.0.2.2", "192.0.2.3"]),
        (Wish(hostnames=["label:version", "name"], groups=["orders"]), ["orders-2", "orders-3", "v2"]),
    ],
)
def test_which_and_what_they_are_called(wish: Wish, expected: list[str]) -> None:
    wish.check()
    assert names(wish) == expected


def test_variables() -> None:
    found = {host.name: host for host in hosts(FLEET, Wish(manual=True))}
    seen = found["orders-1"].variables
    assert seen["ansible_host"] == "192.0.2.1"
    assert seen["mesh_workload_group"] == found["orders-1"].group == "shop/orders"
    assert [seen[f"mesh_entry_{key}"] for key in ("region", "zone", "subzone")] == ["eu", "eu-1", "a"]
    assert (seen["mesh_entry_version"], seen["mesh_entry_app"], seen["mesh_entry_network"]) == ("v2", "orders", "net")
    assert seen["mesh_entry_connected"] is True
    assert found["orders-2"].variables["mesh_entry_health_message"] == "refused"
    assert found["orders-3"].variables["mesh_entry_connected"] is False
    assert found["billing-1"].variables["mesh_entry_health"] == "not_checked"
    assert "mesh_workload_group" not in found["by-hand"].variables


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "all:!vm1", "vm1,vm2", "a b", "*", "~vm", "-v", ""])
def test_a_label_that_is_no_name_for_a_host(name: str) -> None:
    resource = entry("orders-1", "192.0.2.1", labels={"hostname": name})
    assert name_of(resource, ["label:hostname"]) == "orders-1"
    assert name_of(resource, ["label:hostname", "address"]) == "192.0.2.1"


def test_an_annotation_as_name() -> None:
    resource = entry("orders-1", "192.0.2.1")
    resource["metadata"]["annotations"]["example.com/host"] = "db7.example.com"
    assert name_of(resource, ["annotation:example.com/host"]) == "db7.example.com"


def test_of_two_entries_of_one_machine_the_connected_one_stands_for_it() -> None:
    old = entry("old-192.0.2.1", "192.0.2.1", group="old", disconnected="2026-01-03T00:00:00Z", connected="2026-01-02")
    new = entry("orders-192.0.2.1", "192.0.2.1")
    for order in ([old, new], [new, old]):
        (host,) = hosts(order, Wish(hostnames=["address"]))
        assert host.group == "shop/orders"


def test_two_machines_of_one_name_are_refused() -> None:
    twins = [entry("a", "192.0.2.1", labels={"app": "x"}), entry("b", "192.0.2.2", labels={"app": "x"})]
    with pytest.raises(MeshError, match=r"shop/a and shop/b would both be called 'x'"):
        hosts(twins, Wish(hostnames=["label:app"]))


@pytest.mark.parametrize(
    "wish",
    [
        Wish(hostnames=[]),
        Wish(hostnames=["label"]),
        Wish(hostnames=["label:"]),
        Wish(hostnames=["fqdn"]),
        Wish(health=["ill"]),
        Wish(groups=["a/b/c"]),
        Wish(groups=["/orders"]),
        Wish(groups=[""]),
    ],
)
def test_what_means_nothing_is_refused(wish: Wish) -> None:
    with pytest.raises(MeshError, match="Next step: "):
        wish.check()


def test_groups() -> None:
    resources = [{"metadata": {"namespace": "shop", "name": name}} for name in ("orders-v2", "empty")]
    assert group_names(resources, Wish()) == ["shop/empty", "shop/orders-v2"]
    assert group_names(resources, Wish(groups=["empty"])) == ["shop/empty"]
    assert group_variable_name("my-shop/orders.v-2") == "mesh_group_my_shop__orders_v_2"


def test_paths() -> None:
    assert paths(Wish(), "workloadentries") == ["/apis/networking.istio.io/v1/workloadentries"]
    assert len(paths(Wish(namespaces=["a", "b", "a"]), "workloadgroups")) == 2


def test_what_is_cached_is_enough_and_no_more() -> None:
    for resource in FLEET:
        full = {**resource, "apiVersion": "v1", "kind": "WorkloadEntry"}
        full["metadata"] = {
            **full["metadata"],
            "managedFields": [{}],
            "annotations": {
                **full["metadata"]["annotations"],
                "kubectl.kubernetes.io/last-applied-configuration": "{}",
            },
        }
        small = kept(full)
        assert "managedFields" not in small["metadata"]
        assert hosts([small], Wish(manual=True)) == hosts([resource], Wish(manual=True))
