# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a machine that was made from an image joins its group at boot: what decides. Pure. Private to the collection.

Runs on such machines without Ansible, from a copy that the role vm_sidecar puts into the image.
"""

from __future__ import annotations

import ipaddress
import json
import typing as t
import urllib.parse

from ansible_collections.hybridmesh.istio.plugins.module_utils import _capture, _certificate, _plan, _vm_files
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

Config = t.Mapping[str, t.Any]

CONFIG = _vm_files.STATE + "/join.json"
# When the source was last read, in seconds since the epoch.
JOINED = _vm_files.STATE + "/joined"
LOCK = "/run/istio-join.lock"
PROGRAM = "/usr/local/sbin/istio-join"
LIBRARY = "/usr/local/lib/hybridmesh"
UNITS = ("istio-join-guard.service", "istio-join.service", "istio-join-check.timer", "istio-join-check.service")
KINDS = ("file", "command", "identity")
AUDIENCE = "istio-ca"

# A token with less to go is not waited for.
TOKEN_MARGIN = 60
# Past this share of its life a certificate should have been renewed long ago.
OVERDUE = 0.8

_NEEDED = {"file": ("path",), "command": ("command",), "identity": ("api_server", "api_ca")}


class Bundle(t.NamedTuple):
    """What a source gives.

    Attributes:
        roots: the mesh's root certificates, PEM.
        gateways: addresses or names at which istiod is reached.
        token: a token of the group's ServiceAccount, or None.
    """

    roots: str
    gateways: tuple[str, ...]
    token: str | None = None


def config_problems(config: Config) -> list[MeshError]:
    """What is wrong with the settings of a source, all of it."""
    source = config.get("source") or {}
    kind = source.get("kind")
    what = "vm_sidecar_image_source"
    if kind not in KINDS:
        step = f"set {what}, for example to {{kind: file, path: /run/istio-join/bundle.json}}"
        return [MeshError(f"{what} has the kind {kind}", f"one of {', '.join(KINDS)}", step)]
    found = [
        MeshError(f"{what} of kind {kind} has no {name}", f"{' and '.join(_NEEDED[kind])}", f"set {name} in {what}")
        for name in _NEEDED[kind]
        if not source.get(name)
    ]
    if kind == "identity":
        found += _identity_problems(source, what)
    for name in ("path",) if kind == "file" else ():
        if source.get(name) and not str(source[name]).startswith("/"):
            found.append(MeshError(f"{what}: {name} is {source[name]}", "an absolute path", f"set {name} to one"))
    if kind == "command" and source.get("command") and not str(source["command"][0]).startswith("/"):
        step = "name the program with its path: no shell looks for it"
        found.append(MeshError(f"{what}: command begins with {source['command'][0]}", "an absolute path", step))
    return found


def _identity_problems(source: Config, what: str) -> t.Iterator[MeshError]:
    if bool(source.get("url")) == bool(source.get("command")):
        yield MeshError(
            f"{what} of kind identity has {'both url and command' if source.get('url') else 'neither url nor command'}",
            "one of them, which gives the machine's identity",
            f"set one of the two in {what}",
        )
    server = str(source.get("api_server") or "")
    if server and not server.startswith("https://"):
        yield MeshError(f"{what}: api_server is {server}", "an https:// URL", "set api_server to one")
    certificates = source.get("api_ca")
    if certificates and not _certificate.pem_blocks(str(certificates)):
        yield MeshError(
            f"{what}: api_ca holds no certificate",
            "the certificates, in PEM, that the API server's own is verified with",
            "read them by a lookup, for example from the ConfigMap kube-root-ca.crt",
        )


def read_bundle(text: str, field: str | None = None) -> Bundle:
    """A bundle from JSON text, or from the value at a dotted path in it.

    Raises:
        MeshError: it is none.
    """
    expected = 'JSON like {"root_certificates": PEM, "gateway_addresses": [ADDRESS], "token": TOKEN}'
    step = "mend what the source gives; docs/autoscaling.md of hybridmesh.istio describes it"
    try:
        value = at(json.loads(text), field)
        # What went through a cloud's metadata is a text there.
        value = json.loads(value) if isinstance(value, str) else value
        roots, gateways = value.get("root_certificates"), value.get("gateway_addresses")
        token = value.get("token")
    except (ValueError, AttributeError) as error:
        # A part of a bundle must not be in a log: it may be the token.
        raise MeshError(f"what the source gives is no bundle ({type(error).__name__})", expected, step) from None
    if not isinstance(roots, str) or not _certificate.pem_blocks(roots):
        raise MeshError("the bundle has no certificate in root_certificates", expected, step)
    if not isinstance(gateways, list) or not gateways or not all(isinstance(item, str) and item for item in gateways):
        raise MeshError("the bundle has no addresses in gateway_addresses", expected, step)
    if token is not None and not isinstance(token, str):
        raise MeshError("the bundle's token is no text", expected, step)
    return Bundle(roots, tuple(gateways), (token or "").strip() or None)


def at(value: t.Any, field: str | None) -> t.Any:
    """The value at a dotted path.

    Raises:
        ValueError: there is none.
    """
    for name in (field or "").split(".") if field else ():
        if not isinstance(value, dict) or name not in value:
            raise ValueError(f"there is no {field}")
        value = value[name]
    return value


def gateways_of(service: Config) -> tuple[str, ...]:
    """Where the gateway's Service is reached, as its status or its externalIPs say."""
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    addresses = [
        str(item.get("ip") or item.get("hostname")) for item in ingress if item.get("ip") or item.get("hostname")
    ]
    return tuple(addresses or (service.get("spec") or {}).get("externalIPs") or ())


def token_request(duration: int) -> dict[str, t.Any]:
    """The body that asks the API server for a token that istiod takes, and nobody else."""
    spec = {"audiences": [AUDIENCE], "expirationSeconds": duration}
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}


def token_fault(token: str, now: float) -> str | None:
    """Why a token is of no use; None where it may be."""
    told = _certificate.describe_token(token, now)
    if "error" in told:
        return str(told["error"])
    if told["remaining"] < TOKEN_MARGIN:
        return f"it expired {-told['remaining']} s ago" if told["remaining"] < 0 else "it is about to expire"
    if AUDIENCE not in told["audiences"]:
        return f"it is for {', '.join(told['audiences']) or 'nobody'}, not for {AUDIENCE}"
    return None


class Credentials(t.NamedTuple):
    """What a machine has to show to istiod.

    Attributes:
        good: it has a certificate that istiod takes.
        discard: what is in /etc/certs would be refused, and has to go.
        token: a token has to be got.
        reason: why the certificate is not good.
    """

    good: bool
    discard: bool
    token: bool
    reason: str | None


def credentials(certificate: Config, token: Config, identity: str | None, roots: str) -> Credentials:
    """Whether a token has to be got.

    Args:
        certificate, token: as `_vm_facts` describes those that are there.
        identity: the URI that the mesh gives this group.
        roots: the mesh's root certificates, PEM; empty where they are not known.
    """
    plan = _plan.token_plan(
        {"certificate": certificate}, {"identity": identity, "roots": _vm_files.fingerprints(roots) if roots else []}
    )
    alive = bool(certificate.get("valid")) and bool(certificate.get("key")) and certificate.get("age", 1) < OVERDUE
    if not plan["needed"] or (alive and not plan["discard"]):
        return Credentials(True, False, False, None)
    waiting = token.get("remaining", 0) >= TOKEN_MARGIN and AUDIENCE in token.get("audiences", [])
    return Credentials(False, plan["discard"], not waiting, plan["reason"])


def with_address(unit_environment: str, address: str) -> str:
    """The unit's EnvironmentFile with this machine's address in it."""
    values = _capture.parse_environment(unit_environment)
    values["ISTIO_SVC_IP"] = address
    return _capture.render_environment(values)


def hosts_lines(addresses: t.Iterable[str], names: t.Sequence[str]) -> str:
    """Lines for the hosts file: each of istiod's names at each address."""
    return "".join(f"{address} {name}\n" for address in addresses for name in names)


def is_address(text: str) -> bool:
    """Whether it is an IP address, rather than a name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def metadata_server(source: Config) -> tuple[str, int] | None:
    """Address and port that only root may reach: those of an identity's URL, where it names an address; else None."""
    if source.get("kind") != "identity" or not source.get("url"):
        return None
    url = urllib.parse.urlsplit(str(source["url"]))
    if not url.hostname or not is_address(url.hostname):
        return None
    return url.hostname, url.port or (443 if url.scheme == "https" else 80)


def guard_rules(server: tuple[str, int], users: t.Sequence[int]) -> list[list[str]]:
    """Arguments of iptables after its command: chain and rule, in the order that the rules must have.

    Users that may ask come before the rule that refuses all but root. Packets of containers go through FORWARD.
    """
    where = ["-d", server[0], "-p", "tcp", "--dport", str(server[1])]
    rules = [["OUTPUT", *where, "-m", "owner", "--uid-owner", str(user), "-j", "ACCEPT"] for user in users]
    rules.append(["OUTPUT", *where, "-m", "owner", "!", "--uid-owner", "0", "-j", "REJECT"])
    rules.append(["FORWARD", *where, "-j", "REJECT"])
    return rules


def file_fault(path: str, owner: int, mode: int) -> str | None:
    """Why a file with a token in it can't be trusted with one; None where it can."""
    if owner != 0:
        return f"{path} belongs to user ID {owner}"
    if mode & 0o077:
        return f"{path} has the mode {mode & 0o7777:04o}"
    return None
