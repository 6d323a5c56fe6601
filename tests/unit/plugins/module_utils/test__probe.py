# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Envoy's admin interface says, read from answers of a real Envoy 1.40 (shortened)."""

from __future__ import annotations

import datetime
import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _probe

SERVICE = "outbound|80||workbench.lab.svc.cluster.local"
ENDPOINT = "10.89.0.7:8080"
IDENTITY = "spiffe://cluster.local/ns/lab/sa/workbench"

CLUSTERS = """\
outbound|80||workbench.lab.svc.cluster.local::observability_name::outbound|80||workbench.lab.svc.cluster.local
outbound|80||workbench.lab.svc.cluster.local::default_priority::max_connections::4294967295
outbound|80||workbench.lab.svc.cluster.local::added_via_api::true
outbound|80||workbench.lab.svc.cluster.local::10.89.0.7:8080::cx_active::1
outbound|80||workbench.lab.svc.cluster.local::10.89.0.7:8080::cx_connect_fail::0
outbound|80||workbench.lab.svc.cluster.local::10.89.0.7:8080::cx_total::3
outbound|80||workbench.lab.svc.cluster.local::10.89.0.7:8080::rq_error::0
outbound|80||workbench.lab.svc.cluster.local::10.89.0.7:8080::rq_success::5
outbound|80||workbench.lab.svc.cluster.local::10.89.0.7:8080::rq_total::5
outbound|80||workbench.lab.svc.cluster.local::10.89.0.7:8080::hostname::
outbound|80||workbench.lab.svc.cluster.local::10.89.0.7:8080::health_flags::/failed_eds_health
outbound|80||workbench.lab.svc.cluster.local::[fd00::7]:8080::rq_total::2
PassthroughCluster::default_priority::max_connections::4294967295
"""


def cluster_dump(sans: list[dict[str, t.Any]] | None = None, **more: t.Any) -> dict[str, t.Any]:
    context = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "combined_validation_context": {
                "default_validation_context": {
                    "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": IDENTITY}}]
                    if sans is None
                    else sans
                }
            }
        },
    }
    matches = [
        {"name": "tlsMode-istio", "match": {"tlsMode": "istio"}, "transport_socket": {"typed_config": context}},
        {
            "name": "tlsMode-disabled",
            "match": {},
            "transport_socket": {"typed_config": {"@type": "type.googleapis.com/envoy...raw_buffer.v3.RawBuffer"}},
        },
    ]
    return {"configs": [{"cluster": {"name": SERVICE, "transport_socket_matches": matches, **more}}]}


def endpoint_dump(tls: bool = True, host: str = "10.89.0.7") -> dict[str, t.Any]:
    metadata = {"filter_metadata": {"envoy.transport_socket_match": {"tlsMode": "istio"}}} if tls else {}
    endpoint = {
        "endpoint": {"address": {"socket_address": {"address": host, "port_value": 8080}}},
        "metadata": metadata,
    }
    return {"configs": [{"endpoint_config": {"cluster_name": SERVICE, "endpoints": [{"lb_endpoints": [endpoint]}]}}]}


def test_parse_clusters():
    clusters = _probe.parse_clusters(CLUSTERS)
    assert list(clusters) == [SERVICE]
    assert clusters[SERVICE][ENDPOINT]["rq_success"] == 5
    assert clusters[SERVICE][ENDPOINT]["health_flags"] == "/failed_eds_health"
    assert clusters[SERVICE]["[fd00::7]:8080"] == {"rq_total": 2}


def test_moved_counts_what_grew_and_survives_a_restart_of_envoy():
    before = {SERVICE: {ENDPOINT: {"rq_total": 5, "rq_success": 5, "cx_total": 1}, "other:1": {"rq_total": 3}}}
    after = {SERVICE: {ENDPOINT: {"rq_total": 7, "rq_success": 6, "cx_total": 1}, "other:1": {"rq_total": 3}}}
    assert _probe.moved(before, after) == {SERVICE: {ENDPOINT: {"rq_total": 2, "rq_success": 1}}}
    fresh = {SERVICE: {ENDPOINT: {"rq_total": 1, "rq_success": 1, "cx_total": 0}}}
    assert _probe.moved(before, fresh)[SERVICE][ENDPOINT] == {"rq_total": 1, "rq_success": 1}
    assert _probe.moved(after, after) == {}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://workbench.lab.svc.cluster.local/", [SERVICE]),
        ("http://workbench.lab.svc:80/x", [SERVICE]),
        ("http://workbench.lab/", [SERVICE]),
        ("http://workbench.lab:81/", []),
        ("https://workbench.lab/", []),
        ("http://bench.lab/", []),
    ],
)
def test_clusters_for(url, expected):
    assert _probe.clusters_for(url, [SERVICE, "inbound|80||", "PassthroughCluster"]) == expected


def test_transports():
    assert _probe.transports(cluster_dump(), endpoint_dump()) == {ENDPOINT: _probe.Transport(True, [IDENTITY])}
    assert _probe.transports(cluster_dump(), endpoint_dump(tls=False)) == {ENDPOINT: _probe.Transport(False, [])}
    assert list(_probe.transports(cluster_dump(), endpoint_dump(host="fd00::7"))) == ["[fd00::7]:8080"]
    prefixed = cluster_dump([{"matcher": {"prefix": "spiffe://x/"}}])
    assert _probe.transports(prefixed, endpoint_dump())[ENDPOINT].identities == ["spiffe://x/*"]
    assert _probe.transports({}, {}) == {}


@pytest.mark.parametrize(
    ("expected", "fits"),
    [(IDENTITY, True), ("lab/workbench", True), ("lab/other", False), ("spiffe://other/ns/lab/sa/workbench", False)],
)
def test_identity_matches(expected, fits):
    assert _probe.identity_matches(expected, [IDENTITY]) is fits


def test_parse_server_info():
    node = _probe.parse_server_info(
        {
            "state": "LIVE",
            "node": {
                "id": "sidecar~10.88.0.21~vm1.chapter10vm~chapter10vm.svc.cluster.local",
                "metadata": {"NAMESPACE": "chapter10vm", "NETWORK": "network1", "AUTO_REGISTER_GROUP": "envoydummy"},
            },
        }
    )
    assert node.address == "10.88.0.21"
    assert (node.namespace, node.network, node.group) == ("chapter10vm", "network1", "envoydummy")
    assert _probe.parse_server_info({}).address == ""


def certificate(begins: str, ends: str) -> dict[str, t.Any]:
    chain = [{"subject_alt_names": [{"uri": IDENTITY}], "valid_from": begins, "expiration_time": ends}]
    other = [{"subject_alt_names": [{"dns": "x"}], "valid_from": begins, "expiration_time": "2099-01-01T00:00:00Z"}]
    return {"certificates": [{"ca_cert": [], "cert_chain": other}, {"cert_chain": chain}]}


@pytest.mark.parametrize(
    ("begins", "ends", "verdict"),
    [
        ("2026-11-23T12:00:00Z", "2026-11-24T12:00:00Z", "ok"),
        ("2026-11-22T20:00:00Z", "2026-11-23T20:00:00.123Z", "rotation_broken"),
        ("2026-11-21T12:00:00Z", "2026-11-22T12:00:00Z", "expired"),
        ("2026-11-23T16:00:00Z", "2026-11-24T16:00:00Z", "not_yet_valid"),
    ],
)
def test_certificate(begins, ends, verdict):
    now = datetime.datetime(2026, 11, 23, 15, 0, 0, tzinfo=datetime.UTC)
    found = _probe.parse_certificate(certificate(begins, ends), now)
    assert found["verdict"] == verdict
    assert found["identity"] == IDENTITY
    assert bool(found["evidence"]) == (verdict != "ok")


def test_no_certificate():
    now = datetime.datetime.now(datetime.UTC)
    assert _probe.parse_certificate({"certificates": []}, now)["verdict"] == "missing"


def judge(grown: _probe.Clusters, status: int | None = 200, tls: bool = True, **target: t.Any) -> dict[str, t.Any]:
    sans = target.pop("sans", None)
    return _probe.judge_target(
        {"url": "http://workbench.lab.svc.cluster.local/", **target},
        {"status": status, "error": "timed out"},
        grown,
        lambda name: _probe.transports(cluster_dump(sans), endpoint_dump(tls)),
    )


ANSWERED = {SERVICE: {ENDPOINT: {"rq_total": 1, "rq_success": 1}}}


def test_target_ok():
    verdict = judge(ANSWERED, identity="lab/workbench")
    assert verdict["ok"]
    assert verdict["through_mesh"]
    assert verdict["peer_identity"] == IDENTITY
    assert verdict["cluster"] == SERVICE
    assert verdict["endpoints"] == [ENDPOINT]
    assert verdict["evidence"] == ""


def test_target_over_plain_tcp_counts_connections():
    assert judge({SERVICE: {ENDPOINT: {"rq_total": 1, "cx_total": 1}}})["ok"]


def test_target_that_a_route_sends_to_one_other_service():
    routed = {"outbound|80|v2|other.lab.svc.cluster.local": ANSWERED[SERVICE]}
    assert judge(routed)["ok"]
    assert judge({**routed, "PassthroughCluster": {"1.2.3.4:80": {"cx_total": 1}}})["verdict"] == "not_through_mesh"
    two = {**routed, "outbound|80||third.lab.svc.cluster.local": ANSWERED[SERVICE]}
    assert judge(two)["verdict"] == "not_through_mesh"


@pytest.mark.parametrize(
    ("grown", "options", "reason", "evidence"),
    [
        ({}, {}, "not_through_mesh", "no outbound endpoint"),
        ({"PassthroughCluster": {"1.2.3.4:80": {"cx_total": 1}}}, {}, "not_through_mesh", "PassthroughCluster"),
        ({}, {"status": None}, "request_failed", "timed out"),
        ({SERVICE: {ENDPOINT: {"cx_total": 1}}}, {"status": None}, "request_failed", "timed out"),
        (
            {SERVICE: {ENDPOINT: {"cx_total": 2, "cx_connect_fail": 2, "rq_error": 1}}},
            {"status": 503},
            "connection_failed",
            ENDPOINT,
        ),
        ({SERVICE: {ENDPOINT: {"rq_total": 1, "rq_error": 1}}}, {"status": 503}, "bad_status", "503"),
        (ANSWERED, {"status": 404}, "bad_status", "404"),
        (ANSWERED, {"tls": False}, "plaintext", ENDPOINT),
        (ANSWERED, {"sans": []}, "no_identity", "SPIFFE"),
        (ANSWERED, {"identity": "lab/other"}, "wrong_identity", "lab/other"),
    ],
)
def test_target_reasons(grown, options, reason, evidence):
    verdict = judge(grown, **options)
    assert verdict["verdict"] == reason
    assert not verdict["ok"]
    assert evidence in verdict["evidence"]
    assert verdict["next_step"]


def test_target_may_expect_an_odd_status():
    assert judge(ANSWERED, status=401)["verdict"] == "bad_status"
    verdict = _probe.judge_target(
        {"url": "http://workbench.lab/", "status": [401]},
        {"status": 401},
        ANSWERED,
        lambda name: _probe.transports(cluster_dump(), endpoint_dump()),
    )
    assert verdict["ok"]
