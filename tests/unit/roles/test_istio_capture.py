# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the script that puts the capture on and off, with commands that only write down how they were called."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "roles/vm_sidecar/files/istio-capture"
RULES = """\
*nat
:OUTPUT ACCEPT [0:0]
:ISTIO_OUTPUT - [0:0]
:ISTIO_REDIRECT - [0:0]
-A OUTPUT -p tcp -j MYOWN
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
COMMIT
"""


class Machine:
    """A machine with fake commands, whose rules are a file."""

    def __init__(self, folder):
        self.folder = folder
        self.log = folder / "log"
        self.rules = folder / "rules"
        self.state = folder / "state"
        (folder / "bin").mkdir()
        for name in ("settings", "pending"):
            (folder / name).write_text("ISTIO_INBOUND_PORTS=10000\n")
        self.rules.write_text("")
        # The rules are there for one tool only, as on a real machine.
        self.command("iptables-legacy-save", f"cat {self.rules}")
        for name in ("iptables-nft-save", "ip6tables-legacy-save", "ip6tables-nft-save", "nft", "iptables-nft"):
            self.command(name, "true")
        for name in ("iptables-legacy", "ip6tables-legacy", "ip6tables-nft"):
            self.command(name, f'case "$*" in *"-X ISTIO_OUTPUT") : > {self.rules} ;; esac')
        self.command("id", "echo 997")
        # No timer is armed by somebody else.
        self.command("systemctl", 'case "$*" in "is-active --quiet hybridmesh-deadman.timer") exit 3 ;; esac')
        self.command("systemd-run", "true")
        self.command("journalctl", "true")
        # The agent sets rules when asked to, and its own clean-up does nothing, to see the script's.
        self.command(
            "pilot-agent",
            f'case "$*" in *cleanup*) ;; *) printf "%s" "$RULES" > {self.rules} ;; esac; env > {folder}/env',
        )

    def command(self, name, body):
        path = self.folder / "bin" / name
        path.write_text(f'#!/bin/bash\necho "{name} $*" >> {self.log}\n{body}\n')
        path.chmod(0o755)

    def run(self, *arguments, **environment):
        text = SCRIPT.read_text()
        for old, new in (
            ("export PATH=", f"export PATH={self.folder}/bin:"),
            ("settings=/etc/hybridmesh/capture.env", f"settings={self.folder}/settings"),
            ("pending=/etc/hybridmesh/pending", f"pending={self.folder}/pending"),
            ("proven=/etc/hybridmesh/proven", f"proven={self.folder}/proven"),
            ("bypassed=/etc/hybridmesh/bypassed", f"bypassed={self.folder}/bypassed"),
            ("certificates=/etc/certs", f"certificates={self.folder}"),
            ("state=/run/hybridmesh\n", f"state={self.state}\n"),
            ("agent=/usr/local/bin/pilot-agent", f"agent={self.folder}/bin/pilot-agent"),
        ):
            assert old in text
            text = text.replace(old, new)
        script = self.folder / "istio-capture"
        script.write_text(text)
        script.chmod(0o755)
        return subprocess.run(
            [str(script), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=dict(os.environ, RULES=RULES, **environment),
        )

    @property
    def calls(self):
        return self.log.read_text().splitlines() if self.log.exists() else []

    def called(self, text):
        return [number for number, call in enumerate(self.calls) if text in call]


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_apply_keeps_the_settings_that_it_used(machine):
    result = machine.run("apply", "--now")
    assert result.returncode == 0, result.stderr
    assert machine.called("pilot-agent istio-iptables")
    assert (machine.state / "capture.applied").read_text() == (
        "ISTIO_INBOUND_PORTS=10000\nPROXY_GID=997\nFORCE_IPTABLES_BINARY=nft\n"
    )
    assert "ISTIO_INBOUND_PORTS=10000" in (machine.folder / "env").read_text()


def test_open_connections_are_spared_before_anything_is_captured(machine):
    machine.run("apply", "--now")
    spared = machine.called("iptables-nft -w 5 -t nat -I OUTPUT 1 -j ISTIO_OPEN")
    assert spared
    assert max(spared) < machine.called("pilot-agent istio-iptables")[-1]
    assert machine.called("-A ISTIO_OPEN -p tcp ! --syn -j ACCEPT")


def test_open_connections_are_spared_by_the_variant_that_the_agent_will_choose(machine):
    # Rules of somebody else's, which the legacy variant made.
    machine.rules.write_text(RULES.replace("ISTIO", "OTHER"))
    machine.run("apply", "--now")
    assert machine.called("iptables-legacy -w 5 -t nat -I OUTPUT 1 -j ISTIO_OPEN")
    assert not machine.called("iptables-nft -w 5 -t nat -I OUTPUT")
    # And the agent takes them away by the same one.
    assert "FORCE_IPTABLES_BINARY=legacy" in (machine.folder / "env").read_text()


def test_a_variant_that_is_asked_for_is_everybody_s(machine):
    (machine.folder / "settings").write_text("FORCE_IPTABLES_BINARY=legacy\n")
    machine.run("apply", "--now")
    assert machine.called("iptables-legacy -w 5 -t nat -I OUTPUT 1 -j ISTIO_OPEN")
    assert (machine.state / "capture.applied").read_text().count("FORCE_IPTABLES_BINARY") == 1


def test_nothing_is_captured_where_open_connections_would_break(machine):
    machine.command("iptables-nft", 'case "$*" in *" -I "*) echo no table >&2; exit 1 ;; esac')
    result = machine.run("apply", "--now")
    assert result.returncode != 0
    assert "no table" in result.stderr
    assert not [call for call in machine.calls if call.startswith("pilot-agent") and "cleanup" not in call]


def test_remove_uses_the_settings_that_the_rules_were_made_with(machine):
    machine.run("apply", "--now")
    (machine.folder / "settings").write_text("ISTIO_INBOUND_PORTS=9\n")
    assert machine.run("remove").returncode == 0
    assert "ISTIO_INBOUND_PORTS=10000" in (machine.folder / "env").read_text()
    assert machine.rules.read_text() == ""
    assert not (machine.state / "capture.applied").exists()


def test_issue_34015_37700_rules_go_even_where_the_agent_removes_none(machine):
    machine.run("apply", "--now")
    assert machine.run("remove").returncode == 0
    deletions = [call for call in machine.calls if call.startswith("iptables-legacy -w")]
    assert "iptables-legacy -w 5 -t nat -D OUTPUT -j ISTIO_OUTPUT" in deletions
    assert "iptables-legacy -w 5 -t nat -X ISTIO_OUTPUT" in deletions
    assert not any("MYOWN" in call for call in deletions)


def test_rules_of_interfaces_that_are_left_out_go_once_where_the_agent_removes_none(machine):
    (machine.folder / "settings").write_text("ISTIO_EXCLUDE_INTERFACES='docker0,br-+'\n")
    machine.run("apply", "--now")
    assert not machine.called("-D PREROUTING")
    assert machine.run("remove").returncode == 0
    for interface in ("docker0", "br-+"):
        assert len(machine.called(f"iptables-legacy -w 5 -t nat -D PREROUTING -i {interface} -j RETURN")) == 1
        assert len(machine.called(f"iptables-legacy -w 5 -t nat -D OUTPUT -o {interface} -j RETURN")) == 1
    machine.run("remove")
    assert len(machine.called("-D PREROUTING")) == 2


def test_remove_works_without_agent_and_settings(machine):
    machine.rules.write_text(RULES)
    (machine.folder / "bin/pilot-agent").unlink()
    (machine.folder / "settings").unlink()
    assert machine.run("remove").returncode == 0
    assert machine.rules.read_text() == ""


def test_rules_that_stay_are_told(machine):
    machine.rules.write_text(RULES)
    machine.command("iptables-legacy", "false")
    result = machine.run("remove")
    assert result.returncode != 0
    assert "rules are left" in result.stderr


def test_nothing_is_put_on_while_it_is_held(machine):
    machine.state.mkdir()
    (machine.state / "held").write_text("the dead man's timer went off")
    result = machine.run("apply", "--now")
    assert result.returncode != 0
    assert "timer went off" in result.stderr
    assert not machine.called("pilot-agent")


def test_rules_that_fail_half_way_are_taken_away(machine):
    machine.command("pilot-agent", f'printf "%s" "$RULES" > {machine.rules}; echo no such module; exit 1')
    result = machine.run("apply", "--now")
    assert result.returncode != 0
    assert "no such module" in result.stderr
    assert machine.rules.read_text() == ""


def test_the_dead_man_takes_the_rules_away_before_anything_is_stopped(machine):
    machine.run("apply", "--now")
    machine.log.unlink()
    assert machine.run("deadman").returncode == 0
    assert machine.rules.read_text() == ""
    assert machine.called("-X ISTIO_OUTPUT")[-1] < machine.called("systemctl stop")[0]
    assert (machine.state / "held").exists()


def test_confirm_comes_too_late_after_the_dead_man(machine):
    machine.run("deadman")
    result = machine.run("confirm")
    assert result.returncode != 0
    assert "too late" in result.stderr
    assert not machine.called("reenable")


def test_confirm_disarms_before_it_enables(machine):
    assert machine.run("confirm").returncode == 0
    assert machine.called("stop hybridmesh-deadman.timer")[0] < machine.called("reenable")[0]
    assert not (machine.folder / "pending").exists()


def test_confirm_wants_both_units_up(machine):
    machine.command("systemctl", 'case "$*" in "is-active --quiet istio-capture.service") exit 3 ;; esac')
    result = machine.run("confirm")
    assert result.returncode != 0
    assert not machine.called("reenable")


def test_a_trial_arms_the_timer_before_it_starts_anything(machine):
    result = machine.run("trial", "1", "5")
    # Nothing answers on the agent's port here.
    assert result.returncode != 0
    assert "not ready after 1 s" in result.stderr
    armed = machine.called("systemd-run")[0]
    assert "--on-active=6" in machine.calls[armed]
    assert "AccuracySec=100ms" in machine.calls[armed]
    assert machine.called("systemctl disable")[0] < armed < machine.called("systemctl restart istio.service")[0]
    assert not machine.called("start istio-capture")


def test_a_trial_without_a_timer_starts_nothing(machine):
    machine.command("systemd-run", "exit 1")
    assert machine.run("trial", "1", "5").returncode != 0
    assert not machine.called("restart istio.service")


def test_abort_disarms_and_undoes(machine):
    machine.run("apply", "--now")
    assert machine.run("abort").returncode == 0
    assert machine.rules.read_text() == ""
    assert machine.called("stop --no-block istio-capture.service istio.service")
    assert not (machine.state / "held").exists()


def test_usage():
    result = subprocess.run([str(SCRIPT)], capture_output=True, text=True, timeout=10, check=False)
    assert result.returncode == 2
    assert "trial R S" in result.stderr


def test_bypass_takes_rules_away_at_once_and_keeps_them_away(machine):
    machine.run("apply", "--now")
    result = machine.run("bypass", "the", "shop", "is", "down")
    assert result.returncode == 0, result.stderr
    assert machine.rules.read_text() == ""
    assert machine.called("systemctl disable --quiet istio-capture.service istio.service")
    assert "the shop is down" in (machine.folder / "bypassed").read_text()
    # Not a failure: systemd would try again and again.
    again = machine.run("apply", "--now")
    assert (again.returncode, machine.rules.read_text()) == (0, "")
    assert "bypassed" in again.stderr
    assert machine.run("trial", "1", "1").returncode == 1


def test_a_useless_certificate_goes_while_the_sidecar_is_stopped(machine):
    for name in ("key.pem", "cert-chain.pem", "root-cert.pem"):
        (machine.folder / name).write_text("x")
    machine.run("trial", "1", "1", "discard")
    assert not (machine.folder / "key.pem").exists()
    assert not (machine.folder / "cert-chain.pem").exists()
    assert (machine.folder / "root-cert.pem").exists()
    assert machine.called("systemctl stop istio.service")[0] < machine.called("systemctl restart istio.service")[0]


def test_confirm_notes_when_the_machine_was_proven(machine):
    machine.run("apply", "--now")
    assert machine.run("confirm").returncode == 0
    assert (machine.folder / "proven").read_text().strip().isdigit()


def test_quiet_counts_connections_from_elsewhere(machine):
    machine.command(
        "ss",
        "printf '%s\\n' '0 0 10.0.0.1:15006 10.0.0.9:40000' '0 0 10.0.0.1:10000 127.0.0.6:40001' "
        "'0 0 [::ffff:10.0.0.1]:15006 [::ffff:10.0.0.9]:1'",
    )
    result = machine.run("quiet", "1")
    assert result.stdout.strip() == "2"
    assert machine.called("sport = :10000")


def test_a_trial_waits_for_another_one_to_end(machine):
    flag = machine.folder / "armed"
    flag.touch()
    machine.command(
        "systemctl",
        f'case "$*" in "is-active --quiet hybridmesh-deadman.timer") [ -e {flag} ] && {{ rm {flag}; exit 0; }}; exit 3 ;; esac',
    )
    machine.run("trial", "1", "1")
    asked = machine.called("systemctl is-active --quiet hybridmesh-deadman.timer")
    assert len(asked) == 2
    assert asked[1] < machine.called("systemctl restart istio.service")[0]
