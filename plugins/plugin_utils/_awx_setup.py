# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role awx_setup may be told, and what of it can be done in an AWX that has this and lacks that.

Pure: no I/O. Options are those of the role, without their prefix. Private to the collection.
"""

from __future__ import annotations

import collections
import re
import typing as t
import zoneinfo

import yaml
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

Options = t.Mapping[str, t.Any]
# Endpoint of AWX's API -> names of what is there; and `counts`, what an organisation has of each kind.
There = t.Mapping[str, t.Sequence[t.Any]]

# Inputs of AWX's own type of credentials for machines.
MACHINE = (
    "username",
    "password",
    "ssh_key_data",
    "ssh_public_key_data",
    "ssh_key_unlock",
    "become_method",
    "become_username",
    "become_password",
)
# What a kubeconfig may not say in AWX, where there is neither that file nor that program.
ELSEWHERE = {
    "certificate-authority": "certificate-authority-data",
    "client-certificate": "client-certificate-data",
    "client-key": "client-key-data",
    "tokenFile": "token",
    "exec": "token",
    "auth-provider": "token",
}
# AWX's own limits of names and of the key of a callback.
LONGEST = {"name": 512, "key": 1024}
SHORTEST_KEY = 16
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")


def problems(options: Options, jobs: t.Sequence[str]) -> list[str]:
    """What is wrong with the options by themselves; nothing of AWX is needed to tell, and no secret is told.

    Args:
        options: the role's.
        jobs: names of the jobs that it makes.
    """
    return [str(error) for error in _problems(options, jobs)]


def _problems(options: Options, jobs: t.Sequence[str]) -> t.Iterator[MeshError]:
    absent = options["state"] == "absent"
    if not str(options["prefix"]).strip() or not str(options["organization"]).strip():
        yield MeshError(
            "an empty awx_setup_prefix or awx_setup_organization", "text that names are made of", "say how they begin"
        )
    elif len(str(options["prefix"])) > LONGEST["name"] - 64:
        yield MeshError(
            f"an awx_setup_prefix of {len(str(options['prefix']))} characters",
            f"at most {LONGEST['name'] - 64}, as AWX takes names of {LONGEST['name']}",
            "shorten it",
        )
    if absent:
        return
    yield from _cluster(options)
    yield from _machine(options["machine"], options["machine_credential"])
    unknown = sorted(set(options["job_credentials"]) - set(jobs))
    if unknown:
        yield MeshError(
            f"{', '.join(unknown)} in awx_setup_job_credentials", "names of jobs", f"one of {', '.join(sorted(jobs))}"
        )
    yield from _jobs(options)
    yield from _inventory(options)


def _cluster(options: Options) -> t.Iterator[MeshError]:
    kubeconfig, bearer = options["kubeconfig"], options["bearer"]
    ways = [f"awx_setup_{way}" for way in ("kubeconfig", "bearer", "cluster_credential") if options[way] is not None]
    if len(ways) > 1:
        yield MeshError(" and ".join(ways), "one way to the cluster", "leave the others out")
    if kubeconfig is not None:
        yield from _kubeconfig(kubeconfig)
    if bearer is not None:
        if not str(bearer.get("host", "")).startswith("https://"):
            yield MeshError(
                f"awx_setup_bearer.host {str(bearer.get('host'))!r}",
                "the URL of the API server, which begins with https://",
                "see kubectl cluster-info",
            )
        if "-----BEGIN CERTIFICATE-----" not in str(bearer.get("ca_cert", "")):
            yield MeshError(
                "an awx_setup_bearer.ca_cert that is no certificate",
                "the certificate itself (PEM), not its path",
                "see kubectl config view --raw --minify --flatten; certificate-authority-data there is the same in base64",
            )


def _kubeconfig(given: t.Any) -> t.Iterator[MeshError]:
    flatten = "give the output of kubectl config view --raw --minify --flatten"
    document = given
    if isinstance(given, str):
        try:
            document = yaml.safe_load(given)
        except yaml.YAMLError:
            document = None
    if not isinstance(document, dict) or not (document.get("clusters") and document.get("users")):
        yield MeshError(
            "an awx_setup_kubeconfig that is no kubeconfig (a path, perhaps)",
            "its content, with clusters and users",
            flatten,
        )
        return
    for part, key in (("clusters", "cluster"), ("users", "user")):
        for entry in document[part]:
            own = (entry.get(key) if isinstance(entry, dict) else None) or {}
            for name, instead in ELSEWHERE.items():
                if name in own:
                    yield MeshError(
                        f"{name} in a {key} of awx_setup_kubeconfig, which is not there where AWX runs jobs",
                        f"{instead}, or awx_setup_bearer with the token of a ServiceAccount",
                        flatten if instead.endswith("-data") else "see docs/rights.md for a ServiceAccount of its own",
                    )


def _machine(machine: t.Mapping[str, t.Any] | None, credential: str | None) -> t.Iterator[MeshError]:
    if machine is not None and credential is not None:
        yield MeshError("awx_setup_machine and awx_setup_machine_credential", "one of them", "leave the other one out")
    unknown = sorted(set(machine or {}) - set(MACHINE))
    if unknown:
        yield MeshError(
            f"{', '.join(unknown)} in awx_setup_machine",
            "inputs that AWX has for machines",
            f"one of {', '.join(MACHINE)}",
        )


def _jobs(options: Options) -> t.Iterator[MeshError]:
    for name in ("slices", "forks"):
        if int(options[name]) < 1:
            yield MeshError(f"awx_setup_{name} {options[name]}", "1 or more", "correct it")
    if not _TIME.fullmatch(str(options["renew_time"])):
        yield MeshError(
            f"awx_setup_renew_time {options['renew_time']!r}",
            "a time of day, such as 02:00, in quotes (YAML takes 12:30 for a number)",
            "correct it",
        )
    zones = zoneinfo.available_timezones()
    if zones and options["timezone"] not in zones:
        yield MeshError(
            f"awx_setup_timezone {options['timezone']!r}", "a name such as UTC or Europe/Vienna", "correct it"
        )
    key = options["callback_key"]
    if key is not None and not SHORTEST_KEY <= len(str(key)) <= LONGEST["key"]:
        yield MeshError(
            f"an awx_setup_callback_key of {len(str(key))} characters",
            f"{SHORTEST_KEY} to {LONGEST['key']}, which nobody guesses",
            "make one (openssl rand -hex 24)",
        )
    if options["registered_jobs"] and not options["registered"]:
        yield MeshError(
            "awx_setup_registered_jobs without awx_setup_registered",
            "the inventory that these jobs are to have",
            "set awx_setup_registered, or leave awx_setup_registered_jobs out",
        )


def _inventory(options: Options) -> t.Iterator[MeshError]:
    for source in options["inventory_sources"]:
        kind = source.get("source") or "scm"
        if kind == "scm" and not source.get("source_path"):
            yield MeshError(
                f"a source of machines, {source['name']!r}, of the project (scm) without source_path",
                "the path of a file in the project",
                "add source_path",
            )
        if kind != "scm" and source.get("source_path"):
            yield MeshError(
                f"source_path in the source of machines {source['name']!r}, which is of the kind {kind}",
                "source_path for scm alone",
                "leave it out, or use source_vars",
            )
    counted = collections.Counter(source["name"] for source in options["inventory_sources"])
    for name, count in sorted(counted.items()):
        if count > 1:
            yield MeshError(f"{count} sources of machines called {name!r}", "names that differ", "rename one")
    for name in options["hosts"]:
        if not str(name).strip() or len(str(name)) > LONGEST["name"]:
            yield MeshError("a machine in awx_setup_hosts without a name that AWX takes", "a host's name", "correct it")


def needed_credentials(options: Options) -> list[str]:
    """Names of the credentials that were there before this role ran."""
    named = [options["cluster_credential"], options["machine_credential"], options["project_credential"]]
    named += [*options["job_credentials"].values(), *options["credentials"]]
    named += [source.get("credential") for source in options["inventory_sources"]]
    return list(dict.fromkeys(name for name in named if name))


def questions(options: Options, names: t.Mapping[str, t.Any], check: bool) -> list[dict[str, t.Any]]:
    """What AWX is asked before anything is changed, so that `lacking`, `parts` and `others` can tell.

    Hosts and the steps of the workflow matter to check mode alone, and there may be many of them.
    """
    organization = names["organization"]
    asked = [
        _question("organizations", name=organization),
        _question("execution_environments", name=names["image"]),
        _question("credential_types", name__startswith=options["prefix"]),
    ]
    asked += [
        _question(endpoint, organization__name=organization)
        for endpoint in ("credentials", "projects", "inventories", "job_templates", "workflow_job_templates")
    ]
    for name in dict.fromkeys([names["cluster"], names["machines"], *needed_credentials(options)]):
        asked.append({**_question("credentials", name=name), "what": "named_credentials"})
    if check:
        hosts = {"inventory__name": names["inventory"], "inventory__organization__name": organization}
        steps = {
            "workflow_job_template__name": names["workflow"],
            "workflow_job_template__organization__name": organization,
        }
        asked.append(_question("hosts", **hosts))
        asked.append({**_question("workflow_job_template_nodes", **steps), "by": "identifier"})
    if options["state"] == "absent":
        counts = {"what": "counts", "by": "summary_fields.related_field_counts"}
        asked.append({**_question("organizations", name=organization), **counts})
        for kind in (names["kubeconfig_type"], names["bearer_type"]):
            asked.append({**_question("credentials", credential_type__name=kind), "what": "typed_credentials"})
    return asked


def _question(endpoint: str, **query: str) -> dict[str, t.Any]:
    return {"what": endpoint, "endpoint": endpoint, "query": query, "by": "name"}


def lacking(options: Options, names: t.Mapping[str, t.Any], there: There) -> list[str]:
    """What must be in AWX already and is not, or is there more than once, so that its name does not tell which.

    Where all is to go, what is in the way: AWX deletes no type of credentials that somebody has one of.

    Args:
        options: the role's.
        names: what things are called.
        there: what AWX has; `named_credentials` are all of the names that were asked for, whomever they belong to.
    """
    if options["state"] == "absent":
        others = sorted(set(there["typed_credentials"]) - set(names["own_credentials"]))
        if not others:
            return []
        found = f"{len(others)} credentials of the types that are to go ({', '.join(others)})"
        return [str(MeshError(found, "none but those that this role made", "delete them in AWX first"))]
    counted = collections.Counter(there["named_credentials"])
    return [str(error) for error in _lacking(options, names, counted)]


def _lacking(options: Options, names: t.Mapping[str, t.Any], counted: t.Mapping[str, int]) -> t.Iterator[MeshError]:
    needed = needed_credentials(options)
    secrets = {"cluster": ("kubeconfig", "bearer"), "machines": ("machine",)}
    for what, given in secrets.items():
        if names[what] in needed or counted[names[what]] or any(options[name] is not None for name in given):
            continue
        told = " or ".join(f"awx_setup_{name}" for name in given)
        yield MeshError(
            f"neither {told} nor a credential called {names[what]!r} in AWX",
            "a secret, or a credential that has it",
            f"give {told}, or the name of a credential of yours as awx_setup_{what.rstrip('s')}_credential",
        )
    for name in needed:
        if not counted[name]:
            yield MeshError(f"no credential called {name!r} in AWX", "one", "make it in AWX, or correct the name")
    for name in dict.fromkeys([names["cluster"], names["machines"], *needed]):
        if counted[name] > 1:
            yield MeshError(
                f"{counted[name]} credentials called {name!r} in AWX",
                "one, as jobs are given it by its name",
                "rename the others",
            )


def parts(options: Options, names: t.Mapping[str, str], there: There, check: bool) -> dict[str, bool]:
    """Which parts of the declaration AWX can be asked about now.

    Outside of check mode, all: each part is made before another one needs it. In check mode nothing is made, so what needs something
    that is not there yet can't be looked at; it is told as a whole.
    """
    organization = names["organization"] in there["organizations"]
    image = options["image"] is None or names["image"] in there["execution_environments"]
    types = {names["kubeconfig_type"], names["bearer_type"]} <= set(there["credential_types"])
    credentials = {names["cluster"], names["machines"]} <= set(there["named_credentials"])
    project = organization and names["project"] in there["projects"]
    inventory = organization and names["inventory"] in there["inventories"]
    registered = organization and (not options["registered"] or names["registered"] in there["inventories"])
    templates = project and set(names["templates"]) <= set(there["job_templates"])
    workflow = organization and names["workflow"] in there["workflow_job_templates"]
    can = {
        "image": organization or options["image"] is None,
        "credentials": organization and types,
        "project": organization and image,
        "inventory": organization,
        "hosts": inventory,
        "group": inventory and (not check or set(options["hosts"]) <= set(there["hosts"])),
        "sources": (inventory and project and image) or not options["inventory_sources"],
        "registered": (registered and project and image and credentials) or not options["registered"],
        "templates": project and inventory and registered and image and credentials,
        "schedule": templates,
        "workflow": inventory,
        "nodes": templates
        and workflow
        and (not check or set(names["nodes"]) <= set(there["workflow_job_template_nodes"])),
    }
    return {part: value or not check for part, value in can.items()}


def others(names: t.Mapping[str, t.Any], there: There) -> list[str]:
    """Why the organisation stays when all that the role made goes: what somebody else has in it."""
    own = {
        "projects": [names["project"]],
        "inventories": [names["inventory"], names["registered"]],
        "job_templates": [*names["templates"], names["join"]],
        "workflow_job_templates": [names["workflow"]],
        "credentials": names["own_credentials"],
    }
    found = [
        f"{len(left)} {endpoint.replace('_', ' ')}"
        for endpoint, ours in own.items()
        if (left := set(there[endpoint]) - set(ours))
    ]
    for counts in there["counts"]:
        found += [f"{counts[kind]} {kind}" for kind in ("users", "admins", "teams") if counts.get(kind)]
    return found
