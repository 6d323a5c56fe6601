# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a declaration of traffic says that can't be meant, told without looking at any cluster. Pure. Private.

What the objects that it stands for show by themselves is judged by `_traffic_checks`.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_names import service_host
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_objects import ANSWERS, Entry

_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")

# Istio knows a `*` only at an end of the whole name; anywhere else it is a letter, and matches nobody.
_IDENTITY = re.compile(r"(spiffe://)?[^/]+/ns/[^/]+/sa/[^/]+|[^/*]+/([^/*]+\*?|\*)|\*")

# What only requests have, and connections have not.
_HTTP_ONLY = ("name", "timeout", "retries", "mirrors", "rewrite")
_HTTP_MATCHES = ("path", "path_prefix", "path_regex", "method", "headers", "query")
_PATHS = ("path", "path_prefix", "path_regex")

# What limits whom a rule of access is about.
_LIMITS = ("identities", "namespaces", "methods", "paths", "ports")

Problems = t.Iterator[MeshError]


def problems(rules: Entry, name: str, domain: str) -> list[MeshError]:
    """All that is wrong with a declaration by itself."""
    found = [] if _LABEL_VALUE.fullmatch(name) else [_bad_name(name)]
    for entry in rules.get("destinations") or []:
        found += _destination(entry, domain)
    for entry in rules.get("mtls") or []:
        if entry.get("ports") and not entry.get("selector"):
            found.append(
                MeshError(
                    f"mtls {entry['namespace']}/{entry.get('name') or 'default'} has ports, and is for the whole namespace",
                    "ports of the workloads that a selector selects",
                    "give a selector, or leave ports out",
                )
            )
    for entry in rules.get("access") or []:
        found += _access(entry)
    for entry in rules.get("routes") or []:
        found += _route(entry, domain)
    return found


def _bad_name(name: str) -> MeshError:
    return MeshError(
        f"the declaration's name is '{name}'",
        "a name that can be the value of a label: letters, digits, and - _ . between them, 63 at most",
        "correct traffic_name",
    )


def _destination(entry: Entry, domain: str) -> Problems:
    where = "destination {}".format(entry.get("name") or entry.get("service") or entry.get("host") or "without a name")
    if entry.get("namespace"):
        yield from _target(where, entry, str(entry["namespace"]), domain)
    elif entry.get("service") and "." not in str(entry["service"]):
        yield MeshError(
            f"{where} does not say in which namespace its Service is",
            "a Service as name.namespace",
            "add the namespace to service",
        )
    elif entry.get("host") and not entry.get("service"):
        yield MeshError(
            f"{where} has no namespace",
            "the namespace that the DestinationRule lies in, which only a Service decides by itself",
            "give namespace",
        )
    else:
        yield from _target(where, entry, "", domain)
    for subset, labels in (entry.get("subsets") or {}).items():
        if not isinstance(labels, t.Mapping) or not labels:
            yield MeshError(
                f"{where}, subset {subset}: its labels are {labels!r}",
                "labels of the workloads that belong to it",
                f"write it as {subset}: {{version: {subset}}}",
            )


def _target(where: str, target: Entry, namespace: str, domain: str) -> Problems:
    service, host = target.get("service"), target.get("host")
    if bool(service) == bool(host):
        yield MeshError(
            f"{where} names {'both service and host' if service else 'neither service nor host'}",
            "a Service of the cluster (service), or the host of a ServiceEntry (host)",
            "leave one of them out" if service else "give service, as name.namespace",
        )
    elif service and service_host(str(service), namespace, domain) is None:
        yield _no_service(where, str(service), domain)


def _no_service(where: str, service: str, domain: str) -> MeshError:
    return MeshError(
        f"{where} names the Service '{service}', which is no name of one",
        f"name.namespace, also with .svc or .svc.{domain} behind it",
        "correct it; what is no Service of the cluster goes under host or hosts; where the cluster's domain is another, set"
        " traffic_cluster_domain",
    )


def _access(entry: Entry) -> Problems:
    where = f"access {entry['namespace']}/{entry['name']}"
    allow, deny = entry.get("allow"), entry.get("deny")
    if (allow is None) == (deny is None):
        yield MeshError(
            f"{where} has {'neither allow nor deny' if allow is None else 'both allow and deny'}",
            "one of them",
            "give allow: [] if nobody is to be let in"
            if allow is None
            else "make two of them, one that allows and one that denies",
        )
    if deny is not None and not deny and allow is None:
        yield MeshError(f"{where} denies nothing", "at least one rule", "say what is denied, or leave it out")
    for number, rule in enumerate([*(allow or []), *(deny or [])], 1):
        empty = [key for key in _LIMITS if rule.get(key) is not None and not rule[key]]
        if empty:
            # Without this a list that came out empty, as that of machines that are all gone, would open the door to all.
            yield MeshError(
                f"{where}, rule {number}: {', '.join(empty)} is empty, which Istio takes for no limit",
                "at least one, or none of the key",
                "fill it, or leave the rule out",
            )
        for text in rule.get("identities") or []:
            if not _IDENTITY.fullmatch(str(text)):
                yield MeshError(
                    f"{where}, rule {number}: the identity is '{text}'",
                    "namespace/service-account, with a * at the end if need be, or a whole one such as cluster.local/ns/shop/sa/web",
                    "correct it",
                )


def _route(entry: Entry, domain: str) -> Problems:
    where = f"route {entry['namespace']}/{entry['name']}"
    protocol = entry.get("protocol") or "http"
    if not entry.get("hosts") and not entry.get("services") and "hosts" not in (entry.get("spec") or {}):
        yield MeshError(
            f"{where} has neither hosts nor services",
            "names that clients call",
            "give hosts (names as clients outside call them) or services (Services of the cluster)",
        )
    for service in entry.get("services") or []:
        if service_host(str(service), str(entry["namespace"]), domain) is None:
            yield _no_service(where, str(service), domain)
    rules = entry.get("rules") or []
    if not rules and not entry.get("spec"):
        yield MeshError(f"{where} has no rules", "at least one rule", "say where its requests go")
    for number, rule in enumerate(rules, 1):
        yield from _rule(f"{where}, rule {number}", rule, str(protocol), str(entry["namespace"]), domain)


def _rule(where: str, rule: Entry, protocol: str, namespace: str, domain: str) -> Problems:
    more = rule.get("spec") or {}
    if not rule.get("backends") and "route" not in more and not any(key in more for key in ANSWERS):
        yield MeshError(
            f"{where} has no backends",
            "at least one backend, or an answer of the proxy's own in spec ({})".format(", ".join(ANSWERS)),
            "say where these requests go",
        )
    for target in [*(rule.get("backends") or []), *(rule.get("mirrors") or [])]:
        yield from _target(where, target, namespace, domain)
    if protocol != "http":
        unfit = [key for key in _HTTP_ONLY if rule.get(key) is not None]
        unfit += [f"match.{key}" for match in rule.get("match") or [] for key in _HTTP_MATCHES if match.get(key)]
        if unfit:
            yield MeshError(
                f"{where} of a route of protocol {protocol} has {', '.join(unfit)}",
                "what connections have: backends, and match by port, source or (tls) sni",
                "leave it out, or make it a route of protocol http",
            )
    for match in rule.get("match") or []:
        yield from _match(where, match, protocol)


def _match(where: str, match: Entry, protocol: str) -> Problems:
    paths = [key for key in _PATHS if match.get(key) is not None]
    if len(paths) > 1:
        yield MeshError(
            f"{where}: one match has {' and '.join(paths)}",
            "one of them",
            "make two matches of it, of which one suffices",
        )
    if match.get("sni") and protocol != "tls":
        yield MeshError(
            f"{where} of a route of protocol {protocol} has match.sni", "a route of protocol tls", "set protocol: tls"
        )
    for key in ("headers", "query"):
        for name, value in (match.get(key) or {}).items():
            kinds = list(value) if isinstance(value, t.Mapping) else ["exact"]
            if len(kinds) != 1 or kinds[0] not in ("exact", "prefix", "regex", "present") or value is None:
                yield MeshError(
                    f"{where}: match.{key}.{name} is {value!r}",
                    "a value, or one of {prefix: ...}, {regex: ...} and {present: true}",
                    "correct it",
                )
            elif kinds[0] == "present" and (key == "query" or value["present"] is not True):
                # Istio knows no way to say `absent` here, and takes an empty query match for an error.
                yield MeshError(
                    f"{where}: match.{key}.{name} is {value!r}",
                    "{present: true}, of headers alone",
                    "say it in the rule's spec",
                )
