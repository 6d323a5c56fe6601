# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declared traffic: it flows as declared, is changed once, is refused as a whole, and goes when it is declared no more."""

from __future__ import annotations

import json
import time
import typing as t

import pytest

from .conftest import Lab, Run
from .test_2_bad_input import refused
from .test_4_rights import Job

PLAYBOOK = "playbooks/traffic.yml"
KINDS = "gateways.networking.istio.io,virtualservices,destinationrules,sidecars.networking.istio.io"
KINDS += ",peerauthentications,authorizationpolicies"
MACHINES = "http://envoydummy.chapter10vm.svc.cluster.local/"
WORKBENCH = "http://workbench.lab.svc.cluster.local/"

GATEWAY = {
    "name": "mockshop",
    "namespace": "lab",
    # The lab's only gateway; nobody asks it for this host.
    "selector": {"istio": "eastwestgateway"},
    "servers": [{"port": 8080, "hosts": ["mockshop.com"]}],
}
DESTINATION = {"service": "envoydummy.chapter10vm", "subsets": {"v2": {"version": "v2"}}}


def route(*rules: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    return {
        "name": "machines",
        "namespace": "lab",
        "services": ["envoydummy.chapter10vm"],
        "rules": list(rules),
        **more,
    }


# A request with the header is answered by the proxy itself, so that it is seen which rule it came to.
TEAPOT = {"match": [{"headers": {"x-version": "v3"}}], "spec": {"directResponse": {"status": 418}}}
TO_V2 = {"backends": [{"service": "envoydummy.chapter10vm", "subset": "v2"}], "timeout": 5}
RULES = {"gateways": [GATEWAY], "routes": [route(TEAPOT, TO_V2)], "destinations": [DESTINATION]}


def play(lab: Lab, rules: dict[str, t.Any], *arguments: str, **variables: t.Any) -> Run:
    return lab.playbook(PLAYBOOK, *arguments, variables={"traffic_rules": rules, **variables})


def applied(lab: Lab, rules: dict[str, t.Any], **variables: t.Any) -> Run:
    """Plays it, and once more, which changes nothing."""
    run = play(lab, rules, **variables)
    assert run.code == 0, run.output
    again = play(lab, rules, **variables)
    assert (again.code, again.changed) == (0, 0), again.output
    return run


def made(lab: Lab, name: str = "traffic") -> dict[str, t.Any]:
    """What there is of a declaration: kind and name -> spec."""
    answer = lab.kubectl("get", KINDS, "-A", "-l", f"hybridmesh.istio/traffic={name}", "-o", "json")
    return {f"{item['kind']} {item['metadata']['name']}": item["spec"] for item in json.loads(answer)["items"]}


def status_from_pod(lab: Lab, url: str, *headers: str) -> str:
    options = " ".join(f"-H '{header}'" for header in headers)
    script = f"curl -s -o /dev/null -m 5 -w '%{{http_code}}' {options} {url} || true"
    return lab.kubectl("exec", "-n", "lab", "deploy/workbench", "--", "sh", "-c", script).strip()


def status_from(lab: Lab, machine: str, url: str) -> str:
    return lab.ssh(machine, f"curl -s -o /dev/null -m 5 -w '%{{http_code}}' {url} || true").strip()


def becomes(wanted: str, ask: t.Callable[[], str], seconds: float = 30) -> None:
    """Proxies learn of it some moments later."""
    deadline = time.monotonic() + seconds
    while (found := ask()) != wanted:
        assert time.monotonic() < deadline, f"{found}, not {wanted}"
        time.sleep(0.5)


@pytest.fixture
def clean(mesh: Lab) -> t.Iterator[Lab]:
    """The mesh, without anything declared before and after."""
    assert play(mesh, {}, traffic_settle=0).code == 0
    yield mesh
    for name in ("traffic", "other"):
        assert play(mesh, {}, traffic_settle=0, traffic_name=name).code == 0


def test_requests_go_where_they_are_declared_to(clean: Lab) -> None:
    check = play(clean, RULES, "--check", "--diff")
    assert check.code == 0, check.output
    assert "would create VirtualService lab/machines" in check.words
    assert made(clean) == {}

    run = applied(clean, RULES)
    assert run.changed == 1, run.output
    assert set(made(clean)) == {"Gateway mockshop", "VirtualService machines", "DestinationRule envoydummy"}
    becomes("418", lambda: status_from_pod(clean, MACHINES, "x-version: v3"))
    assert status_from_pod(clean, MACHINES) == "200"


def test_what_is_no_longer_declared_goes_and_what_others_declared_stays(clean: Lab) -> None:
    applied(clean, RULES)
    applied(clean, {"sidecars": [{"namespace": "lab", "egress": ["*/*"]}]}, traffic_name="other")
    run = applied(clean, {"destinations": [DESTINATION]})
    assert "removed VirtualService lab/machines" in run.words
    assert set(made(clean)) == {"DestinationRule envoydummy"}
    assert set(made(clean, "other")) == {"Sidecar default"}
    assert status_from_pod(clean, MACHINES, "x-version: v3") == "200"


def test_the_proof_holds_where_a_route_leads_to_a_subset(clean: Lab) -> None:
    """And where it leads to another Service it is the route that is named, not the capture."""
    applied(clean, {"routes": [route(TO_V2)], "destinations": [DESTINATION]})
    run = clean.playbook("playbooks/verify.yml")
    assert run.code == 0, run.output
    applied(clean, {"routes": [route({"backends": [{"service": "workbench.lab", "port": 80}]})]})
    run = clean.playbook("playbooks/verify.yml")
    assert run.code != 0, run.output
    assert "not_reached" in run.words, run.output
    assert "those of workbench.lab.svc.cluster.local were asked meanwhile" in run.words, run.output
    assert "VirtualServices for envoydummy.chapter10vm.svc.cluster.local" in run.words, run.output
    assert "not_through_mesh" not in run.words, run.output


REFUSED: dict[str, tuple[dict[str, t.Any], list[str]]] = {
    "weights": (
        {"routes": [route({"backends": [{"service": "workbench.lab", "weight": weight} for weight in (50, 40)]})]},
        ["50 + 40, which makes 90"],
    ),
    "backend": (
        {"routes": [route({"backends": [{"service": "envoydumy.chapter10vm"}]})]},
        ["Service chapter10vm/envoydumy, which is not in the cluster", "in chapter10vm are: envoydummy"],
    ),
    "port": (
        {"routes": [route({"backends": [{"service": "workbench.lab", "port": 8080}]})]},
        ["port 8080 of Service lab/workbench, which has no such port (it has: 80)"],
    ),
    "subset": ({"routes": [route(TO_V2)]}, ["the subset v2", "which no destination declares"]),
    "gateway": (
        {"routes": [route({"backends": [{"service": "workbench.lab"}]}, gateways=["nothing"])]},
        ["on gateway lab/nothing, which is neither declared nor in the cluster"],
    ),
    "gateway_without_pods": (
        {"gateways": [{**GATEWAY, "selector": {"istio": "nothing"}}]},
        ["istio=nothing, and there is none in any namespace", "eastwestgateway"],
    ),
    "host_twice": (
        {"routes": [route(TEAPOT), route(TEAPOT, name="more")]},
        ["route lab/machines and route lab/more are all for the host"],
    ),
    "certificate": (
        {"gateways": [{**GATEWAY, "servers": [{"port": 443, "protocol": "HTTPS", "hosts": ["a.com"], "tls": {"secret": "no"}}]}]},
        ["the Secret istio-system/no, which is not there"],
    ),
    "namespace": ({"mtls": [{"namespace": "nowhere"}]}, ["there is no namespace nowhere"]),
    "schema": (
        {"routes": [route({**TEAPOT, "spec": {"directResponse": {"status": 418}, "timeouts": "1s"}})]},
        ["route lab/machines (VirtualService) is refused", "timeouts"],
    ),
    "webhook": (
        {"routes": [route({**TEAPOT, "match": [{"headers": {"x-version": {"regex": "["}}}]})]},
        ["route lab/machines (VirtualService) is refused", "regex"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refused_before_anything_is_applied(mesh: Lab, what: str) -> None:
    wrong, words = REFUSED[what]
    before = made(mesh)
    # Something that is right stands beside it, and is not applied either.
    run = play(mesh, {"access": [{"name": "right", "namespace": "lab", "allow": [{}]}], **wrong})
    refused(run, *words)
    assert made(mesh) == before


def test_objects_of_somebody_else_are_not_changed(clean: Lab) -> None:
    clean.apply(
        """\
        apiVersion: networking.istio.io/v1
        kind: DestinationRule
        metadata: {name: envoydummy, namespace: chapter10vm}
        spec: {host: envoydummy.chapter10vm.svc.cluster.local, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
        """
    )
    try:
        run = play(clean, RULES)
        refused(run, "somebody else made it", "kubectl -n chapter10vm label destinationrule envoydummy")
        assert made(clean) == {}
    finally:
        clean.kubectl("delete", "destinationrule", "-n", "chapter10vm", "envoydummy")


def test_a_machines_identity_is_let_in_and_no_other(clean: Lab) -> None:
    access = {"name": "machines", "namespace": "lab", "selector": {"app": "workbench"}}
    applied(clean, {"access": [{**access, "allow": [{"identities": ["chapter10vm/chapter10-sa"]}]}]})
    becomes("403", lambda: status_from_pod(clean, WORKBENCH))
    assert status_from(clean, "vm1", WORKBENCH) == "200"


def test_strict_mutual_tls(clean: Lab) -> None:
    address = clean.kubectl("get", "service", "-n", "lab", "workbench", "-o", "jsonpath={.spec.clusterIP}")
    # The node is not in the mesh.
    assert status_from(clean, "cluster1", f"http://{address}/") == "200"
    applied(clean, {"mtls": [{"namespace": "lab", "mode": "STRICT"}]})
    becomes("000", lambda: status_from(clean, "cluster1", f"http://{address}/"))
    assert status_from(clean, "vm1", WORKBENCH) == "200"


def test_with_the_rights_of_its_job(clean: Lab) -> None:
    job = Job(clean, "traffic")
    access = {"name": "all", "namespace": "lab", "allow": [{}, {"identities": ["chapter10vm/chapter10-sa"]}]}
    variables = clean.folder / "traffic.json"
    variables.write_text(json.dumps({"traffic_rules": {**RULES, "access": [access]}}))
    for changed in (1, 0):
        run = job.playbook(PLAYBOOK, "-e", f"@{variables}")
        assert (run.code, run.changed) == (0, changed), run.output
    assert not job.may("get", "secrets", "-A")
    assert not job.may("create", "pods", "-n", "lab")
