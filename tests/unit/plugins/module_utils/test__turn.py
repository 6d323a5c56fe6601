# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the turn to drain, and of the module's answer."""

from __future__ import annotations

import copy
import types

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _lock, _share, _turn
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import ApiError
from ansible_collections.hybridmesh.istio.plugins.modules import workload_drain

NOON = 1_800_000_000.0


def entry(number, healthy="True", namespace="shop"):
    annotations = {
        "istio.io/autoRegistrationGroup": "billing",
        "istio.io/connectedAt": "2026-11-26T10:00:00Z",
        "proxy.istio.io/health-checks-enabled": "true",
    }
    return {
        "metadata": {"name": f"billing-{number}", "namespace": namespace, "annotations": annotations},
        "spec": {"address": f"10.0.0.{number}", "labels": {"app": "billing"}},
        "status": {"conditions": [{"type": "Healthy", "status": healthy}]},
    }


def vm(number, namespace="shop"):
    return {"name": f"vm{number}", "group": f"{namespace}/billing", "address": f"10.0.0.{number}"}


class Api:
    """Entries, Services and Leases; all that is written is told in `asked`."""

    server_time = NOON

    def __init__(self, *entries):
        self.entries = {(item["metadata"]["namespace"], item["metadata"]["name"]): item for item in entries}
        self.leases = {}
        self.asked = []
        self.refuse = ""

    def list_all(self, path):
        namespace = path.split("/namespaces/")[1].split("/")[0]
        if path.endswith("/services"):
            metadata = {"namespace": namespace, "name": "billing"}
            return [{"metadata": metadata, "spec": {"selector": {"app": "billing"}}}]
        return [copy.deepcopy(item) for (place, _name), item in self.entries.items() if place == namespace]

    def get(self, path):
        return copy.deepcopy(self.leases.get(path))

    def request(self, method, path, body=None, **_more):
        self.asked.append((method, path))
        if self.refuse and self.refuse in path:
            raise ApiError("refused", "granted", "ask", 403)
        if "/leases" not in path:
            assert any(_lock.holder(lease) for lease in self.leases.values())
            namespace, name = path.split("/namespaces/")[1].split("/")[0], path.split("/")[-2]
            self.entries[namespace, name]["status"] = body["status"]
        elif method == "DELETE":
            del self.leases[path]
        else:
            where = f"{path}/{body['metadata']['name']}" if method == "POST" else path
            metadata = {**body["metadata"], "uid": "u", "resourceVersion": str(len(self.asked))}
            self.leases[where] = {"metadata": metadata, "spec": body["spec"]}

    def drained(self):
        return [path.split("/")[-2] for method, path in self.asked if method == "PATCH"]


@pytest.fixture(name="moments", autouse=True)
def _moments(monkeypatch):
    """Time that only sleep moves; `then` happens at each."""
    moments = types.SimpleNamespace(now=0.0, then=lambda: None)

    def sleep(seconds):
        moments.now += seconds
        moments.then()

    monkeypatch.setattr(_turn.time, "monotonic", lambda: moments.now)
    monkeypatch.setattr(_turn.time, "sleep", sleep)
    return moments


def drain(api, *vms, check=False, **options):
    params = {
        "state": "drained",
        "vms": list(vms),
        "renew": [],
        "workload": None,
        "timeout": 5,
        "settle": 0.0,
        "share": 0.34,
        "share_timeout": 60,
        "not_counted": [],
        "away": 600,
        **options,
    }
    return workload_drain.run(types.SimpleNamespace(params=params, check_mode=check, _diff=False), api)


def test_who_may_drains_under_the_lease_and_leaves_a_note():
    api = Api(entry(1), entry(2), entry(3))
    result = drain(api, vm(1))
    assert (result["changed"], result["vms"], result["untouched"]) == (True, {"vm1": "drained"}, False)
    assert api.drained() == ["billing-1"]
    assert len(api.leases) == 1
    lease = next(iter(api.leases.values()))
    assert _lock.holder(lease) == ""
    assert '["shop", "billing", "10.0.0.1"]' in _lock.notes_of(lease)[_share.ANNOTATION]


def test_who_waits_goes_when_the_other_is_back(moments):
    api = Api(entry(1), entry(2, "False"), entry(3))

    def back():
        if moments.now > 20:
            api.entries["shop", "billing-2"] = entry(2)

    moments.then = back
    result = drain(api, vm(1))
    assert result["vms"] == {"vm1": "drained"}
    assert 20 < result["share_waited"] < 30


def test_who_waits_in_vain_fails_and_has_drained_nothing():
    api = Api(entry(1), entry(2, "False"), entry(3))
    result = drain(api, vm(1))
    assert result["failed"]
    assert result["untouched"]
    assert not result["changed"]
    assert api.drained() == []
    assert "billing-2 (unhealthy)" in result["found"]
    assert "waited for 60 s, and nothing was drained of vm1" in result["found"]
    # Waiting itself takes the lock from nobody.
    assert [method for method, _path in api.asked] == ["POST", "DELETE"]


def test_a_note_counts_until_the_machine_is_back_or_the_note_is_void(moments):
    api = Api(entry(1), entry(2), entry(3))
    drain(api, vm(1))
    del api.entries["shop", "billing-1"]
    assert drain(api, vm(2), share_timeout=10)["untouched"]

    def later():
        api.server_time = NOON + moments.now

    moments.then = later
    result = drain(api, vm(2), share_timeout=1800)
    assert result["vms"] == {"vm2": "drained"}
    assert result["share_waited"] > 500


def test_without_a_share_nobody_waits_and_no_lease_is_needed():
    api = Api(entry(1), entry(2, "False"), entry(3))
    api.leases["held"] = {"metadata": {}, "spec": {"holderIdentity": "somebody"}}
    result = drain(api, vm(1), share=None)
    assert result["vms"] == {"vm1": "drained"}
    assert "untouched" not in result
    assert list(api.leases) == ["held"]


@pytest.mark.parametrize(("check", "healthy"), [(True, "True"), (False, "False")])
def test_who_changes_nothing_takes_no_lock(check, healthy):
    api = Api(entry(1, healthy), entry(2, "False"), entry(3))
    result = drain(api, vm(1), check=check)
    assert result["changed"] is check
    assert api.asked == []


def test_who_may_not_have_the_lease_has_drained_nothing():
    api = Api(entry(1), entry(2), entry(3))
    api.refuse = "/leases"
    result = drain(api, vm(1))
    assert (result["failed"], result["untouched"], result["msg"]) == (
        True,
        True,
        "Found: refused. Expected: granted. Next step: ask.",
    )


def test_a_failure_in_the_middle_is_no_untouched_one():
    api = Api(entry(1), entry(2), entry(3))
    api.refuse = "/status"
    with pytest.raises(ApiError):
        drain(api, vm(1))


def test_machines_of_two_namespaces_go_together_or_not_at_all():
    entries = [entry(number, namespace=place) for number in (1, 2) for place in ("a", "b")]
    api = Api(*entries)
    assert drain(api, vm(1, "b"), vm(2, "a"))["changed"]
    assert [path.split("/namespaces/")[1][0] for method, path in api.asked if method == "POST"] == ["a", "b"]
    api = Api(*entries[:3], entry(2, "False", namespace="b"))
    assert drain(api, vm(1, "b"), vm(1, "a"))["untouched"]
    assert api.drained() == []


@pytest.mark.parametrize("share", [-0.1, 1.1, 34])
def test_a_share_is_a_part_of_one(share):
    with pytest.raises(_turn.MeshError, match="a number from 0 to 1"):
        drain(Api(), vm(1), share=share)
