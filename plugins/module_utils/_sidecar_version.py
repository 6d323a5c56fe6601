# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of the sidecar's package, and which of them may run with which istiod. Private to the collection. Pure."""

from __future__ import annotations

import re

from ansible_collections.hybridmesh.istio.plugins.module_utils import _versions


def release(version: str) -> tuple[int, int, int]:
    """`1.31.0-lab`, or the package's spelling `1.31.0lab`, as (1, 31, 0).

    Raises:
        ValueError: there is no major and minor number.
    """
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", version)
    if not match:
        raise ValueError(f"{version!r} is not a version")
    return int(match.group(1)), int(match.group(2)), int(match.group(3) or 0)


def same(one: str, other: str) -> bool:
    """Whether two spellings name one version: Istio's packages leave the hyphen out."""
    return one.replace("-", "").lstrip("v") == other.replace("-", "").lstrip("v")


def skew_fault(sidecar: str, istiod: str) -> str | None:
    """Why a sidecar of this version must not run with that istiod; None where it may.

    Raises:
        ValueError: one of the two is not a version.
    """
    ours, theirs = release(sidecar), release(istiod)
    if ours > theirs:
        return "newer than the control plane"
    if ours[0] != theirs[0] or theirs[1] - ours[1] > _versions.SUPPORTED_SKEW:
        return f"more minor versions behind the control plane than the {_versions.SUPPORTED_SKEW} that Istio supports"
    return None
