# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the program beside Prometheus that says which virtual machines there are."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "roles/observability/files/mesh_machines.py"
spec = importlib.util.spec_from_file_location("mesh_machines", SCRIPT)
machines = importlib.util.module_from_spec(spec)
spec.loader.exec_module(machines)


def entry(name="web-10.0.0.1", address="10.0.0.1", annotations=None, labels=None, status=None, **fields):
    """As istiod makes it; annotations that are None are left out."""
    own = {
        "istio.io/autoRegistrationGroup": "web",
        "istio.io/connectedAt": "2026-01-01T00:00:00Z",
        **(annotations or {}),
    }
    return {
        "metadata": {
            "name": name,
            "namespace": "shop",
            "annotations": {key: value for key, value in own.items() if value is not None},
            "labels": labels or {"app": "web", "version": "v2"},
            "resourceVersion": "5",
        },
        "spec": {"address": address, "labels": labels or {"app": "web", "version": "v2"}, **fields},
        "status": status or {},
    }


HAND_MADE = {"istio.io/autoRegistrationGroup": None, "istio.io/connectedAt": None}


def test_a_machine_is_a_target():
    found = machines.targets([entry(locality="eu/a", network="n1")], "15020")
    labels = {"namespace": "shop", "app": "web", "version": "v2", "group": "web", "entry": "web-10.0.0.1"}
    assert found == [{"targets": ["10.0.0.1:15020"], "labels": {**labels, "locality": "eu/a", "network": "n1"}}]


def test_names_that_istio_gives_go_before_labels():
    labels = {"app": "web", "service.istio.io/canonical-name": "canon", "service.istio.io/canonical-revision": "v9"}
    assert machines.labels_of(entry(labels=labels)).items() >= {"app": "canon", "version": "v9"}.items()
    assert machines.labels_of(entry(labels={"x": "y"}))["app"] == "web"


@pytest.mark.parametrize(
    ("item", "addresses"),
    [
        (entry(address="fd00::1"), ["[fd00::1]:15020"]),
        (entry(address="vm.example.com"), ["vm.example.com:15020"]),
        (entry(address="unix:///run/x"), []),
        (entry(address=""), []),
        (entry(annotations={"prometheus.io/port": "15099"}), ["10.0.0.1:15099"]),
        (entry(annotations={"prometheus.io/scrape": "false"}), []),
        # An entry that somebody wrote may stand for something without a sidecar.
        (entry(annotations=HAND_MADE), []),
        (entry(annotations={**HAND_MADE, "prometheus.io/scrape": "true"}), ["10.0.0.1:15020"]),
    ],
)
def test_who_is_scraped_where(item, addresses):
    assert [address for found in machines.targets([item], "15020") for address in found["targets"]] == addresses


def test_targets_have_a_fixed_order():
    several = [entry(f"web-{number}") for number in (3, 1, 2)]
    assert machines.targets(several, "1") == machines.targets(reversed(several), "1")


@pytest.mark.parametrize(
    ("item", "states"),
    [
        (entry(), {"mesh_machine_connected": 1}),
        (entry(annotations={"istio.io/disconnectedAt": "2026"}), {"mesh_machine_connected": 0}),
        (entry(annotations={"istio.io/connectedAt": None}), {"mesh_machine_connected": 0}),
        (entry(annotations=HAND_MADE), {}),
        # Health is checked, and nothing was seen of it yet.
        (
            entry(annotations={"proxy.istio.io/health-checks-enabled": "true"}),
            {"mesh_machine_connected": 1, "mesh_machine_healthy": 0},
        ),
        (
            entry(
                annotations={"proxy.istio.io/health-checks-enabled": "true"},
                status={"conditions": [{"type": "Healthy", "status": "True"}]},
            ),
            {"mesh_machine_connected": 1, "mesh_machine_healthy": 1},
        ),
    ],
)
def test_what_istiod_says(item, states):
    assert machines.states(item) == states


def test_metrics_can_be_read_by_prometheus():
    text = machines.exposition([entry(locality='a"b\\c\nd')], "15020", 12.5)
    assert 'locality="a\\"b\\\\c\\nd"' in text
    assert "mesh_machine_targets 1\n" in text
    assert "mesh_machine_synced_timestamp_seconds 12.500\n" in text
    assert text.count("# TYPE") == 4
    assert all(line.startswith("#") or line.rpartition(" ")[2] for line in text.splitlines())


def test_a_file_is_replaced_only_where_it_changes(tmp_path):
    path = tmp_path / "targets.json"
    assert machines.write(path, "[]")
    assert not machines.write(path, "[]")
    assert machines.write(path, "[1]")
    assert [item.name for item in tmp_path.iterdir()] == ["targets.json"]


class Api:
    """An API server that answers what it is told to, one answer after the other."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.queries = []

    def __call__(self, query, timeout):
        self.queries.append(query)
        return io.BytesIO(self.answers.pop(0))


def page(*items, following=None, version="7"):
    metadata = {"resourceVersion": version, **({"continue": following} if following else {})}
    return json.dumps({"metadata": metadata, "items": list(items)}).encode()


def events(*told):
    return b"".join(json.dumps({"type": kind, "object": item}).encode() + b"\n" for kind, item in told)


def test_what_there_is_and_what_comes_and_goes():
    seen = []
    one, two, three = (entry(f"web-{number}", f"10.0.0.{number}") for number in (1, 2, 3))
    bookmark = {"metadata": {"resourceVersion": "99"}}
    api = Api(
        page(one, following="next"),
        page(two),
        events(("ADDED", three), ("DELETED", one), ("MODIFIED", dict(two, status={"x": 1})), ("BOOKMARK", bookmark)),
        events(("ERROR", {"kind": "Status", "code": 410})),
    )
    followers = []
    follower = machines.Follower(api, lambda: seen.append(sorted(name for dummy, name in followers[0].entries)))
    followers.append(follower)
    assert follower.list() == "7"
    assert api.queries[1]["continue"] == "next"
    assert follower.watch("7") == "99"
    assert seen == [["web-1", "web-2"], ["web-1", "web-2", "web-3"], ["web-2", "web-3"], ["web-2", "web-3"]]
    assert follower.entries["shop", "web-2"]["status"] == {"x": 1}
    assert follower.synced > 0
    # Too old: all must be read again.
    assert follower.watch("99") is None
    follower.forget()
    assert seen[-1] == []


def test_a_changed_configuration_is_noticed(tmp_path):
    # As a mounted ConfigMap is: links, and folders that are left out.
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data/prometheus.yml").write_text("one")
    (tmp_path / "prometheus.yml").symlink_to("..data/prometheus.yml")
    before = machines.digest_of(tmp_path)
    assert machines.digest_of(tmp_path) == before
    (tmp_path / "..data/prometheus.yml").write_text("two")
    assert machines.digest_of(tmp_path) != before


def test_processes_by_name(tmp_path):
    for number, name in ((7, "prometheus"), (8, "python3")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "comm").write_text(f"{name}\n")
    (tmp_path / "self").mkdir()
    assert machines.processes("prometheus", tmp_path) == [7]


def test_it_needs_nothing_but_python():
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='x')"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
