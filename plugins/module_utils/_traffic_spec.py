# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape of a declaration of traffic, as options of a module. The role's argument spec says the same. Private."""

from __future__ import annotations

import typing as t

Spec = t.Dict[str, t.Any]

_TEXT: Spec = {"type": "str"}
_NAME: Spec = {"type": "str", "required": True}
_INT: Spec = {"type": "int"}
_SECONDS: Spec = {"type": "float"}
_TEXTS: Spec = {"type": "list", "elements": "str"}
_FREE: Spec = {"type": "dict"}
# The name of a Secret is none itself.
_SECRET: Spec = {"type": "str", "no_log": False}


def _each(options: Spec, **more: t.Any) -> Spec:
    return {"type": "list", "elements": "dict", "options": options, **more}


def _keys(options: Spec) -> Spec:
    return {"type": "dict", "options": options}


TARGET: Spec = {"service": _TEXT, "host": _TEXT, "port": _INT, "subset": _TEXT}

_GATEWAY: Spec = {
    "name": _NAME,
    "namespace": _NAME,
    "selector": {"type": "dict", "default": {"istio": "ingressgateway"}},
    "servers": _each(
        {
            "port": {"type": "int", "required": True},
            "protocol": {
                "type": "str",
                "choices": ["HTTP", "HTTPS", "HTTP2", "GRPC", "TLS", "TCP", "MONGO"],
                "default": "HTTP",
            },
            "name": _TEXT,
            "hosts": {"type": "list", "elements": "str", "required": True},
            "tls": _keys(
                {
                    "mode": {
                        "type": "str",
                        "choices": [
                            "SIMPLE",
                            "MUTUAL",
                            "OPTIONAL_MUTUAL",
                            "PASSTHROUGH",
                            "AUTO_PASSTHROUGH",
                            "ISTIO_MUTUAL",
                        ],
                    },
                    "secret": _SECRET,
                    "redirect": {"type": "bool"},
                    "min_version": {"type": "str", "choices": ["TLSV1_2", "TLSV1_3"]},
                }
            ),
        },
        required=True,
    ),
    "spec": _FREE,
}

_RULE: Spec = {
    "name": _TEXT,
    "match": _each(
        {
            "path": _TEXT,
            "path_prefix": _TEXT,
            "path_regex": _TEXT,
            "method": _TEXT,
            "headers": _FREE,
            "query": _FREE,
            "port": _INT,
            "sni": _TEXTS,
            "source_labels": _FREE,
            "source_namespace": _TEXT,
        }
    ),
    "backends": _each({**TARGET, "weight": _INT}),
    "timeout": _SECONDS,
    "retries": _keys(
        {"attempts": {"type": "int", "required": True}, "per_try_timeout": _SECONDS, "conditions": _TEXTS}
    ),
    "mirrors": _each({**TARGET, "percent": {"type": "float", "default": 100.0}}),
    "rewrite": _keys({"path": _TEXT, "host": _TEXT}),
    "spec": _FREE,
}

_ROUTE: Spec = {
    "name": _NAME,
    "namespace": _NAME,
    "hosts": _TEXTS,
    "services": _TEXTS,
    "gateways": _TEXTS,
    "protocol": {"type": "str", "choices": ["http", "tls", "tcp"], "default": "http"},
    "rules": _each(_RULE),
    "spec": _FREE,
}

_DESTINATION: Spec = {
    "service": _TEXT,
    "host": _TEXT,
    "name": _TEXT,
    "namespace": _TEXT,
    "subsets": _FREE,
    "tls": _keys(
        {
            "mode": {"type": "str", "choices": ["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"], "required": True},
            "secret": _SECRET,
            "sni": _TEXT,
            "subject_alt_names": _TEXTS,
        }
    ),
    "load_balancing": {"type": "str", "choices": ["LEAST_REQUEST", "ROUND_ROBIN", "RANDOM", "PASSTHROUGH"]},
    "connections": _keys(
        {
            "max": _INT,
            "connect_timeout": _SECONDS,
            "max_pending": _INT,
            "max_requests": _INT,
            "max_requests_per_connection": _INT,
            "idle_timeout": _SECONDS,
        }
    ),
    "outliers": _keys({"errors": _INT, "interval": _SECONDS, "ejection_time": _SECONDS, "max_percent": _INT}),
    "spec": _FREE,
}

_SIDECAR: Spec = {
    "name": {"type": "str", "default": "default"},
    "namespace": _NAME,
    "selector": _FREE,
    "egress": _TEXTS,
    "outbound": {"type": "str", "choices": ["ALLOW_ANY", "REGISTRY_ONLY"]},
    "spec": _FREE,
}

_MTLS: Spec = {
    "name": {"type": "str", "default": "default"},
    "namespace": _NAME,
    "mode": {"type": "str", "choices": ["STRICT", "PERMISSIVE", "DISABLE", "UNSET"], "default": "STRICT"},
    "selector": _FREE,
    "ports": _FREE,
    "spec": _FREE,
}

_ACCESS_RULE: Spec = {
    "identities": _TEXTS,
    "namespaces": _TEXTS,
    "methods": _TEXTS,
    "paths": _TEXTS,
    "ports": {"type": "list", "elements": "int"},
}

_ACCESS: Spec = {
    "name": _NAME,
    "namespace": _NAME,
    "selector": _FREE,
    "allow": _each(_ACCESS_RULE),
    "deny": _each(_ACCESS_RULE),
    "spec": _FREE,
}

RULES: Spec = _keys(
    {
        "gateways": _each(_GATEWAY),
        "routes": _each(_ROUTE),
        "destinations": _each(_DESTINATION),
        "sidecars": _each(_SIDECAR),
        "mtls": _each(_MTLS),
        "access": _each(_ACCESS),
    }
)

ARGUMENTS: Spec = {
    "rules": RULES,
    "name": {"type": "str", "default": "traffic"},
    "cluster_domain": {"type": "str", "default": "cluster.local"},
    "settle": {"type": "float", "default": 5.0},
    "coming_gateways": {"type": "list", "elements": "dict", "default": []},
    "istio_namespace": {"type": "str", "default": "istio-system"},
    "revision": {"type": "str"},
}
