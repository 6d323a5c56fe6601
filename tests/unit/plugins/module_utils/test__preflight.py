# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what stands in the way of onboarding."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _preflight

GATEWAY = "10.88.0.200:15012"
POD = "10.89.0.7:15012"
FACTS = {
    "os": {"id": "debian", "version_id": "12", "pretty_name": "Debian GNU/Linux 12 (bookworm)"},
    "architecture": "amd64",
    "systemd": True,
    "python": "3.11.2",
    "uid": 0,
    "clock_offset": 0.2,
    "package": {"version": None, "status": "absent", "record": None},
    "disk": {"/var/lib": {"megabytes": 5000, "inodes": 100000}},
    "listeners": [],
    "hosts": [],
    "sidecar_env": {},
    "reach": [{"target": GATEWAY, "ok": True, "error": None}, {"target": POD, "ok": True, "error": None}],
}
EXPECT = {
    "gateways": [GATEWAY],
    "pods": [POD],
    "token_validity": 3600,
    "mesh_version": "1.31.0-lab",
    "version": "1.31.0-lab",
    "install": True,
    "min_free": 400,
    "hosts": "10.88.0.200 istiod.istio-system.svc\n",
    "address": "10.88.0.21",
    "token": True,
    "connection": "ssh",
    "become_method": None,
    "keep_remote_files": False,
    "pod_to_vm": [],
}


def problems(facts=None, expect=None):
    return _preflight.problems(dict(copy.deepcopy(FACTS), **(facts or {})), dict(EXPECT, **(expect or {})))


def only(facts=None, expect=None):
    found = problems(facts, expect)
    assert len(found) == 1, [str(problem) for problem in found]
    assert found[0].found
    assert found[0].expected
    assert found[0].next_step
    return found[0]


def failed(target, error, **more):
    rest = [entry for entry in FACTS["reach"] if entry["target"] != target]
    return {"reach": [*rest, dict({"target": target, "ok": False, "error": error, "seconds": 3.0}, **more)]}


SPECIFIC = {
    "device": "host0",
    "via": "10.88.0.10",
    "default": False,
    "text": "10.89.0.7 via 10.88.0.10 dev host0 src 10.88.0.21",
}
DEFAULT = dict(SPECIFIC, via="10.88.0.1", default=True, text="10.89.0.7 via 10.88.0.1 dev host0 src 10.88.0.21")


def test_a_good_machine_has_no_problem():
    assert problems() == []


@pytest.mark.parametrize(
    ("system", "words"),
    [
        ({"id": "rocky", "version_id": "9.4", "pretty_name": "Rocky Linux 9.4"}, "Rocky Linux 9.4"),
        ({"id": "debian", "version_id": "10", "pretty_name": "Debian GNU/Linux 10 (buster)"}, "buster"),
        ({"id": "ubuntu", "version_id": "18.04", "pretty_name": "Ubuntu 18.04.6 LTS"}, "18.04"),
        ({"id": "", "version_id": "", "pretty_name": ""}, "unknown"),
    ],
)
def test_unsupported_distribution(system, words):
    problem = only({"os": system})
    assert problem.check == "distribution"
    assert words in problem.found
    assert "or newer" in problem.expected


@pytest.mark.parametrize(("name", "version"), [("debian", "13"), ("debian", ""), ("ubuntu", "24.04"), ("debian", "x")])
def test_supported_distributions(name, version):
    assert problems({"os": {"id": name, "version_id": version, "pretty_name": name}}) == []


def test_unsupported_architecture():
    problem = only({"architecture": "riscv64"})
    assert problem.check == "architecture"
    assert "riscv64" in problem.found


def test_a_machine_without_systemd_or_with_an_old_python():
    assert only({"systemd": False}).check == "systemd"
    assert only({"python": "3.7.3"}).check == "python"
    assert only({"uid": 1000}).check == "rights"


@pytest.mark.parametrize("free", [{"megabytes": 100, "inodes": 5000}, {"megabytes": 5000, "inodes": 10}])
def test_a_full_disk_matters_only_where_a_package_is_installed(free):
    assert only({"disk": {"/var/lib": free}}).check == "disk"
    assert problems({"disk": {"/var/lib": free}}, {"install": False}) == []


def test_file_systems_without_inodes_are_fine():
    assert problems({"disk": {"/": {"megabytes": 5000, "inodes": None}}}) == []


@pytest.mark.parametrize(("version", "words"), [("1.32.0", "newer"), ("1.28.0", "behind")])
def test_a_version_that_does_not_fit_istiod(version, words):
    problem = only(expect={"version": version})
    assert problem.check == "version"
    assert words in problem.found
    installed = only({"package": {"version": version}}, {"install": False})
    assert "installed" in installed.found


def test_a_version_that_can_t_be_read_is_not_judged():
    assert problems(expect={"version": "latest"}) == []


@pytest.mark.parametrize(("offset", "good"), [(3599, True), (3700, False), (-100, True), (-200, False), (None, True)])
def test_the_clock(offset, good):
    found = problems({"clock_offset": offset})
    assert (found == []) is good
    if not good:
        assert found[0].check == "clock"
        assert ("behind" if offset < 0 else "ahead") in found[0].found


def test_a_port_that_somebody_else_listens_on():
    listener = {"port": 15001, "protocol": "tcp", "pid": 77, "command": "python3", "sidecar": False}
    problem = only({"listeners": [listener, dict(listener, port=15021, sidecar=True)]})
    assert problem.check == "port"
    assert "python3 (PID 77) listens on tcp port 15001" in problem.found


def test_a_listener_that_can_t_be_named():
    listener = {"port": 15090, "protocol": "tcp", "pid": None, "command": None, "sidecar": False}
    assert "can't be named" in only({"listeners": [listener]}).found


@pytest.mark.parametrize(("address", "good"), [("10.88.0.200", True), ("10.99.9.9", False)])
def test_somebody_else_s_line_in_etc_hosts(address, good):
    found = problems({"hosts": [{"address": address, "names": ["istiod.istio-system.svc"]}]})
    assert (found == []) is good
    assert good or found[0].check == "hosts"


def test_issue_a_sidecar_env_that_would_set_rules_or_another_address():
    assert only({"sidecar_env": {"ISTIO_CUSTOM_IP_TABLES": "false"}}).check == "sidecar.env"
    assert only({"sidecar_env": {"ISTIO_SVC_IP": "1.2.3.4"}}).check == "sidecar.env"
    assert problems({"sidecar_env": {"ISTIO_SVC_IP": "10.88.0.21", "ISTIO_CUSTOM_IP_TABLES": "true"}}) == []


@pytest.mark.parametrize(
    ("error", "more", "cause"),
    [
        ("timeout", {"route": DEFAULT}, "route"),
        ("timeout", {"route": SPECIFIC}, "firewall"),
        ("timeout", {"route": DEFAULT, "elsewhere": True}, "firewall"),
        ("unreachable", {"route": SPECIFIC}, "route"),
        ("no_route", {"route": {"text": "RTNETLINK answers: Network is unreachable", "device": None}}, "route"),
        ("denied", {"route": SPECIFIC}, "firewall"),
    ],
)
def test_no_way_to_the_pods_is_named_as_route_or_firewall(error, more, cause):
    problem = only(failed(POD, error, **more))
    assert problem.check == "vm_to_pods"
    assert f"probably the {cause}" in problem.found
    assert cause in problem.next_step or cause == "route"
    assert POD in problem.found


def test_a_pod_that_refuses_proves_the_way():
    assert problems(failed(POD, "refused")) == []


@pytest.mark.parametrize(
    ("error", "words"), [("refused", "refused"), ("timeout", "no answer"), ("name", "not known"), ("reset", "reset")]
)
def test_no_way_to_the_gateway(error, words):
    problem = only(failed(GATEWAY, error, detail="Name or service not known"))
    assert problem.check == "gateway"
    assert words in problem.found


def test_one_gateway_of_several_is_enough():
    other = "10.88.0.201:15012"
    facts = {"reach": [*FACTS["reach"], {"target": other, "ok": False, "error": "timeout"}]}
    assert problems(facts, {"gateways": [other, GATEWAY]}) == []


WAIT = "command terminated: Error: timeout waiting for Envoy proxy to become ready. Last error: "


@pytest.mark.parametrize(
    ("code", "output", "error"),
    [
        (0, "", None),
        (1, WAIT + "HTTP status code 404", None),
        (1, WAIT + 'Get "http://10.88.0.21:10000/": dial tcp 10.88.0.21:10000: connect: connection refused', None),
        (1, WAIT + 'Get "http://10.88.0.21:10000/": malformed HTTP response "SSH-2.0"', None),
        (1, WAIT + 'Get "http://10.88.0.21:10000/": dial tcp 10.88.0.21:10000: i/o timeout', "timeout"),
        (1, WAIT + "context deadline exceeded (Client.Timeout exceeded while awaiting headers)", "timeout"),
        (1, WAIT + "dial tcp 10.88.0.21:10000: connect: no route to host", "unreachable"),
        (1, WAIT + "dial tcp 10.88.0.21:10000: connect: network is unreachable", "no_route"),
        (1, WAIT + "dial tcp: connect: operation not permitted", "denied"),
    ],
)
def test_what_the_agent_s_answer_in_a_pod_means(code, output, error):
    result = _preflight.pod_try("10.88.0.21:10000", code, output)
    assert result["error"] == error
    assert result["ok"] is (error is None)


@pytest.mark.parametrize(("way_there", "cause"), [(True, "firewall"), (False, "route")])
def test_no_way_from_a_pod_to_the_machine(way_there, cause):
    tries = [{"target": "10.88.0.21:10000", "ok": False, "error": "timeout"}]
    facts = {} if way_there else failed(POD, "timeout", route=DEFAULT)
    found = {problem.check: problem for problem in problems(facts, {"pod_to_vm": tries})}
    assert cause in found["pods_to_vm"].found
    assert "10.88.0.21:10000" in found["pods_to_vm"].found


@pytest.mark.parametrize(
    "expect",
    [{"keep_remote_files": True}, {"connection": "paramiko"}, {"become_method": "ansible.builtin.su"}],
)
def test_a_token_that_would_become_a_file(expect):
    assert only(expect=expect).check == "pipelining"
    assert problems(expect=dict(expect, token=False)) == []


@pytest.mark.parametrize("connection", ["ssh", "ansible.builtin.ssh", "smart", "local", None])
def test_connections_that_pipeline(connection):
    assert problems(expect={"connection": connection, "become_method": "sudo"}) == []


def test_all_problems_are_told_at_once():
    found = problems({"architecture": "mips", "clock_offset": 99999, "uid": 5})
    assert [problem.check for problem in found] == ["architecture", "rights", "clock"]
    for problem in found:
        assert str(problem).startswith("Found: ")
        assert "Expected: " in str(problem)
        assert "Next step: " in str(problem)
