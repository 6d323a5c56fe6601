# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user chooses for the files of a WorkloadGroup, checked before anything is fetched. Private to the collection.

Pure. The names are those of the sidecar's own annotations (`traffic.sidecar.istio.io/excludeInboundPorts`, ...) and of
the flags of `istioctl x workload entry configure`. Which variable of a VM each becomes is in `_bootstrap.cluster_env`;
`istio-iptables` of Istio 1.24 to 1.31 reads these.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

# Written by the lookup itself; metadata of these names would say something else than the group and the cluster do.
COMPUTED = (
    "CANONICAL_SERVICE",
    "CANONICAL_REVISION",
    "POD_NAMESPACE",
    "SERVICE_ACCOUNT",
    "TRUST_DOMAIN",
    "ISTIO_META_CLUSTER_ID",
    "ISTIO_META_MESH_ID",
    "ISTIO_META_NETWORK",
    "ISTIO_META_WORKLOAD_NAME",
    "ISTIO_METAJSON_LABELS",
    "ISTIO_META_POD_PORTS",
    "ISTIO_META_DNS_CAPTURE",
    "ISTIO_META_AUTO_REGISTER_GROUP",
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the user chooses for a group.

    Attributes:
        inbound_ports: '' or ports, joined by ',', or '*' for all; None decides by the group (`_bootstrap.inbound_ports`).
        exclude_inbound_ports: ports whose incoming connections never go through the sidecar.
        exclude_outbound_ports: ports to which outgoing connections don't.
        include_outbound_ports: ports to which they do, wherever they go.
        include_outbound_ip_ranges: CIDR ranges to which outgoing connections go through the sidecar; `*` for all.
        exclude_outbound_ip_ranges: those to which they don't.
        exclude_interfaces: network interfaces that are left alone.
        interception_mode: '', 'REDIRECT' or 'TPROXY'.
        native_nftables: nftables' own rules in place of iptables'.
        dual_stack: IPv4 and IPv6 side by side.
        concurrency: Envoy's worker threads, 0 for all cores; None leaves it to the mesh.
        proxy_metadata: more variables of the proxy.
        internal_ip: the VM's address, if it is to be fixed in the file.
        external_ip: the VM's address as others see it, where that differs.
        autoregister: whether istiod makes the WorkloadEntry when the VM connects.
        capture_dns: whether DNS queries go to the sidecar.
    """

    inbound_ports: str | None = None
    exclude_inbound_ports: tuple[int, ...] = ()
    exclude_outbound_ports: tuple[int, ...] = ()
    include_outbound_ports: tuple[int, ...] = ()
    include_outbound_ip_ranges: tuple[str, ...] = ("*",)
    exclude_outbound_ip_ranges: tuple[str, ...] = ()
    exclude_interfaces: tuple[str, ...] = ()
    interception_mode: str = ""
    native_nftables: bool = False
    dual_stack: bool = False
    concurrency: int | None = None
    proxy_metadata: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    internal_ip: str = ""
    external_ip: str = ""
    autoregister: bool = True
    capture_dns: bool = True


def settings(option: t.Callable[[str], t.Any]) -> Settings:
    """The settings that a lookup's options describe.

    Args:
        option: gives an option's value by its name.

    Raises:
        MeshError: a value that the sidecar could not use.
    """
    internal_ip, external_ip = (_address(name, option(name)) for name in ("internal_ip", "external_ip"))
    if internal_ip and external_ip:
        raise MeshError(
            f"internal_ip {internal_ip} and external_ip {external_ip}", "one of them at most", "leave one out"
        )
    concurrency = option("concurrency")
    if concurrency is not None and concurrency < 0:
        raise MeshError(
            f"concurrency {concurrency}", "a number of threads, or 0 for one per core", "correct concurrency"
        )
    return Settings(
        inbound_ports=parse_ports(option("inbound_ports")),
        exclude_inbound_ports=_ports("exclude_inbound_ports", option),
        exclude_outbound_ports=_ports("exclude_outbound_ports", option),
        include_outbound_ports=_ports("include_outbound_ports", option),
        include_outbound_ip_ranges=_ranges("include_outbound_ip_ranges", option, all_allowed=True),
        exclude_outbound_ip_ranges=_ranges("exclude_outbound_ip_ranges", option),
        exclude_interfaces=_interfaces("exclude_interfaces", option),
        interception_mode=option("interception_mode") or "",
        native_nftables=bool(option("native_nftables")),
        dual_stack=bool(option("dual_stack")),
        concurrency=concurrency,
        proxy_metadata=_metadata(option("proxy_metadata")),
        internal_ip=internal_ip,
        external_ip=external_ip,
        autoregister=bool(option("autoregister")),
        capture_dns=bool(option("capture_dns")),
    )


def parse_ports(text: t.Any) -> str | None:
    """Ports as text, joined by ',' and in order; `*` for all, '' for none, None where nothing was said.

    Raises:
        MeshError: something in it is no port.
    """
    if text is None or str(text).strip() in ("", "*"):
        return None if text is None else str(text).strip()
    return ",".join(map(str, _port_numbers("inbound_ports", str(text).split(","), ", or *")))


def _port_numbers(name: str, words: t.Iterable[t.Any], also: str = "") -> tuple[int, ...]:
    ports = set()
    for word in (str(word).strip() for word in words):
        if not (word.isascii() and word.isdecimal() and 0 < int(word) < 65536):
            raise MeshError(f"{name} '{word}'", f"ports from 1 to 65535{also}", f"correct {name}")
        ports.add(int(word))
    return tuple(sorted(ports))


def _ports(name: str, option: t.Callable[[str], t.Any]) -> tuple[int, ...]:
    return _port_numbers(name, option(name) or ())


def _ranges(name: str, option: t.Callable[[str], t.Any], all_allowed: bool = False) -> tuple[str, ...]:
    words = [str(word).strip() for word in option(name) or ()]
    if all_allowed and words == ["*"]:
        return ("*",)
    found = []
    for word in words:
        try:
            found.append(str(ipaddress.ip_network(word)))
        except ValueError as error:
            raise MeshError(
                f"{name} '{word}': {error}",
                "ranges such as 10.0.0.0/8 or 2001:db8::/32" + (", or * alone for all" if all_allowed else ""),
                f"correct {name}",
            ) from error
    return tuple(dict.fromkeys(found))


def _interfaces(name: str, option: t.Callable[[str], t.Any]) -> tuple[str, ...]:
    words = [str(word).strip() for word in option(name) or ()]
    for word in words:
        # What Linux allows (dev_valid_name), without the comma that separates them.
        if not re.fullmatch(r"[^\s/:,]{1,15}", word) or word in (".", ".."):
            raise MeshError(f"{name} '{word}'", "names of network interfaces, such as docker0", f"correct {name}")
    return tuple(dict.fromkeys(words))


def _address(name: str, value: t.Any) -> str:
    text = str(value or "").strip()
    if not text:
        return ""
    try:
        # As it was written: istioctl takes it so, and the VM registers under that text.
        ipaddress.ip_address(text)
    except ValueError as error:
        raise MeshError(f"{name} '{text}'", "an IP address, without a zone or a port", f"correct {name}") from error
    if "%" in text:
        raise MeshError(f"{name} '{text}' has a zone", "an IP address without one", f"correct {name}")
    return text


def _metadata(value: t.Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, text in (value or {}).items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", str(name)):
            raise MeshError(
                f"proxy_metadata has the name '{name}'",
                "names of variables: letters, digits and _, no digit first",
                "correct proxy_metadata",
            )
        if name in COMPUTED:
            raise MeshError(
                f"proxy_metadata has {name}, which follows from the WorkloadGroup and the cluster",
                "other names",
                "change it there (labels, ports, network, serviceAccount, ...) or use the lookup's option for it",
            )
        if not isinstance(text, str):
            raise MeshError(
                f"proxy_metadata's {name} is {text!r}", "text", f'put it in quotes: {name}: "{str(text).lower()}"'
            )
        if "\0" in text:
            raise MeshError(f"proxy_metadata's {name} holds a null character", "text", "remove it")
        found[str(name)] = text
    return found
