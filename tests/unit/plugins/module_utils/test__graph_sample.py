# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Envoy's answers as they are, and what happened between two of them."""

from __future__ import annotations

import urllib.parse

from ansible_collections.hybridmesh.istio.plugins.module_utils import _graph_sample as core

APP = "outbound|80||app.shop.svc.cluster.local"
DB = "outbound|5432||db.shop.svc.cluster.local"
# Shortened from a real Envoy's.
TEXT = f"""\
{APP}::observability_name::{APP};
{APP}::default_priority::max_connections::1024
{APP}::10.0.0.1:8080::cx_active::2
{APP}::10.0.0.1:8080::cx_connect_fail::0
{APP}::10.0.0.1:8080::cx_total::3
{APP}::10.0.0.1:8080::rq_error::1
{APP}::10.0.0.1:8080::rq_success::4
{APP}::10.0.0.1:8080::rq_total::5
{APP}::10.0.0.1:8080::hostname::
{APP}::10.0.0.1:8080::health_flags::healthy
{APP}::10.0.0.2:8080::cx_total::0
{APP}::10.0.0.2:8080::health_flags::/failed_eds_health
{APP}::[fd00::1]:8080::rq_success::7
{APP}::[fd00::1]:8080::health_flags::/failed_outlier_check
inbound|8080||::10.0.0.9:8080::rq_success::9
PassthroughCluster::192.0.2.1:443::cx_total::1
xds-grpc::127.0.0.1:15010::cx_total::1
garbage
"""


def reading(**counters: int) -> core.Reading:
    return {APP: {"10.0.0.1:8080": dict(counters)}}


def test_what_is_not_nothing_is_kept():
    assert core.parse(TEXT) == {
        APP: {
            "10.0.0.1:8080": {"cx_active": 2, "cx_total": 3, "rq_error": 1, "rq_success": 4, "rq_total": 5},
            "10.0.0.2:8080": {"health": "/failed_eds_health"},
            "[fd00::1]:8080": {"rq_success": 7, "health": "/failed_outlier_check"},
        },
        "inbound|8080||": {"10.0.0.9:8080": {"rq_success": 9}},
        "PassthroughCluster": {"192.0.2.1:443": {"cx_total": 1}},
    }


def test_names_may_carry_the_mark_of_stats():
    assert core.parse(TEXT.replace(f"{APP}::", f"{APP};::")) == core.parse(TEXT)


def test_what_grew():
    before, after = reading(rq_success=4, rq_error=1), reading(rq_success=10, rq_error=1, cx_active=3)
    sample = core.sample(before, after, 5.00049)
    assert sample == {
        "seconds": 5.0,
        "clusters": {
            APP: {
                "10.0.0.1:8080": {
                    "total": {"rq_success": 10, "rq_error": 1},
                    "grew": {"rq_success": 6},
                    "open": 3,
                    "health": "healthy",
                }
            }
        },
        "security": {},
    }


def test_counters_that_began_anew_count_from_zero():
    endpoint = core.sample(reading(rq_success=400), reading(rq_success=10), 5)["clusters"][APP]["10.0.0.1:8080"]
    assert endpoint["grew"] == {"rq_success": 10}


def test_endpoints_without_traffic_are_left_out():
    found = core.sample({}, core.parse(TEXT), 5)["clusters"]
    assert set(found[APP]) == {"10.0.0.1:8080", "[fd00::1]:8080"}


def test_inbound_clusters_are_told_apart():
    names = (APP, "inbound|80||", "inbound_.80_._.x", "InboundPassthroughCluster", "PassthroughCluster")
    assert [core.is_inbound(name) for name in names] == [False, True, True, True, False]


def test_configuration_is_asked_for_in_bounded_requests():
    found = core.sample({}, {f"outbound|{port}||x": {"1.1.1.1:1": {"cx_total": 1}} for port in range(90)}, 5)
    found["clusters"]["inbound|1||"] = found["clusters"]["PassthroughCluster"] = {}
    paths = core.dump_paths(found)
    assert len(paths) == 3
    names = [urllib.parse.unquote(clusters.partition("name_regex=")[2]) for clusters, _endpoints in paths]
    assert sum(text.count("outbound") for text in names) == 90
    assert "Passthrough" not in "".join(names)
    assert "inbound" not in "".join(names)
    assert all(endpoints.startswith("config_dump?include_eds&") for _clusters, endpoints in paths)


def tls(*identities: str) -> dict[str, object]:
    matchers = [{"matcher": {"exact": identity}} for identity in identities]
    validation = {
        "combined_validation_context": {"default_validation_context": {"match_typed_subject_alt_names": matchers}}
    }
    return {"typed_config": {"@type": "x/a.UpstreamTlsContext", "common_tls_context": validation}}


def dumps(transport: object) -> tuple[dict[str, object], dict[str, object]]:
    """A cluster whose endpoints with tlsMode=istio have that transport, and others none."""
    matches = [
        {"match": {"tlsMode": "istio"}, "transport_socket": transport},
        {"match": {}, "transport_socket": {"typed_config": {"@type": "x/RawBuffer"}}},
    ]
    address = {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 8080}}}
    metadata = {"filter_metadata": {"envoy.transport_socket_match": {"tlsMode": "istio"}}}
    endpoints = [{"lb_endpoints": [{"endpoint": address, "metadata": metadata}]}]
    return (
        {"configs": [{"cluster": {"name": APP, "transport_socket_matches": matches}}, {"cluster": {"name": DB}}]},
        {"configs": [{"endpoint_config": {"cluster_name": APP, "endpoints": endpoints}}]},
    )


def secured(transport: object) -> dict[str, dict[str, str]]:
    sample = core.sample({}, core.parse(TEXT), 5)
    core.add_security(sample, *dumps(transport))
    return sample["security"]


def test_how_endpoints_are_talked_to():
    assert secured(tls("spiffe://cluster.local/ns/shop/sa/app")) == {
        # The other address has no configuration of its own, and so none that asks for TLS.
        APP: {"10.0.0.1:8080": "mtls", "[fd00::1]:8080": "plain"}
    }
    assert secured(tls("app.example.com"))[APP]["10.0.0.1:8080"] == "tls"
    assert secured(tls())[APP]["10.0.0.1:8080"] == "tls"
    assert secured({"typed_config": {"@type": "x/RawBuffer"}})[APP]["10.0.0.1:8080"] == "plain"


def test_nothing_told_is_nothing_known():
    sample = core.sample({}, core.parse(TEXT), 5)
    core.add_security(sample, {}, {})
    assert sample["security"] == {}
