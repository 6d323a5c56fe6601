# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is in a project of what a declaration is about. Private to the collection."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _gcp_errors
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_api import Google
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_changes import Call
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_kinds import KINDS, path
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_resource import (
    LABEL,
    Body,
    Key,
    Resource,
    email,
    is_ours,
    short,
)

# What GKE makes in a network by itself, and leaves there.
_OF_GKE = ("gke-", "k8s-", "k8s2-")


class Reader:
    """Reads what there is."""

    def __init__(self, google: Google) -> None:
        self.google = google
        self.project = google.target.project

    def everything(self, wanted: t.Iterable[Key], with_gke: bool) -> tuple[dict[Key, Resource], list[Resource]]:
        """(what is there of what is wanted, all that is ours).

        Args:
            wanted: what is wanted.
            with_gke: whether the firewall rules count as ours that GKE made in a network of ours.
        """
        there: dict[Key, Resource] = {}
        for kind in KINDS:
            if kind not in ("cluster", "node_pool", "project_role", "service_account"):
                there.update({item.key: item for item in self._compute(kind)})
        for item in [*self._accounts(), *self._roles(), *self._clusters()]:
            there[item.key] = item
        name = self.google.target.name
        for key in wanted:
            if key not in there and key.kind == "instance":
                # The list holds ours alone; the name may be somebody else's.
                found = self.one(key)
                if found:
                    there[key] = found
        members = self._own_members()
        ours = [
            item
            for item in there.values()
            if is_ours(item, name) or (item.key.kind == "project_role" and item.body["member"] in members)
        ]
        networks = {item.key.name for item in ours if item.key.kind == "network"}
        if with_gke:
            ours += [
                item
                for item in there.values()
                if item.key.kind == "firewall"
                and item not in ours
                and short(item.body.get("network")) in networks
                and item.key.name.startswith(_OF_GKE)
            ]
        return there, ours

    def one(self, key: Key) -> Resource | None:
        """One resource."""
        if key.kind == "project_role":
            return next((item for item in self._roles() if item.key == key), None)
        body = self.google.get(KINDS[key.kind].api, path(self.project, key), f"reading {key}")
        if body is None:
            return None
        if key.kind == "node_pool":
            body = self._with_size(body)
        return Resource(key, body)

    def _compute(self, kind: str) -> t.Iterator[Resource]:
        scope, collection = KINDS[kind].scope, KINDS[kind].collection
        where = "global" if scope == "global" else "aggregated"
        params = {"filter": f"labels.{LABEL}={self.google.target.name}"} if kind == "instance" else {}
        what = f"reading {collection}"
        for page in self.google.pages("compute", f"projects/{self.project}/{where}/{collection}", what, **params):
            items: t.Any = page.get("items") or []
            if where == "aggregated":
                items = [item for part in items.values() for item in part.get(collection) or []] if items else []
            for body in items:
                if kind == "instance" and made_by_group(body):
                    continue
                # Managed groups, and their autoscalers, are in a zone or in a region.
                location = "" if scope == "global" else short(body.get(scope[:-1]) or body.get("region"))
                yield Resource(Key(kind, location, body["name"]), body)

    def _accounts(self) -> t.Iterator[Resource]:
        for page in self.google.pages("iam", f"projects/{self.project}/serviceAccounts", "reading service accounts"):
            for body in page.get("accounts") or []:
                yield Resource(Key("service_account", "", body["email"]), body)

    def _own_members(self) -> set[str]:
        name = self.google.target.name
        return {f"serviceAccount:{email(f'{name}-{suffix}', self.project)}" for suffix in ("nodes", "vms")}

    def policy(self) -> Body:
        """Who may what in the project."""
        call = Call("POST", "cloudresourcemanager", f"projects/{self.project}:getIamPolicy", {})
        return self.google.call(call, "reading the project's IAM policy")

    def _roles(self) -> t.Iterator[Resource]:
        for binding in self.policy().get("bindings") or []:
            if not binding.get("condition"):
                for member in binding.get("members") or []:
                    body = {"role": binding["role"], "member": member}
                    yield Resource(Key("project_role", "", f"{binding['role']} {member}"), body)

    def _clusters(self) -> t.Iterator[Resource]:
        answer = self.google.get("container", f"projects/{self.project}/locations/-/clusters", "reading clusters")
        for body in (answer or {}).get("clusters") or []:
            key = Key("cluster", body["location"], body["name"])
            cluster = self._settled(Resource(key, body))
            if cluster is None:
                continue
            yield cluster
            if is_ours(cluster, self.google.target.name):
                for pool in cluster.body.get("nodePools") or []:
                    yield Resource(Key("node_pool", f"{key.location}/{key.name}", pool["name"]), self._with_size(pool))

    def _settled(self, cluster: Resource) -> Resource | None:
        """A cluster of ours once it is neither being made nor changed nor removed."""
        deadline = time.monotonic() + self.google.timeout
        found: Resource | None = cluster
        while (
            found
            and is_ours(found, self.google.target.name)
            and found.body.get("status") in ("PROVISIONING", "RECONCILING", "STOPPING")
        ):
            if time.monotonic() > deadline:
                raise _gcp_errors.GcpError(
                    f"{cluster.key} in project {self.project} is {found.body['status']} for"
                    f" {self.google.timeout:.0f} s",
                    "a cluster that is RUNNING",
                    f"see gcloud container operations list --project {self.project}",
                )
            time.sleep(1.0)
            found = self.one(cluster.key)
        return found

    def _with_size(self, pool: Body) -> Body:
        """A node pool with the number of nodes that it has in each zone, which only its groups of machines know."""
        sizes = []
        for url in pool.get("instanceGroupUrls") or []:
            where = url.partition("/compute/v1/")[2].replace("/instanceGroups/", "/instanceGroupManagers/")
            group = self.google.get("compute", where, f"reading the size of node pool {pool['name']}")
            if group is not None:
                sizes.append(int(group.get("targetSize") or 0))
        if not sizes:
            return pool
        # Zones of different sizes are none of the sizes that can be declared.
        return {**pool, "currentNodeCount": sizes[0] if len(set(sizes)) == 1 else -1}


def made_by_group(instance: Body) -> bool:
    """Whether a machine is one of a managed group, with which it comes and goes."""
    items = (instance.get("metadata") or {}).get("items") or []
    return any(item["key"] == "created-by" and "/instanceGroupManagers/" in str(item.get("value")) for item in items)
