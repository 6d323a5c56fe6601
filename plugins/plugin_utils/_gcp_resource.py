# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Google Cloud's resources are called here, and how it is seen that one is ours. Pure. Private to the collection."""

from __future__ import annotations

import dataclasses
import typing as t

Body = dict[str, t.Any]

# Everything with labels carries this one; all else begins its description (or display name) with the mark.
LABEL = "hybridmesh-infra"
NAMESPACE_LABEL = "mesh-namespace"
GROUP_LABEL = "mesh-group"

COMPUTE = "https://www.googleapis.com/compute/v1/"


def mark(name: str) -> str:
    """What the description of each thing begins with that was made for the infrastructure of this name."""
    return f"hybridmesh.istio {name}: "


@dataclasses.dataclass(frozen=True)
class Target:
    """Where the infrastructure is.

    Attributes:
        name: of the infrastructure: prefix of what it consists of, and how that is recognised.
        project: ID of the project.
        region: where subnets and addresses are.
        zone: where machines are that say nothing else.
    """

    name: str
    project: str
    region: str
    zone: str


@dataclasses.dataclass(frozen=True)
class Key:
    """Which resource: kind, location (a region, a zone, '' for global ones; for a node pool 'LOCATION/CLUSTER') and name."""

    kind: str
    location: str
    name: str

    def __str__(self) -> str:
        where = f" ({self.location})" if self.location else ""
        return f"{self.kind.replace('_', ' ')} {self.name}{where}"


@dataclasses.dataclass
class Resource:
    """A resource as it is wanted, or as it was found.

    Attributes:
        key: which.
        body: as the API has it: what insert takes, or what get answers.
        reason: why it is wanted.
    """

    key: Key
    body: Body
    reason: str = ""


def short(url: t.Any) -> str:
    """The last part of a URL, which is a resource's name."""
    return str(url or "").rsplit("/", 1)[-1]


def link(project: str, path: str) -> str:
    """The URL by which other resources name a resource of Compute Engine."""
    return f"{COMPUTE}projects/{project}/{path}"


def email(account: str, project: str) -> str:
    """The address of a service account."""
    return f"{account}@{project}.iam.gserviceaccount.com"


def is_ours(resource: Resource, name: str) -> bool:
    """Whether a resource was made for the infrastructure of this name."""
    body = resource.body
    labels = body.get("labels") or body.get("resourceLabels") or (body.get("config") or {}).get("resourceLabels") or {}
    words = str(body.get("description") or body.get("displayName") or "")
    return labels.get(LABEL) == name or words.startswith(mark(name))
