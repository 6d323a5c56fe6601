# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Meshes for the tests of the graph, as the modules that collect data for it would find them."""

from __future__ import annotations

import types
import typing as t

import pytest

Flow = dict[str, t.Any]


def http(now: float, errors: float = 0.0, before: int = 500, seconds: float = 5.0, health: str = "healthy") -> Flow:
    """What an endpoint got: requests and errors a second, and how many before."""
    good, bad = round((now - errors) * seconds), round(errors * seconds)
    grew = {name: count for name, count in (("rq_success", good), ("rq_error", bad)) if count}
    total = {"rq_success": before + good, "rq_error": bad * 20}
    total = {name: count for name, count in total.items() if count}
    return {"grew": grew, "total": total, "open": 2, "health": health}


def tcp(now: float, connections: int = 3, refused: float = 0.0, seconds: float = 5.0) -> Flow:
    """What an endpoint of TCP got."""
    grew = {"cx_total": round(now * seconds), "cx_connect_fail": round(refused * seconds)}
    grew = {name: count for name, count in grew.items() if count}
    return {"grew": grew, "total": {"cx_total": 9 + grew.get("cx_total", 0)}, "open": connections, "health": "healthy"}


def sample(
    flows: dict[str, dict[str, Flow]], security: str | dict[str, str] = "mtls", seconds: float = 5.0
) -> dict[str, t.Any]:
    """A sample; `security` may say something else for single addresses."""

    def word(endpoint: str) -> str:
        return security if isinstance(security, str) else security.get(endpoint.rpartition(":")[0], "mtls")

    outbound = {name: endpoints for name, endpoints in flows.items() if name.startswith("outbound")}
    return {
        "seconds": seconds,
        "clusters": flows,
        "security": {name: {key: word(key) for key in endpoints} for name, endpoints in outbound.items()},
    }


def service(name: str, namespace: str, selector: dict[str, str], port: int = 80) -> dict[str, t.Any]:
    ports = [{"port": port, "name": "http", "target": 8080}]
    return {"name": name, "namespace": namespace, "type": "ClusterIP", "selector": selector, "ports": ports}


def pod(
    name: str, namespace: str, workload: str, address: str, ready: bool = True, kind: str = "pod", **labels: str
) -> dict[str, t.Any]:
    return {
        "name": name,
        "namespace": namespace,
        "workload": workload,
        "kind": kind,
        "address": address,
        "labels": {"app": workload, **labels},
        "running": True,
        "ready": ready,
        "proxy_version": "1.31.0",
    }


def entry(
    name: str, namespace: str, group: str, address: str, health: str = "healthy", connected: bool = True, **labels: str
) -> dict[str, t.Any]:
    return {
        "name": name,
        "namespace": namespace,
        "group": group,
        "address": address,
        "labels": {"app": group, **labels},
        "connected": connected,
        "health": health,
    }


def read(namespace: str, name: str, found: dict[str, t.Any] | None, unread: str | None = None) -> dict[str, t.Any]:
    return {"namespace": namespace, "pod": name, "sample": found, "unread": unread}


def machine(name: str, namespace: str, group: str, address: str, found: dict[str, t.Any] | None) -> dict[str, t.Any]:
    sidecar = {"address": address, "namespace": namespace, "group": group, "version": "1.31.0"}
    return {
        "name": name,
        "address": address,
        "result": {"sidecar": sidecar, "sample": found, "unread": None, "changed": False},
    }


CHAPTER10 = "outbound|80||envoydummy.chapter10.svc.cluster.local"
CHAPTER10VM = "outbound|80||envoydummy.chapter10vm.svc.cluster.local"
MESH = {"id": "mesh1", "cluster": "cluster1"}


def small(traffic: bool = True) -> tuple[dict[str, t.Any], list[dict[str, t.Any]]]:
    """The chapter's sample: an ingress gateway and a workbench call a pod and two machines, one of which is not well."""
    rate = 1.0 if traffic else 0.0

    def to(a: float, b: float, c: float, failing: float = 0.0) -> dict[str, dict[str, Flow]]:
        before = 500 if traffic else 0
        flows = {
            CHAPTER10: {"10.89.0.11:10000": http(a * rate, before=before)},
            CHAPTER10VM: {
                "10.88.0.21:10000": http(b * rate, before=before),
                "10.88.0.22:10000": http(c * rate, failing * rate, before=before, health="/failed_outlier_check"),
            },
        }
        return {
            name: {key: flow for key, flow in endpoints.items() if flow["total"]} for name, endpoints in flows.items()
        }

    inbound = {
        "10.88.0.21": http(16.4 * rate),
        "10.88.0.22": http(3.4 * rate, 0.8 * rate),
        "10.89.0.11": http(24 * rate),
    }
    known = {
        "mesh": MESH,
        "services": [
            service("envoydummy", "chapter10", {"app": "envoydummy"}),
            service("envoydummy", "chapter10vm", {"app": "envoydummy"}),
            service("workbench", "lab", {"app": "workbench"}),
            service("kubernetes", "default", {}),
        ],
        "pods": [
            pod("istio-ingressgateway-7c5d9-x2x4z", "istio-system", "istio-ingressgateway", "10.89.0.5", kind="gateway"),
            pod("istio-eastwestgateway-59b7f-q8k2p", "istio-system", "istio-eastwestgateway", "10.89.0.6", kind="gateway"),
            pod("envoydummy-5f7c9d-abcde", "chapter10", "envoydummy", "10.89.0.11", version="v1"),
            pod("workbench-6d5f7-x2k4q", "lab", "workbench", "10.89.0.7", version="v1"),
        ],
        "workload_entries": [
            entry("envoydummy-10.88.0.21-network1", "chapter10vm", "envoydummy", "10.88.0.21", version="v2"),
            entry("envoydummy-10.88.0.22-network1", "chapter10vm", "envoydummy", "10.88.0.22", "unhealthy", version="v3"),
        ],
        "samples": [
            read("istio-system", "istio-ingressgateway-7c5d9-x2x4z", sample(to(20, 13.4, 2.6, 0.6))),
            read(
                "istio-system",
                "istio-eastwestgateway-59b7f-q8k2p",
                sample({"outbound|15012||istiod.istio-system.svc.cluster.local": {"10.89.0.2:15012": tcp(0, 2)}}, "plain"),
            ),
            read("chapter10", "envoydummy-5f7c9d-abcde", sample({"inbound|10000||": {"10.89.0.11:10000": inbound["10.89.0.11"]}})),
            read("lab", "workbench-6d5f7-x2k4q", sample(to(2, 3, 0.8, 0.2))),
        ],
    }  # fmt: skip
    outside = {"93.184.215.14:443": tcp(0.2 * rate, 1)}
    machines = [
        machine(
            "vm1",
            "chapter10vm",
            "envoydummy",
            "10.88.0.21",
            sample(
                {
                    "inbound|10000||": {"10.88.0.21:10000": inbound["10.88.0.21"]},
                    CHAPTER10: {"10.89.0.11:10000": http(2 * rate, before=500 if traffic else 0)},
                    "PassthroughCluster": outside if traffic else {},
                },
                {"10.89.0.11": "plain"},
            ),
        ),
        machine(
            "vm2",
            "chapter10vm",
            "envoydummy",
            "10.88.0.22",
            sample({"inbound|10000||": {"10.88.0.22:10000": inbound["10.88.0.22"]}}),
        ),
    ]
    if not traffic:
        for item in (*known["samples"], *(found["result"] for found in machines)):
            clusters = item["sample"]["clusters"]
            clusters.update({name: {} for name in clusters if "istiod" not in name})
    return known, machines


def big(groups: int = 10, each: int = 20) -> tuple[dict[str, t.Any], list[dict[str, t.Any]]]:
    """Ten groups of machines, as many workloads of pods, two gateways; some can't be read, some are not well."""
    names = ["billing", "orders", "stock", "search", "mail", "ledger", "reports", "prices", "customers", "archive"]
    services, pods, entries, samples, machines = [], [], [], [], []
    addresses: dict[str, list[str]] = {}
    for number in range(groups):
        group = names[number % len(names)] + ("" if number < len(names) else str(number))
        services.append(service(group, "legacy", {"app": group}, 8080))
        addresses[group] = [f"10.20.{number}.{place + 1}" for place in range(each)]
        for place, address in enumerate(addresses[group]):
            ill = number == 3 and place < 2
            entries.append(
                entry(f"{group}-{address}", "legacy", group, address, "unhealthy" if ill else "healthy", version="v1")
            )
    for number in range(groups):
        name = f"web-{names[number % len(names)]}"
        services.append(service(name, "shop", {"app": name}))
        for place in range(4):
            pods.append(pod(f"{name}-{place}", "shop", name, f"10.30.{number}.{place + 1}", version="v7"))

    def calls(group: str, rate: float, failing: float = 0.0) -> dict[str, dict[str, Flow]]:
        count = len(addresses[group])
        return {
            f"outbound|8080||{group}.legacy.svc.cluster.local": {
                f"{address}:8080": http(rate / count * 5, failing / count * 5) for address in addresses[group]
            }
        }

    for number in range(groups):
        name, group = f"web-{names[number % len(names)]}", names[number % len(names)]
        for place in range(3):
            if number == 6 and place == 2:
                samples.append(
                    read("shop", f"{name}-{place}", None, "container istio-proxy of pod shop/x is not running")
                )
                continue
            flows = calls(group, 3.0 * (number + 1), {3: 3.2, 7: 0.8}.get(number, 0.0))
            flows.update(calls(names[(number * 3 + 1) % len(names)], 2.0))
            samples.append(read("shop", f"{name}-{place}", sample(flows)))
    for gateway, address in (("ingress", "10.30.99.1"), ("partners", "10.30.99.2")):
        pods.append(pod(f"{gateway}-0", "edge", gateway, address, kind="gateway"))
        flows = {
            f"outbound|80||web-{names[number % len(names)]}.shop.svc.cluster.local": {
                f"10.30.{number}.{place + 1}:8080": http(4.0 + number) for place in range(4)
            }
            for number in range(0 if gateway == "ingress" else 5, groups, 1 if gateway == "ingress" else 2)
        }
        samples.append(read("edge", f"{gateway}-0", sample(flows)))
    for number in range(groups):
        group = names[number % len(names)]
        for place, address in enumerate(addresses[group]):
            flows: dict[str, dict[str, Flow]] = {}
            if number == 1:
                flows = calls("stock", 1.0)
            if number == 4:
                flows["outbound|443||api.mail.example.com"] = {"198.51.100.7:443": tcp(0.4)}
            found = machine(
                f"{group}{place + 1}", "legacy", group, address, sample(flows, "tls" if number == 4 else "mtls")
            )
            if number == 8 and place in (3, 4):
                found["result"] = {"unreachable": True, "msg": "ssh: connect to host port 22: No route to host"}
            machines.append(found)
    known = {"mesh": MESH, "services": services, "pods": pods, "workload_entries": entries, "samples": samples}
    return known, machines


def unread() -> tuple[dict[str, t.Any], list[dict[str, t.Any]]]:
    """The chapter's sample, of which the workbench and a machine can't be read."""
    known, machines = small()
    known["samples"][3] = read("lab", "workbench-6d5f7-x2k4q", None, "the API server refused a command in a container")
    machines[0]["result"] = {"unreachable": True, "msg": "ssh: connect to host 10.88.0.21 port 22: No route to host"}
    machines.append({"name": "vm3", "address": "10.88.0.23", "result": None})
    known["workload_entries"].append(entry("old-10.88.0.99", "chapter10vm", "old", "10.88.0.99", connected=False))
    return known, machines


@pytest.fixture
def scenes() -> types.SimpleNamespace:
    """The meshes, and what they are made of."""
    return types.SimpleNamespace(**{name: value for name, value in globals().items() if not name.startswith("_")})
