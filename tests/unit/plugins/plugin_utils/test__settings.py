# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users choose, checked before anything is fetched."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _settings

# As the lookup's documentation has them.
DEFAULTS: dict[str, t.Any] = {
    "autoregister": True,
    "capture_dns": True,
    "include_outbound_ip_ranges": ["*"],
}


def settings(**given: t.Any) -> _settings.Settings:
    return _settings.settings({**DEFAULTS, **given}.get)


@pytest.mark.parametrize(
    ("text", "expected"), [(None, None), ("", ""), ("*", "*"), ("9, 80,80", "9,80"), (8080, "8080"), (" ", "")]
)
def test_parse_ports(text: t.Any, expected: str | None) -> None:
    assert _settings.parse_ports(text) == expected


@pytest.mark.parametrize("text", ["http", "0", "65536", "1,,2", "1-2", "*,1"])
def test_parse_ports_refuses(text: str) -> None:
    with pytest.raises(MeshError):
        _settings.parse_ports(text)


def test_defaults() -> None:
    assert settings() == _settings.Settings()


def test_everything() -> None:
    assert settings(
        inbound_ports="443,80",
        exclude_inbound_ports=[9100, "22"],
        exclude_outbound_ports=["5432"],
        include_outbound_ports=[8080, 8080],
        include_outbound_ip_ranges=["10.0.0.0/8", "2001:db8::/32"],
        exclude_outbound_ip_ranges=["169.254.169.254"],
        exclude_interfaces=["docker0"],
        interception_mode="TPROXY",
        native_nftables=True,
        dual_stack=True,
        concurrency=0,
        proxy_metadata={"A": "it's"},
        internal_ip="10.1.2.3",
        autoregister=False,
        capture_dns=False,
    ) == _settings.Settings(
        inbound_ports="80,443",
        exclude_inbound_ports=(22, 9100),
        exclude_outbound_ports=(5432,),
        include_outbound_ports=(8080,),
        include_outbound_ip_ranges=("10.0.0.0/8", "2001:db8::/32"),
        exclude_outbound_ip_ranges=("169.254.169.254/32",),
        exclude_interfaces=("docker0",),
        interception_mode="TPROXY",
        native_nftables=True,
        dual_stack=True,
        concurrency=0,
        proxy_metadata={"A": "it's"},
        internal_ip="10.1.2.3",
        autoregister=False,
        capture_dns=False,
    )


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("exclude_inbound_ports", ["http"], "exclude_inbound_ports 'http'"),
        ("exclude_outbound_ports", [70000], "exclude_outbound_ports '70000'"),
        ("include_outbound_ports", ["\u0663"], "include_outbound_ports"),
        ("include_outbound_ip_ranges", ["*", "10.0.0.0/8"], "include_outbound_ip_ranges '*'"),
        ("include_outbound_ip_ranges", ["10.0.0.1/8"], "has host bits set"),
        ("exclude_outbound_ip_ranges", ["*"], "exclude_outbound_ip_ranges '*'"),
        ("exclude_interfaces", ["eth0,eth1"], "exclude_interfaces 'eth0,eth1'"),
        ("exclude_interfaces", ["an-interface-too-long"], "exclude_interfaces"),
        ("concurrency", -1, "concurrency -1"),
        ("internal_ip", "10.1.2", "internal_ip '10.1.2'"),
        ("external_ip", "fe80::1%eth0", "has a zone"),
        ("proxy_metadata", {"A-B": "x"}, "has the name 'A-B'"),
        ("proxy_metadata", {"A": 1}, "A is 1"),
        ("proxy_metadata", {"A": "\0"}, "null character"),
        ("proxy_metadata", {"ISTIO_META_NETWORK": "x"}, "has ISTIO_META_NETWORK"),
    ],
)
def test_refused(option: str, value: t.Any, said: str) -> None:
    with pytest.raises(MeshError) as caught:
        settings(**{option: value})
    assert said in caught.value.found
    assert caught.value.expected
    assert caught.value.next_step


def test_two_addresses_of_one_machine() -> None:
    with pytest.raises(MeshError, match="one of them at most"):
        settings(internal_ip="10.1.2.3", external_ip="192.0.2.1")
