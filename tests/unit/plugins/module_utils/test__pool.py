# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts are reached without the proxy. Connections themselves are tested with test__connection.py."""

from __future__ import annotations

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _pool


@pytest.mark.parametrize(
    ("url", "no_proxy", "expected"),
    [
        ("https://api.example.com:6443", "", False),
        ("https://api.example.com:6443", "*", True),
        ("https://api.example.com:6443", "other, API.example.com", True),
        ("https://api.example.com:6443", "example.com", True),
        ("https://api.example.com:6443", ".example.com", True),
        ("https://api.example.com:6443", "*.example.com", True),
        ("https://api.example.com:6443", "ample.com", False),
        ("https://api.example.com:6443", "api.example.com:6443", True),
        ("https://api.example.com:6443", "api.example.com:443", False),
        ("https://10.0.0.1:6443", "10.0.0.0/8", True),
        ("https://10.0.0.1:6443", "10.0.0.1", True),
        ("https://10.0.0.1:6443", "11.0.0.0/8,,10.0.0.2", False),
        ("https://[fd00::1]:6443", "fd00::/8", True),
    ],
)
def test_bypasses(url: str, no_proxy: str, expected: bool) -> None:
    assert _pool.bypasses(url, no_proxy) is expected
