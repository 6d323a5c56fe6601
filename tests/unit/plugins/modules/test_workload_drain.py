# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the module workload_drain."""

from __future__ import annotations

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils._capacity import DRAINED
from ansible_collections.hybridmesh.istio.plugins.module_utils._workload_entry import entry_from
from ansible_collections.hybridmesh.istio.plugins.modules import workload_drain


def entry(healthy="True", message="", probe=True):
    annotations = {"proxy.istio.io/health-checks-enabled": "true"} if probe else {}
    conditions = [{"type": "Healthy", "status": healthy, "message": message}] if healthy else []
    return entry_from(
        {"metadata": {"name": "e", "namespace": "n", "annotations": annotations}, "status": {"conditions": conditions}}
    )


@pytest.mark.parametrize(
    ("state", "item", "renew", "what"),
    [
        ("drained", entry(), False, "drained"),
        ("drained", entry("False", "HTTP 500"), False, "nothing"),
        ("drained", entry("False", DRAINED + " at noon"), False, "nothing"),
        ("drained", entry(None, probe=False), False, "deleted"),
        ("drained", entry(), True, "deleted"),
        ("restored", entry("False", DRAINED + " at noon"), False, "restored"),
        ("restored", entry("False", "HTTP 500"), False, "nothing"),
        ("restored", entry(), False, "nothing"),
        ("absent", entry(), False, "deleted"),
    ],
)
def test_what_is_done_to_an_entry(state, item, renew, what):
    assert workload_drain.intention(state, item, renew) == what


class Recorder:
    """Writes down what is asked."""

    def __init__(self):
        self.asked = []

    def request(self, method, path, **more):
        self.asked.append((method, path, more))
        return {}


def test_a_drain_is_a_condition_that_says_whose_it_is():
    cluster = Recorder()
    workload_drain.act(cluster, entry(), "drained")
    ((method, path, more),) = cluster.asked
    assert (method, path) == ("PATCH", "/apis/networking.istio.io/v1/namespaces/n/workloadentries/e/status")
    (condition,) = more["body"]["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("Healthy", "False")
    assert condition["message"].startswith(DRAINED)


def test_restored_and_deleted():
    cluster = Recorder()
    workload_drain.act(cluster, entry(), "restored")
    workload_drain.act(cluster, entry(), "deleted")
    assert cluster.asked[0][2]["body"]["status"]["conditions"][0]["status"] == "True"
    assert cluster.asked[1][0] == "DELETE"
