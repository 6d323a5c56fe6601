# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Google Kubernetes Engine, and the two APIs about who may what."""

from __future__ import annotations

import base64
import copy
import typing as t

from .answers import Json, Refusal, invalid, missing, taken
from .discovery import Request
from .state import WWW, State


class Container:
    """Answers for Google Kubernetes Engine."""

    def __init__(self, state: State) -> None:
        self.state = state

    def answer(self, request: Request) -> Json:
        """The answer to a request."""
        verb = request.method.rsplit(".", 1)[-1]
        path = request.path.removeprefix("/v1/").replace("/zones/", "/locations/").partition(":")[0]
        if ".operations." in request.method:
            pending = self.state.operations.get(path.rsplit("/", 1)[-1])
            if pending is None:
                raise missing(path)
            return pending.operation
        if verb == "list":
            everything = self.state.of_collection("container", "clusters")
            return {"clusters": [thing for _path, thing in everything]}
        if verb == "create":
            return (
                self._nodes(path, request.body) if ".nodePools." in request.method else self._create(path, request.body)
            )
        if "/nodePools/" in path:
            return self._pool(path, verb, request.body)
        cluster = self.state.get(f"container:{path}")
        if verb == "get":
            return cluster
        if verb == "delete":
            cluster["status"] = "STOPPING"
            return self._begin(path, "DELETE_CLUSTER", lambda: self._gone(path))
        changed = self._updated(verb, cluster, request.body)
        return self._begin(path, "UPDATE_CLUSTER", lambda: cluster.update(changed))

    def _create(self, parent: str, body: Json) -> Json:
        cluster = copy.deepcopy(body["cluster"])
        path, location = f"{parent}/{cluster['name']}", parent.split("/")[3]
        if f"container:{path}" in self.state.things:
            raise taken(path)
        network = f"compute:projects/{self.state.settings.project}/global/networks/{cluster.get('network', 'default')}"
        if network not in self.state.things:
            raise invalid(f"Network {network} does not exist")
        pools = cluster.pop("nodePools", [])
        if not pools and not cluster.get("initialNodeCount"):
            raise invalid("Cluster.initial_node_count must be greater than zero")
        certificate = base64.b64encode(self.state.settings.ca_certificate.encode()).decode()
        cluster.update(
            location=location,
            status="PROVISIONING",
            endpoint=self.state.settings.endpoint,
            masterAuth={"clusterCaCertificate": certificate},
            currentMasterVersion="1.36.3-gke.1",
            labelFingerprint=f"c{self.state.number()}",
            nodePools=[],
            selfLink=f"https://container.googleapis.com/v1/{path}",
        )
        self.state.things[f"container:{path}"] = cluster

        def made() -> None:
            cluster["status"] = "RUNNING"
            for pool in pools:
                self._add_pool(path, pool)
            name = f"gke-{cluster['name']}-all"
            rule = f"projects/{self.state.settings.project}/global/firewalls/{name}"
            link = f"{WWW}{network.partition(':')[2]}"
            self.state.things[f"compute:{rule}"] = {
                "name": name,
                "network": link,
                "selfLink": WWW + rule,
                "madeBy": path,
            }

        return self._begin(path, "CREATE_CLUSTER", made)

    def _gone(self, path: str) -> None:
        for name in list(self.state.things):
            own = name.startswith(f"container:{path}") or str(self.state.things[name].get("madeBy", "")).startswith(
                path
            )
            if own:
                del self.state.things[name]

    def _add_pool(self, path: str, pool: Json) -> None:
        cluster = self.state.get(f"container:{path}")
        location = cluster["location"]
        zones = [location] if location.count("-") == 2 else [f"{location}-{letter}" for letter in "abc"]
        urls = []
        for zone in zones:
            group = f"projects/{self.state.settings.project}/zones/{zone}/instanceGroupManagers/gke-{pool['name']}-grp"
            size = pool.get("initialNodeCount", 0)
            self.state.things[f"compute:{group}"] = {
                "name": f"gke-{pool['name']}-grp",
                "targetSize": size,
                "zone": f"{WWW}projects/{self.state.settings.project}/zones/{zone}",
                "madeBy": f"{path}/nodePools/{pool['name']}",
            }
            urls.append(WWW + group)
        pool = {**copy.deepcopy(pool), "instanceGroupUrls": urls, "status": "RUNNING"}
        cluster["nodePools"].append(pool)

    def _nodes(self, parent: str, body: Json) -> Json:
        path = parent.removesuffix("/nodePools")
        cluster = self.state.get(f"container:{path}")
        name = body["nodePool"]["name"]
        if name in [pool["name"] for pool in cluster["nodePools"]]:
            raise taken(f"{parent}/{name}")
        return self._begin(path, "CREATE_NODE_POOL", lambda: self._add_pool(path, body["nodePool"]))

    def _pool(self, path: str, verb: str, body: Json) -> Json:
        where, _pools, name = path.rpartition("/nodePools/")
        cluster = self.state.get(f"container:{where}")
        pool = next((pool for pool in cluster["nodePools"] if pool["name"] == name), None)
        if pool is None:
            raise missing(path)
        if verb == "get":
            return pool
        if verb == "delete":

            def gone() -> None:
                cluster["nodePools"].remove(pool)
                for known in [key for key, thing in self.state.things.items() if thing.get("madeBy") == path]:
                    del self.state.things[known]

            return self._begin(where, "DELETE_NODE_POOL", gone)
        return self._begin(where, "UPDATE_NODE_POOL", lambda: self._change_pool(pool, verb, body))

    def _change_pool(self, pool: Json, verb: str, body: Json) -> None:
        if verb == "setSize":
            for url in pool["instanceGroupUrls"]:
                self.state.get(f"compute:{url.removeprefix(WWW)}")["targetSize"] = int(body["nodeCount"])
        elif verb == "setAutoscaling":
            pool["autoscaling"] = body["autoscaling"]
        elif verb == "setManagement":
            pool["management"] = body["management"]
        else:
            for key, value in body.items():
                inner = key if key in ("labels", "tags") else None
                pool["config"][key] = value.get(inner, []) if inner else value

    def _updated(self, verb: str, cluster: Json, body: Json) -> Json:
        if verb == "setResourceLabels":
            if body.get("labelFingerprint") != cluster["labelFingerprint"]:
                raise Refusal(412, "Labels fingerprint mismatch", "conditionNotMet")
            return {"resourceLabels": body["resourceLabels"], "labelFingerprint": f"c{self.state.number()}"}
        wishes = {key: value for key, value in body.get("update", {}).items() if key.startswith("desired")}
        if len(wishes) != 1:
            raise invalid("Must specify exactly one field to update")
        key, value = next(iter(wishes.items()))
        fields: dict[str, t.Callable[[], Json]] = {
            "desiredReleaseChannel": lambda: {"releaseChannel": value},
            "desiredMasterAuthorizedNetworksConfig": lambda: {"masterAuthorizedNetworksConfig": value},
            "desiredWorkloadIdentityConfig": lambda: {"workloadIdentityConfig": value},
            "desiredEnablePrivateEndpoint": lambda: {
                "privateClusterConfig": {**cluster["privateClusterConfig"], "enablePrivateEndpoint": value}
            },
        }
        if key not in fields:
            raise Refusal(501, f"this server does not know how to change {key}", "notImplemented")
        return fields[key]()

    def _begin(self, path: str, kind: str, finish: t.Callable[[], None]) -> Json:
        parts = path.split("/")
        link = f"https://container.googleapis.com/v1/{path}"
        where = {"location": parts[3], "zone": parts[3]}
        return self.state.begin("container", where, kind, link, finish).operation


class Iam:
    """Answers for service accounts and the project's policy."""

    def __init__(self, state: State) -> None:
        self.state = state

    def answer(self, request: Request) -> Json:
        """The answer to a request."""
        verb = request.method.rsplit(".", 1)[-1]
        if request.method.startswith("cloudresourcemanager."):
            return self._policy(verb, request.body)
        path = request.path.removeprefix("/v1/")
        if verb == "list":
            return {"accounts": [thing for _name, thing in self.state.under(f"iam:{path}")]}
        if verb == "create":
            account, project = request.body["accountId"], self.state.settings.project
            if not 6 <= len(account) <= 30:
                raise invalid(f"The account ID {account!r} does not have a length between 6 and 30")
            email = f"{account}@{project}.iam.gserviceaccount.com"
            if f"iam:{path}/{email}" in self.state.things:
                raise taken(f"{path}/{email}")
            made = {
                **request.body.get("serviceAccount", {}),
                "name": f"{path}/{email}",
                "email": email,
                "projectId": project,
            }
            self.state.things[f"iam:{path}/{email}"] = made
            return made
        thing = self.state.get(f"iam:{path}")
        if verb == "get":
            return thing
        if verb == "delete":
            del self.state.things[f"iam:{path}"]
            return {}
        if verb == "patch":
            thing.update(request.body["serviceAccount"])
            return thing
        raise Refusal(501, f"this server does not know how to {verb} a service account", "notImplemented")

    def _policy(self, verb: str, body: Json) -> Json:
        if verb == "getIamPolicy":
            return self.state.policy
        if verb != "setIamPolicy":
            raise Refusal(501, f"this server does not know {verb}", "notImplemented")
        policy = copy.deepcopy(body["policy"])
        if policy.get("etag") != self.state.policy["etag"]:
            raise Refusal(409, "There were concurrent policy changes", "aborted", "ABORTED")
        for binding in policy.get("bindings", []):
            for member in binding["members"]:
                kind, _colon, email = member.partition(":")
                path = f"iam:projects/{self.state.settings.project}/serviceAccounts/{email}"
                if kind == "serviceAccount" and path not in self.state.things:
                    raise invalid(f"Service account {email} does not exist.")
        policy["etag"] = f"BwX{self.state.number()}"
        self.state.policy = policy
        return policy
