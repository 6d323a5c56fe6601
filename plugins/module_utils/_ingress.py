# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ingress gateway as data: what is installed, and which Gateways use it. Pure."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _gateway_spec
from ansible_collections.hybridmesh.istio.plugins.module_utils._cluster import Mesh
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Object

# The proxy listens above 1023, as it is not root.
PORTS: tuple[dict[str, t.Any], ...] = (
    {"name": "http2", "port": 80, "targetPort": 8080},
    {"name": "https", "port": 443, "targetPort": 8443},
)


@dataclasses.dataclass
class Options(_gateway_spec.Common):
    """What is asked for; the module's documentation has the meaning of each."""

    name: str = "istio-ingressgateway"
    ports: t.Sequence[t.Mapping[str, t.Any]] = PORTS
    labels: t.Mapping[str, str] = dataclasses.field(default_factory=lambda: {"istio": "ingressgateway"})

    @property
    def selector(self) -> dict[str, str]:
        """The labels of its Pods."""
        return {"app": self.name, **self.labels}


def check_options(options: Options) -> None:
    """Refuses what can't work, before anything is read or done.

    Raises:
        MeshError: an option is no range, or contradicts another.
    """
    _gateway_spec.check_options(options)
    if not options.ports:
        raise MeshError("ports is empty", "at least one port", "give name, port and targetPort")
    for key in ("name", "port"):
        given = [port[key] for port in options.ports]
        twice = sorted({str(value) for value in given if given.count(value) > 1})
        if twice:
            raise MeshError(
                f"several ports have the {key} {', '.join(twice)}", f"each port has a {key} of its own", "correct ports"
            )


def installation_name(options: Options, istio_namespace: str) -> str:
    """What tells this installation from other gateways' of the same istiod."""
    return options.name if options.namespace == istio_namespace else f"{options.name}.{options.namespace}"


def charts_labels(options: Options) -> dict[str, str]:
    """The labels beside `app`, as Istio's chart has them: there is always one called istio."""
    return {"istio": options.name.removeprefix("istio-"), **options.labels}


def service_ports(options: Options) -> list[Object]:
    """The Service's ports."""
    return [
        {
            "name": port["name"],
            "port": port["port"],
            "targetPort": port.get("targetPort") or port["port"],
            "protocol": port.get("protocol") or "TCP",
        }
        for port in options.ports
    ]


def spec(options: Options, mesh: Mesh) -> Object:
    """The IstioOperator's spec; mesh ID, cluster name and network are those of istiod."""
    return _gateway_spec.operator_spec(options, mesh, options.selector, service_ports(options))


def users(options: Options, gateways: t.Iterable[t.Mapping[str, t.Any]]) -> list[str]:
    """The Gateways of Istio whose selector picks this gateway's Pods, as `namespace/name`."""
    found = []
    for item in gateways:
        selector = (item.get("spec") or {}).get("selector") or {}
        if selector and selector.items() <= options.selector.items():
            found.append("{namespace}/{name}".format(**item["metadata"]))
    return sorted(found)


def judge_removal(options: Options, used_by: t.Sequence[str]) -> None:
    """Refuses to take a gateway away that is in use.

    Raises:
        MeshError: some Gateway selects it.
    """
    if used_by:
        raise MeshError(
            f"the gateway {options.namespace}/{options.name} is to be removed, and is used by Gateway {', '.join(used_by)}",
            "a gateway that nobody uses",
            "remove these Gateways first (where the role traffic made them, by taking them out of its rules)",
        )
