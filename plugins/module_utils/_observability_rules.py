# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The alert rules of a mesh with virtual machines. Pure. Private to the collection.

Each of them is about metrics that the sidecars, istiod or the discovery beside Prometheus really have.
"""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._observability_config import (
    DISCOVERY,
    ISTIOD,
    ITSELF,
    MACHINES,
    PODS,
)

Params = t.Mapping[str, t.Any]
Rule = t.Dict[str, t.Any]

# So long a rejected configuration is told after it was rejected.
_REJECTED_WINDOW = "10m"
# So long the list of machines may be without an answer of the API server (seconds).
_STALE_AFTER = 600


def _alert(name: str, expression: str, severity: str, lasting: str | None, summary: str, description: str) -> Rule:
    rule: Rule = {"alert": name, "expr": expression}
    if lasting:
        rule["for"] = lasting
    rule["labels"] = {"severity": severity}
    rule["annotations"] = {"summary": summary, "description": description}
    return rule


def _without(groups: t.Sequence[str], window: str) -> str:
    """What leaves machines of autoscaled groups out, of which there may be none any more."""
    left_out = ""
    for group in groups:
        namespace, _slash, name = group.partition("/")
        selector = f'{{job="{MACHINES}",namespace="{namespace}",group="{name}"}}'
        left_out += f" unless on (namespace, group) max_over_time(up{selector}[{window}])"
    return left_out


def _machines(params: Params) -> list[Rule]:
    lasting, window = params["disconnected_for"], params["gone_window"]
    machine = "{{ $labels.namespace }}/{{ $labels.entry }}"
    here = f'up{{job="{MACHINES}"}}'
    gone = f"max by (namespace, group, app, entry, instance) (max_over_time({here}[{window}])) unless on (namespace, entry) {here}"
    gone += _without(params["autoscaled_groups"], window)
    return [
        _alert(
            "MeshMachineDown",
            f"{here} == 0",
            "critical",
            lasting,
            f"The sidecar of {machine} does not answer",
            f"istiod still has the virtual machine {machine} ({{{{ $labels.instance }}}}), and its sidecar can't be asked for metrics:"
            " it is stopped, the machine is off, or a firewall is between Prometheus and it. Next: the playbook diagnose.",
        ),
        _alert(
            "MeshMachineDisconnected",
            "mesh_machine_connected == 0",
            "critical",
            lasting,
            f"{machine} is not connected to istiod",
            f"The WorkloadEntry of the virtual machine {machine} ({{{{ $labels.address }}}}) says that it is disconnected. It gets no"
            " configuration and no certificate any more. Next: the playbook diagnose.",
        ),
        _alert(
            "MeshMachineGone",
            gone,
            "critical",
            None,
            f"{machine} is gone from the mesh",
            f"The virtual machine {machine} ({{{{ $labels.instance }}}}) was in the mesh within the last {window}, and its"
            " WorkloadEntry is not there any more: istiod removes it when the sidecar stays away. Groups whose machines come and go"
            f" by themselves belong into observability_autoscaled_groups. The alert ends after {window}, or when it is back.",
        ),
        _alert(
            "MeshMachineUnhealthy",
            "mesh_machine_healthy == 0",
            "warning",
            lasting,
            f"{machine} gets no requests, as its health probe fails",
            f"The WorkloadEntry of the virtual machine {machine} ({{{{ $labels.address }}}}) is connected and not healthy. Next: see"
            " whether the application answers on the port of the group's probe.",
        ),
    ]


def _certificates(params: Params) -> list[Rule]:
    proxy = "{{ $labels.namespace }}/{{ $labels.entry }}{{ $labels.pod }}"
    left = f'istio_agent_cert_expiry_seconds{{job=~"{MACHINES}|{PODS}"}}'
    told = "{{ $value | humanizeDuration }}"

    def rule(name: str, hours: float, severity: str) -> Rule:
        return _alert(
            name,
            f"{left} < {hours * 3600:g}",
            severity,
            "5m",
            f"The certificate of {proxy} was not renewed in time",
            f"It is valid for another {told}. A sidecar renews its certificate when half of its life is over, so renewal does not work:"
            " see its log, and whether it reaches istiod. Without a valid certificate it is out of the mesh.",
        )

    return [
        rule("MeshCertificateOld", params["certificate_warning_hours"], "warning"),
        rule("MeshCertificateExpiring", params["certificate_critical_hours"], "critical"),
    ]


def _rose(metric: str, by: str) -> str:
    return f"sum by ({by}) (increase({metric}[{_REJECTED_WINDOW}])) > 0"


def _rejected() -> list[Rule]:
    by = "namespace, app, entry, pod, instance"
    proxy = "{{ $labels.namespace }}/{{ $labels.entry }}{{ $labels.pod }}"
    jobs = f'{{job=~"{MACHINES}|{PODS}"}}'
    both = []
    for name in ("envoy_cluster_manager_cds_update_rejected", "envoy_listener_manager_lds_update_rejected"):
        # A proxy that has only just started may have rejected something before it was scraped for the first time.
        young = f"{name}{jobs} and on (instance) envoy_server_uptime{jobs} < 600"
        both.append(f"{_rose(name + jobs, by)} or sum by ({by}) ({young}) > 0")
    # istiod has this counter only since it was needed. One that Prometheus has only just begun to look at says nothing.
    total = "pilot_total_xds_rejects"
    new = f'{total} unless {total} offset 2m and on (instance) up{{job="{ISTIOD}"}} offset 2m'
    counted = f"{_rose(total, 'type')} or sum by (type) (max_over_time(({new})[{_REJECTED_WINDOW}:1m])) > 0"
    return [
        _alert(
            "MeshConfigurationRejected",
            " or ".join(both),
            "warning",
            None,
            f"The proxy of {proxy} rejected a configuration",
            "It goes on with the one it had before, so what was changed has no effect there. Its log has the reason, and so has"
            " `istioctl proxy-status`. Often an EnvoyFilter, or a sidecar that is older than what it is told.",
        ),
        _alert(
            "MeshConfigurationRejectedByProxies",
            counted,
            "warning",
            None,
            "Proxies reject what istiod sends ({{ $labels.type }})",
            "istiod counts rejections of all proxies, routes and endpoints included. Its log names them.",
        ),
    ]


def _minor(vector: str, label: str) -> str:
    return f'label_replace({vector}, "minor", "$1", "{label}", "v?([0-9]+[.][0-9]+).*")'


def _skew(params: Params) -> list[Rule]:
    exact = params["skew"] == "exact"
    on = "version" if exact else "minor"
    istiods = f'istio_build{{job="{ISTIOD}",component="pilot"}}'
    connected = f'pilot_xds{{job="{ISTIOD}",version=~"v?[0-9]+[.][0-9]+.*"}}'
    proxies = f'istio_build{{job=~"{MACHINES}|{PODS}",component="proxy"}}'
    if exact:
        reference = f'label_replace({istiods}, "version", "$1", "tag", "(.*)")'
        seen, named = connected, f'label_replace({proxies}, "version", "$1", "tag", "(.*)")'
    else:
        reference, seen, named = _minor(istiods, "tag"), _minor(connected, "version"), _minor(proxies, "tag")
    rest = "istiod of the same minor" if not exact else "istiod of the same version"
    return [
        _alert(
            "MeshVersionSkew",
            f"sum by (version, minor) ({seen}) > 0 unless on ({on}) {reference}",
            "warning",
            params["skew_for"],
            "Proxies of version {{ $labels.version }} are connected ({{ $value }} of them), and no istiod is of it",
            f"There is no {rest}. Istio supports proxies that are one minor behind istiod, and none ahead of it. Next: the playbook"
            " upgrade for virtual machines, a restart for Pods; `istioctl proxy-status` lists them.",
        ),
        _alert(
            "MeshProxyVersionSkew",
            f"{named} unless on ({on}) {reference}",
            "warning",
            params["skew_for"],
            "The proxy of {{ $labels.namespace }}/{{ $labels.entry }}{{ $labels.pod }} is of version {{ $labels.tag }}, and no istiod is",
            f"There is no {rest}. Proxies tell their version where Istio's own metrics are on.",
        ),
    ]


def _monitoring() -> list[Rule]:
    return [
        _alert(
            "MeshIstiodDown",
            f'absent(up{{job="{ISTIOD}"}} == 1)',
            "critical",
            "2m",
            "No istiod can be asked for metrics",
            "Without istiod proxies go on as they are, and get neither changes nor certificates.",
        ),
        _alert(
            "MeshMachinesUnknown",
            f"time() - mesh_machine_synced_timestamp_seconds > {_STALE_AFTER} or absent(mesh_machine_synced_timestamp_seconds)",
            "warning",
            "5m",
            "Prometheus is not told which virtual machines there are",
            f"The discovery beside Prometheus (job {DISCOVERY}) has no answer from the API server. New machines are not scraped. Its log"
            " (container discovery) has the reason.",
        ),
        _alert(
            "MeshPrometheusConfigurationRejected",
            f'prometheus_config_last_reload_successful{{job="{ITSELF}"}} == 0',
            "warning",
            "5m",
            "Prometheus could not read its changed configuration",
            "It goes on with the one before. Its log has the reason.",
        ),
    ]


def groups(params: Params) -> list[dict[str, t.Any]]:
    """All groups of rules, the user's last."""
    named = {
        "mesh-machines": _machines(params),
        "mesh-certificates": _certificates(params),
        "mesh-configuration": _rejected(),
        "mesh-versions": _skew(params),
        "mesh-monitoring": _monitoring(),
    }
    return [{"name": name, "rules": rules} for name, rules in named.items()] + list(params["extra_rule_groups"])
