# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for `gcloud compute start-iap-tunnel`: takes what that takes, and leads to the machine only where Google would, too.

The machine must be in that project and zone of the tests' server, and a firewall rule must let Identity-Aware Proxy in. What this is
told through its standard input goes to the machine's port, and back. It is not Identity-Aware Proxy: who may use a tunnel, and gcloud's own
log-in, are not seen here.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import pathlib
import shlex
import socket
import sys
import threading
import typing as t

ROOT = "https://compute.googleapis.com/compute/v1/projects"
# Where Identity-Aware Proxy comes from, by Google's documentation; on purpose not the constant of what is tested.
PROXY = ipaddress.ip_network("35.235.240.0/20")


def install(folder: pathlib.Path, port: int | None = None) -> dict[str, str]:
    """Puts it into a folder as `gcloud`, and returns the environment in which it is found.

    Args:
        folder: an empty folder.
        port: where a machine's ssh is, if not at its own port.
    """
    folder.mkdir()
    program = folder / "gcloud"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(__file__)} "$@"\n')
    program.chmod(0o755)
    found = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "STANDIN_LOG": str(folder / "log")}
    return {**found, **({"STANDIN_PORT": str(port)} if port else {})}


def tunnels(folder: pathlib.Path) -> list[dict[str, t.Any]]:
    """What it was told, and what became of it, each time."""
    log = folder / "log"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def lets_in(rule: dict[str, t.Any], tags: set[str], port: int) -> bool:
    """Whether a firewall rule lets Identity-Aware Proxy in."""
    ranges = [ipaddress.ip_network(text) for text in rule.get("sourceRanges", [])]
    ports = [entry for allowed in rule.get("allowed", []) for entry in allowed.get("ports", [])]
    return (
        any(PROXY.subnet_of(known) for known in ranges)
        and str(port) in ports
        and bool(tags & set(rule.get("targetTags", tags)))
    )


def address(arguments: argparse.Namespace) -> str:
    """The machine's address, where there is a way to it."""
    # Only needed where this runs as a program.
    from google.auth.transport.requests import AuthorizedSession
    from google.oauth2 import service_account

    key = service_account.Credentials.from_service_account_file(
        os.environ["GCP_SERVICE_ACCOUNT_FILE"], scopes=["https://www.googleapis.com/auth/cloud-platform"]
    )
    session, where = AuthorizedSession(key), f"{ROOT}/{arguments.project}"
    answer = session.get(f"{where}/zones/{arguments.zone}/instances/{arguments.instance}")
    if answer.status_code != 200:
        raise SystemExit(f"ERROR: (gcloud.compute.start-iap-tunnel) {answer.text}")
    machine = answer.json()
    rules = session.get(f"{where}/global/firewalls").json().get("items", [])
    if not any(lets_in(rule, set(machine["tags"]["items"]), arguments.port) for rule in rules):
        raise SystemExit(
            "ERROR: (gcloud.compute.start-iap-tunnel) Error while connecting [4003: 'failed to connect to backend']."
        )
    return str(machine["networkInterfaces"][0]["networkIP"])


def relay(host: str, port: int) -> None:
    """Leads standard input to a port, and its answers to standard output."""
    with socket.create_connection((host, port), timeout=10) as connection:
        connection.settimeout(None)

        def forward() -> None:
            while data := os.read(0, 65536):
                connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)

        threading.Thread(target=forward, daemon=True).start()
        while data := connection.recv(65536):
            os.write(1, data)


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(prog="gcloud", allow_abbrev=False)
    parser.add_argument("group", choices=["compute"])
    parser.add_argument("command", choices=["start-iap-tunnel"])
    parser.add_argument("instance")
    parser.add_argument("port", type=int)
    parser.add_argument("--listen-on-stdin", action="store_true", required=True)
    parser.add_argument("--project", required=True)
    parser.add_argument("--zone", required=True)
    parser.add_argument("--verbosity", choices=["debug", "info", "warning", "error", "critical", "none"])
    told: dict[str, t.Any] = {"arguments": sys.argv[1:]}
    try:
        arguments = parser.parse_args()
        told["address"] = address(arguments)
    except SystemExit as error:
        told["error"] = str(error)
        raise
    finally:
        with open(os.environ["STANDIN_LOG"], "a", encoding="utf-8") as log:
            log.write(json.dumps(told) + "\n")
    relay(told["address"], int(os.environ.get("STANDIN_PORT") or arguments.port))


if __name__ == "__main__":
    main()
