# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what is refused of an observability's options."""

from __future__ import annotations

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._observability_checks import check
from ansible_collections.hybridmesh.istio.plugins.modules.observability import OPTIONS


def params(**more):
    return {**{name: option.get("default") for name, option in OPTIONS.items()}, "discovery_script": "pass", **more}


def test_the_defaults_are_right():
    check(params())


@pytest.mark.parametrize(
    "fine",
    [
        {"retention": "1w2d3h"},
        {"scrape_interval": "500ms"},
        {"retention_size": "8GB", "storage_size": "10Gi", "storage_class": "fast"},
        {"alertmanagers": ["alertmanager.monitoring:9093", "[fd00::1]:9093"]},
        {"autoscaled_groups": ["shop/workers"]},
        {"prometheus": False, "prometheus_url": "https://prometheus.example:9090/base"},
        {"kiali": False},
        {"extra_scrape_configs": [{"job_name": "nodes"}], "extra_rule_groups": [{"name": "own", "rules": []}]},
        # Whatever else is wrong: what is to go, goes.
        {"state": "absent", "retention": "nonsense"},
    ],
)
def test_what_is_taken(fine):
    check(params(**fine))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"prometheus": False, "kiali": False}, "neither prometheus nor kiali"),
        ({"prometheus": False}, "prometheus_url names none"),
        ({"prometheus_url": "prometheus:9090"}, "prometheus_url is 'prometheus:9090'"),
        ({"discovery_script": "  "}, "discovery_script is empty"),
        ({"retention": "15"}, "retention is '15'"),
        ({"retention": "0d"}, "retention is '0d'"),
        ({"scrape_interval": "1.5s"}, "scrape_interval is '1.5s'"),
        ({"disconnected_for": "1s1m"}, "disconnected_for is '1s1m'"),
        ({"gone_window": ""}, "gone_window is ''"),
        ({"skew_for": "-1d"}, "skew_for is '-1d'"),
        ({"retention_size": "8GiB"}, "retention_size is '8GiB'"),
        ({"storage_class": "fast"}, "storage_class is set"),
        ({"sidecar_port": 0}, "sidecar_port is 0"),
        ({"certificate_critical_hours": 12.0}, "certificate_critical_hours is 12"),
        ({"certificate_critical_hours": 0.0}, "certificate_critical_hours is 0"),
        ({"autoscaled_groups": ["workers"]}, "'workers' in autoscaled_groups"),
        ({"autoscaled_groups": ['shop/w"}']}, "in autoscaled_groups"),
        ({"alertmanagers": ["http://alertmanager:9093"]}, "in alertmanagers"),
        ({"extra_scrape_configs": [{}]}, "job_name None"),
        ({"extra_scrape_configs": [{"job_name": "istiod"}]}, "job_name 'istiod'"),
        ({"extra_scrape_configs": [{"job_name": "a"}, {"job_name": "a"}]}, "job_name 'a'"),
        ({"extra_rule_groups": [{"name": "mesh-own", "rules": []}]}, "'mesh-own'"),
        ({"extra_rule_groups": [{"name": "own"}]}, "'own'"),
    ],
)
def test_what_is_refused(wrong, told):
    with pytest.raises(MeshError) as caught:
        check(params(**wrong))
    assert told in caught.value.found
    assert caught.value.expected
    assert caught.value.next_step
