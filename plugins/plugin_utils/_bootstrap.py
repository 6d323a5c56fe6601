# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that a virtual machine's sidecar starts from. Private to the collection.

Pure: what the cluster says goes in, text comes out. The text equals what `istioctl x workload entry configure` writes,
byte for byte, but for what istioctl does badly: the inbound ports are in order, a WorkloadGroup without ports does not
capture every port, `proxy.istio.io/config` annotations are merged, and there is always an address in `hosts`.
"""

from __future__ import annotations

import dataclasses
import json
import re
import typing as t

import yaml
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _goyaml, _goyaml_writer, _proxy_config
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._settings import Settings

PROXY_CONFIG_ANNOTATION = "proxy.istio.io/config"
CANONICAL_NAME = "service.istio.io/canonical-name"
CANONICAL_REVISION = "service.istio.io/canonical-revision"

# The order decides: the first label that is there wins.
_NAME_LABELS = (CANONICAL_NAME, "app.kubernetes.io/name", "app")
_REVISION_LABELS = (CANONICAL_REVISION, "app.kubernetes.io/version", "version")


@dataclasses.dataclass(frozen=True)
class Mesh:
    """What all groups of a mesh share.

    Attributes:
        istio_namespace: where istiod runs.
        revision: istiod's revision; '' or 'default' for an istiod without one.
        mesh_config: the text of the key `mesh` in istiod's config map.
        cluster_id: the cluster's name, as istiod's injector knows it; may be ''.
        gateway_addresses: the IP addresses at which VMs reach istiod; at least one.
        discovery_address: `host:port` at which VMs look for istiod, where that is neither what the mesh config nor what
            an annotation says; '' for what these say.
    """

    istio_namespace: str
    revision: str
    mesh_config: str
    cluster_id: str
    gateway_addresses: tuple[str, ...]
    discovery_address: str = ""


@dataclasses.dataclass(frozen=True)
class Group:
    """A WorkloadGroup and what belongs to it.

    Attributes:
        namespace: its namespace.
        name: its name.
        annotations: the object's own annotations.
        spec: its spec, as the API returns it.
        root_cert: the mesh's root certificates (PEM).
        service_ports: target ports of the Services that select the group's VMs; only used if the group has no ports.
    """

    namespace: str
    name: str
    annotations: t.Mapping[str, str]
    spec: t.Mapping[str, t.Any]
    root_cert: str
    service_ports: tuple[int, ...] = ()

    @property
    def template(self) -> t.Mapping[str, t.Any]:
        return self.spec.get("template") or {}

    @property
    def metadata(self) -> t.Mapping[str, t.Any]:
        return self.spec.get("metadata") or {}

    @property
    def service_account(self) -> str:
        return str(self.template.get("serviceAccount") or "default")

    @property
    def network(self) -> str:
        return str(self.template.get("network") or "")

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the group's VMs: those of the template override those of the metadata."""
        return {**(self.metadata.get("labels") or {}), **(self.template.get("labels") or {})}

    @property
    def ports(self) -> dict[str, int]:
        return dict(self.template.get("ports") or {})

    @property
    def probe_port(self) -> int | None:
        probe = self.spec.get("probe") or {}
        for method in ("httpGet", "tcpSocket", "grpc"):
            port = (probe.get(method) or {}).get("port")
            if port:
                return int(port)
        return None


def is_revisioned(revision: str) -> bool:
    return revision not in ("", "default")


def istiod_host(istio_namespace: str, revision: str) -> str:
    """The name by which VMs know istiod."""
    name = f"istiod-{revision}" if is_revisioned(revision) else "istiod"
    return f"{name}.{istio_namespace}.svc"


def files(mesh: Mesh, group: Group, settings: Settings) -> dict[str, str]:
    """The group's files by name: `cluster.env`, `mesh.yaml`, `root-cert.pem`, `hosts`.

    Raises:
        MeshError: the mesh config or an annotation holds what Istio can't read.
    """
    config = proxy_config(mesh, group, settings)
    return {
        "cluster.env": cluster_env(mesh, group, settings, config),
        "mesh.yaml": _goyaml_writer.dump({"defaultConfig": config}),
        "root-cert.pem": group.root_cert,
        "hosts": hosts(mesh),
    }


def hosts(mesh: Mesh) -> str:
    """A line for each address: resolvers take all of them, so the sidecar goes on to the next where one is dead."""
    name = istiod_host(mesh.istio_namespace, mesh.revision)
    return "".join(f"{address} {name}\n" for address in mesh.gateway_addresses)


def proxy_config(mesh: Mesh, group: Group, settings: Settings) -> dict[str, t.Any]:
    """The ProxyConfig of the group's VMs.

    Raises:
        MeshError: the mesh config or an annotation holds what Istio can't read.
    """
    source = "the mesh config (config map {}/istio{})".format(
        mesh.istio_namespace, f"-{mesh.revision}" if is_revisioned(mesh.revision) else ""
    )
    mesh_config = _yaml_mapping(mesh.mesh_config, source)
    config = _checked(source, lambda: _proxy_config.read("ProxyConfig", _either(mesh_config, "default_config")))
    if is_revisioned(mesh.revision) and not config.get("discoveryAddress"):
        config["discoveryAddress"] = istiod_host(mesh.istio_namespace, mesh.revision) + ":15012"

    metadata = dict(config.get("proxyMetadata") or {})
    for where, written in (
        ("metadata.annotations", group.annotations),
        ("spec.metadata.annotations", group.metadata.get("annotations") or {}),
    ):
        if PROXY_CONFIG_ANNOTATION in written:
            source = f"{where}['{PROXY_CONFIG_ANNOTATION}'] of WorkloadGroup {group.namespace}/{group.name}"
            overlay = _yaml_mapping(written[PROXY_CONFIG_ANNOTATION], source)
            config = _checked(source, lambda: _proxy_config.merge(config, overlay))  # noqa: B023
            metadata.update(config.get("proxyMetadata") or {})

    if mesh.discovery_address:
        config["discoveryAddress"] = mesh.discovery_address
    if settings.concurrency is not None:
        config["concurrency"] = settings.concurrency
    if settings.interception_mode:
        # Put back in its place by the writer; the default is left out, as Istio does.
        config.pop("interceptionMode", None)
        if settings.interception_mode != "REDIRECT":
            config["interceptionMode"] = settings.interception_mode
    metadata.update(settings.proxy_metadata)
    if settings.dual_stack:
        metadata["ISTIO_DUAL_STACK"] = "true"

    labels = group.labels
    name, revision = canonical_service(labels, group.name)
    labels[CANONICAL_NAME], labels[CANONICAL_REVISION] = name, revision
    metadata.update(
        {
            "CANONICAL_SERVICE": name,
            "CANONICAL_REVISION": revision,
            "POD_NAMESPACE": group.namespace,
            "SERVICE_ACCOUNT": group.service_account,
            "TRUST_DOMAIN": str(_either(mesh_config, "trust_domain") or ""),
            "ISTIO_META_CLUSTER_ID": mesh.cluster_id,
            "ISTIO_META_MESH_ID": config.get("meshId", ""),
            "ISTIO_META_NETWORK": group.network,
            "ISTIO_META_WORKLOAD_NAME": group.name,
            "ISTIO_METAJSON_LABELS": go_json(dict(sorted(labels.items()))),
        }
    )
    if group.ports:
        pod_ports = [
            {**({"name": port_name} if port_name else {}), "containerPort": port, "protocol": ""}
            for port_name, port in sorted(group.ports.items())
        ]
        metadata["ISTIO_META_POD_PORTS"] = go_json(pod_ports)
    if settings.capture_dns:
        metadata["ISTIO_META_DNS_CAPTURE"] = "true"
    if settings.autoregister:
        metadata["ISTIO_META_AUTO_REGISTER_GROUP"] = group.name
    config["proxyMetadata"] = metadata

    config.pop("readinessProbe", None)
    if group.spec.get("probe") is not None:
        source = f"spec.probe of WorkloadGroup {group.namespace}/{group.name}"
        config["readinessProbe"] = _checked(source, lambda: _proxy_config.read("ReadinessProbe", group.spec["probe"]))
    return config


def cluster_env(mesh: Mesh, group: Group, settings: Settings, config: t.Mapping[str, t.Any]) -> str:
    """The text of `cluster.env`, which the sidecar's start script sources."""
    excluded = "22,15090,15021"
    status_port = config.get("statusPort", 0)
    if status_port not in (15090, 15021):
        excluded += f",{status_port or 15020}"
    known = excluded.split(",")
    excluded = ",".join([*known, *(str(port) for port in settings.exclude_inbound_ports if str(port) not in known)])
    env = {
        **config["proxyMetadata"],
        "ISTIO_INBOUND_PORTS": _without(inbound_ports(group, settings.inbound_ports), settings.exclude_inbound_ports),
        "ISTIO_NAMESPACE": group.namespace,
        "ISTIO_SERVICE": f"{group.name}.{group.namespace}",
        "ISTIO_SERVICE_CIDR": ",".join(settings.include_outbound_ip_ranges),
        "ISTIO_LOCAL_EXCLUDE_PORTS": excluded,
        "SERVICE_ACCOUNT": group.service_account,
    }
    for variable, words in (
        ("ISTIO_SERVICE_EXCLUDE_CIDR", settings.exclude_outbound_ip_ranges),
        ("ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE", settings.exclude_outbound_ports),
        ("ISTIO_OUTBOUND_PORTS", settings.include_outbound_ports),
        ("ISTIO_EXCLUDE_INTERFACES", settings.exclude_interfaces),
    ):
        if words:
            env[variable] = ",".join(map(str, words))
    if settings.interception_mode:
        env["ISTIO_INBOUND_INTERCEPTION_MODE"] = settings.interception_mode
    if settings.native_nftables:
        env["NATIVE_NFTABLES"] = "true"
    if mesh.discovery_address:
        # The start script would otherwise have the CA at istiod's own name and port.
        env["CA_ADDR"] = mesh.discovery_address
    elif is_revisioned(mesh.revision):
        env["CA_ADDR"] = istiod_host(mesh.istio_namespace, mesh.revision) + ":15012"
    if settings.internal_ip:
        env["ISTIO_SVC_IP"] = settings.internal_ip
    elif settings.external_ip:
        env["ISTIO_SVC_IP"] = settings.external_ip
        env["REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION"] = "true"
    # What bash takes for no variable would stop the start script; such metadata is in mesh.yaml alone.
    lines = [f"{key}={shell_quote(value)}" for key, value in env.items() if _VARIABLE.fullmatch(key)]
    return "\n".join(sorted(lines)) + "\n"


def inbound_ports(group: Group, asked: str | None) -> str:
    """Which of the VM's ports go through the sidecar.

    What was asked for; else the group's ports; else the port of its probe and the target ports of its Services; and
    where there are none of these, none. istioctl would write `*` here, which takes every port of the VM, ssh's
    excepted, so `*` has to be asked for.
    """
    if asked is not None:
        return asked
    ports = set(group.ports.values())
    if not ports:
        ports.update(group.service_ports)
        if group.probe_port:
            ports.add(group.probe_port)
    return ",".join(str(port) for port in sorted(ports))


def _without(ports: str, excluded: t.Collection[int]) -> str:
    """A list of ports without some of them: istio-iptables looks at excluded ports only where the list is `*`."""
    if ports in ("", "*"):
        return ports
    return ",".join(port for port in ports.split(",") if int(port) not in excluded)


def canonical_service(labels: t.Mapping[str, str], fallback: str) -> tuple[str, str]:
    """Name and revision of the service that the workload is part of."""
    name = next((labels[key] for key in _NAME_LABELS if key in labels), fallback)
    return name, next((labels[key] for key in _REVISION_LABELS if key in labels), "latest")


# Meant to be \w, but what istioctl has is the letter w alone: nearly everything is quoted.
_UNSAFE = re.compile(r"[^w@%+=:,./-]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def shell_quote(text: str) -> str:
    """Quotes for bash as istioctl does, but for a backslash, which istioctl may leave bare, and bash then drops."""
    if not text:
        return "''"
    if _UNSAFE.search(text):
        return "'" + text.replace("'", "'\"'\"'") + "'"
    return text


def go_json(value: t.Any) -> str:
    """JSON as Go's library writes it: no blanks, and what HTML might trip over is escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _either(mapping: t.Mapping[str, t.Any], field: str) -> t.Any:
    """A field by its JSON name or, failing that, its protobuf name."""
    return mapping.get(_proxy_config.json_name(field), mapping.get(field))


def _yaml_mapping(text: str, source: str) -> dict[str, t.Any]:
    try:
        document = _goyaml.load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise MeshError(f"{source} is not valid YAML: {error}", "YAML", "correct it there") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise MeshError(f"{source} is no mapping", "a mapping", "correct it there")
    return document


_T = t.TypeVar("_T")


def _checked(source: str, read: t.Callable[[], _T]) -> _T:
    try:
        return read()
    except _proxy_config.FieldError as error:
        raise MeshError(
            f"{source}: {error}",
            f"{error.path} to be {error.expected}",
            "correct it there; Istio can't read it either",
        ) from error
