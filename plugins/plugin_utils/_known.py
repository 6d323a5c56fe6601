# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What roles left in the variables of each host. Pure. Private to the collection."""

from __future__ import annotations

import collections.abc
import typing as t

Mapping = collections.abc.Mapping


def of_hosts(
    hosts: t.Iterable[str], known: Mapping[str, Mapping[str, t.Any]], own: t.Sequence[str], shared: str
) -> t.Iterator[tuple[t.Any, ...]]:
    """Looks at the variables of each host once, one host after the other: they are large, and made when they are asked for.

    Args:
        hosts: inventory names.
        known: the variables by host (Ansible's hostvars). All of them at once would fill the memory.
        own: names of variables that each host has its own of.
        shared: name of one that all hosts of a batch share, with `by_vm`. Reading it costs as much as it has hosts, so that it is read
            where no other host's had this one.

    Yields:
        For each host its name, its own variables in the order of their names, and what the shared one says of it; None for what it has not.
    """
    seen: dict[str, t.Any] = {}
    for host in hosts:
        variables = known[host]
        values = [variables.get(name) for name in own]
        if host not in seen:
            seen.update((variables.get(shared) or {}).get("by_vm") or {})
        yield (host, *values, seen.get(host))
