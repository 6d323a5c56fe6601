# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Istio's ProxyConfig, as far as it must be known to be read and written as Istio does. Private to the collection.

Istio keeps the settings of a proxy in a protobuf message. Reading one from YAML and writing it again is not the
identity: fields may come by two names, durations and enumerations have one written form, zero values are left out, and
what the message doesn't know is dropped. The table below says which fields there are (Istio 1.24 to 1.31).
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._durations import nanoseconds

_CLIENT_CERT = "UNDEFINED|SANITIZE|FORWARD_ONLY|APPEND_FORWARD|SANITIZE_SET|ALWAYS_FORWARD_ONLY"

# Message -> field (as in the protobuf file) -> type. `[x]` is a list, `{x}` a map from text, `?x` a wrapper whose zero
# value is written, `a|b` an enumeration (counted from 0), `=x` a member of the message's one-of (zero is written, too).
MESSAGES: dict[str, dict[str, str]] = {
    "ProxyConfig": {
        "config_path": "string",
        "binary_path": "string",
        "service_cluster": "=string",
        "tracing_service_name": "=APP_LABEL_AND_NAMESPACE|CANONICAL_NAME_ONLY|CANONICAL_NAME_AND_NAMESPACE",
        "drain_duration": "duration",
        "discovery_address": "string",
        "discovery_refresh_delay": "duration",
        "zipkin_address": "string",
        "statsd_udp_address": "string",
        "envoy_metrics_service_address": "string",
        "proxy_admin_port": "int32",
        "availability_zone": "string",
        "control_plane_auth_policy": "NONE|MUTUAL_TLS|1000:INHERIT",
        "custom_config_file": "string",
        "stat_name_length": "int32",
        "concurrency": "?int32",
        "proxy_bootstrap_template_path": "string",
        "interception_mode": "REDIRECT|TPROXY|NONE",
        "tracing": "Tracing",
        "sds": "SDS",
        "envoy_access_log_service": "RemoteService",
        "envoy_metrics_service": "RemoteService",
        "proxy_metadata": "{string}",
        "runtime_values": "{string}",
        "status_port": "int32",
        "extra_stat_tags": "[string]",
        "gateway_topology": "Topology",
        "termination_drain_duration": "duration",
        "mesh_id": "string",
        "readiness_probe": "ReadinessProbe",
        "proxy_stats_matcher": "ProxyStatsMatcher",
        "hold_application_until_proxy_starts": "?bool",
        "ca_certificates_pem": "[string]",
        "image": "ProxyImage",
        "private_key_provider": "PrivateKeyProvider",
        "proxy_headers": "ProxyHeaders",
        "file_flush_interval": "duration",
        "file_flush_min_size_kb": "uint32",
        "stats_compression": "?bool",
        "connection_settings": "ConnectionSettings",
    },
    "Tracing": {
        "zipkin": "=Zipkin",
        "lightstep": "=Lightstep",
        "datadog": "=Datadog",
        "stackdriver": "=Stackdriver",
        "open_census_agent": "=OpenCensusAgent",
        "custom_tags": "{CustomTag}",
        "max_path_tag_length": "uint32",
        "sampling": "double",
        "tls_settings": "ClientTLSSettings",
        "enable_istio_tags": "?bool",
    },
    "Zipkin": {"address": "string"},
    "Lightstep": {"address": "string", "access_token": "string"},
    "Datadog": {"address": "string"},
    "Stackdriver": {
        "debug": "bool",
        "max_number_of_attributes": "?int64",
        "max_number_of_annotations": "?int64",
        "max_number_of_message_events": "?int64",
    },
    "OpenCensusAgent": {
        "address": "string",
        "context": "[UNSPECIFIED|W3C_TRACE_CONTEXT|GRPC_BIN|CLOUD_TRACE_CONTEXT|B3]",
    },
    "CustomTag": {"literal": "=Literal", "environment": "=Environment", "header": "=RequestHeader"},
    "Literal": {"value": "string"},
    "Environment": {"name": "string", "default_value": "string"},
    "RequestHeader": {"name": "string", "default_value": "string"},
    "SDS": {"enabled": "bool", "k8s_sa_jwt_path": "string"},
    "Topology": {
        "num_trusted_proxies": "uint32",
        "forward_client_cert_details": _CLIENT_CERT,
        "proxy_protocol": "Empty",
    },
    "Empty": {},
    "PrivateKeyProvider": {"cryptomb": "=PollDelay", "qat": "=PollDelay"},
    "PollDelay": {"poll_delay": "duration", "fallback": "?bool"},
    "ProxyStatsMatcher": {
        "inclusion_prefixes": "[string]",
        "inclusion_suffixes": "[string]",
        "inclusion_regexps": "[string]",
    },
    "ProxyImage": {"image_type": "string"},
    "ProxyHeaders": {
        "forwarded_client_cert": _CLIENT_CERT,
        "set_current_client_cert_details": "ClientCertDetails",
        "request_id": "Disabled",
        "server": "Server",
        "attempt_count": "Disabled",
        "envoy_debug_headers": "Disabled",
        "metadata_exchange_headers": "MetadataExchangeHeaders",
        "preserve_http1_header_case": "?bool",
        "x_forwarded_host": "Enabled",
        "x_forwarded_port": "Enabled",
    },
    "ClientCertDetails": {"subject": "?bool", "cert": "?bool", "chain": "?bool", "dns": "?bool", "uri": "?bool"},
    "Disabled": {"disabled": "?bool"},
    "Enabled": {"enabled": "?bool"},
    "Server": {"disabled": "?bool", "value": "string"},
    "MetadataExchangeHeaders": {"mode": "UNDEFINED|IN_MESH"},
    "ConnectionSettings": {
        "profile": "SIDECAR|EDGE",
        "listener_per_connection_buffer_limit_bytes": "?int32",
        "cluster_per_connection_buffer_limit_bytes": "?int32",
        "http_idle_timeout": "duration",
        "http_max_connection_duration": "duration",
        "http_drain_timeout": "duration",
        "http_request_timeout": "duration",
        "http_request_headers_timeout": "duration",
        "http_stream_idle_timeout": "duration",
        "http_max_stream_duration": "duration",
        "http_max_concurrent_streams": "?int32",
        "http2_initial_stream_window_size": "?int32",
        "http2_initial_connection_window_size": "?int32",
        "http_headers_with_underscores_action": "HEADERS_WITH_UNDERSCORES_UNSPECIFIED|HEADERS_WITH_UNDERSCORES_ALLOW"
        "|HEADERS_WITH_UNDERSCORES_REJECT_REQUEST|HEADERS_WITH_UNDERSCORES_DROP_HEADER",
        "http_merge_slashes": "?bool",
        "http_path_with_escaped_slashes_action": "PATH_WITH_ESCAPED_SLASHES_UNSPECIFIED|KEEP_UNCHANGED|REJECT_REQUEST"
        "|UNESCAPE_AND_REDIRECT|UNESCAPE_AND_FORWARD",
        "listener_connection_limit": "?int32",
        "global_downstream_connection_limit": "?int32",
    },
    "RemoteService": {"address": "string", "tls_settings": "ClientTLSSettings", "tcp_keepalive": "TcpKeepalive"},
    "ClientTLSSettings": {
        "mode": "DISABLE|SIMPLE|MUTUAL|ISTIO_MUTUAL",
        "client_certificate": "string",
        "private_key": "string",
        "ca_certificates": "string",
        "credential_name": "string",
        "subject_alt_names": "[string]",
        "sni": "string",
        "insecure_skip_verify": "?bool",
        "ca_crl": "string",
    },
    "TcpKeepalive": {"probes": "uint32", "time": "duration", "interval": "duration"},
    "ReadinessProbe": {
        "initial_delay_seconds": "int32",
        "timeout_seconds": "int32",
        "period_seconds": "int32",
        "success_threshold": "int32",
        "failure_threshold": "int32",
        "http_get": "=HTTPHealthCheckConfig",
        "tcp_socket": "=TCPHealthCheckConfig",
        "exec": "=ExecHealthCheckConfig",
        "grpc": "=GrpcHealthCheckConfig",
    },
    "HTTPHealthCheckConfig": {
        "path": "string",
        "port": "uint32",
        "host": "string",
        "scheme": "string",
        "http_headers": "[HTTPHeader]",
    },
    "HTTPHeader": {"name": "string", "value": "string"},
    "TCPHealthCheckConfig": {"host": "string", "port": "uint32"},
    "ExecHealthCheckConfig": {"command": "[string]"},
    "GrpcHealthCheckConfig": {"port": "uint32", "service": "string"},
}


class FieldError(ValueError):
    """A value that Istio's own reader would refuse.

    Attributes:
        path: where it is, as `tracing.sampling`.
        expected: what belongs there.
    """

    def __init__(self, path: str, value: t.Any, expected: str) -> None:
        super().__init__(f"{path} is {value!r}")
        self.path = path
        self.expected = expected


def json_name(field: str) -> str:
    """`proxy_admin_port` -> `proxyAdminPort`."""
    head, *rest = field.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def read(message: str, document: t.Any, path: str = "") -> dict[str, t.Any]:
    """A message as Istio reads and writes it: keys by their JSON names, values in their one written form.

    Fields that Istio doesn't know are left out. A field that is there with its zero value is left out, too, unless the
    message tells zero from absent.

    Raises:
        FieldError: a value of a type that Istio refuses.
    """
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise FieldError(path or message, document, "a mapping")
    result: dict[str, t.Any] = {}
    for field, kind in MESSAGES[message].items():
        name = json_name(field)
        value = document.get(name, document.get(field))
        if value is None:
            continue
        one_of = kind.startswith("=")
        where = f"{path}.{name}" if path else name
        written = _value(kind.lstrip("="), value, where)
        if one_of:
            # The last member of a one-of wins; there is at most one in a message that Istio wrote.
            for other, other_kind in MESSAGES[message].items():
                if other_kind.startswith("="):
                    result.pop(json_name(other), None)
        if one_of or not _is_zero(kind, written):
            result[name] = written
    return result


def merge(base: dict[str, t.Any], overlay: t.Any, message: str = "ProxyConfig") -> dict[str, t.Any]:
    """Applies a document over a message: whatever field it names replaces the field as a whole.

    Raises:
        FieldError: as `read`.
    """
    result = dict(base)
    read_overlay = read(message, overlay)
    named = overlay or {}
    members = [json_name(field) for field, kind in MESSAGES[message].items() if kind.startswith("=")]
    for field in MESSAGES[message]:
        name = json_name(field)
        if named.get(name, named.get(field)) is None:
            continue
        if name in members and name in read_overlay:
            for member in members:
                result.pop(member, None)
        result.pop(name, None)
        if name in read_overlay:
            result[name] = read_overlay[name]
    return result


def _is_zero(kind: str, value: t.Any) -> bool:
    if kind[0] in "[{":
        return not value
    if kind[0] == "?" or kind in MESSAGES or kind == "duration":
        return False
    if "|" in kind:
        return bool(value == _enumeration(kind)[0] or value == 0)
    return value in ("", 0, False)


def _value(kind: str, value: t.Any, path: str) -> t.Any:
    if kind.startswith("["):
        if not isinstance(value, list):
            raise FieldError(path, value, "a list")
        return [_value(kind[1:-1], item, f"{path}[{i}]") for i, item in enumerate(value)]
    if kind.startswith("{"):
        if not isinstance(value, dict):
            raise FieldError(path, value, "a mapping")
        return {key: _value(kind[1:-1], item, f"{path}.{key}") for key, item in value.items()}
    if kind in MESSAGES:
        return read(kind, value, path)
    if kind.startswith("?"):
        number = _value(kind[1:], value, path)
        # JSON has no 64-bit integers: protobuf writes them as text.
        return str(number) if kind == "?int64" else number
    if "|" in kind:
        return _enum_value(kind, value, path)
    return _SCALARS[kind](value, path)


def _text(value: t.Any, path: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise FieldError(path, value, "text (put it in quotes)")
    return value


def _bool(value: t.Any, path: str) -> bool:
    if value is None:
        return False
    if not isinstance(value, bool):
        raise FieldError(path, value, "true or false")
    return value


def _integer(low: int, high: int) -> t.Callable[[t.Any, str], int]:
    def convert(value: t.Any, path: str) -> int:
        if value is None:
            return 0
        if isinstance(value, str) and re.fullmatch(r"-?(0|[1-9][0-9]*)", value):
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise FieldError(path, value, f"a whole number from {low} to {high}")
        return value

    return convert


def _double(value: t.Any, path: str) -> float:
    try:
        if isinstance(value, bool):
            raise ValueError
        return float(value or 0)
    except (TypeError, ValueError) as error:
        raise FieldError(path, value, "a number") from error


def _enumeration(kind: str) -> dict[int, str]:
    names: dict[int, str] = {}
    for i, word in enumerate(kind.split("|")):
        number, _colon, name = word.rpartition(":")
        names[int(number) if number else i] = name
    return names


def _enum_value(kind: str, value: t.Any, path: str) -> str | int:
    names = _enumeration(kind)
    if value is None:
        return names[0]
    if isinstance(value, int) and not isinstance(value, bool):
        return names.get(value, value)
    if value not in names.values():
        raise FieldError(path, value, "one of " + ", ".join(names.values()))
    return str(value)


def _duration(value: t.Any, path: str) -> str:
    if not isinstance(value, str):
        raise FieldError(path, value, "a duration as text, such as 30s")
    try:
        total = nanoseconds(value)
    except ValueError as error:
        raise FieldError(path, value, "a duration, such as 1m30s") from error
    seconds, rest = divmod(abs(total), 10**9)
    text = f"{seconds}.{rest:09d}"
    for _step in range(2):
        text = text[:-3] if text.endswith("000") else text
    return ("-" if total < 0 else "") + (text[:-4] if text.endswith(".000") else text) + "s"


_SCALARS: dict[str, t.Callable[[t.Any, str], t.Any]] = {
    "string": _text,
    "bool": _bool,
    "int32": _integer(-(2**31), 2**31 - 1),
    "uint32": _integer(0, 2**32 - 1),
    "int64": _integer(-(2**63), 2**63 - 1),
    "double": _double,
    "duration": _duration,
}
