# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin as Ansible loads and calls it."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import inventory_loader
from ansible_collections.hybridmesh.istio.plugins.inventory import workloads


class Api:
    """Answers lists, and keeps what was asked and how it was reached."""

    server = "https://fake.example"

    def __init__(self) -> None:
        self.options: list[dict[str, t.Any]] = []
        self.asked: list[str] = []

    def connect(self, options: dict[str, t.Any]) -> Api:
        self.options.append(options)
        return self

    def list_all(self, path: str, limit: int = 0) -> list[dict[str, t.Any]]:
        self.asked.append(path)
        if path.endswith("workloadgroups"):
            return [{"metadata": {"namespace": "shop", "name": name}} for name in ("orders", "none-yet")]
        return [
            {
                "metadata": {
                    "name": f"orders-{number}",
                    "namespace": "shop",
                    "annotations": {"istio.io/autoRegistrationGroup": "orders", "istio.io/connectedAt": "2026-01-01"},
                },
                "spec": {"address": f"192.0.2.{number}", "network": "net", "locality": f"eu/eu-{number}"},
            }
            for number in (1, 2)
        ]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    fake = Api()
    monkeypatch.setattr(workloads, "Cluster", fake.connect)
    for name in ("K8S_AUTH_KUBECONFIG", "K8S_AUTH_CONTEXT", "K8S_AUTH_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return fake


def read(folder: pathlib.Path, **options: t.Any) -> InventoryData:
    path = folder / "test.workloads.yml"
    path.write_text(yaml.safe_dump({"plugin": "hybridmesh.istio.workloads", **options}))
    plugin = inventory_loader.get("hybridmesh.istio.workloads")
    assert plugin.verify_file(str(path))
    inventory = InventoryData()
    plugin.parse(inventory, DataLoader(), str(path), cache=True)
    if options.get("cache"):
        plugin.update_cache_if_changed()
    return inventory


def members(inventory: InventoryData, group: str) -> list[str]:
    return sorted(host.name for host in inventory.groups[group].get_hosts())


def test_hosts_and_groups(api: Api, tmp_path: pathlib.Path) -> None:
    inventory = read(
        tmp_path,
        keyed_groups=[{"key": "mesh_entry_zone", "prefix": "zone"}],
        groups={"first": "mesh_entry_name == 'orders-1'"},
        compose={"ansible_host": "mesh_entry_name ~ '.example'"},
    )
    assert members(inventory, "mesh_vms") == members(inventory, "mesh_group_shop__orders") == ["orders-1", "orders-2"]
    assert members(inventory, "mesh_group_shop__none_yet") == []
    assert members(inventory, "first") == members(inventory, "zone_eu_1") == ["orders-1"]
    host = inventory.get_host("orders-2").get_vars()
    assert (host["ansible_host"], host["mesh_workload_group"]) == ("orders-2.example", "shop/orders")


def test_two_requests_however_many(api: Api, tmp_path: pathlib.Path) -> None:
    read(tmp_path)
    assert [path.rpartition("/")[2] for path in api.asked] == ["workloadgroups", "workloadentries"]


def test_cache(api: Api, tmp_path: pathlib.Path) -> None:
    cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(tmp_path / "cache")}
    read(tmp_path, **cache)
    assert members(read(tmp_path, **cache, hostnames=["address"]), "mesh_vms") == ["192.0.2.1", "192.0.2.2"]
    assert len(api.asked) == 2
    read(tmp_path, **cache, namespaces=["shop"])
    assert len(api.asked) == 4


def test_connection(api: Api, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "from-the-environment")
    monkeypatch.setenv("K8S_AUTH_CONTEXT", "theirs")
    read(tmp_path, host="https://a.example", api_key="{{ lookup('ansible.builtin.env', 'MY_TOKEN') }}")
    (options,) = api.options
    assert options["host"] == "https://a.example"
    assert options["api_key"] == "from-the-environment"
    assert options["context"] == "theirs"
    assert options["kubeconfig"] is None


@pytest.mark.parametrize("options", [{"hostnames": ["fqdn"]}, {"workload_groups": ["a/b/c"]}, {"health": ["ill"]}])
def test_bad_input(api: Api, tmp_path: pathlib.Path, options: dict[str, t.Any]) -> None:
    with pytest.raises(AnsibleError):
        read(tmp_path, **options)
    assert api.asked == []


def test_files_of_others(tmp_path: pathlib.Path) -> None:
    other = tmp_path / "hosts.yml"
    other.touch()
    assert not inventory_loader.get("hybridmesh.istio.workloads").verify_file(str(other))
