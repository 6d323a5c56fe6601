# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in the way of onboarding a virtual machine: facts and expectations in, problems out.

Private to the collection. Pure: the facts come from `sidecar_info`, the expectations from the role, and nothing here
talks to anything. Every check looks at one thing and names it, so that a report can show all problems at once.
"""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _durations, _sidecar_version, _versions, _vm_files
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

Facts = t.Mapping[str, t.Any]

# The oldest releases whose systemd, iptables and Python are recent enough.
DISTRIBUTIONS = {"debian": ("Debian", 11.0), "ubuntu": ("Ubuntu", 20.04)}
ARCHITECTURES = ("amd64", "arm64")
MINIMUM_PYTHON = (3, 8)

# istiod backdates certificates by two minutes; on a clock that is further behind, a fresh one is not valid yet.
CLOCK_BEHIND = 120

# Of certificates, in seconds. istiod refuses longer ones; shorter ones would be renewed all the time.
MINIMUM_TTL = 600
MAXIMUM_TTL = 2160 * 3600

# Ansible's own connection plugins that hand a module its arguments without a file on the way.
PIPELINING_CONNECTIONS = ("ssh", "local", "smart")

SUPPORTED_SYSTEMS = "Debian 11 or newer or Ubuntu 20.04 or newer, on amd64 or arm64, with systemd"


class Problem(MeshError):
    """One reason not to touch the machine.

    Attributes:
        check: the name of the check, for reports and tests.
    """

    def __init__(self, check: str, found: str, expected: str, next_step: str) -> None:
        super().__init__(found, expected, next_step)
        self.check = check


def problems(facts: Facts, expect: Facts) -> list[Problem]:
    """All problems of one machine, the most fundamental first.

    Args:
        facts: what `sidecar_info` returned.
        expect: `gateways` and `pods` (targets that were tried), `token_validity`, `mesh_version`, `version` (of the
            sidecar to install, or null), `install` (whether a package would be installed), `min_free` (MiB),
            `hosts` (text), `token` (whether one is needed), `connection`, `become_method`, `keep_remote_files`,
            `pod_to_vm` (results of tries from a pod, as `pod_try` gives them).
    """
    found: list[Problem] = []
    for check in (
        _system,
        _rights,
        _bypass,
        _disk,
        _versions_fit,
        _clock,
        _ports,
        _names,
        _environment,
        _certificate_ttl,
        _gateway,
        _pods,
        _pods_back,
        _capacity,
        _secrets,
    ):
        found += check(facts, expect)
    return found


def _system(facts: Facts, expect: Facts) -> t.Iterator[Problem]:
    os_release = facts.get("os") or {}
    name = os_release.get("pretty_name") or os_release.get("id") or "an unknown system"
    next_step = "use a machine with a supported system, or leave this host out with --limit"
    if os_release.get("id") not in DISTRIBUTIONS:
        yield Problem("distribution", f"the machine runs {name}", SUPPORTED_SYSTEMS, next_step)
    else:
        label, oldest = DISTRIBUTIONS[os_release["id"]]
        try:
            version = float(os_release.get("version_id") or "inf")
        except ValueError:
            version = float("inf")
        if version < oldest:
            yield Problem("distribution", f"the machine runs {name}", f"{label} {oldest:g} or newer", next_step)
    if facts.get("architecture") not in ARCHITECTURES:
        yield Problem(
            "architecture",
            f"the machine's architecture is {facts.get('architecture')}",
            "amd64 or arm64, the ones that Istio builds packages for",
            next_step,
        )
    if not facts.get("systemd"):
        yield Problem("systemd", "the machine was not booted with systemd", SUPPORTED_SYSTEMS, next_step)
    python = tuple(int(part) for part in str(facts.get("python", "3.8")).split(".")[:2])
    if python < MINIMUM_PYTHON:
        yield Problem(
            "python",
            f"Python {facts['python']} on the machine",
            "Python 3.8 or newer",
            "install a newer Python and set ansible_python_interpreter to it",
        )


def _rights(facts: Facts, expect: Facts) -> t.Iterator[Problem]:
    if facts.get("uid") != 0:
        yield Problem(
            "rights",
            f"tasks run as user ID {facts.get('uid')} on the machine",
            "they run as root",
            "set ansible_user=root or ansible_become=true for this host",
        )


def _bypass(facts: Facts, expect: Facts) -> t.Iterator[Problem]:
    bypassed = (facts.get("capture") or {}).get("bypassed")
    if bypassed:
        yield Problem(
            "bypass",
            f"somebody put the sidecar out of use on this machine, {bypassed}",
            "a run does not undo what was done by hand in an emergency",
            "once the cause is gone, run there: istio-capture resume, then istio-capture confirm; or leave this host out",
        )


def _disk(facts: Facts, expect: Facts) -> t.Iterator[Problem]:
    if not expect.get("install"):
        return
    for path, free in sorted((facts.get("disk") or {}).items()):
        if free["megabytes"] < expect.get("min_free", 0):
            yield Problem(
                "disk",
                f"{free['megabytes']} MiB are free on the file system of {path}",
                f"at least {expect['min_free']} MiB for the package and its files",
                "make room, or lower vm_sidecar_min_free_mb if the package is known to be smaller",
            )
        elif free["inodes"] is not None and free["inodes"] < 1000:
            yield Problem(
                "disk",
                f"{free['inodes']} inodes are free on the file system of {path}",
                "at least 1000",
                "remove files that are not needed",
            )


def _versions_fit(facts: Facts, expect: Facts) -> t.Iterator[Problem]:
    mesh = expect.get("mesh_version")
    installed = (facts.get("package") or {}).get("version")
    version = expect.get("version") if expect.get("install") else installed
    if not mesh or not version:
        return
    try:
        fault = _sidecar_version.skew_fault(version, mesh)
    except ValueError:
        return
    if fault is None:
        return
    word = "to install" if expect.get("install") else "that is installed"
    newer = fault.startswith("newer")
    yield Problem(
        "version",
        f"the sidecar {word} is version {version}, {fault} ({mesh})",
        f"istiod's version, or one that is at most {_versions.SUPPORTED_SKEW} minor behind it",
        "upgrade the control plane first" if newer else "set vm_sidecar_version to istiod's version",
    )


def _clock(facts: Facts, expect: Facts) -> t.Iterator[Problem]:
    offset = facts.get("clock_offset")
    if offset is None:
        return
    validity = expect.get("token_validity") or 3600
    behind = min(validity, CLOCK_BEHIND)
    if -behind <= offset <= validity:
        return
    direction = "ahead of" if offset > 0 else "behind"
    yield Problem(
        "clock",
        f"the machine's clock is {abs(offset):.0f} s {direction} the controller's",
        f"at most {validity:.0f} s ahead (the token's validity) and {behind:.0f} s behind (a fresh certificate's)",
        "set up time synchronisation on the machine (systemd-timesyncd, chrony); if it is right, check the controller",
    )


def _ports(facts: Facts, expect: Facts) -> t.Iterator[Problem]:
    for listener in facts.get("listeners") or []:
        if not listener["sidecar"]:
            owner = listener.get("command") or "a process that can't be named"
            pid = f" (PID {listener['pid']})" if listener.get("pid") else ""
            yield Problem(
                "port",
                f"{owner}{pid} listens on {listener['protocol']} port {listener['port']}",
                "the ports 15000 to 15090 are free for the sidecar",
                "move that program to another port, or stop it",
            )


def _names(facts: Facts, expect: Facts) -> t.Iterator[Problem]:
    wanted = _vm_files.hosts_lines(expect.get("hosts") or "")
    for entry in facts.get("hosts") or []:
        for name in entry["names"]:
            addresses = [address for address, names in wanted if name in names]
            if addresses and entry["address"] not in addresses:
                yield Problem(
                    "hosts",
                    f"/etc/hosts has a line of somebody else's that says {name} is {entry['address']}",
                    f"{name} is {', '.join(addresses)}, the gateway's address, or is not in the file",
                    "remove that line from /etc/hosts; the role keeps its own, marked ones",
                )


def _environment(facts: Facts, expect: Facts) -> t.Iterator[Problem]:
    # The start script reads sidecar.env after the unit's environment, so what stands there wins.
    for name, value in sorted((facts.get("sidecar_env") or {}).items()):
        if name == "ISTIO_CUSTOM_IP_TABLES" and value != "true":
            yield Problem(
                "sidecar.env",
                f"/var/lib/istio/envoy/sidecar.env sets {name}={value}",
                "the sidecar starts without capture, which istio-capture.service applies once it is ready",
                f"remove {name} from that file",
            )
        elif name == "ISTIO_SVC_IP" and expect.get("address") and value != expect["address"]:
            yield Problem(
                "sidecar.env",
                f"/var/lib/istio/envoy/sidecar.env pins the address {value}",
                f"the address {expect['address']}, or none there",
                "remove ISTIO_SVC_IP from that file, or set vm_sidecar_address to the same address",
            )


def _tries(facts: Facts, targets: t.Iterable[str]) -> list[Facts]:
    wanted = set(targets)
    return [result for result in facts.get("reach") or [] if result["target"] in wanted]


def _gateway(facts: Facts, expect: Facts) -> t.Iterator[Problem]:
    tries = _tries(facts, expect.get("gateways") or [])
    if not tries or any(result["ok"] for result in tries):
        return
    result = tries[0]
    yield Problem(
        "gateway",
        f"no TCP connection from the machine to the east-west gateway at {result['target']}: {_told(result)}",
        "the machine reaches the gateway's port 15012",
        _remedy(result, "from the machine to the gateway"),
    )


def _pods(facts: Facts, expect: Facts) -> t.Iterator[Problem]:
    tries = _tries(facts, expect.get("pods") or [])
    # A refusal came from the pod's network, too: the way is there.
    if not tries or any(result["ok"] or result["error"] == "refused" for result in tries):
        return
    result = tries[0]
    yield Problem(
        "vm_to_pods",
        f"no way from the machine to the pod network, tried with istiod's pod at {result['target']}: {_told(result)}",
        "machines and pods reach each other directly (one flat network)",
        _remedy(result, "from the machine to the pod network"),
    )


def _pods_back(facts: Facts, expect: Facts) -> t.Iterator[Problem]:
    tries = expect.get("pod_to_vm") or []
    if not tries or any(result["ok"] for result in tries):
        return
    result = tries[0]
    # Answers from pods arrived at the machine, so packets find their way to it: what is left is a filter.
    way_there = any(entry["ok"] for entry in _tries(facts, expect.get("pods") or []))
    cause = "firewall" if way_there or result["error"] == "denied" else "route"
    told = {
        "timeout": "no answer",
        "unreachable": "a router or host said that it can't be reached",
        "no_route": "the node has no route",
    }.get(result["error"], result["error"])
    evidence = (
        "the machine does get answers from pods, so the route is there and a firewall drops what pods send first"
        if way_there
        else "nothing passes between the two in either direction"
    )
    yield Problem(
        "pods_to_vm",
        f"no way from a pod to the machine at {result['target']}: {told} ({cause}: {evidence})",
        "machines and pods reach each other directly (one flat network)",
        "allow the pod network's range as a source for the machine's service ports in every firewall on the way"
        if cause == "firewall"
        else "give the cluster's nodes a route to the machine's network and allow it in the firewalls on the way",
    )


def _capacity(facts: Facts, expect: Facts) -> t.Iterator[Problem]:
    if expect.get("refused"):
        yield Problem(
            "capacity",
            str(expect["refused"]),
            "enough of a Service's machines go on serving while this one is restarted",
            "mend those that do not serve (playbook verify), or raise vm_sidecar_restart_share",
        )


def _certificate_ttl(facts: Facts, expect: Facts) -> t.Iterator[Problem]:
    asked = expect.get("certificate_ttl")
    if not asked:
        return
    try:
        seconds = _durations.seconds(str(asked))
    except ValueError:
        seconds = None
    if seconds is None or not MINIMUM_TTL <= seconds <= MAXIMUM_TTL:
        yield Problem(
            "certificate_ttl",
            f"vm_sidecar_certificate_ttl is {asked}",
            "a duration as Go writes it, from 10m to 2160h, above which istiod refuses (MAX_WORKLOAD_CERT_TTL)",
            "correct it; 24h is Istio's default",
        )


def _secrets(facts: Facts, expect: Facts) -> t.Iterator[Problem]:
    if not expect.get("token"):
        return
    next_step = "use ssh, with sudo where tasks must become root, and leave ANSIBLE_KEEP_REMOTE_FILES unset"
    expected = "the token reaches the machine by pipelining, never as a file"
    if expect.get("keep_remote_files"):
        yield Problem("pipelining", "ANSIBLE_KEEP_REMOTE_FILES is set, which turns pipelining off", expected, next_step)
    connection = str(expect.get("connection") or "ssh").rpartition(".")[2]
    if connection not in PIPELINING_CONNECTIONS:
        yield Problem("pipelining", f"the connection plugin {connection} can't pipeline", expected, next_step)
    become = str(expect.get("become_method") or "").rpartition(".")[2]
    if become == "su":
        yield Problem("pipelining", "privileges are gained by su, which can't pipeline", expected, next_step)


def cause_of(result: Facts) -> str:
    """`route` or `firewall` for a failed try, as well as the evidence tells."""
    route = result.get("route") or {}
    if result["error"] == "no_route" or (route.get("text") and not route.get("device")):
        return "route"
    if result["error"] == "denied" or result.get("elsewhere"):
        return "firewall"
    if result["error"] == "unreachable":
        return "route"
    if result["error"] == "timeout" and not route.get("default"):
        return "firewall"
    return "route" if result["error"] == "timeout" else "service"


def _told(result: Facts) -> str:
    route = result.get("route") or {}
    words = {
        "timeout": "no answer within {seconds} s",
        "refused": "connection refused",
        "unreachable": "host unreachable",
        "no_route": "network unreachable",
        "denied": "forbidden by a rule on the machine itself",
        "reset": "the connection was reset",
    }.get(result["error"], str(result.get("detail") or result["error"]))
    told = words.format(seconds=result.get("seconds", "?"))
    cause = cause_of(result)
    evidence = []
    if result.get("elsewhere"):
        evidence.append("another port of the same address answers")
    if route.get("text"):
        only = " (only the default route matches)" if route.get("default") else ""
        evidence.append(f"ip route get: {route['text']}{only}")
    if cause != "service":
        evidence.insert(0, f"probably the {cause}")
    return told + (" (" + "; ".join(evidence) + ")" if evidence else "")


def _remedy(result: Facts, way: str) -> str:
    cause = cause_of(result)
    if cause == "route":
        return f"add a route {way} (and back); where routing is known to be right, check the firewalls on the way"
    if cause == "firewall":
        return f"allow the connection {way} in every firewall on the way, the machine's own included"
    return "check that the east-west gateway and istiod run and listen there, and that no firewall rejects connections"


def pod_try(target: str, return_code: int, output: str) -> dict[str, t.Any]:
    """What `pilot-agent wait --url http://TARGET/` in a pod says about the way to `target`.

    Any HTTP status and a refused connection prove that packets come and go; only silence and ICMP errors count
    against it.
    """
    result: dict[str, t.Any] = {"target": target, "ok": True, "error": None}
    if return_code == 0 or "HTTP status code" in output or "connection refused" in output:
        return result
    for phrase, error in (
        ("no route to host", "unreachable"),
        ("network is unreachable", "no_route"),
        ("operation not permitted", "denied"),
        ("timeout", "timeout"),
        ("deadline exceeded", "timeout"),
    ):
        # "timeout waiting for Envoy proxy" starts every failure; the cause follows it.
        if phrase in output.split("Last error:")[-1].lower():
            return dict(result, ok=False, error=error)
    # Something answered, in a way that is no HTTP.
    return result
