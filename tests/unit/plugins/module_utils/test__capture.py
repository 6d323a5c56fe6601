# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the settings of the capture."""

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _capture

GROUP = {"ISTIO_INBOUND_PORTS": "10000,22", "ISTIO_LOCAL_EXCLUDE_PORTS": "22,15090,15021,15020"}


def settings(group=None, sidecar_env=None, **wanted):
    wanted.setdefault("management_ports", [22])
    return _capture.settings(GROUP if group is None else group, sidecar_env or {}, _capture.Wanted(**wanted))


def test_the_group_decides_and_management_ports_are_left_out():
    values = settings(management_ports=[22, 2222])
    assert values["ISTIO_INBOUND_PORTS"] == "10000"
    assert values["ISTIO_LOCAL_EXCLUDE_PORTS"] == "22,2222,15020,15021,15090"


def test_issue_33454_the_metadata_address_is_never_captured():
    assert settings()["ISTIO_SERVICE_EXCLUDE_CIDR"] == "169.254.169.254/32"
    more = settings(exclude_outbound_ranges=["10.0.0.0/8"])
    assert more["ISTIO_SERVICE_EXCLUDE_CIDR"] == "10.0.0.0/8,169.254.169.254/32"


@pytest.mark.parametrize(
    ("asked", "inbound"),
    [(["8080", "22", "80"], "80,8080"), (["*"], "*"), ([], ""), (None, "10000")],
)
def test_inbound_ports_that_are_asked_for_win(asked, inbound):
    assert settings(inbound_ports=asked)["ISTIO_INBOUND_PORTS"] == inbound


def test_a_group_without_ports_gets_none():
    assert settings(group={})["ISTIO_INBOUND_PORTS"] == ""
    assert settings(group={"ISTIO_INBOUND_PORTS": ""})["ISTIO_INBOUND_PORTS"] == ""


def test_with_all_ports_the_management_ports_are_excluded():
    values = settings(group={"ISTIO_INBOUND_PORTS": "*"}, management_ports=[2222], exclude_inbound_ports=[9100])
    assert values["ISTIO_INBOUND_PORTS"] == "*"
    assert "2222" in values["ISTIO_LOCAL_EXCLUDE_PORTS"].split(",")
    assert "9100" in values["ISTIO_LOCAL_EXCLUDE_PORTS"].split(",")


def test_what_the_group_or_the_machine_say_about_the_capture_is_passed_on():
    group = dict(GROUP, ISTIO_META_DNS_CAPTURE="true", SERVICE_ACCOUNT="x")
    values = settings(group=group, sidecar_env={"ISTIO_INBOUND_INTERCEPTION_MODE": "TPROXY", "ISTIO_SVC_IP": "1.2.3.4"})
    assert values["ISTIO_META_DNS_CAPTURE"] == "true"
    assert values["ISTIO_INBOUND_INTERCEPTION_MODE"] == "TPROXY"
    assert "SERVICE_ACCOUNT" not in values
    assert "ISTIO_SVC_IP" not in values


def test_further_variables_win():
    values = settings(
        exclude_outbound_ports=[3306, 443],
        exclude_interfaces=["docker0"],
        environment={"KUBE_VIRT_INTERFACES": "docker1", "ISTIO_INBOUND_PORTS": "1"},
    )
    assert values["ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE"] == "443,3306"
    assert values["ISTIO_EXCLUDE_INTERFACES"] == "docker0"
    assert values["KUBE_VIRT_INTERFACES"] == "docker1"
    assert values["ISTIO_INBOUND_PORTS"] == "1"


def test_parses_what_a_shell_would_source():
    text = "# A=no\n\nexport B='two words'\nC=plain # note\nD=\nE=\"x y\"\nnot an assignment\nF='broken\nG=a=b\n"
    assert _capture.parse_environment(text) == {"B": "two words", "C": "plain", "D": "", "E": "x y", "G": "a=b"}


def test_a_shell_reads_what_is_rendered():
    values = {"STAR": "*", "EMPTY": "", "LIST": "10.0.0.0/8,1.2.3.4/32", "JSON": '{"a": "b c", "d": "$HOME"}'}
    text = _capture.render_environment(values)
    script = text + "".join(f'printf "%s\\n" "${name}"\n' for name in values)
    shown = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines() == list(values.values())
    assert _capture.parse_environment(text) == values


@pytest.mark.parametrize("value", ["it's", "two\nlines"])
def test_what_systemd_and_a_shell_read_differently_is_refused(value):
    with pytest.raises(ValueError, match="X holds"):
        _capture.render_environment({"X": value})
