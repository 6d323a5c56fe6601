# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus says of those that it scrapes. Pure. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._observability_config import (
    DISCOVERY,
    ISTIOD,
    ITSELF,
    MACHINES,
    PODS,
)

_JOBS = (ISTIOD, PODS, MACHINES, DISCOVERY, ITSELF)
_MAX_TOLD = 10


class Targets(t.NamedTuple):
    """Targets by their state.

    Attributes:
        up: job -> how many answer.
        down: those that do not, as `job: address: why`.
        unknown: how many were not scraped yet.
    """

    up: dict[str, int]
    down: list[str]
    unknown: int


def read(answer: t.Mapping[str, t.Any]) -> Targets:
    """From the answer of /api/v1/targets."""
    up = dict.fromkeys(_JOBS, 0)
    down: list[str] = []
    unknown = 0
    for target in (answer.get("data") or {}).get("activeTargets") or []:
        labels = target.get("labels") or {}
        job = str(labels.get("job") or target.get("scrapePool"))
        up.setdefault(job, 0)
        if target.get("health") == "up":
            up[job] += 1
        elif target.get("health") == "down":
            down.append(f"{job}: {labels.get('instance')}: {target.get('lastError') or 'no answer'}")
        else:
            unknown += 1
    return Targets(up, sorted(down), unknown)


def is_complete(targets: Targets, machines: int) -> bool:
    """Whether nothing more is to be waited for: all were scraped once, the machines among them."""
    seen = targets.up[MACHINES] + sum(1 for text in targets.down if text.startswith(f"{MACHINES}: "))
    return not targets.unknown and targets.up[ITSELF] > 0 and seen >= machines


def told(targets: Targets) -> list[str]:
    """For people: one line for all that answer, one for each that does not."""
    answering = ", ".join(f"{count} {job}" for job, count in targets.up.items())
    lines = [f"Prometheus scrapes: {answering}"]
    lines += [f"does not answer Prometheus: {text}" for text in targets.down[:_MAX_TOLD]]
    if len(targets.down) > _MAX_TOLD:
        lines.append(f"and {len(targets.down) - _MAX_TOLD} more do not answer")
    if targets.unknown:
        lines.append(f"{targets.unknown} were not scraped yet")
    return lines
