# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a declaration of infrastructure can be right, before Google is asked for anything. Pure. Private to the collection."""

from __future__ import annotations

import ipaddress
import itertools
import re
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
# USER:TYPE KEY, and what else Google allows behind it.
SSH_KEY = re.compile(r"[a-z_][a-z0-9_.-]*:(?:ssh|ecdsa|sk)-\S+ \S+(?: [^\n]*)?\s*")
# Resources get suffixes, and the ID of a service account has 30 characters at most.
LONGEST_NAME = 20


def problems(declared: t.Mapping[str, t.Any]) -> list[MeshError]:
    """All that is wrong with a declaration."""
    found = [*_names(declared), *_ranges(declared), *_machines(declared), *_access(declared)]
    if not declared["project"]:
        found.append(
            MeshError(
                "no project is given", "the ID of a Google Cloud project", "set gcp_infra_project, or GCP_PROJECT"
            )
        )
    if declared["auth_kind"] not in ("application", "serviceaccount", "machineaccount", "accesstoken"):
        found.append(
            MeshError(
                f"auth_kind {declared['auth_kind'] or 'is not given'}",
                "how Google is told who asks: application, serviceaccount, machineaccount or accesstoken",
                "set gcp_infra_auth_kind, or GCP_AUTH_KIND",
            )
        )
    if declared["subnet"] and not declared["network"]:
        found.append(
            MeshError(
                f"the existing subnet {declared['subnet']} is given without its network",
                "both, or neither",
                "set gcp_infra_network, too",
            )
        )
    cluster = declared["cluster"]
    if cluster and cluster["private_endpoint"] and not cluster["private_nodes"]:
        found.append(
            MeshError(
                "the cluster is to have a private endpoint and public nodes",
                "private nodes where the endpoint is private, as GKE wants it",
                "set private_nodes: true in gcp_infra_cluster",
            )
        )
    return found


def notes(declared: t.Mapping[str, t.Any]) -> list[str]:
    """What is no mistake, but should be known."""
    if declared["vms"] and not declared["ssh_keys"] and not declared["os_login"]:
        return [
            "no ssh keys are declared for the VMs, and no OS Login: only users whose keys are in the project's own metadata can"
            " log in (gcp_infra_ssh_keys, gcp_infra_os_login)"
        ]
    return []


def _access(declared: t.Mapping[str, t.Any]) -> t.Iterator[MeshError]:
    """Who may log in to machines."""
    if declared["os_login"] and declared["ssh_keys"]:
        yield MeshError(
            "both OS Login and ssh keys are declared",
            "one of them, as machines with OS Login don't look at the keys in their metadata",
            "set gcp_infra_ssh_keys: [], and add keys to accounts by gcloud compute os-login ssh-keys add;"
            " or set gcp_infra_os_login: false",
        )
    for number, key in enumerate(declared["ssh_keys"]):
        if not SSH_KEY.fullmatch(key):
            yield MeshError(
                f"gcp_infra_ssh_keys[{number}] begins with {key[:20]!r}",
                "a user, a colon, and a public key, as in ops:ssh-ed25519 AAAA...",
                "put the user's name and a colon before the content of a file such as ~/.ssh/id_ed25519.pub",
            )
    for group in declared["vms"]:
        taken = sorted({"ssh-keys", "enable-oslogin"} & set(group["metadata"]))
        if taken:
            yield MeshError(
                f"metadata {', '.join(taken)} of the VMs {group['name']}",
                "gcp_infra_ssh_keys and gcp_infra_os_login, which are for all VMs",
                "declare it there",
            )


def _names(declared: t.Mapping[str, t.Any]) -> t.Iterator[MeshError]:
    names = {"gcp_infra_name": declared["name"]}
    names.update({f"gcp_infra_vms[{n}].name": group["name"] for n, group in enumerate(declared["vms"])})
    names.update({f"gcp_infra_firewall_rules[{n}].name": r["name"] for n, r in enumerate(declared["firewall_rules"])})
    if declared["cluster"]:
        names["gcp_infra_cluster.name"] = declared["cluster"]["name"]
    for option, name in names.items():
        longest = LONGEST_NAME if option in ("gcp_infra_name",) or "vms" in option else 40
        if not NAME.fullmatch(name) or len(name) > longest:
            yield MeshError(
                f"{option} {name!r}",
                f"small letters, digits and dashes, a letter first, {longest} characters at most",
                "choose another name",
            )
    for what, listed in (("VMs", declared["vms"]), ("firewall rules", declared["firewall_rules"])):
        seen = [item["name"] for item in listed]
        twice = sorted({name for name in seen if seen.count(name) > 1})
        if twice:
            yield MeshError(
                f"{what} of the name {', '.join(twice)} are declared twice", "names of their own", "rename them"
            )


def _network(option: str, text: str) -> ipaddress.IPv4Network | MeshError:
    try:
        return ipaddress.IPv4Network(text)
    except ValueError as error:
        return MeshError(f"{option} {text!r}: {error}", "a range of IPv4 addresses, as in 10.10.0.0/20", "correct it")


def _ranges(declared: t.Mapping[str, t.Any]) -> t.Iterator[MeshError]:
    apart = {f"gcp_infra_{name}": declared[name] for name in ("subnet_range", "pod_range", "service_range")}
    cluster = declared["cluster"]
    if cluster and cluster["private_nodes"]:
        apart["gcp_infra_cluster.control_plane_range"] = cluster["control_plane_range"]
    known = {option: _network(option, text) for option, text in apart.items()}
    others = {f"gcp_infra_ssh_ranges[{n}]": text for n, text in enumerate(declared["ssh_ranges"])}
    if cluster:
        others.update(
            {f"gcp_infra_cluster.authorized_ranges[{n}]": text for n, text in enumerate(cluster["authorized_ranges"])}
        )
    for found in [*known.values(), *(_network(option, text) for option, text in others.items())]:
        if isinstance(found, MeshError):
            yield found
    for (one, left), (other, right) in itertools.combinations(known.items(), 2):
        if isinstance(left, MeshError) or isinstance(right, MeshError):
            continue
        if left.overlaps(right):
            yield MeshError(f"{one} {left} and {other} {right} overlap", "ranges of their own", "change one of them")
    inner = known.get("gcp_infra_cluster.control_plane_range")
    if isinstance(inner, ipaddress.IPv4Network) and inner.prefixlen != 28:
        yield MeshError(f"gcp_infra_cluster.control_plane_range {inner}", "a /28, as GKE wants it", "correct it")


def _machines(declared: t.Mapping[str, t.Any]) -> t.Iterator[MeshError]:
    for group in declared["vms"]:
        name = group["name"]
        if not re.fullmatch(r"[a-z0-9-]{1,63}/[a-z0-9-]{1,63}", group["workload_group"]):
            yield MeshError(
                f"the VMs {name} are of workload_group {group['workload_group']!r}",
                "namespace/name of a WorkloadGroup",
                "write it with its namespace, such as shop/billing",
            )
        for port in group["ports"]:
            if not 1 <= port <= 65535:
                yield MeshError(f"port {port} of the VMs {name}", "1 to 65535", "correct it")
        if group["count"] < 0:
            yield MeshError(f"count {group['count']} of the VMs {name}", "0 or more", "correct it")
        scale = group["autoscale"]
        if group["regional"] and (not scale or group["zone"]):
            yield MeshError(
                f"the VMs {name} are regional, {'in a zone' if scale else 'but are not autoscaled'}",
                "autoscale, and no zone: Google spreads the machines of a managed group, and no others",
                "set autoscale and leave zone out; or set regional: false, and declare a group for each zone",
            )
        if scale and not 0 <= scale["min"] <= scale["max"]:
            yield MeshError(
                f"autoscale of the VMs {name} from {scale['min']} to {scale['max']}", "min up to max", "correct it"
            )
        if scale and not 0 < scale["cpu"] <= 1:
            yield MeshError(
                f"autoscale.cpu {scale['cpu']} of the VMs {name}", "a share, more than 0 and 1 at most", "correct it"
            )
        for key, value in group["labels"].items():
            if not NAME.fullmatch(str(key).replace("_", "-")) or not LABEL_VALUE.fullmatch(str(value)):
                yield MeshError(
                    f"label {key}: {value} of the VMs {name}",
                    "small letters, digits, - and _",
                    "Google allows no others",
                )
    scale = declared["nodes"]["autoscale"]
    if scale and not 0 <= scale["min"] <= scale["max"]:
        yield MeshError(f"autoscale of the nodes from {scale['min']} to {scale['max']}", "min up to max", "correct it")
    if declared["nodes"]["count"] < 0:
        yield MeshError(f"count {declared['nodes']['count']} of the nodes", "0 or more", "correct it")
