# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of Istio: which change is allowed, and which proxies would be left behind. Pure. Private."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

# Istio supports a control plane that is this many minors ahead of a proxy, and none that is behind one.
SUPPORTED_SKEW = 1

_VERSION = re.compile(r"^v?(\d+)\.(\d+)(?:\.(\d+))?(?:[-.+](.*))?$")


@dataclasses.dataclass(frozen=True)
class Version:
    """A version of Istio, such as 1.31.0 or 1.31.0-rc.1."""

    text: str
    major: int
    minor: int
    patch: int

    @property
    def numbers(self) -> tuple[int, int, int]:
        """What decides which of two versions is newer; builds of the same release are equal here."""
        return (self.major, self.minor, self.patch)


def parse(text: str | None) -> Version | None:
    """The version that a text names, or None where it names none (`latest`, `unknown`, a commit, ...)."""
    match = _VERSION.match((text or "").strip())
    if not match:
        return None
    return Version(str(text).strip().lstrip("v"), int(match.group(1)), int(match.group(2)), int(match.group(3) or 0))


def is_newer(version: str | None, than: str | None) -> bool:
    """Whether a version is newer than another; not where one of them can't be told."""
    one, other = parse(version), parse(than)
    return bool(one and other and one.numbers > other.numbers)


def judge_change(what: str, installed: str, wanted: str, allow_upgrade: bool, option: str) -> None:
    """Refuses a version change that was not asked for, that goes backwards or that skips a minor.

    Args:
        what: what has the version, as it is called in the message.
        installed: the version in the cluster.
        wanted: the version asked for.
        allow_upgrade: whether a change was asked for.
        option: the option that asks for it.

    Raises:
        MeshError: the change is refused.
    """
    if installed == wanted:
        return
    old, new = parse(installed), parse(wanted)
    if old is None or new is None:
        if not allow_upgrade:
            raise MeshError(
                f"{what} has version {installed}, and {wanted} is asked for; which is newer can't be told",
                "the version asked for is the one in the cluster",
                f"ask for {installed}, or set {option} to true",
            )
        return
    if new.numbers < old.numbers:
        raise MeshError(
            f"{what} has version {installed}, and the older {wanted} is asked for",
            "the version in the cluster or a newer one; Istio's objects are not made to go back",
            f"ask for {installed}; to go back, remove this installation first",
        )
    if new.major != old.major or new.minor - old.minor > 1:
        between = f"{old.major}.{old.minor + 1}"
        raise MeshError(
            f"{what} has version {installed}, and {wanted} skips at least one minor",
            "upgrades go one minor at a time",
            f"upgrade to the newest {between} first, proxies included, then to {wanted}",
        )
    if not allow_upgrade:
        raise MeshError(
            f"{what} has version {installed}, and {wanted} is asked for",
            "a change of version is asked for explicitly",
            f"set {option} to true to upgrade, or ask for {installed} to stay",
        )


def judge_skew(wanted: str, proxies: t.Mapping[str, str]) -> list[str]:
    """Refuses an istiod that is too new or too old for the proxies that are connected to it.

    Args:
        wanted: the version that istiod would have.
        proxies: the version of each connected proxy, by its ID.

    Returns:
        The proxies whose version can't be told.

    Raises:
        MeshError: at least one proxy would be outside of the supported skew; the message lists all of them.
    """
    new = parse(wanted)
    if new is None:
        return sorted(proxies)
    unknown: list[str] = []
    outside: list[str] = []
    for proxy, text in sorted(proxies.items()):
        version = parse(text)
        if version is None:
            unknown.append(proxy)
        elif version.major != new.major or not 0 <= new.minor - version.minor <= SUPPORTED_SKEW:
            outside.append(f"{proxy} ({text})")
    if outside:
        raise MeshError(
            "{} connected {} outside of the skew that Istio supports with istiod {}: {}".format(
                len(outside), "proxy would be" if len(outside) == 1 else "proxies would be", wanted, ", ".join(outside)
            ),
            f"every connected proxy is of the minor {new.major}.{new.minor} or the one before it",
            "upgrade the sidecars and gateways named to a supported minor first (restart Pods; upgrade VMs)",
        )
    return unknown
