# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A resource in the words of google.cloud's modules, which make and remove it. Pure. Private to the collection."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_kinds import in_region, scope
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_resource import Body, Resource, short

_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# Named by URL in the API, by a dictionary in google.cloud.
_LINKS = ("network", "subnetwork", "instanceTemplate", "target")
# What a module wants to know of a resource that it only removes.
_TO_REMOVE = {
    "subnetwork": ("network", "ipCidrRange"),
    "instance_group": ("baseInstanceName", "instanceTemplate"),
    "autoscaler": ("target", "autoscalingPolicy"),
}


def snake(word: str) -> str:
    """google.cloud's spelling of a field of the API."""
    return _BORDER.sub("_", word).lower()


def _converted(value: t.Any, key: str = "") -> t.Any:
    if key in _LINKS:
        return {"selfLink": value}
    if key == "labels":
        return value
    if key == "metadata":
        return {item["key"]: item.get("value") for item in value.get("items") or []}
    if key in ("machineType", "diskType"):
        return short(value)
    if isinstance(value, dict):
        return {snake(name): _converted(item, name) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_converted(item) for item in value]
    return value


def options(resource: Resource, state: str) -> Body:
    """The module's options, but for credentials and project."""
    key, body = resource.key, resource.body
    if key.kind == "cluster":
        return {"name": key.name, "location": key.location, "state": state}
    if state == "absent":
        body = {name: body[name] for name in _TO_REMOVE.get(key.kind, ()) if name in body}
        if key.kind == "autoscaler":
            body["autoscalingPolicy"] = {"maxNumReplicas": body["autoscalingPolicy"].get("maxNumReplicas", 1)}
    found: Body = {**_converted(body), "name": key.name, "state": state}
    where = {"regions": "region", "zones": "zone"}.get(scope(key))
    if where:
        found[where] = key.location
    if key.kind == "autoscaler" and in_region(key.location):
        # The one for regions wants a text, not a dictionary.
        found["target"] = body["target"]
    if key.kind == "instance":
        # It knows none; a machine is known by its label.
        found.pop("description", None)
    return found
