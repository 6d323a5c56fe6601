# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the cluster has of all that a declaration of traffic speaks of, read in few requests. Private to the collection.

Each kind is listed once, for all namespaces. What would be long (Pods, WorkloadEntries) is only asked whether there is
one. Nothing is judged here.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _manifest
from ansible_collections.hybridmesh.istio.plugins.module_utils._apply import Applier, in_parallel
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Object
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import ApiError
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_names import (
    KINDS,
    MESH,
    NETWORKING,
    gateways_of,
    resolved,
    service_of,
)

Name = t.Tuple[str, str]  # namespace, name
Labels = t.Tuple[t.Tuple[str, str], ...]  # sorted

_PRINCIPAL = re.compile(r"[^/]+/ns/([^/*]+)/sa/([^/*]+)")


@dataclasses.dataclass
class Facts:
    """The cluster, as far as a declaration is about it.

    Attributes:
        istio: whether the API server knows Istio's kinds.
        namespaces: those that are there.
        services: all Services.
        entries: all ServiceEntries.
        live: all routing objects, whoever made them.
        gateway_pods: Pods by the labels that some Gateway selects.
        gateway_labels: values of the label `istio` that Pods carry, where one of these has no Pod.
        workloads: whether there is a Pod or WorkloadEntry in a namespace with some labels.
        secrets: the keys of each Secret that a gateway needs; None where it is not there.
        unreadable: those that this user may not read.
        accounts: whether each ServiceAccount that a policy names is there.
    """

    istio: bool = True
    namespaces: set[str] = dataclasses.field(default_factory=set)
    services: dict[Name, Object] = dataclasses.field(default_factory=dict)
    entries: list[Object] = dataclasses.field(default_factory=list)
    live: list[Object] = dataclasses.field(default_factory=list)
    gateway_pods: dict[Labels, list[Object]] = dataclasses.field(default_factory=dict)
    gateway_labels: list[str] = dataclasses.field(default_factory=list)
    workloads: dict[tuple[str, Labels], bool] = dataclasses.field(default_factory=dict)
    secrets: dict[Name, set[str] | None] = dataclasses.field(default_factory=dict)
    unreadable: set[Name] = dataclasses.field(default_factory=set)
    accounts: dict[Name, bool] = dataclasses.field(default_factory=dict)


def labels_of(labels: t.Mapping[str, t.Any] | None) -> Labels:
    """Labels as a key."""
    return tuple(sorted((str(key), str(value)) for key, value in (labels or {}).items()))


def full_name(item: t.Mapping[str, t.Any]) -> str:
    """`namespace/name`."""
    own = _manifest.ref(item)
    return f"{own.namespace}/{own.name}"


def gateways_used(declared: t.Sequence[Object], live: t.Iterable[Object]) -> dict[str, Object]:
    """By `namespace/name`: the declared Gateways, and those in the cluster that declared routes name."""
    used = {full_name(item): item for item in declared if item["kind"] == "Gateway"}
    there = {full_name(item): item for item in live if item["kind"] == "Gateway"}
    for route in declared:
        if route["kind"] == "VirtualService":
            for name in gateways_of(route):
                if name != MESH and name in there:
                    used.setdefault(name, there[name])
    return used


def gateway_selector(gateway: t.Mapping[str, t.Any]) -> Labels:
    """The labels of the Pods that a Gateway opens."""
    return labels_of((gateway.get("spec") or {}).get("selector"))


def secrets_wanted(gateway: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, bool]]:
    """(name, whether clients' certificates are checked) of each Secret that a Gateway takes certificates from."""
    for server in (gateway.get("spec") or {}).get("servers") or []:
        tls = server.get("tls") or {}
        name = str(tls.get("credentialName") or "")
        if name.startswith("kubernetes://"):
            name = name[len("kubernetes://") :]
        # Others name a provider, or a namespace, by which Kubernetes' own gateways alone go.
        if name and "/" not in name:
            yield name, tls.get("mode") in ("MUTUAL", "OPTIONAL_MUTUAL")


def workload_selectors(
    declared: t.Iterable[Object], services: t.Mapping[Name, Object], domain: str
) -> dict[str, tuple[str, Labels]]:
    """What must be there for an object to have an effect: what it is about -> (namespace, labels).

    Keys are `kind namespace/name`, for subsets with `, subset NAME` behind.
    """
    wanted = {}
    for item in declared:
        own, spec = _manifest.ref(item), item["spec"]
        if item["kind"] == "DestinationRule":
            where = service_of(resolved(str(spec.get("host") or ""), own.namespace, domain), domain)
            selector = ((services.get(where) or {}).get("spec") or {}).get("selector") if where else None
            for subset in spec.get("subsets") or []:
                # Endpoints of a Service without a selector come from somewhere else.
                if where and selector:
                    labels = labels_of({**selector, **(subset.get("labels") or {})})
                    wanted[f"{own}, subset {subset.get('name')}"] = (where[0], labels)
        elif item["kind"] in ("PeerAuthentication", "AuthorizationPolicy", "Sidecar"):
            labels = labels_of(workload_labels(item))
            if labels:
                wanted[str(own)] = (own.namespace, labels)
    return wanted


def workload_labels(item: t.Mapping[str, t.Any]) -> dict[str, str]:
    """The labels of the workloads that a policy or a Sidecar is for; none where it is for all of its namespace."""
    spec = item.get("spec") or {}
    return (spec.get("selector") or {}).get("matchLabels") or (spec.get("workloadSelector") or {}).get("labels") or {}


def accounts_named(declared: t.Iterable[Object]) -> set[Name]:
    """(namespace, name) of each ServiceAccount that a policy names in full."""
    found = set()
    for item in declared:
        if item["kind"] == "AuthorizationPolicy":
            for rule in item["spec"].get("rules") or []:
                for source in rule.get("from") or []:
                    for text in (source.get("source") or {}).get("principals") or []:
                        match = _PRINCIPAL.fullmatch(str(text))
                        if match:
                            found.add((match.group(1), match.group(2)))
    return found


def read(applier: Applier, declared: t.Sequence[Object], domain: str) -> Facts:
    """Reads what the declared objects are about.

    Raises:
        ApiError: something can't be read.
    """
    kinds = [("v1", "Namespace"), ("v1", "Service"), (NETWORKING, "ServiceEntry"), *KINDS]
    # Asked one after the other: each API group is looked up once that way.
    known = {kind: applier.collection_path(*kind) is not None for kind in kinds}
    namespaces, services, entries, *live = in_parallel(lambda kind: applier.find(*kind), kinds)
    facts = Facts(
        istio=all(known[kind] for kind in KINDS),
        namespaces={_manifest.ref(item).name for item in namespaces},
        services={(_manifest.ref(item).namespace, _manifest.ref(item).name): item for item in services},
        entries=entries,
        live=[item for items in live for item in items],
    )
    gateways = gateways_used(declared, facts.live)
    selectors = sorted({gateway_selector(item) for item in gateways.values()} - {()})
    facts.gateway_pods = dict(zip(selectors, in_parallel(lambda labels: _pods(applier, labels), selectors)))
    if not all(facts.gateway_pods.values()):
        carrying = applier.find("v1", "Pod", "istio")
        facts.gateway_labels = sorted({_manifest.labels(item)["istio"] for item in carrying} - {"pilot"})
    _read_secrets(applier, facts, declared)
    wanted = sorted(set(workload_selectors(declared, facts.services, domain).values()))
    facts.workloads = dict(zip(wanted, in_parallel(lambda want: _has_workload(applier, *want), wanted)))
    accounts = sorted(accounts_named(declared))
    there = in_parallel(lambda own: applier.get(_manifest.Ref("v1", "ServiceAccount", *own)) is not None, accounts)
    facts.accounts = dict(zip(accounts, there))
    return facts


def _selector(labels: Labels) -> str:
    return ",".join(f"{key}={value}" for key, value in labels)


def _pods(applier: Applier, labels: Labels) -> list[Object]:
    pods = applier.find("v1", "Pod", _selector(labels))
    return [pod for pod in pods if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]


def _read_secrets(applier: Applier, facts: Facts, declared: t.Iterable[Object]) -> None:
    """Which keys the Secrets have that declared Gateways need. What is in them is not kept."""
    names: set[Name] = set()
    for item in declared:
        if item["kind"] == "Gateway":
            # Gateways take certificates from the namespace that they run in.
            spaces = {_manifest.ref(pod).namespace for pod in facts.gateway_pods.get(gateway_selector(item), [])}
            for name, mutual in secrets_wanted(item):
                names |= {
                    (space, f"{name}{suffix}") for space in spaces for suffix in ("", "-cacert") if mutual or not suffix
                }
    for own in sorted(names):
        try:
            secret = applier.get(_manifest.Ref("v1", "Secret", *own))
        except ApiError as error:
            # Whoever declares routes need not be somebody who may read private keys.
            if error.status != 403:
                raise
            facts.unreadable.add(own)
            continue
        facts.secrets[own] = (
            None if secret is None else {key for key, value in (secret.get("data") or {}).items() if value}
        )


def _has_workload(applier: Applier, namespace: str, labels: Labels) -> bool:
    """Whether a Pod or a WorkloadEntry has these labels; asks for one, as there may be thousands."""
    for api_version, kind in (("v1", "Pod"), (NETWORKING, "WorkloadEntry")):
        path = applier.collection_path(api_version, kind, namespace)
        if path:
            answer = applier.cluster.get(path, {"labelSelector": _selector(labels), "limit": 1})
            if (answer or {}).get("items"):
                return True
    # Entries that somebody wrote by hand may have their labels within alone.
    return any(
        set(labels) <= set(labels_of((entry.get("spec") or {}).get("labels")))
        for entry in applier.find(NETWORKING, "WorkloadEntry", "", namespace)
    )
