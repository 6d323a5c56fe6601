# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which traffic of a virtual machine its sidecar captures, as the variables of `istio-iptables`.

Private to the collection. Pure. The ports that the machine is managed by are never captured.
"""

from __future__ import annotations

import shlex
import typing as t

# Cloud providers' metadata service, by which a machine gets its identity, keys and time.
METADATA_ADDRESSES = ("169.254.169.254/32",)

# Variables that istio-iptables reads; what a group (proxyMetadata) or sidecar.env says about them is respected.
_PASSED_ON = (
    "CAPTURE_ALL_DNS",
    "DROP_INVALID",
    "DUAL_STACK",
    "ENVOY_PORT",
    "ENVOY_USER",
    "FORCE_IPTABLES_BINARY",
    "INBOUND_CAPTURE_PORT",
    "INBOUND_TUNNEL_PORT",
    "INVALID_DROP",
    "ISTIO_DUAL_STACK",
    "ISTIO_INBOUND_INTERCEPTION_MODE",
    "ISTIO_INBOUND_TPROXY_MARK",
    "ISTIO_INBOUND_TPROXY_ROUTE_TABLE",
    "ISTIO_META_DNS_CAPTURE",
    "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR",
    "ISTIO_OUTBOUND_OWNER_GROUPS",
    "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE",
    "ISTIO_OUTBOUND_PORTS",
    "KUBE_VIRT_INTERFACES",
    "NATIVE_NFTABLES",
    "REDIRECT_DNS",
)


def parse_environment(text: str) -> dict[str, str]:
    """The assignments of a file that a shell would source (KEY=value, quoted or not); anything else is left out."""
    values = {}
    for line in text.splitlines():
        name, separator, value = line.strip().partition("=")
        if name.startswith("export "):
            name = name[len("export ") :].strip()
        if not separator or not name.replace("_", "a").isalnum() or name.startswith("#"):
            continue
        try:
            words = shlex.split(value, comments=True)
        except ValueError:
            continue
        values[name] = words[0] if words else ""
    return values


def render_environment(values: t.Mapping[str, str]) -> str:
    """KEY=value lines, sorted, quoted so that both a shell and systemd's EnvironmentFile read the same."""
    lines = []
    for name in sorted(values):
        value = values[name]
        if "\n" in value or "'" in value:
            raise ValueError(f"the value of {name} holds a quote or a line break")
        plain = value and all(character.isalnum() or character in "-_.,:/*" for character in value)
        lines.append(f"{name}={value}" if plain and "*" not in value else f"{name}='{value}'")
    return "".join(line + "\n" for line in lines)


class Wanted(t.NamedTuple):
    """What the role wants captured, apart from what the group says."""

    management_ports: t.Sequence[int]
    inbound_ports: t.Sequence[str] | None = None
    exclude_inbound_ports: t.Sequence[int] = ()
    outbound_ranges: t.Sequence[str] = ("*",)
    exclude_outbound_ranges: t.Sequence[str] = ()
    exclude_outbound_ports: t.Sequence[int] = ()
    exclude_interfaces: t.Sequence[str] = ()
    environment: t.Mapping[str, str] = {}


def settings(group: t.Mapping[str, str], sidecar_env: t.Mapping[str, str], wanted: Wanted) -> dict[str, str]:
    """The environment of `istio-iptables` for one machine.

    Args:
        group: the variables of the group's cluster.env.
        sidecar_env: the variables of the machine's own sidecar.env.
        wanted: what the role adds.
    """
    values = {name: source[name] for source in (group, sidecar_env) for name in _PASSED_ON if name in source}
    closed = {int(port) for port in wanted.management_ports} | {int(port) for port in wanted.exclude_inbound_ports}
    from_group = group.get("ISTIO_LOCAL_EXCLUDE_PORTS", "22,15090,15021,15020")
    excluded = closed | {int(port) for port in from_group.split(",") if port.strip().isdigit()}
    asked = wanted.inbound_ports
    if asked is None:
        asked = [port for port in group.get("ISTIO_INBOUND_PORTS", "").split(",") if port]
    # With a list of ports istio-iptables ignores the excluded ones, so they are taken out of the list.
    inbound = sorted({int(port) for port in asked if port != "*"} - closed)
    values["ISTIO_INBOUND_PORTS"] = "*" if "*" in asked else ",".join(str(port) for port in inbound)
    values["ISTIO_LOCAL_EXCLUDE_PORTS"] = ",".join(str(port) for port in sorted(excluded))
    values["ISTIO_SERVICE_CIDR"] = ",".join(wanted.outbound_ranges)
    values["ISTIO_SERVICE_EXCLUDE_CIDR"] = ",".join(
        sorted(set(METADATA_ADDRESSES) | set(wanted.exclude_outbound_ranges))
    )
    if wanted.exclude_outbound_ports:
        values["ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE"] = ",".join(
            str(port) for port in sorted(wanted.exclude_outbound_ports)
        )
    if wanted.exclude_interfaces:
        values["ISTIO_EXCLUDE_INTERFACES"] = ",".join(sorted(wanted.exclude_interfaces))
    values.update(wanted.environment)
    return values
