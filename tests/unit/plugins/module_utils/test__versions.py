# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which changes of version are allowed, and which proxies stand in the way."""

from __future__ import annotations

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._versions import (
    is_newer,
    judge_change,
    judge_skew,
    parse,
)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1.30.3", (1, 30, 3)),
        ("v1.30.3", (1, 30, 3)),
        ("1.31", (1, 31, 0)),
        ("1.31.0-rc.1", (1, 31, 0)),
        ("1.31.0-lab", (1, 31, 0)),
    ],
)
def test_versions(text: str, numbers: tuple[int, int, int]) -> None:
    version = parse(text)
    assert version is not None
    assert version.numbers == numbers


@pytest.mark.parametrize("text", ["", None, "latest", "unknown", "eed52ebb66ad", "1"])
def test_texts_that_are_no_version(text: str | None) -> None:
    assert parse(text) is None


def change(installed: str, wanted: str, allow: bool) -> None:
    judge_change("istiod", installed, wanted, allow, "allow_upgrade")


@pytest.mark.parametrize("allow", [True, False])
def test_the_same_version_needs_no_leave(allow: bool) -> None:
    change("1.30.3", "1.30.3", allow)
    change("latest", "latest", allow)


@pytest.mark.parametrize("wanted", ["1.30.4", "1.31.0", "1.31.0-lab"])
def test_upgrades_must_be_asked_for(wanted: str) -> None:
    change("1.30.3", wanted, True)
    with pytest.raises(MeshError, match="set allow_upgrade to true"):
        change("1.30.3", wanted, False)


def test_another_build_of_a_release_must_be_asked_for() -> None:
    change("1.31.0-rc.1", "1.31.0", True)
    with pytest.raises(MeshError, match="a change of version is asked for explicitly"):
        change("1.31.0-rc.1", "1.31.0", False)


@pytest.mark.parametrize("wanted", ["1.30.2", "1.29.9", "0.9.0"])
def test_downgrades_are_refused(wanted: str) -> None:
    with pytest.raises(MeshError, match="the older"):
        change("1.30.3", wanted, True)


@pytest.mark.parametrize("wanted", ["1.32.0", "2.0.0"])
def test_skipped_minors_are_refused(wanted: str) -> None:
    with pytest.raises(MeshError, match=r"upgrade to the newest 1\.31 first"):
        change("1.30.3", wanted, True)


def test_versions_that_can_not_be_compared_must_be_asked_for() -> None:
    change("latest", "1.31.0", True)
    with pytest.raises(MeshError, match="which is newer can't be told"):
        change("latest", "1.31.0", False)


def test_proxies_of_the_minor_and_the_one_before_may_stay() -> None:
    assert judge_skew("1.31.0", {"a": "1.31.2", "b": "1.30.0"}) == []


def test_all_proxies_outside_of_the_skew_are_listed() -> None:
    with pytest.raises(MeshError) as told:
        judge_skew("1.31.0", {"old.vms": "1.29.4", "good.vms": "1.30.1", "new.vms": "1.32.0"})
    assert "2 connected proxies" in told.value.found
    assert "new.vms (1.32.0), old.vms (1.29.4)" in told.value.found
    assert "good.vms" not in told.value.found


def test_proxies_of_unknown_version_are_told_and_do_not_stop() -> None:
    assert judge_skew("1.31.0", {"a": "unknown", "b": "1.31.0"}) == ["a"]
    assert judge_skew("latest", {"b": "1.31.0", "a": "1.1.0"}) == ["a", "b"]


@pytest.mark.parametrize(
    ("version", "than", "newer"),
    [
        ("1.31.0", "1.30.3", True),
        ("1.30.3", "1.31.0", False),
        ("1.31.0-lab", "1.31.0", False),
        ("latest", "1.30.3", False),
    ],
)
def test_which_is_newer(version, than, newer):
    assert is_newer(version, than) is newer
