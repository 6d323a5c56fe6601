# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sample application of the lab, as the tests ask it."""

from __future__ import annotations

import collections
import http.client
import json
import math
import typing as t

from .conftest import Lab, Run

PLAYBOOK = "playbooks/demo.yml"
HOST = "mockshop.com"
V1 = "Bootstrap Service Mesh Implementation with Istio"
V2 = f"V2----------{V1}----------V2"
V3 = f"V3----------{V1}----------V3"
# As short as the chapter has them.
PODS = "http://envoydummy.chapter10.svc/"
MACHINES = "http://envoydummy.chapter10vm.svc/"


def demo(lab: Lab, *arguments: str, **variables: t.Any) -> Run:
    return lab.playbook(PLAYBOOK, *arguments, variables=variables)


def curl(url: str, *headers: str, times: int = 1) -> str:
    """A script for a shell that prints the answers, or HTTP's status where it is none of success."""
    options = " ".join(f"-H '{header}'" for header in headers)
    once = f"curl -s -m 5 {options} -w '\\n%{{http_code}}\\n' {url} || true"
    return f"for i in $(seq {times}); do {once}; done"


def answers(printed: str) -> set[str]:
    """All different ones, of what `curl` printed: texts, and statuses of failures."""
    lines = printed.splitlines()
    found = set()
    for text, status in zip(lines[::2], lines[1::2], strict=True):
        found.add(text if status == "200" else status)
    return found


def from_machine(lab: Lab, machine: str, url: str, *headers: str, times: int = 1) -> set[str]:
    return answers(lab.ssh(machine, curl(url, *headers, times=times)))


def from_pod(lab: Lab, url: str, *headers: str, times: int = 1) -> set[str]:
    script = curl(url, *headers, times=times)
    return answers(lab.kubectl("exec", "-n", "lab", "deploy/workbench", "--", "sh", "-c", script))


def ingress_address(lab: Lab) -> str:
    path = "jsonpath={.status.loadBalancer.ingress[0].ip}"
    return lab.kubectl("get", "service", "-n", "istio-system", "istio-ingressgateway", "-o", path)


def at_the_ingress(lab: Lab, requests: int) -> collections.Counter[str]:
    """How often each answer came to requests from outside of the cluster, for the shop's host.

    One connection after the other, so that both Pods of the gateway get some.
    """
    counted: collections.Counter[str] = collections.Counter()
    address = ingress_address(lab)
    for start in range(0, requests, 25):
        connection = http.client.HTTPConnection(address, 80, timeout=10)
        for _number in range(min(25, requests - start)):
            connection.request("GET", "/", headers={"Host": HOST})
            answer = connection.getresponse()
            text = answer.read().decode()
            counted[text if answer.status == 200 else str(answer.status)] += 1
        connection.close()
    return counted


def weights_at_the_ingress(lab: Lab) -> list[dict[str, int]]:
    """What each Pod of the gateway was told by istiod: namespace of the Service -> weight."""
    found = []
    selector = ("-n", "istio-system", "-l", "istio=ingressgateway", "-o", "name")
    for pod in lab.kubectl("get", "pods", *selector).split():
        words = ("pilot-agent", "request", "GET", "config_dump?resource=dynamic_route_configs")
        dump = json.loads(lab.kubectl("exec", "-n", "istio-system", pod, "--", *words))
        weights: dict[str, int] = {}
        for config in dump.get("configs") or []:
            for host in config["route_config"].get("virtual_hosts") or []:
                if f"{HOST}:80" not in host["name"] and HOST not in host["domains"]:
                    continue
                for route in host.get("routes") or []:
                    weights.update(_weights(route.get("route") or {}))
        found.append(weights)
    return found


def _weights(action: dict[str, t.Any]) -> dict[str, int]:
    if "cluster" in action:
        return {action["cluster"].split(".")[1]: 100}
    clusters = (action.get("weighted_clusters") or {}).get("clusters") or []
    return {item["name"].split(".")[1]: int(item.get("weight") or 0) for item in clusters}


def binomial_interval(trials: int, share: float, confidence: float) -> tuple[int, int]:
    """The smallest and the largest number of successes that are not in either of the two tails beyond the confidence."""
    if share in (0.0, 1.0):
        return round(trials * share), round(trials * share)
    tail = (1 - confidence) / 2

    def probability(successes: int) -> float:
        ways = math.lgamma(trials + 1) - math.lgamma(successes + 1) - math.lgamma(trials - successes + 1)
        return math.exp(ways + successes * math.log(share) + (trials - successes) * math.log(1 - share))

    def edge(numbers: t.Iterable[int]) -> int:
        total = 0.0
        for number in numbers:
            total += probability(number)
            if total > tail:
                return number
        raise AssertionError("probabilities make 1")

    return edge(range(trials + 1)), edge(range(trials, -1, -1))
