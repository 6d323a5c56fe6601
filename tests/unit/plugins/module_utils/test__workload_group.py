# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a declared group stands for, and what is refused."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _workload_group
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError


def group(**more: t.Any) -> dict[str, t.Any]:
    result: dict[str, t.Any] = {"name": "envoydummy", "namespace": "chapter10vm"}
    result.update(more)
    return result


def test_a_group_with_everything() -> None:
    made = _workload_group.workload_group(
        group(
            service_account="chapter10-sa",
            labels={"app": "envoydummy", "version": 2},
            annotations={"a": "b"},
            ports={"http": 10000},
            locality="r/z",
            weight=3,
            probe={"httpGet": {"path": "/", "port": 10000}},
        ),
        "network1",
    )
    assert made["spec"] == {
        "metadata": {"labels": {"app": "envoydummy", "version": "2"}, "annotations": {"a": "b"}},
        "template": {
            "serviceAccount": "chapter10-sa",
            "network": "network1",
            "ports": {"http": 10000},
            "locality": "r/z",
            "weight": 3,
        },
        "probe": {"httpGet": {"path": "/", "port": 10000}},
    }


def test_a_group_with_nothing_has_a_service_account_of_its_own() -> None:
    made = _workload_group.workload_group(group(), "")
    assert made["spec"] == {"template": {"serviceAccount": "envoydummy"}}
    assert _workload_group.service_account(group())["metadata"]["name"] == "envoydummy"


def test_the_network_is_the_clusters() -> None:
    assert _workload_group.judge_network(group(), "network1") == "network1"
    assert _workload_group.judge_network(group(network="network1"), "network1") == "network1"
    assert _workload_group.judge_network(group(), "") == ""


@pytest.mark.parametrize("own", ["network1", ""])
def test_another_network_is_refused_with_the_reason(own: str) -> None:
    with pytest.raises(MeshError, match="gateway in front of the virtual machines"):
        _workload_group.judge_network(group(network="vms"), own)


RIGHTS = ["ClusterRoleBinding admins -> ClusterRole cluster-admin"]


@pytest.mark.parametrize(
    ("account", "rights", "told"), [("default", [], "ServiceAccount default"), ("sa", RIGHTS, "cluster-admin")]
)
def test_privileged_accounts_are_refused_unless_allowed(account: str, rights: list[str], told: str) -> None:
    with pytest.raises(MeshError, match=told):
        _workload_group.judge_account(group(service_account=account), rights)
    _workload_group.judge_account(group(service_account=account, allow_service_account=True), rights)


def test_an_account_without_rights_is_fine() -> None:
    _workload_group.judge_account(group(service_account="sa"), [])


def port(**more: t.Any) -> dict[str, t.Any]:
    return {"name": "http", "port": 80, "targetPort": None, "protocol": None, **more}


def test_a_service() -> None:
    of = group(labels={"app": "envoydummy", "version": "v2"}, service={"ports": [port(targetPort=10000)]})
    made = _workload_group.service(of)
    assert made is not None
    assert made["metadata"]["name"] == "envoydummy"
    assert made["metadata"]["labels"]["hybridmesh.istio/workload-group"] == "envoydummy"
    assert made["spec"] == {
        "selector": {"app": "envoydummy"},
        "ports": [{"name": "http", "port": 80, "targetPort": 10000, "protocol": "TCP"}],
    }


def test_a_service_selects_what_is_said_or_all_labels() -> None:
    said = group(labels={"app": "a"}, service={"ports": [port()], "selector": {"tier": "db"}})
    without = group(labels={"tier": "db", "v": "1"}, service={"ports": [port()]})
    for of, selector in ((said, {"tier": "db"}), (without, {"tier": "db", "v": "1"})):
        made = _workload_group.service(of)
        assert made is not None
        assert made["spec"]["selector"] == selector
        assert made["spec"]["ports"][0]["targetPort"] == 80


def test_no_service() -> None:
    assert _workload_group.service(group()) is None
    assert _workload_group.service(group(service=None)) is None


@pytest.mark.parametrize(
    ("of", "told"),
    [
        (group(service={"ports": [port()]}), "no selector"),
        (group(labels={"app": "a"}, service={"ports": []}), "no ports"),
    ],
)
def test_services_that_can_not_work(of: dict[str, t.Any], told: str) -> None:
    with pytest.raises(MeshError, match=told):
        _workload_group.service(of)


def test_duplicates_are_refused() -> None:
    with pytest.raises(MeshError, match="WorkloadGroup chapter10vm/envoydummy"):
        _workload_group.check_groups([group(), group()])
    twice = [group(name=name, service={"name": "one", "ports": [port()]}) for name in ("a", "b")]
    with pytest.raises(MeshError, match="Service chapter10vm/one"):
        _workload_group.check_groups(twice)
    _workload_group.check_groups([group(), group(namespace="other")])
