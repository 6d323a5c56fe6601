# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests from a pod to single VMs: what to run there, and what the answers mean. Pure. Private to the collection."""

from __future__ import annotations

import re
import shlex
import typing as t
import urllib.parse

from ansible_collections.hybridmesh.istio.plugins.module_utils import _probe
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

MARK = "@@hybridmesh@@"

# So many endpoints are named where one is missing.
KNOWN = 10

# Each client is two shell functions: `ask URL` prints "STATUS EXIT", `admin PATH` prints Envoy's answer.
_CLIENTS = {
    "curl": (
        "ask() { curl -s -o /dev/null -g --noproxy '*' -m {timeout} -w '%{{http_code}}' \"$1\" </dev/null; "
        'echo " $?"; }',
        "admin() { curl -s -f -g --noproxy '*' -m 20 \"http://127.0.0.1:{port}/$1\" </dev/null; }",
    ),
    "wget": (
        'ask() { s=$(wget -S -T {timeout} -O /dev/null "$1" 2>&1 </dev/null); e=$?; '
        'echo "$(echo "$s" | sed -n \'s,^ *HTTP/[0-9.]* *\\([0-9]*\\).*,\\1,p\' | tail -n 1) $e"; }',
        'admin() { wget -q -T 20 -O - "http://127.0.0.1:{port}/$1" </dev/null; }',
    ),
    "python3": (
        "ask() { python3 -c '{ask}' \"$1\" </dev/null; }",
        "admin() { python3 -c '{admin}' \"http://127.0.0.1:{port}/$1\" </dev/null; }",
    ),
}
_PYTHON_ASK = """
import http.client, sys, urllib.parse
u = urllib.parse.urlsplit(sys.argv[1])
try:
    c = http.client.HTTPConnection(u.hostname, u.port or 80, timeout={timeout})
    c.request("GET", (u.path or "/") + ("?" + u.query if u.query else ""), headers={{"Host": u.netloc}})
    r = c.getresponse()
    r.read()
    print(r.status, 0)
except Exception as e:
    print("000", 7)
"""
_PYTHON_ADMIN = """
import sys, urllib.request as r
sys.stdout.write(r.build_opener(r.ProxyHandler({})).open(sys.argv[1], timeout=20).read().decode())
"""


def find_client() -> str:
    """A command that prints which of the known clients the container has, and whether it has `grep`."""
    return (
        "for c in curl wget python3; do command -v $c >/dev/null 2>&1 && { echo $c; break; }; done; "
        f"command -v grep >/dev/null 2>&1 && echo grep; echo {MARK}\n"
    )


def functions(client: str, timeout: int, admin_port: int) -> str:
    """Shell functions `ask` and `admin` for a client. Proxies in the environment would lead out of the mesh."""
    ask, admin = _CLIENTS[client]
    words = {
        "timeout": timeout,
        "port": admin_port,
        "ask": _PYTHON_ASK.format(timeout=timeout).strip(),
        "admin": _PYTHON_ADMIN.strip(),
    }
    proxies = "unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY"
    return "\n".join([proxies, _fill(ask, words), _fill(admin, words), ""])


def _fill(text: str, words: t.Mapping[str, t.Any]) -> str:
    """Fills {names} in; shell braces stay as they are."""
    for name, value in words.items():
        text = text.replace("{" + name + "}", str(value))
    return text.replace("{{", "{").replace("}}", "}")


def ask_many(url: str, count: int, seconds: int) -> str:
    """A command that requests a URL a number of times, one answer a line, and begins none after so many seconds."""
    return (
        f"i=0; t=$(($(date +%s) + {seconds})); "
        f"while [ $i -lt {count} ] && [ $(date +%s) -le $t ]; do ask {shlex.quote(url)}; i=$((i+1)); done; "
        f"echo {MARK}\n"
    )


def ask_admin(path: str, only: t.Sequence[str] = ()) -> str:
    """A command that prints an answer of Envoy's admin interface, or of its lines those with one of the texts."""
    patterns = " ".join("-e " + shlex.quote(text) for text in only)
    thin = f" | grep -F {patterns}" if only else ""
    return f"admin {shlex.quote(path)}{thin}; echo {MARK}\n"


def dump_paths(cluster: str) -> tuple[str, str]:
    """The admin paths of a cluster's own configuration, and of its endpoints'."""
    name = urllib.parse.quote(re.escape(cluster), safe="")
    return (
        f"config_dump?resource=dynamic_active_clusters&name_regex={name}",
        f"config_dump?include_eds&resource=dynamic_endpoint_configs&name_regex={name}",
    )


def statuses(answers: str) -> list[int]:
    """The HTTP statuses of `ask`'s lines; 0 where there was no answer, 200 where only success is known."""
    found = []
    for line in answers.splitlines():
        words = line.split()
        if not words or not words[-1].isdigit():
            continue
        status = int(words[0]) if len(words) > 1 and words[0].isdigit() else 0
        found.append(status or (200 if words[-1] == "0" else 0))
    return found


class Choice(t.NamedTuple):
    """Where the requests for a group's VMs go."""

    url: str
    cluster: str
    service: str

    def includes(self, cluster: str) -> bool:
        """Whether that is the Service's cluster at this port, or that of a subset to which a route leads."""
        mine, theirs = self.cluster.split("|"), cluster.split("|")
        return len(theirs) == 4 and mine[:2] + mine[3:] == theirs[:2] + theirs[3:]

    @property
    def mark(self) -> str:
        """What the lines of all these clusters have in `/clusters`."""
        return "|" + self.cluster.rpartition("|")[2] + "::"


def as_one(clusters: _probe.Clusters, choice: Choice) -> _probe.Clusters:
    """The Service's clusters as one, each endpoint with the sum of its counters; healthy if it is so in one of them."""
    endpoints: dict[str, dict[str, t.Any]] = {}
    # The Service's own comes first, so that it is its health flags that are told.
    for name in sorted(filter(choice.includes, clusters)):
        for endpoint, stats in clusters[name].items():
            known = endpoints.setdefault(endpoint, {})
            for key, value in stats.items():
                if isinstance(value, int):
                    known[key] = known.get(key, 0) + value
                elif value == "healthy" or key not in known:
                    known[key] = value
    return {choice.cluster: endpoints} if endpoints else {}


def choose_service(
    services: t.Sequence[t.Mapping[str, t.Any]], group: t.Mapping[str, t.Any], domain: str = "cluster.local"
) -> Choice:
    """The Service of a WorkloadGroup's VMs, and what to GET there: its probe's path where it has one.

    Raises:
        MeshError: no Service selects the group's VMs.
    """
    metadata, spec = group["metadata"], group.get("spec") or {}
    template = spec.get("template") or {}
    labels = dict(template.get("labels") or {})
    labels.update((spec.get("metadata") or {}).get("labels") or {})
    fitting = []
    for service in services:
        selector = (service.get("spec") or {}).get("selector") or {}
        if selector and all(labels.get(key) == value for key, value in selector.items()):
            fitting.append(service)
    # The Service that the role workload_group made comes first, then plain HTTP before the rest.
    ports = [
        (not _made_for(service, metadata["name"]), not _is_http(port), service["metadata"]["name"], number, port)
        for service in fitting
        for number, port in enumerate((service.get("spec") or {}).get("ports") or [])
        if port.get("protocol", "TCP") == "TCP"
    ]
    where = "{}/{}".format(metadata["namespace"], metadata["name"])
    if not ports:
        raise MeshError(
            f"no Service selects the VMs of the WorkloadGroup {where}",
            "a Service in that namespace whose selector fits the group's labels, with a TCP port",
            "declare it with the group (workload_group_groups[].service)",
        )
    _other, _plain, name, _number, port = min(ports, key=lambda item: item[:4])
    host = "{}.{}.svc.{}".format(name, metadata["namespace"], domain)
    path = str(((spec.get("probe") or {}).get("httpGet") or {}).get("path") or "/")
    return Choice(
        url="http://{}:{}{}".format(host, port["port"], path if path.startswith("/") else "/" + path),
        cluster="outbound|{}||{}".format(port["port"], host),
        service=name,
    )


def _made_for(service: t.Mapping[str, t.Any], group: str) -> bool:
    return (service["metadata"].get("labels") or {}).get("hybridmesh.istio/workload-group") == group


def _is_http(port: t.Mapping[str, t.Any]) -> bool:
    name = str(port.get("appProtocol") or port.get("name") or "").split("-", maxsplit=1)[0].lower()
    return name in ("http", "http2", "grpc")


def endpoints_of(clusters: _probe.Clusters, cluster: str) -> dict[str, str]:
    """The endpoints in a cluster by their addresses; of several at one address the first."""
    return {_probe.endpoint_address(endpoint): endpoint for endpoint in sorted(clusters.get(cluster, {}), reverse=True)}


def judge_vm(
    vm: str,
    choice: Choice,
    endpoint: str | None,
    clusters: _probe.Clusters,
    grown: _probe.Clusters,
    transport: _probe.Transport | None,
    answers: t.Sequence[int],
    identity: str,
    elsewhere: t.Sequence[str] = (),
) -> dict[str, t.Any]:
    """The verdict on the way from the pod to one VM.

    Args:
        vm: its name.
        choice: where the requests went.
        endpoint: the VM's endpoint in the pod's Envoy, or None.
        clusters: the pod's Envoy's last counters.
        grown: what they did since the first request.
        transport: how Envoy talks to that endpoint.
        answers: the HTTP statuses of all requests to the Service.
        identity: `namespace/service-account` of the VM's group.
        elsewhere: other Services whose counters moved, where the Service's own did not.
    """
    stats = grown.get(choice.cluster, {}).get(endpoint or "", {})
    identities = list(transport.identities) if transport else []
    if elsewhere and not grown:
        verdict, evidence, next_step = _led_elsewhere(choice, answers, elsewhere)
    else:
        verdict, evidence, next_step = _judge(
            vm, choice, endpoint, clusters, grown, stats, transport, answers, identity
        )
    proven = [name for name in identities if _probe.identity_matches(identity, [name])]
    return {
        "vm": vm,
        "verdict": verdict,
        "ok": verdict == "ok",
        "evidence": evidence,
        "next_step": next_step,
        "url": choice.url,
        "service": choice.service,
        "cluster": choice.cluster,
        "endpoint": endpoint,
        "through_mesh": bool(_probe.answered(stats, all(answers)) and transport and transport.tls),
        "peer_identity": proven[0] if len(identities) == 1 and proven else None,
        "peer_identities": identities,
        "requests": len(answers),
        "statuses": sorted(set(answers)),
    }


def _led_elsewhere(choice: Choice, answers: t.Sequence[int], elsewhere: t.Sequence[str]) -> tuple[str, str, str]:
    host = choice.cluster.rpartition("|")[2]
    return (
        "not_reached",
        f"{len(answers)} requests to {choice.url} reached no endpoint of {choice.service}; those of {', '.join(elsewhere)}"
        " were asked meanwhile",
        f"see the VirtualServices for {host}: one of them leads its requests elsewhere",
    )


def _judge(
    vm: str,
    choice: Choice,
    endpoint: str | None,
    clusters: _probe.Clusters,
    grown: _probe.Clusters,
    stats: t.Mapping[str, int],
    transport: _probe.Transport | None,
    answers: t.Sequence[int],
    identity: str,
) -> tuple[str, str, str]:
    route = "check the route and the firewall from the pod network to the VM's port, its application and its capture"
    if endpoint is None:
        found = sorted(clusters.get(choice.cluster, {}))
        known = ", ".join(found[:KNOWN]) or "none"
        if len(found) > KNOWN:
            known += f" and {len(found) - KNOWN} more"
        return (
            "no_endpoint",
            f"the pod's Envoy knows no endpoint of {vm} in {choice.service} (known: {known})",
            f"see the WorkloadEntry of {vm} and the selector of the Service {choice.service}",
        )
    if _probe.answered(stats, all(answers)):
        return _judge_transport(endpoint, transport, identity)
    if stats.get("cx_connect_fail"):
        return ("connection_failed", f"the pod's Envoy could not connect to {endpoint}", route)
    if stats.get("rq_error"):
        codes = ", ".join(str(code) for code in sorted(set(answers)))
        return ("bad_status", f"{endpoint} answered with an error (seen: {codes})", f"see the application on {vm}")
    flags = clusters.get(choice.cluster, {}).get(endpoint, {}).get("health_flags", "healthy")
    if flags != "healthy":
        return ("unhealthy", f"the pod's Envoy has {endpoint} as {flags}", f"see the application on {vm}")
    if not grown.get(choice.cluster) and any(200 <= code < 400 for code in answers):
        return (
            "not_through_mesh",
            f"{choice.url} answered, but no counter of {choice.cluster} moved",
            "have the pod injected, and look for annotations that exclude the port from capture",
        )
    if not grown.get(choice.cluster):
        return ("request_failed", f"no answer from {choice.url}", "see the Service, and the pod's istio-proxy log")
    return (
        "not_reached",
        f"{len(answers)} requests went to other endpoints of {choice.service}, none to {endpoint}",
        "look at weights, localities and DestinationRules of the Service, or raise the number of requests",
    )


def _judge_transport(endpoint: str, transport: _probe.Transport | None, identity: str) -> tuple[str, str, str]:
    if transport is None or not transport.tls:
        return (
            "plaintext",
            f"{endpoint} was reached without mutual TLS",
            "look for a DestinationRule or PeerAuthentication that switches TLS off",
        )
    if not transport.identities:
        return ("no_identity", "Envoy verifies no SPIFFE identity of the peer", "look for a DestinationRule with TLS")
    if not _probe.identity_matches(identity, transport.identities):
        return (
            "wrong_identity",
            "the pod's Envoy expects {}, not {}".format(", ".join(transport.identities), identity),
            "see which service account the VM's group and the Service's other workloads have",
        )
    return ("ok", "", "")
