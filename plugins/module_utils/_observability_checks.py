# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of an observability's options is refused, before anything changes. Pure. Private to the collection."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _observability_config
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

Params = t.Mapping[str, t.Any]

# As Prometheus has it: parts from years to milliseconds, each at most once and in that order.
_DURATION = re.compile(r"^(?=\d)(\d+y)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$")
_SIZE = re.compile(r"^\d+(B|KB|MB|GB|TB|PB|EB)$")
_GROUP = re.compile(r"^[a-z0-9][a-z0-9-]*/[a-z0-9][a-z0-9.-]*$")
_ALERTMANAGER = re.compile(r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9_.-]+):\d+$")
_URL = re.compile(r"^https?://[^/\s]+")

DURATIONS = ("scrape_interval", "retention", "disconnected_for", "gone_window", "skew_for")


def _refuse(found: str, expected: str, next_step: str) -> t.NoReturn:
    raise MeshError(found, expected, next_step)


def _durations(params: Params) -> None:
    for name in DURATIONS:
        value = str(params[name])
        if not _DURATION.match(value) or not re.search(r"[1-9]", value):
            _refuse(
                f"{name} is {value!r}",
                "a duration above zero as Prometheus has it: a number with ms, s, m, h, d, w or y, such as 30s, 1h30m or 15d",
                f"correct {name}",
            )


def _certificates(params: Params) -> None:
    warning, critical = params["certificate_warning_hours"], params["certificate_critical_hours"]
    if not 0 < critical < warning:
        _refuse(
            f"certificate_critical_hours is {critical:g} and certificate_warning_hours is {warning:g}",
            "0 < critical < warning: hours that a certificate is still valid for",
            "correct one of them",
        )


def _lists(params: Params) -> None:
    for group in params["autoscaled_groups"]:
        if not _GROUP.match(group):
            _refuse(f"{group!r} in autoscaled_groups", "groups as NAMESPACE/NAME", "correct it")
    for address in params["alertmanagers"]:
        if not _ALERTMANAGER.match(address):
            _refuse(f"{address!r} in alertmanagers", "addresses as HOST:PORT, without a scheme", "correct it")
    known = [
        _observability_config.ISTIOD,
        _observability_config.PODS,
        _observability_config.MACHINES,
        _observability_config.DISCOVERY,
        _observability_config.ITSELF,
    ]
    for config in params["extra_scrape_configs"]:
        name = config.get("job_name")
        if not name or name in known:
            _refuse(
                f"a scrape configuration with the job_name {name!r} in extra_scrape_configs",
                "a job_name, and none that there is already",
                "give it another one",
            )
        known.append(name)
    names: list[str] = []
    for group in params["extra_rule_groups"]:
        name = group.get("name")
        if not name or name in names or name.startswith("mesh-") or not isinstance(group.get("rules"), list):
            _refuse(
                f"a group of rules with the name {name!r} in extra_rule_groups",
                "a name that is there once and does not begin with mesh-, and a list of rules",
                "correct it",
            )
        names.append(name)


def check(params: Params) -> None:
    """Refuses what can't be.

    Raises:
        MeshError: an option is wrong, or two do not go together.
    """
    if params["state"] == "absent":
        return
    if not params["prometheus"] and not params["kiali"]:
        _refuse(
            "neither prometheus nor kiali is wanted",
            "at least one of them",
            "set one of them to true, or state to absent to remove both",
        )
    if params["prometheus_url"] is not None and not _URL.match(params["prometheus_url"]):
        _refuse(f"prometheus_url is {params['prometheus_url']!r}", "a URL with http or https", "correct it")
    if params["kiali"] and not params["prometheus"] and not params["prometheus_url"]:
        _refuse(
            "kiali is wanted, prometheus is not, and prometheus_url names none",
            "a Prometheus for Kiali to read from",
            "set prometheus_url to yours, or prometheus to true",
        )
    if params["prometheus"] and not params["discovery_script"].strip():
        _refuse("discovery_script is empty", "the program of the role observability", "leave it to the role")
    if params["retention_size"] is not None and not _SIZE.match(params["retention_size"]):
        _refuse(
            f"retention_size is {params['retention_size']!r}",
            "a number with B, KB, MB, GB, TB, PB or EB, such as 8GB",
            "correct it",
        )
    if params["storage_class"] and not params["storage_size"]:
        _refuse(
            "storage_class is set, and storage_size is not", "both, or neither", "say how large the volume is to be"
        )
    if not 1 <= params["sidecar_port"] <= 65535:
        _refuse(f"sidecar_port is {params['sidecar_port']}", "a port", "correct it")
    _durations(params)
    _certificates(params)
    _lists(params)
