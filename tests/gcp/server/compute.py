# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute Engine: insert, get, list, delete and change of what the tests need, by its rules as far as they matter here."""

from __future__ import annotations

import copy
import ipaddress
import re
import typing as t

from .answers import Json, Refusal, in_use, invalid, missing, taken
from .discovery import Request
from .state import WWW, State

# Which collection's resources name which others.
REFERENCES = {
    "subnetworks": ("network",),
    "firewalls": ("network",),
    "routers": ("network",),
    "addresses": ("subnetwork",),
    "instances": ("subnetwork",),
    "instanceTemplates": ("subnetwork",),
    "instanceGroupManagers": ("instanceTemplate",),
    "autoscalers": ("target",),
}
LABELLED = "labelFingerprint"


def relative(url: str) -> str:
    """A resource's path of its URL, or of what stands for it."""
    return url.partition("/compute/v1/")[2] if "/compute/v1/" in url else url


class Compute:
    """Answers for Compute Engine."""

    def __init__(self, state: State) -> None:
        self.state = state

    def answer(self, request: Request) -> Json:
        """The answer to a request."""
        _compute, collection, verb = request.method.split(".")
        # Managed groups and autoscalers are in zones or in regions, and called otherwise there.
        collection = {
            "regionInstanceGroupManagers": "instanceGroupManagers",
            "regionAutoscalers": "autoscalers",
        }.get(collection, collection)
        if collection.endswith("Operations"):
            return self._operations(request, verb)
        path = request.path.removeprefix("/compute/v1/")
        if verb == "aggregatedList":
            return self._aggregated(collection, request)
        if verb == "list":
            return {"items": [thing for _name, thing in self.state.under(f"compute:{path}")], "kind": "compute#list"}
        if verb == "insert":
            return self._insert(path, collection, request)
        if verb in ("patch", "update") and collection == "autoscalers":
            path = f"{path}/{request.query['autoscaler']}"
        elif verb not in ("get", "delete", "patch", "update"):
            path = path.removesuffix(f"/{verb}")
        thing = self.state.get(f"compute:{path}")
        if verb == "get":
            return thing
        if verb == "delete":
            return self._delete(path, thing)
        if verb in ("patch", "update"):
            return self._change(path, verb, self._updated(path, thing, verb, request.body))
        return self._change(path, verb, self._special(path, thing, verb, request))

    # --- reading

    def _operations(self, request: Request, verb: str) -> Json:
        if verb == "get":
            pending = self.state.operations.get(request.params["operation"])
            if pending is None:
                raise missing(request.params["operation"])
            return pending.operation
        where = {key: request.params[key] for key in ("zone", "region") if key in request.params}
        own = [
            pending.operation
            for pending in self.state.operations.values()
            if all(str(pending.operation.get(key, "")).endswith(value) for key, value in where.items())
        ]
        return {"items": own}

    def _aggregated(self, collection: str, request: Request) -> Json:
        wish = re.fullmatch(r"labels\.([\w-]+)\s*[=:]\s*(\S+)", request.query.get("filter", ""))
        items: Json = {}
        for path, thing in self.state.of_collection("compute", collection):
            if wish and not fnmatch(thing.get("labels", {}).get(wish.group(1)), wish.group(2)):
                continue
            scope = "/".join(path.split("/")[2:4])
            items.setdefault(scope, {}).setdefault(collection, []).append(thing)
        return {"items": items, "kind": "compute#aggregatedList"}

    # --- making and removing

    def _insert(self, parent: str, collection: str, request: Request) -> Json:
        body = copy.deepcopy(request.body)
        path = f"{parent}/{body['name']}"
        if f"compute:{path}" in self.state.things:
            raise taken(path)
        for field, url in self._named(body, collection):
            if f"compute:{relative(url)}" not in self.state.things:
                raise invalid(
                    f"Invalid value for field 'resource.{field}': '{url}'. The referenced resource does not exist"
                )
        for account in self._accounts(body):
            if f"iam:projects/{self.state.settings.project}/serviceAccounts/{account}" not in self.state.things:
                raise invalid(f"The resource '{account}' of type 'serviceAccount' was not found")
        body.update(selfLink=WWW + path, id=str(self.state.number()), creationTimestamp="2026-01-01T00:00:00Z")
        for key in ("zone", "region"):
            if key in request.params:
                body[key] = f"{WWW}projects/{request.params['project']}/{key}s/{request.params[key]}"
        return self._begin(path, "insert", lambda: self._made(path, collection, body))

    def _made(self, path: str, collection: str, body: Json) -> None:
        if collection == "instances":
            self._machine(path, body)
        if collection == "addresses":
            body.update(address=f"10.10.15.{self.state.number() % 250}", status="RESERVED")
        if collection == "subnetworks":
            body.update(fingerprint=f"f{self.state.number()}")
        if collection == "firewalls":
            body.setdefault("priority", 1000)
            body.setdefault("direction", "INGRESS")
        if collection == "instanceGroupManagers":
            self._grow(path, body)
        self.state.things[f"compute:{path}"] = body

    def _machine(self, path: str, body: Json) -> None:
        body.setdefault("id", str(self.state.number()))
        body.update(status="RUNNING", labelFingerprint=f"l{self.state.number()}")
        body.setdefault("tags", {})["fingerprint"] = f"t{self.state.number()}"
        body.setdefault("metadata", {})["fingerprint"] = f"m{self.state.number()}"
        for interface in body["networkInterfaces"]:
            interface.update(name="nic0", networkIP=self.state.address(), network=f"{WWW}global/networks/n")
            self._public(interface)
        zone, name = path.split("/")[3], path.rsplit("/", 1)[-1]
        for disk in body["disks"]:
            size = str((disk.pop("initializeParams", {})).get("diskSizeGb", "10"))
            where = f"projects/{self.state.settings.project}/zones/{zone}/disks/{name}"
            disk.update(diskSizeGb=size, source=WWW + where)
            self.state.things[f"compute:{where}"] = {"name": name, "sizeGb": size, "users": [path]}

    def _public(self, interface: Json) -> None:
        for config in interface.get("accessConfigs", []):
            config.setdefault("natIP", f"203.0.113.{self.state.number() % 250}")

    def _grow(self, path: str, body: Json) -> None:
        template = self.state.get(f"compute:{relative(body['instanceTemplate'])}")
        location = path.split("/")[3]
        for number in range(int(body.get("targetSize") or 0)):
            zone = location if location.count("-") == 2 else f"{location}-{'abc'[number % 3]}"
            name = f"{body['baseInstanceName']}-{self.state.number():04d}"
            where = f"projects/{self.state.settings.project}/zones/{zone}/instances/{name}"
            machine = copy.deepcopy(template["properties"])
            machine.update(
                name=name,
                zone=f"{WWW}projects/{self.state.settings.project}/zones/{zone}",
                machineType=f"zones/{zone}/machineTypes/{machine['machineType']}",
                selfLink=WWW + where,
                madeBy=path,
            )
            machine["metadata"].setdefault("items", []).append({"key": "created-by", "value": path})
            self._machine(where, machine)
            self.state.things[f"compute:{where}"] = machine

    def _delete(self, path: str, thing: Json) -> Json:
        for name, other in self.state.things.items():
            if not name.startswith("compute:") or other is thing:
                continue
            for _field, url in self._named(other, name.split("/")[-2]):
                if relative(url) == path:
                    raise in_use(path, name.partition(":")[2])
        for name, cluster in self.state.of_collection("container", "clusters"):
            if path.endswith((f"/networks/{cluster.get('network')}", f"/subnetworks/{cluster.get('subnetwork')}")):
                raise in_use(path, name)

        def gone() -> None:
            self.state.things.pop(f"compute:{path}", None)
            machines = {name for name, other in self.state.things.items() if other.get("madeBy") == path}
            owners = {path} | {name.removeprefix("compute:") for name in machines}
            disks = {name for name, other in self.state.things.items() if owners & set(other.get("users", []))}
            for name in machines | disks:
                del self.state.things[name]

        return self._begin(path, "delete", gone)

    # --- changing

    def _updated(self, path: str, thing: Json, verb: str, body: Json) -> Json:
        if "/subnetworks/" in path and body.get("fingerprint") != thing.get("fingerprint"):
            raise Refusal(412, "Invalid fingerprint", "conditionNotMet")
        if verb == "patch":
            return {**thing, **body}
        kept = {key: thing[key] for key in ("selfLink", "id", "creationTimestamp", "zone", "region") if key in thing}
        return {**body, **kept}

    def _special(self, path: str, thing: Json, verb: str, request: Request) -> Json:
        body, changed = request.body, copy.deepcopy(thing)
        fingerprints = {
            "setLabels": (body.get("labelFingerprint"), thing.get("labelFingerprint")),
            "setTags": (body.get("fingerprint"), thing.get("tags", {}).get("fingerprint")),
            "setMetadata": (body.get("fingerprint"), thing.get("metadata", {}).get("fingerprint")),
        }
        given, known = fingerprints.get(verb, (None, None))
        if given != known:
            raise Refusal(412, "Labels fingerprint either invalid or resource labels have changed", "conditionNotMet")
        fresh = f"x{self.state.number()}"
        if verb == "setLabels":
            changed.update(labels=body["labels"], labelFingerprint=fresh)
        elif verb in ("setTags", "setMetadata"):
            changed[verb[3:].lower()] = {"items": body.get("items", []), "fingerprint": fresh}
        elif verb in ("setMachineType", "setServiceAccount"):
            if thing["status"] != "TERMINATED":
                raise Refusal(400, "The instance must be stopped first", "resourceNotStopped")
            if verb == "setMachineType":
                changed["machineType"] = body["machineType"]
            else:
                changed["serviceAccounts"] = [body]
        elif verb in ("start", "stop"):
            changed["status"] = "RUNNING" if verb == "start" else "TERMINATED"
        elif verb == "resume":
            if thing["status"] != "SUSPENDED":
                raise Refusal(400, "Instance is not suspended", "resourceNotReady")
            changed["status"] = "RUNNING"
        elif verb == "addAccessConfig":
            changed["networkInterfaces"][0]["accessConfigs"] = [body]
            self._public(changed["networkInterfaces"][0])
        elif verb == "deleteAccessConfig":
            changed["networkInterfaces"][0].pop("accessConfigs")
        elif verb == "resize":
            changed["sizeGb"] = body["sizeGb"]
            machine = self.state.get(f"compute:{thing['users'][0]}")
            machine["disks"][0]["diskSizeGb"] = body["sizeGb"]
        elif verb == "expandIpCidrRange":
            old, new = ipaddress.IPv4Network(thing["ipCidrRange"]), ipaddress.IPv4Network(body["ipCidrRange"])
            if not old.subnet_of(new):
                raise invalid("IP range must contain the old one")
            changed["ipCidrRange"] = body["ipCidrRange"]
        elif verb == "setPrivateIpGoogleAccess":
            changed["privateIpGoogleAccess"] = body["privateIpGoogleAccess"]
        else:
            raise Refusal(501, f"this server does not know how to {verb} {path}", "notImplemented")
        return changed

    def _change(self, path: str, verb: str, changed: Json) -> Json:
        return self._begin(path, verb, lambda: self.state.things.__setitem__(f"compute:{path}", changed))

    # --- helpers

    def _begin(self, path: str, kind: str, finish: t.Callable[[], None]) -> Json:
        parts = path.split("/")
        where: Json = {}
        if parts[2] in ("zones", "regions"):
            where[parts[2][:-1]] = f"{WWW}projects/{parts[1]}/{parts[2]}/{parts[3]}"
        return self.state.begin("compute", where, kind, WWW + path, finish).operation

    def _named(self, body: Json, collection: str) -> t.Iterator[tuple[str, str]]:
        for field in REFERENCES.get(collection, ()):
            for holder in (
                body,
                *body.get("networkInterfaces", []),
                *body.get("properties", {}).get("networkInterfaces", []),
            ):
                if holder.get(field):
                    yield field, holder[field]

    def _accounts(self, body: Json) -> t.Iterator[str]:
        for holder in (body, body.get("properties", {})):
            for account in holder.get("serviceAccounts", []):
                yield account["email"]


def fnmatch(value: t.Any, pattern: str) -> bool:
    """Whether a label is there, or has a value."""
    return value is not None and pattern in ("*", value)
