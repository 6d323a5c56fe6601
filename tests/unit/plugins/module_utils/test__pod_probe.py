# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests from a pod: the shell functions run for real, and the verdicts on what they bring."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _pod_probe as core
from ansible_collections.hybridmesh.istio.plugins.module_utils import _probe
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

GROUP = {
    "metadata": {"name": "envoydummy", "namespace": "chapter10vm"},
    "spec": {
        "metadata": {"labels": {"app": "envoydummy"}},
        "template": {"serviceAccount": "chapter10-sa", "labels": {"version": "v2"}},
        "probe": {"httpGet": {"path": "health", "port": 10000}},
    },
}
SERVICE = "outbound|80||envoydummy.chapter10vm.svc.cluster.local"
IDENTITY = "spiffe://cluster.local/ns/chapter10vm/sa/chapter10-sa"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"one\ntwo\n" if self.path == "/clusters" else b"x"
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: t.Any) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> t.Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("client", ["curl", "wget", "python3"])
def test_the_shell_functions(client, port):
    if not shutil.which(client):
        pytest.skip(f"{client} is not on this machine")
    base = f"http://127.0.0.1:{port}"
    script = (
        core.functions(client, 5, port)
        + core.find_client()
        + core.ask_many(f"{base}/it's?a=1&b=2", 3, 60)
        + core.ask_many(f"{base}/missing", 1, 60)
        + core.ask_many("http://127.0.0.1:1/", 1, 60)
        + core.ask_many(f"{base}/", 3, -9)
        + core.ask_admin("clusters", ["two"])
        + core.ask_admin("clusters")
        + core.ask_admin("clusters", ["no such line"])
    )
    done = subprocess.run(
        ["sh"],
        input=script,
        env={"PATH": "/usr/bin:/bin", "http_proxy": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    found, many, missing, refused, late, thin, whole, nothing, _rest = done.stdout.split(core.MARK)
    assert found.split()[-1] == "grep"
    assert core.statuses(many) == [200, 200, 200]
    assert core.statuses(missing) == [404]
    assert core.statuses(refused) == [0]
    assert core.statuses(late) == []
    assert thin.split() == ["two"]
    assert whole.split() == ["one", "two"]
    assert nothing.strip() == ""


def test_statuses_of_a_client_that_only_knows_success():
    assert core.statuses("200 0\n 0\n 1\n000 7\nnoise\n404 8\n") == [200, 200, 0, 0, 404]


def service(name: str, selector: dict[str, str], *ports: dict[str, t.Any], **labels: str) -> dict[str, t.Any]:
    return {"metadata": {"name": name, "labels": labels}, "spec": {"selector": selector, "ports": list(ports)}}


HTTP = {"name": "http-web", "port": 80}


def test_choose_service():
    services = [
        service("other", {"app": "other"}, HTTP),
        service("headless", {}, HTTP),
        service(
            "tcp-one", {"app": "envoydummy"}, {"name": "tcp", "port": 9}, {"name": "u", "port": 1, "protocol": "UDP"}
        ),
        service("envoydummy", {"app": "envoydummy", "version": "v2"}, {"name": "tcp", "port": 81}, HTTP),
    ]
    assert core.choose_service(services, GROUP) == core.Choice(
        "http://envoydummy.chapter10vm.svc.cluster.local:80/health", SERVICE, "envoydummy"
    )
    ours = service("ours", {"app": "envoydummy"}, {"name": "tcp", "port": 9})
    ours["metadata"]["labels"] = {"hybridmesh.istio/workload-group": "envoydummy"}
    assert core.choose_service([*services, ours], GROUP, "my.domain").cluster == (
        "outbound|9||ours.chapter10vm.svc.my.domain"
    )
    with pytest.raises(MeshError, match="chapter10vm/envoydummy"):
        core.choose_service(services[:2], GROUP)


def test_endpoints_by_address():
    clusters: _probe.Clusters = {
        SERVICE: {"10.88.0.21:10001": {}, "10.88.0.21:10000": {}, "[fd00::1]:10000": {}},
    }
    assert core.endpoints_of(clusters, SERVICE) == {"10.88.0.21": "10.88.0.21:10000", "fd00::1": "[fd00::1]:10000"}
    assert core.endpoints_of({}, SERVICE) == {}


HOST = "envoydummy.chapter10vm.svc.cluster.local"


def test_subsets_of_the_service_are_its_endpoints_too():
    choice = core.Choice("http://envoydummy:80/", SERVICE, "envoydummy")
    one = {"rq_total": 1, "rq_success": 1, "health_flags": "/failed_outlier_check"}
    clusters: _probe.Clusters = {
        SERVICE: {"10.88.0.21:10000": {"rq_total": 1, "rq_success": 1, "health_flags": "healthy"}},
        f"outbound|80|v2|{HOST}": {"10.88.0.21:10000": one, "10.88.0.22:10000": one},
        f"outbound|81||{HOST}": {"10.88.0.23:10000": one},
        "outbound|80||other.lab.svc.cluster.local": {"10.88.0.24:10000": one},
    }
    assert core.as_one(clusters, choice) == {
        SERVICE: {
            "10.88.0.21:10000": {"rq_total": 2, "rq_success": 2, "health_flags": "healthy"},
            "10.88.0.22:10000": one,
        }
    }
    assert core.as_one({}, choice) == {}
    assert all(choice.mark in f"{name}::10.88.0.21:10000::rq_total::1" for name in list(clusters)[:3])


def test_requests_that_a_route_leads_elsewhere_are_no_fault_of_the_capture():
    choice = core.Choice("http://envoydummy:80/", SERVICE, "envoydummy")
    verdict = core.judge_vm("vm1", choice, VM, {}, {}, None, (200, 200), "a/b", ["workbench.lab.svc.cluster.local"])
    assert verdict["verdict"] == "not_reached"
    assert "those of workbench.lab.svc.cluster.local were asked meanwhile" in verdict["evidence"]
    assert HOST in verdict["next_step"]


VM, OTHER = "10.88.0.21:10000", "10.88.0.22:10000"
GOOD = {"rq_total": 1, "rq_success": 1}
TLS = _probe.Transport(True, [IDENTITY])


def judge(
    stats: dict[str, dict[str, int]],
    answers: tuple[int, ...] = (200, 200),
    transport: _probe.Transport | None = TLS,
    endpoint: str | None = VM,
    flags: str = "healthy",
) -> dict[str, t.Any]:
    choice = core.Choice("http://envoydummy:80/", SERVICE, "envoydummy")
    clusters: _probe.Clusters = {SERVICE: {VM: {"health_flags": flags}}} if endpoint else {}
    grown: _probe.Clusters = {SERVICE: dict(stats)} if stats else {}
    return core.judge_vm("vm1", choice, endpoint, clusters, grown, transport, answers, "chapter10vm/chapter10-sa")


def test_vm_reached():
    verdict = judge({VM: GOOD})
    assert verdict["ok"]
    assert verdict["through_mesh"]
    assert verdict["peer_identity"] == IDENTITY
    assert verdict["statuses"] == [200]
    assert verdict["requests"] == 2


def test_vm_reached_over_tcp_counts_only_if_all_requests_were_answered():
    assert judge({VM: {"rq_total": 1, "cx_total": 1}})["ok"]
    assert not judge({VM: {"rq_total": 1, "cx_total": 1}}, answers=(200, 0))["ok"]


@pytest.mark.parametrize(
    ("options", "reason", "evidence"),
    [
        ({"stats": {}, "endpoint": None, "answers": ()}, "no_endpoint", "known: none"),
        ({"stats": {VM: {"cx_total": 1, "cx_connect_fail": 1}}, "answers": (503,)}, "connection_failed", VM),
        ({"stats": {VM: {"rq_total": 1, "rq_error": 1}}, "answers": (500,)}, "bad_status", "500"),
        ({"stats": {OTHER: GOOD}, "flags": "/failed_eds_health"}, "unhealthy", "failed_eds_health"),
        ({"stats": {}}, "not_through_mesh", "no counter"),
        ({"stats": {}, "answers": (0, 0)}, "request_failed", "no answer"),
        ({"stats": {OTHER: GOOD}}, "not_reached", "2 requests"),
        ({"stats": {VM: GOOD}, "transport": None}, "plaintext", VM),
        ({"stats": {VM: GOOD}, "transport": _probe.Transport(False, [])}, "plaintext", VM),
        ({"stats": {VM: GOOD}, "transport": _probe.Transport(True, [])}, "no_identity", "SPIFFE"),
        (
            {"stats": {VM: GOOD}, "transport": _probe.Transport(True, ["spiffe://x/sa/b"])},
            "wrong_identity",
            "sa/b",
        ),
    ],
)
def test_vm_reasons(options, reason, evidence):
    verdict = judge(**options)
    assert verdict["verdict"] == reason
    assert not verdict["ok"]
    assert evidence in verdict["evidence"]
    assert verdict["next_step"]


def test_dump_paths_are_quoted():
    assert all("outbound%5C%7C80%5C%7C%5C%7C" in path for path in core.dump_paths(SERVICE))
