# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declared traffic and the cluster that it comes into, and how what is wrong is told. Pure. Private to the collection."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _manifest, _traffic_names
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Object
from ansible_collections.hybridmesh.istio.plugins.module_utils._traffic_facts import Facts

# So many names are listed as what somebody may have meant.
_MANY = 8


class Problem(MeshError):
    """One reason not to apply anything.

    Attributes:
        pending: it is about something that is not there yet. In check mode an earlier step of the same run may be to
            make it, so there it is told and does not fail.
    """

    def __init__(self, found: str, expected: str, next_step: str, pending: bool = False) -> None:
        super().__init__(found, expected, next_step)
        self.pending = pending


Problems = t.Iterator[Problem]


@dataclasses.dataclass
class Scene:
    """What is declared, and what it comes into.

    Attributes:
        declared: the declared objects.
        facts: the cluster.
        name: the declaration's name.
        domain: the cluster's DNS domain.
        coming: the labels of gateways' Pods that an earlier step of the same run installs.
    """

    declared: t.Sequence[Object]
    facts: Facts = dataclasses.field(default_factory=Facts)
    name: str = "traffic"
    domain: str = "cluster.local"
    coming: t.Sequence[t.Mapping[str, str]] = ()

    def of(self, kind: str) -> list[Object]:
        """The declared objects of a kind."""
        return [item for item in self.declared if item["kind"] == kind]

    def others(self, kind: str) -> list[Object]:
        """What stays beside them: objects of a kind that are not this declaration's."""
        own = {_manifest.ref(item) for item in self.declared}
        return [
            item
            for item in self.facts.live
            if item["kind"] == kind and _manifest.ref(item) not in own and not _traffic_names.is_of(item, self.name)
        ]

    def leftovers(self) -> list[Object]:
        """What this declaration made and no longer has, in the order in which it was made."""
        own = {_manifest.ref(item) for item in self.declared}
        live = self.facts.live
        return [item for item in live if _traffic_names.is_of(item, self.name) and _manifest.ref(item) not in own]

    def absent(self, namespace: str) -> bool:
        """Whether what a namespace lacks may only not be there yet."""
        return not self.facts.istio or namespace not in self.facts.namespaces


def together(found: t.Sequence[MeshError]) -> MeshError:
    """One error that tells all problems."""
    if len(found) == 1:
        return found[0]

    def numbered(texts: t.Iterable[str]) -> str:
        return "; ".join(f"({number}) {text}" for number, text in enumerate(texts, 1))

    return MeshError(
        f"{len(found)} problems: " + numbered(problem.found for problem in found),
        numbered(problem.expected for problem in found),
        numbered(problem.next_step for problem in found),
    )


def some(names: t.Iterable[str], what: str = "there are") -> str:
    """` (there are: a, b)`: what somebody may have meant; nothing where there is none."""
    listed = sorted(set(names))
    more = f" and {len(listed) - _MANY} more" if len(listed) > _MANY else ""
    return f" ({what}: {', '.join(listed[:_MANY])}{more})" if listed else ""


def rule_name(item: Object, number: int, rule: Object) -> str:
    """`route shop/web, rule 2 (canary)`."""
    name = f" ({rule['name']})" if rule.get("name") else ""
    return f"{_traffic_names.said(item)}, rule {number}{name}"
