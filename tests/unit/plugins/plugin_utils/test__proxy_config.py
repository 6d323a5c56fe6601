# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ProxyConfig as Istio reads and writes it."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _proxy_config
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._proxy_config import FieldError


def read(document: t.Any) -> dict[str, t.Any]:
    return _proxy_config.read("ProxyConfig", document)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # Both names of a field; the JSON one wins.
        ({"mesh_id": "a"}, {"meshId": "a"}),
        ({"mesh_id": "a", "meshId": "b"}, {"meshId": "b"}),
        # Zero values are left out, but for wrappers and messages, which tell zero from absent.
        ({"statusPort": 0, "meshId": "", "extraStatTags": [], "interceptionMode": "REDIRECT"}, {}),
        ({"concurrency": 0, "tracing": {}}, {"concurrency": 0, "tracing": {}}),
        ({"statsCompression": False}, {"statsCompression": False}),
        ({"serviceCluster": ""}, {"serviceCluster": ""}),
        # Unknown fields and nulls are dropped.
        ({"nosuch": 1, "tracing": None}, {}),
        # One written form of each value.
        ({"drainDuration": "1m30s"}, {"drainDuration": "90s"}),
        ({"drainDuration": "0.5s"}, {"drainDuration": "0.500s"}),
        ({"drainDuration": "-1500us"}, {"drainDuration": "-0.001500s"}),
        ({"statusPort": "15020"}, {"statusPort": 15020}),
        ({"statusPort": 15020.0}, {"statusPort": 15020}),
        ({"interceptionMode": 1}, {"interceptionMode": "TPROXY"}),
        ({"controlPlaneAuthPolicy": 1000}, {"controlPlaneAuthPolicy": "INHERIT"}),
        ({"interceptionMode": 99}, {"interceptionMode": 99}),
        ({"tracing": {"stackdriver": {"maxNumberOfAnnotations": 5}}},
         {"tracing": {"stackdriver": {"maxNumberOfAnnotations": "5"}}}),
        ({"tracing": {"sampling": 100, "customTags": {"a": {"literal": {"value": "x"}}}}},
         {"tracing": {"sampling": 100.0, "customTags": {"a": {"literal": {"value": "x"}}}}}),
        ({"proxyMetadata": {"A": None}}, {"proxyMetadata": {"A": ""}}),
        (None, {}),
    ],
)  # fmt: skip
def test_read(given: t.Any, expected: dict[str, t.Any]) -> None:
    assert read(given) == expected
    # What was written is read as the same.
    assert read(read(given)) == expected


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"proxyMetadata": {"PORT": 15}}, "proxyMetadata.PORT"),
        ({"proxyMetadata": ["A=1"]}, "proxyMetadata"),
        ({"statusPort": "http"}, "statusPort"),
        ({"statusPort": 2**31}, "statusPort"),
        ({"statusPort": True}, "statusPort"),
        ({"concurrency": 1.5}, "concurrency"),
        ({"drainDuration": 5}, "drainDuration"),
        ({"drainDuration": "5 s"}, "drainDuration"),
        ({"interceptionMode": "NOSUCH"}, "interceptionMode"),
        ({"tracing": {"sampling": "much"}}, "tracing.sampling"),
        ({"tracing": {"zipkin": "x"}}, "tracing.zipkin"),
        ({"extraStatTags": "a"}, "extraStatTags"),
        ({"extraStatTags": ["a", 1]}, "extraStatTags[1]"),
        ({"holdApplicationUntilProxyStarts": "yes"}, "holdApplicationUntilProxyStarts"),
        ("text", "ProxyConfig"),
    ],
)
def test_refused_with_its_place(given: t.Any, path: str) -> None:
    with pytest.raises(FieldError) as caught:
        read(given)
    assert caught.value.path == path
    assert caught.value.expected


def test_merge_replaces_whole_fields() -> None:
    base = read({"meshId": "m", "proxyMetadata": {"A": "1"}, "tracing": {"zipkin": {"address": "z"}}, "concurrency": 2})
    merged = _proxy_config.merge(base, {"proxy_metadata": {"B": "2"}, "tracing": {"sampling": 1}, "concurrency": 0})
    assert merged == {"meshId": "m", "proxyMetadata": {"B": "2"}, "tracing": {"sampling": 1.0}, "concurrency": 0}
    assert base["proxyMetadata"] == {"A": "1"}


def test_merge_a_zero_value_removes() -> None:
    assert _proxy_config.merge({"statusPort": 15021, "meshId": "m"}, {"statusPort": 0, "meshId": None}) == {
        "meshId": "m"
    }


def test_merge_of_a_one_of() -> None:
    merged = _proxy_config.merge({"serviceCluster": "x"}, {"tracingServiceName": "CANONICAL_NAME_ONLY"})
    assert merged == {"tracingServiceName": "CANONICAL_NAME_ONLY"}


def test_every_type_in_the_table_is_known() -> None:
    for message, fields in _proxy_config.MESSAGES.items():
        for field, kind in fields.items():
            bare = kind.strip("=?[]{}")
            known = "|" in bare or bare in _proxy_config.MESSAGES or bare in _proxy_config._SCALARS
            assert known, f"{message}.{field}: {kind}"
