# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of Prometheus's configuration and rules, as far as they need no Prometheus; promtool has them in tests/lab."""

from __future__ import annotations

import re

import pytest
import yaml
from ansible_collections.hybridmesh.istio.plugins.module_utils import _observability_config as config
from ansible_collections.hybridmesh.istio.plugins.module_utils import _observability_rules as rules
from ansible_collections.hybridmesh.istio.plugins.modules.observability import OPTIONS


def params(**more):
    return {**{name: option.get("default") for name, option in OPTIONS.items()}, **more}


def relabelled(job, labels):
    """What Prometheus makes of a target's labels; None where it drops it. Only what is used here."""
    labels = dict(labels)
    for step in job["relabel_configs"]:
        value = ";".join(labels.get(name, "") for name in step["source_labels"])
        match = re.fullmatch(step.get("regex", "(.*)"), value)
        action = step.get("action", "replace")
        if action in ("keep", "drop"):
            if bool(match) != (action == "keep"):
                return None
        elif match:
            replacement = step.get("replacement", "$1").replace("$1", match.group(1) or "")
            labels[step["target_label"]] = replacement
    return {name: value for name, value in labels.items() if not name.startswith("__meta") and value}


def job(name, **more):
    return next(item for item in config.scrape_configs(params(**more)) if item["job_name"] == name)


META = "__meta_kubernetes_pod_"
PROXY = {
    "__meta_kubernetes_namespace": "shop",
    f"{META}name": "web-1",
    f"{META}ip": "10.1.2.3",
    f"{META}phase": "Running",
    f"{META}container_name": "istio-proxy",
    f"{META}container_port_name": "http-envoy-prom",
    f"{META}label_app": "web",
    f"{META}label_version": "v1",
}


def test_a_pod_is_scraped_at_its_agent():
    assert relabelled(job(config.PODS), PROXY) == {
        "__address__": "10.1.2.3:15020",
        "namespace": "shop",
        "pod": "web-1",
        "app": "web",
        "version": "v1",
    }
    named = {f"{META}label_service_istio_io_canonical_name": "canon", f"{META}ip": "fd00::7"}
    found = relabelled(job(config.PODS), {**PROXY, **named})
    assert (found["app"], found["__address__"]) == ("canon", "[fd00::7]:15020")


@pytest.mark.parametrize(
    "other",
    [
        {f"{META}container_name": "web"},
        {f"{META}container_port_name": "http"},
        {f"{META}phase": "Succeeded"},
    ],
)
def test_what_is_no_proxy_is_not_scraped(other):
    assert relabelled(job(config.PODS), {**PROXY, **other}) is None


def test_istiod_is_scraped_in_its_namespace():
    found = job(config.ISTIOD, istio_namespace="mesh")
    assert found["kubernetes_sd_configs"][0]["namespaces"]["names"] == ["mesh"]
    istiod = {f"{META}label_app": "istiod", f"{META}container_port_name": "http-monitoring", f"{META}phase": "Running"}
    assert relabelled(found, {**istiod, f"{META}label_istio_io_rev": "canary"}) == {"revision": "canary"}
    assert relabelled(found, {**istiod, f"{META}container_port_name": "grpc"}) is None


def test_what_the_user_adds():
    made = config.config(
        params(
            alertmanagers=["a:9093"],
            external_labels={"cluster": 1},
            extra_scrape_configs=[{"job_name": "own"}],
            scrape_interval="7s",
        )
    )
    assert made["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] == ["a:9093"]
    assert made["global"] == {"scrape_interval": "7s", "evaluation_interval": "7s", "external_labels": {"cluster": "1"}}
    assert made["scrape_configs"][-1] == {"job_name": "own"}
    assert "alerting" not in config.config(params())
    assert yaml.safe_load(config.text(made)) == made
    assert rules.groups(params(extra_rule_groups=[{"name": "own", "rules": []}]))[-1]["name"] == "own"


def alerts(**more):
    return {rule["alert"]: rule for group in rules.groups(params(**more)) for rule in group["rules"]}


def test_every_alert_says_what_to_know():
    for name, rule in alerts().items():
        assert name.startswith("Mesh")
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"].endswith((".", "it."))
        assert rule["expr"].count("(") == rule["expr"].count(")")
        # What Python's format strings leave behind.
        assert "{{{" not in str(rule)


def test_thresholds_are_in_the_rules():
    found = alerts(
        disconnected_for="9m",
        gone_window="44m",
        certificate_warning_hours=1.5,
        certificate_critical_hours=0.5,
        skew_for="2w",
    )
    assert found["MeshMachineDown"]["for"] == found["MeshMachineDisconnected"]["for"] == "9m"
    assert "[44m]" in found["MeshMachineGone"]["expr"]
    assert found["MeshCertificateOld"]["expr"].endswith("< 5400")
    assert found["MeshCertificateExpiring"]["expr"].endswith("< 1800")
    assert found["MeshVersionSkew"]["for"] == "2w"


def test_autoscaled_groups_are_left_out():
    assert alerts()["MeshMachineGone"]["expr"].count("unless") == 1
    expression = alerts(autoscaled_groups=["shop/a", "shop/b"])["MeshMachineGone"]["expr"]
    assert expression.count("unless on (namespace, group)") == 2
    assert 'namespace="shop",group="b"' in expression
