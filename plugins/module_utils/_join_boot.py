# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Joins a machine that was made from an image: what istio-join runs. Private to the collection.

Whatever fails, the machine goes on working without the mesh, and it is tried again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import pwd
import socket
import subprocess
import sys
import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import (
    _atomic,
    _join,
    _join_source,
    _plan,
    _proof,
    _reach,
    _vm_facts,
    _vm_files,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

# This is no module: systemd starts it, and what it says goes to the journal.
# pylint: disable=ansible-bad-function

# The kernel's, where packets to anywhere would go; documentation addresses (RFC 5737) are never somebody's.
ANYWHERE = "192.0.2.1"
# Seconds between tries while the source gives nothing.
PAUSES = (2, 3, 5, 10, 20, 30, 60)
PROOF_SECONDS = 20


def say(text: str) -> None:
    """One line to the journal."""
    print(text, file=sys.stderr, flush=True)


def run(command: t.Sequence[str]) -> str:
    """Runs a command and returns what it prints; one that is missing or fails has nothing to say."""
    try:
        done = subprocess.run(
            list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
    except OSError:
        return ""
    return done.stdout.decode("utf-8", "replace")


def succeeds(*command: str) -> bool:
    """Runs a command, what it says goes to the journal; returns whether it succeeded."""
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode == 0
    except OSError as error:
        say(f"{command[0]}: {error}")
        return False


def notify(state: str) -> None:
    """Tells systemd, once."""
    # What is started from here is not asked.
    path = os.environ.pop("NOTIFY_SOCKET", None)
    if path:
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sender:
            sender.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)


def load() -> dict[str, t.Any]:
    """The settings that the image was made with."""
    with open(_join.CONFIG, encoding="utf-8") as stream:
        config: dict[str, t.Any] = json.load(stream)
    return config


class State(t.NamedTuple):
    """Where a try has led to.

    Attributes:
        usable: there is all that the sidecar needs.
        restart: what of it a running sidecar has to be started anew for.
        problem: why the source gave nothing, or None.
    """

    usable: bool
    restart: list[str]
    problem: str | None


def attempt(config: _join.Config) -> State:
    """Reads everything anew, and writes what differs."""
    problem: str | None = None
    found: _join_source.Found | None = None
    try:
        found = _join_source.ask(config)
        addresses = _resolved(found.gateways)
    except MeshError as error:
        problem = str(error)
        found = None
        addresses = _known_gateways()
    now = time.time()
    roots = found.roots if found else ""
    have = _join.credentials(
        _vm_facts.certificate(now), _vm_facts.token(now), _plan.identity_of(config["proxy_config"]), roots
    )
    token: str | None = None
    if have.token and found:
        try:
            token = found.token()
            fault = _join.token_fault(token, now)
            if fault:
                raise MeshError(
                    f"the source's token is of no use: {fault}", "a token that istiod takes", "renew it there"
                )
            say(f"got a token: {have.reason}")
        except MeshError as error:
            problem, token = str(error), None
    restart = _write(config, roots, addresses, token, have.discard and bool(found))
    if found and problem is None:
        _atomic.apply([_atomic.Change(_join.JOINED, None, f"{int(now)}\n", 0o644, "root")])
    rooted = bool(_vm_files.fingerprints(_atomic.read(_vm_files.ROOT_CERTIFICATE) or ""))
    usable = rooted and bool(addresses) and (have.good or not have.token or token is not None)
    return State(usable, restart, problem)


def _resolved(gateways: t.Iterable[str]) -> list[str]:
    """Addresses of the gateways, names of load balancers resolved."""
    addresses: list[str] = []
    for gateway in gateways:
        if _join.is_address(gateway):
            addresses.append(gateway)
            continue
        try:
            answers = socket.getaddrinfo(gateway, None, socket.AF_INET, socket.SOCK_STREAM)
        except OSError as error:
            step = "check the machine's resolver"
            raise MeshError(f"the gateway's name {gateway}: {error}", "it resolves", step) from None
        addresses += [str(answer[4][0]) for answer in answers]
    return sorted(set(addresses), key=addresses.index)


def _known_gateways() -> list[str]:
    """Those of the hosts file, from an earlier boot."""
    text = _atomic.read(_vm_files.HOSTS) or ""
    others = _vm_files.hosts_lines(_vm_files.without_block(text))
    return [address for address, names in _vm_files.hosts_lines(text) if (address, names) not in others]


def _write(config: _join.Config, roots: str, addresses: t.Sequence[str], token: str | None, discard: bool) -> list[str]:
    """Writes what differs; returns the paths that a running sidecar has to be started anew for."""
    folders = [_atomic.compare_folder(folder.path, folder.owner, folder.mode) for folder in _vm_files.FOLDERS]
    files: list[_atomic.Change | None] = []
    restart = []
    own = _reach.source_address(addresses[0] if addresses else ANYWHERE)
    if own:
        text = _join.with_address(_atomic.read(_vm_files.UNIT_ENV) or "", own)
        files.append(_atomic.compare_file(_vm_files.UNIT_ENV, text, "root", 0o644))
    there = _atomic.read(_vm_files.ROOT_CERTIFICATE) or ""
    # The agent writes the roots that it got back into this file, which may be more.
    if roots and not set(_vm_files.fingerprints(roots)) <= set(_vm_files.fingerprints(there)):
        files.append(_atomic.compare_file(_vm_files.ROOT_CERTIFICATE, roots, _vm_files.USER, 0o600))
    restart += [change.path for change in files if change is not None and change.after is not None]
    if addresses:
        hosts = _atomic.read(_vm_files.HOSTS) or ""
        block = _vm_files.managed_block(hosts, _join.hosts_lines(addresses, config["names"]))
        files.append(_atomic.compare_file(_vm_files.HOSTS, block, "root", 0o644))
    if token:
        files.append(_atomic.compare_file(_vm_files.TOKEN, token, _vm_files.USER, 0o600))
    changes = [change for change in [*folders, *files] if change is not None]
    if discard:
        say("the certificate is of no use, and goes")
        restart.append(_vm_files.CERTIFICATE)
        for path in (_vm_files.KEY, _vm_files.CERTIFICATE):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
    _atomic.apply(changes)
    for change in changes:
        say(f"{change.what}: {change.path}")
    return restart


def proven() -> bool:
    """Whether this machine was seen to work with the capture on: its sidecar then starts by itself."""
    return run(["systemctl", "is-enabled", "istio.service"]).strip() == "enabled"


def prove(config: _join.Config) -> bool:
    """Starts sidecar and capture under the dead man's timer, and confirms only what was seen to work."""
    user = _vm_facts.sidecar_user()
    if user is None:
        raise MeshError(
            f"there is no user {_vm_files.USER}", "the package istio-sidecar is installed", "make the image anew"
        )
    wait = str(config["ready_timeout"])
    if not succeeds(_vm_files.CAPTURE_SCRIPT, "trial", wait, str(PROOF_SECONDS + 40)):
        succeeds(_vm_files.CAPTURE_SCRIPT, "abort")
        return False
    wanted = _proof.Wanted(
        names=[platform.node()],
        egress=[f"tls://{address}:{config['istiod_port']}" for address in _known_gateways()],
        mesh_name=config["names"][0],
        mesh_port=config["istiod_port"],
        roots=_atomic.read(_vm_files.ROOT_CERTIFICATE) or "",
        dns_capture=config["capture_dns"],
        user=user,
        timeout=3,
    )
    bad = [verdict for verdict in _proof.prove(run, wanted, time.monotonic() + PROOF_SECONDS) if not verdict["ok"]]
    for verdict in bad:
        say("Found: {found}. Expected: {expected}. Next step: {next_step}.".format(**verdict))
    if bad or not succeeds(_vm_files.CAPTURE_SCRIPT, "confirm"):
        succeeds(_vm_files.CAPTURE_SCRIPT, "abort")
        return False
    return True


def bypassed() -> bool:
    """Whether somebody has put the sidecar out of use by hand."""
    return os.path.exists(_vm_files.BYPASSED)


def boot(config: _join.Config) -> int:
    """At every boot: everything anew, then the sidecar, however long the source takes."""
    if bypassed():
        say("the sidecar is put out of use by hand (istio-capture bypass): nothing is done")
        notify("READY=1")
        return 0
    state = attempt(config)
    ran_on = False
    pauses = iter(PAUSES)
    pause = PAUSES[0]
    while not state.usable:
        say(f"{state.problem or 'something is missing'} Tried again in {pause} s; the machine works without the mesh.")
        # The rest of the boot does not wait for it. A sidecar that was proven starts, and takes a token when it comes.
        notify("READY=1")
        ran_on = True
        time.sleep(pause)
        pause = next(pauses, PAUSES[-1])
        state = attempt(config)
    if state.problem:
        say(f"{state.problem} What an earlier boot left is used.")
    notify("READY=1")
    if not proven():
        done = prove(config)
        say("joined" if done else "the sidecar or its capture does not work here: both are off, and tried again later")
        return 0 if done else 1
    if ran_on and state.restart:
        succeeds("systemctl", "try-restart", "istio.service")
    return 0


def check(config: _join.Config) -> int:
    """Now and then: a machine that was suspended, or whose address, root or gateway changed, gets what it needs."""
    if bypassed() or not proven():
        return 0
    now = time.time()
    have = _join.credentials(
        _vm_facts.certificate(now), _vm_facts.token(now), _plan.identity_of(config["proxy_config"]), ""
    )
    gateways = _known_gateways()
    own = _reach.source_address(gateways[0] if gateways else ANYWHERE)
    moved = own is not None and own != _vm_facts.pinned_address()
    try:
        last = float(_atomic.read(_join.JOINED) or 0)
    except ValueError:
        last = 0.0
    if not have.token and not moved and 0 <= now - last < config["refresh"]:
        return 0
    state = attempt(config)
    if state.problem:
        say(state.problem)
    if state.restart:
        say(f"the sidecar is restarted: changed: {', '.join(state.restart)}")
        succeeds("systemctl", "restart", "istio.service")
    return 0 if state.usable else 1


def guard(config: _join.Config) -> int:
    """Keeps all but root, and those that the image names, from asking the metadata server who this machine is."""
    server = _join.metadata_server(config["source"])
    if server is None or not config["guard"]:
        return 0
    try:
        users = [pwd.getpwnam(name).pw_uid for name in config["guard_users"]]
    except KeyError as error:
        say(f"vm_sidecar_image_metadata_users: {error}")
        return 1
    tool = "ip6tables" if ":" in server[0] else "iptables"
    for chain, *rule in reversed(_join.guard_rules(server, users)):
        there = subprocess.run([tool, "-w", "5", "-C", chain, *rule], check=False, stderr=subprocess.DEVNULL)
        if there.returncode and not succeeds(tool, "-w", "5", "-I", chain, "1", *rule):
            return 1
    return 0


def unguard(config: _join.Config) -> int:
    """Takes the guard's rules away."""
    server = _join.metadata_server(config["source"])
    if server is not None and config["guard"]:
        tool = "ip6tables" if ":" in server[0] else "iptables"
        known = {user.pw_name: user.pw_uid for user in pwd.getpwall()}
        users = [known[name] for name in config["guard_users"] if name in known]
        for chain, *rule in _join.guard_rules(server, users):
            subprocess.run([tool, "-w", "5", "-D", chain, *rule], check=False, stderr=subprocess.DEVNULL)
    return 0


JOBS: dict[str, t.Callable[[_join.Config], int]] = {"boot": boot, "check": check, "guard": guard, "unguard": unguard}


def main(arguments: t.Sequence[str]) -> int:
    """Runs one of the jobs, one at a time on a machine."""
    if len(arguments) != 1 or arguments[0] not in JOBS:
        say(f"usage: istio-join {'|'.join(JOBS)}")
        return 2
    try:
        config = load()
    except (OSError, ValueError) as error:
        say(f"{_join.CONFIG}: {error}")
        return 1
    if arguments[0] in ("guard", "unguard"):
        return JOBS[arguments[0]](config)
    with open(_join.LOCK, "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (fcntl.LOCK_NB if arguments[0] == "check" else 0))
        except BlockingIOError:
            return 0
        try:
            return JOBS[arguments[0]](config)
        except (MeshError, OSError) as error:
            say(f"{error}")
            return 1
