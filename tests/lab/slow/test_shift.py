# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests go from pods (v1) to machines (v2) step by step: none is lost, and they go back by themselves where v2 fails."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import typing as t

import pytest

from ..conftest import Lab, Run
from ..demo import HOST, ingress_address
from ..test_2_bad_input import refused
from ..test_4_rights import Job
from ..test_8_traffic import becomes
from ..traffic import SERVICE, Traffic, from_outside

SHIFT = "playbooks/shift.yml"
MACHINES = ("vm1", "vm2")
V1 = {"service": "workbench.lab"}
V2 = {"service": "envoydummy.chapter10vm", "subset": "v2"}
OPTIONS = {
    "traffic_shift_route": "lab/versions",
    "traffic_shift_backends": [V2],
    "traffic_shift_steps": [30, 100],
    "traffic_shift_span": 4,
    "traffic_shift_interval": 1,
    "traffic_shift_requests": 15,
    "traffic_settle": 1,
    # The lab may be one of several things that its machine does: what is slower than others by chance is not held against it.
    "traffic_shift_quantile": 50,
    "traffic_shift_max_latency_factor": 0,
}

# A client whose proxy counts latencies: Istio's own metrics are not in the lab's.
CLIENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: shift-client, namespace: lab}
spec:
  selector: {matchLabels: {app: shift-client}}
  template:
    metadata:
      labels: {app: shift-client}
      annotations: {sidecar.istio.io/statsInclusionRegexps: '.*upstream_rq_time.*'}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - {name: client, image: docker.io/lab/workbench:1, command: [sleep, infinity]}
"""

# v2 of the application. To the probe of its health, which comes past the proxy, it is always well.
APPLICATION = r"""
import http.server, pathlib, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        mode = pathlib.Path("/run/shift-mode").read_text().strip() if self.headers.get("x-request-id") else ""
        time.sleep(1.0 if mode == "slow" else 0)
        self.send_response(500 if mode == "fails" else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"v2")

    def log_message(self, *_words):
        pass

http.server.ThreadingHTTPServer(("", 10000), Handler).serve_forever()
"""
INSTALL = f"""
echo well > /run/shift-mode
cat > /run/shift-app.py << 'EOF'{APPLICATION}EOF
mkdir -p /run/systemd/system/lab-app.service.d
printf '[Service]\\nExecStart=\\nExecStart=/usr/bin/python3 /run/shift-app.py\\n' > /run/systemd/system/lab-app.service.d/shift.conf
systemctl daemon-reload
systemctl restart lab-app
"""
REMOVE = """
rm -rf /run/shift-mode /run/shift-app.py /run/systemd/system/lab-app.service.d
systemctl daemon-reload
systemctl restart lab-app
"""


def from_client() -> Traffic:
    command = ["kubectl", "exec", "-i", "-n", "lab", "deploy/shift-client", "-c", "client", "--", "sh", "-c"]
    # A busy machine is no version that fails.
    return Traffic(command, SERVICE, patience=30)


def declaration(v1: int, v2: int) -> dict[str, t.Any]:
    header = {"match": [{"headers": {"x-version": "v3"}}], "spec": {"directResponse": {"status": 418}}}
    both = {"name": "both", "backends": [{**V1, "weight": v1}, {**V2, "weight": v2}], "timeout": 30}
    nothing = {"name": "nothing", "backends": [{**V1, "weight": 100}, {**V2, "subset": "v9", "weight": 0}]}
    nothing["match"] = [{"path": "/nothing"}]
    return {
        "routes": [
            {
                "name": "versions",
                "namespace": "lab",
                "services": [V2["service"]],
                "rules": [header, nothing, both],
            }
        ],
        "destinations": [
            {"service": V2["service"], "subsets": {"v2": {"version": "v2"}, "v9": {"version": "v9"}}},
        ],
    }


def unweighted(route: dict[str, t.Any]) -> dict[str, t.Any]:
    """A route's spec without the weights that are shifted."""
    spec = dict(route["spec"])
    for target in spec["http"][2]["route"]:
        target.pop("weight", None)
    return spec


class Versions:
    """Both versions, and the route between them."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def declare(self, v1: int, v2: int) -> Run:
        run = self.lab.playbook(
            "playbooks/traffic.yml", variables={"traffic_rules": declaration(v1, v2), "traffic_settle": 2}
        )
        assert run.code == 0, run.output
        return run

    def shift(self, *arguments: str, **options: t.Any) -> Run:
        return self.lab.playbook(SHIFT, *arguments, variables={"traffic_shift_rule": "both", **OPTIONS, **options})

    @property
    def route(self) -> dict[str, t.Any]:
        return dict(json.loads(self.lab.kubectl("get", "virtualservice", "-n", "lab", "versions", "-o", "json")))

    @property
    def weights(self) -> list[int]:
        return [target.get("weight", 0) for target in self.route["spec"]["http"][2]["route"]]

    def becomes(self, mode: str) -> None:
        for machine in MACHINES:
            self.lab.ssh(machine, f"echo {mode} > /run/shift-mode")


@pytest.fixture(scope="module")
def versions(mesh: Lab) -> t.Iterator[Versions]:
    mesh.apply(CLIENT)
    for machine in MACHINES:
        mesh.ssh(machine, INSTALL)
    mesh.kubectl("rollout", "status", "-n", "lab", "deploy/shift-client", "--timeout", "90s")
    try:
        yield Versions(mesh)
    finally:
        done = mesh.playbook("playbooks/traffic.yml", variables={"traffic_rules": {}, "traffic_settle": 0})
        mesh.kubectl("delete", "deployment", "-n", "lab", "shift-client")
        for machine in MACHINES:
            mesh.ssh(machine, REMOVE)
        assert done.code == 0, done.output


def test_no_request_is_lost_between_healthy_versions(versions: Versions) -> None:
    versions.declare(100, 0)
    before = versions.route
    check = versions.shift("--check", "--diff")
    assert (check.code, versions.route) == (0, before), check.output
    assert "step 1 of 2: 70 % workbench.lab, 30 % envoydummy.chapter10vm v2" in check.words
    assert "-70 % workbench.lab, 30 % envoydummy.chapter10vm v2 +0 % workbench.lab, 100 %" in check.words

    with from_client() as client:
        run = versions.shift(traffic_shift_max_latency=5000)
    client.told("shift from pods to machines")
    assert run.code == 0, run.output
    assert (client.failed, versions.weights) == (0, [0, 100]), run.output
    assert client.sent > 100
    # Each step is told, with what was seen of both versions.
    seen = re.findall(
        r"new \(envoydummy.chapter10vm v2\): (\d+) requests, 100.00 % succeeded, p50 [\d.]+ ms, p99", run.words
    )
    assert len(seen) == 2, run.output
    assert min(map(int, seen)) >= 15, run.output
    assert "{service: workbench.lab, weight: 0}" in run.output
    assert unweighted(versions.route) == unweighted(before)

    again = versions.shift()
    assert (again.code, again.changed) == (0, 0), again.output
    # What is declared now is what is there, so neither role has anything to do.
    assert versions.declare(0, 100).changed == 0
    declared = versions.shift(traffic_shift_backends=None, traffic_rules=declaration(0, 100))
    assert (declared.code, declared.changed) == (0, 0), declared.output


@pytest.mark.parametrize(
    ("mode", "why"),
    [("fails", r"\d+ of \d+ requests failed"), ("slow", r"p50 is \d+ ms; at most 400 ms are allowed")],
)
def test_they_go_back_where_the_new_version_fails(versions: Versions, mode: str, why: str) -> None:
    versions.declare(100, 0)
    versions.becomes(mode)
    try:
        with from_client() as client:
            run = versions.shift(traffic_shift_steps=[20], traffic_shift_max_latency=400)
    finally:
        versions.becomes("well")
    client.told(f"new version {mode}")
    assert run.code == 2, run.output
    assert versions.weights == [100, 0]
    assert re.search(why, run.words), run.output
    assert "the weights are as before again (100 % workbench.lab, 0 % envoydummy.chapter10vm v2)" in run.words
    assert "80 % workbench.lab, 20 %" in run.words
    # Most were never led there.
    assert client.statuses[200] > client.sent / 2


def test_it_goes_on_from_where_it_was_cut_off_and_never_past_somebody_else(versions: Versions) -> None:
    versions.declare(60, 40)
    with from_client():
        steps: list[Run] = []
        thread = threading.Thread(
            target=lambda: steps.append(versions.shift(traffic_shift_steps=[30, 50], traffic_shift_span=60))
        )
        thread.start()
        while versions.weights != [50, 50]:
            assert thread.is_alive(), steps[0].output
        change = [{"op": "replace", "path": "/spec/http/2/timeout", "value": "4s"}]
        versions.lab.kubectl(
            "patch", "virtualservice", "-n", "lab", "versions", "--type=json", "-p", json.dumps(change)
        )
        thread.join()
    (run,) = steps
    assert run.code == 2, run.output
    assert "step 1 of 2: 50 % workbench.lab" in run.words
    assert "somebody else changed route lab/versions at the same time" in run.words
    assert (versions.weights, versions.route["spec"]["http"][2]["timeout"]) == ([50, 50], "4s")


WRONG: dict[str, tuple[dict[str, t.Any], list[str]]] = {
    "route": ({"traffic_shift_route": "lab/version"}, ["there is no route lab/version", "lab/versions"]),
    "rule": ({"traffic_shift_rule": "all"}, ["has no rule all (it has: 1, both, nothing)"]),
    "backend": (
        {"traffic_shift_backends": [{"service": "envoydumy.chapter10vm"}]},
        ["envoydumy.chapter10vm is not among its backends (it has: envoydummy.chapter10vm v2, workbench.lab)"],
    ),
    "endpoints": (
        {"traffic_shift_rule": "nothing", "traffic_shift_backends": [{**V2, "subset": "v9"}]},
        ["know no healthy endpoint of envoydummy.chapter10vm v9"],
    ),
    "steps": ({"traffic_shift_steps": [50, 20]}, ["the steps are 50, 20"]),
    "nothing": ({"traffic_shift_backends": None}, ["nothing says which weights lab/versions is to have"]),
}


def test_what_can_not_be_is_refused_before_anything_is_changed(versions: Versions) -> None:
    versions.declare(100, 0)
    before = versions.route
    for what, words in WRONG.values():
        refused(versions.shift(**what), *words)
    assert versions.route == before


def test_with_the_rights_of_its_job(versions: Versions) -> None:
    versions.declare(100, 0)
    job = Job(versions.lab, "shift")
    variables = versions.lab.folder / "shift.json"
    options = {
        **OPTIONS,
        "traffic_shift_rule": "both",
        "traffic_shift_namespaces": ["lab"],
        "traffic_shift_steps": [100],
    }
    variables.write_text(json.dumps(options))
    with from_client():
        run = job.playbook(SHIFT, "-e", f"@{variables}")
    assert (run.code, versions.weights) == (0, [0, 100]), run.output
    assert not job.may("create", "virtualservices", "-n", "lab")
    assert not job.may("create", "pods/exec", "-n", "istio-system")


class Entry:
    """A route for those who come through the ingress gateway, and for sidecars where that is asked for, too."""

    def __init__(self, versions: Versions) -> None:
        self.versions, self.lab = versions, versions.lab

    def declare(self, v1: int, v2: int, *, sidecars: bool) -> None:
        gateway = {"name": "entry", "namespace": "lab", "selector": {"istio": "ingressgateway"}}
        gateway["servers"] = [{"port": 80, "protocol": "HTTP", "hosts": [HOST]}]
        both = {"backends": [{**V1, "weight": v1}, {**V2, "weight": v2}], "timeout": 30}
        route = {"name": "entry", "namespace": "lab", "hosts": [HOST], "gateways": ["entry"], "rules": [both]}
        if sidecars:
            route.update(gateways=["entry", "mesh"], services=[V2["service"]])
        destinations = [{"service": V2["service"], "subsets": {"v2": {"version": "v2"}}}]
        rules = {"gateways": [gateway], "routes": [route], "destinations": destinations}
        run = self.lab.playbook("playbooks/traffic.yml", variables={"traffic_rules": rules, "traffic_settle": 2})
        assert run.code == 0, run.output
        becomes("200", self.status)

    def status(self) -> str:
        url, form = f"http://{ingress_address(self.lab)}/", "%{http_code}"
        command = ["curl", "-s", "-m", "5", "-o", "/dev/null", "-w", form, "-H", f"Host: {HOST}", url]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def client(self) -> Traffic:
        return from_outside(ingress_address(self.lab), HOST, patience=30)

    def shift(self, *arguments: str, **options: t.Any) -> Run:
        return self.lab.playbook(
            SHIFT, *arguments, variables={**OPTIONS, "traffic_shift_route": "lab/entry", **options}
        )

    @property
    def weights(self) -> list[int]:
        route = json.loads(self.lab.kubectl("get", "virtualservice", "-n", "lab", "entry", "-o", "json"))
        return [target.get("weight", 0) for target in route["spec"]["http"][0]["route"]]


@pytest.fixture(scope="module")
def entry(versions: Versions) -> t.Iterator[Entry]:
    run = versions.lab.role("ingress_gateway")
    assert run.code == 0, run.output
    yield Entry(versions)
    # What leads through it goes first.
    run = versions.lab.playbook("playbooks/traffic.yml", variables={"traffic_rules": {}, "traffic_settle": 0})
    assert run.code == 0, run.output
    run = versions.lab.role("ingress_gateway", variables={"ingress_gateway_state": "absent"})
    assert run.code == 0, run.output


def test_no_request_from_outside_is_lost(entry: Entry) -> None:
    """The route is on the gateway alone, so it is the gateway's Pods that are watched."""
    entry.declare(100, 0, sidecars=False)
    with entry.client() as client:
        run = entry.shift()
    client.told("shift at the ingress gateway")
    assert run.code == 0, run.output
    assert (client.failed, entry.weights) == (0, [0, 100]), run.output
    assert client.sent > 100
    assert re.search(r"watched at 2 proxies: istio-system/istio-ingressgateway-\S+, istio-system/istio-ing", run.words)
    seen = re.findall(r"new \(envoydummy.chapter10vm v2\): (\d+) requests, 100.00 % succeeded", run.words)
    assert len(seen) == 2, run.output
    assert min(map(int, seen)) >= 15, run.output


def test_no_request_from_outside_or_inside_is_lost(entry: Entry) -> None:
    """The same route is for the gateway and for sidecars."""
    entry.declare(100, 0, sidecars=True)
    with entry.client() as outside, from_client() as inside:
        run = entry.shift()
    outside.told("shift for gateway and sidecars, from outside")
    inside.told("shift for gateway and sidecars, from a pod")
    assert run.code == 0, run.output
    assert (outside.failed, inside.failed, entry.weights) == (0, 0, [0, 100]), run.output
    assert min(outside.sent, inside.sent) > 100
    assert "lab/shift-client" in run.words
    assert "istio-system/istio-ingressgateway" in run.words


def test_requests_from_outside_go_back_where_the_new_version_fails(entry: Entry) -> None:
    entry.declare(100, 0, sidecars=False)
    entry.versions.becomes("fails")
    try:
        with entry.client() as client:
            run = entry.shift(traffic_shift_steps=[20])
    finally:
        entry.versions.becomes("well")
    client.told("new version fails, at the ingress gateway")
    assert run.code == 2, run.output
    assert entry.weights == [100, 0]
    assert re.search(r"\d+ of \d+ requests failed", run.words), run.output
    assert client.statuses[200] > client.sent / 2
