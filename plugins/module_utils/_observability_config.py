# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus scrapes in a mesh with virtual machines, as its configuration has it. Pure. Private to the collection."""

from __future__ import annotations

import contextlib
import hashlib
import typing as t

with contextlib.suppress(ImportError):  # told by _connection, with what to do
    import yaml

# Where things lie in Prometheus's Pod.
CONFIG_FOLDER = "/etc/prometheus"
RULES_FILE = "mesh-rules.yml"
TARGETS_FILE = "/var/run/mesh/machines.json"
DATA_FOLDER = "/prometheus"

# Names of the jobs. Rules and documentation speak of them.
ISTIOD, PODS, MACHINES, DISCOVERY, ITSELF = "istiod", "mesh-pods", "mesh-machines", "mesh-discovery", "prometheus"

PORT = 9090
# Of the discovery beside Prometheus, on the loopback address.
DISCOVERY_PORT = 9091
# Where a sidecar's agent serves Envoy's metrics, its own and the application's. Istio never captures what comes in here, so
# it is reached without mutual TLS, however strict a namespace is.
SIDECAR_PORT = 15020
SIDECAR_PATH = "/stats/prometheus"

Params = t.Mapping[str, t.Any]


def _label(source: str, target: str) -> dict[str, t.Any]:
    return {"source_labels": [source], "target_label": target}


def _keep(source: str, regex: str) -> dict[str, t.Any]:
    return {"source_labels": [source], "regex": regex, "action": "keep"}


_POD = "__meta_kubernetes_pod_"
# Both states of a name: where the Pod's label is there, it is the workload's name; else what an older one says.
_NAMES = [
    _label("__meta_kubernetes_namespace", "namespace"),
    _label(f"{_POD}name", "pod"),
    _label(f"{_POD}label_app", "app"),
    {
        "source_labels": [f"{_POD}label_service_istio_io_canonical_name"],
        "regex": "(.+)",
        "target_label": "app",
    },
    _label(f"{_POD}label_version", "version"),
    {
        "source_labels": [f"{_POD}label_service_istio_io_canonical_revision"],
        "regex": "(.+)",
        "target_label": "version",
    },
]


def _pods(namespaces: t.Sequence[str] = ()) -> list[dict[str, t.Any]]:
    found: dict[str, t.Any] = {"role": "pod"}
    if namespaces:
        found["namespaces"] = {"names": list(namespaces)}
    return [found]


def scrape_configs(params: Params) -> list[dict[str, t.Any]]:
    """Istiod, Pods with a sidecar, virtual machines, and Prometheus itself; then what the user adds."""
    running = {"source_labels": [f"{_POD}phase"], "regex": "Pending|Succeeded|Failed", "action": "drop"}
    return [
        {
            "job_name": ISTIOD,
            "kubernetes_sd_configs": _pods([params["istio_namespace"]]),
            "relabel_configs": [
                _keep(f"{_POD}label_app", "istiod"),
                _keep(f"{_POD}container_port_name", "http-monitoring"),
                running,
                _label("__meta_kubernetes_namespace", "namespace"),
                _label(f"{_POD}name", "pod"),
                {"source_labels": [f"{_POD}label_istio_io_rev"], "target_label": "revision"},
            ],
        },
        {
            "job_name": PODS,
            "metrics_path": SIDECAR_PATH,
            "kubernetes_sd_configs": _pods(),
            "relabel_configs": [
                # One target for each proxy: Envoy's own port is there once.
                _keep(f"{_POD}container_name", "istio-proxy"),
                _keep(f"{_POD}container_port_name", "http-envoy-prom"),
                running,
                {
                    "source_labels": [f"{_POD}ip"],
                    "regex": "([^:]+)",
                    "replacement": f"$1:{SIDECAR_PORT}",
                    "target_label": "__address__",
                },
                {
                    "source_labels": [f"{_POD}ip"],
                    "regex": "(.*:.*)",
                    "replacement": f"[$1]:{SIDECAR_PORT}",
                    "target_label": "__address__",
                },
                *_NAMES,
            ],
        },
        {
            "job_name": MACHINES,
            "metrics_path": SIDECAR_PATH,
            "file_sd_configs": [{"files": [TARGETS_FILE]}],
        },
        {
            "job_name": DISCOVERY,
            # What is said of machines has their labels; they are no labels of this target.
            "honor_labels": True,
            "static_configs": [{"targets": [f"127.0.0.1:{DISCOVERY_PORT}"]}],
        },
        {"job_name": ITSELF, "static_configs": [{"targets": [f"127.0.0.1:{PORT}"]}]},
        *params["extra_scrape_configs"],
    ]


def config(params: Params) -> dict[str, t.Any]:
    """Prometheus's configuration."""
    settings: dict[str, t.Any] = {
        "scrape_interval": params["scrape_interval"],
        "evaluation_interval": params["scrape_interval"],
    }
    if params["external_labels"]:
        settings["external_labels"] = {name: str(value) for name, value in params["external_labels"].items()}
    result: dict[str, t.Any] = {"global": settings, "rule_files": [f"{CONFIG_FOLDER}/{RULES_FILE}"]}
    if params["alertmanagers"]:
        result["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": list(params["alertmanagers"])}]}]}
    result["scrape_configs"] = scrape_configs(params)
    return result


def text(value: t.Any) -> str:
    """YAML as people write it."""
    return str(yaml.safe_dump(value, default_flow_style=False, sort_keys=False, width=140))


def digest(content: str) -> str:
    """What tells two contents apart, short enough for an annotation."""
    return hashlib.sha256(content.encode()).hexdigest()[:16]
