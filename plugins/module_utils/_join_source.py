# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a machine that was made from an image gets what it joins with: a file, a command, the cloud's identity. Private.

Runs on such machines without Ansible.
"""

from __future__ import annotations

import json
import os
import ssl
import stat
import subprocess
import typing as t
import urllib.error
import urllib.request

from ansible_collections.hybridmesh.istio.plugins.module_utils import _join
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

# This is part of no module, but of a program that systemd starts.
# pylint: disable=ansible-bad-function

# Seconds for each question.
TIMEOUT = 10
COMMAND_TIMEOUT = 60
_MOST = 1 << 20
_DOCS = "see docs/autoscaling.md of hybridmesh.istio"

Token = t.Callable[[], str]


class Found(t.NamedTuple):
    """What a source says.

    Attributes:
        roots, gateways: see `_join.Bundle`.
        token: gets a token, which may cost a question of its own.
    """

    roots: str
    gateways: tuple[str, ...]
    token: Token


def ask(config: _join.Config) -> Found:
    """Asks the source.

    Raises:
        MeshError: it gives nothing, or nothing of use.
    """
    source = config["source"]
    if source["kind"] == "identity":
        return _from_cluster(config)
    text = _from_file(source["path"]) if source["kind"] == "file" else _from_command(source["command"])
    bundle = _join.read_bundle(text, source.get("field"))

    def token() -> str:
        if bundle.token is None:
            raise MeshError("the bundle has no token", "one, as this machine has no certificate yet", _DOCS)
        return bundle.token

    return Found(bundle.roots, bundle.gateways, token)


def _from_file(path: str) -> str:
    step = "have cloud-init, or whoever writes it, give it to root alone (owner root:root, permissions 0600)"
    try:
        with open(path, encoding="utf-8") as stream:
            state = os.fstat(stream.fileno())
            fault = _join.file_fault(path, state.st_uid, stat.S_IMODE(state.st_mode))
            if fault:
                raise MeshError(fault, "it is readable for root alone, since it holds a token", step)
            return stream.read(_MOST)
    except (OSError, ValueError) as error:
        raise MeshError(f"{path} can't be read: {error}", "a bundle in that file", step) from None


def _from_command(command: t.Sequence[str]) -> str:
    # What it prints on standard error goes to the journal as it is; what it prints on standard output may be secret.
    return _run(command, "a bundle on its standard output")


def _run(command: t.Sequence[str], expected: str) -> str:
    step = "run it by hand, as root; its standard error is in journalctl -u istio-join"
    try:
        done = subprocess.run(
            list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=COMMAND_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = "takes too long" if isinstance(error, subprocess.TimeoutExpired) else str(error)
        raise MeshError(f"the command {command[0]} fails: {reason}", expected, step) from None
    if done.returncode:
        raise MeshError(f"the command {command[0]} ends with status {done.returncode}", expected, step)
    return done.stdout.decode("utf-8", "replace")


def identity(source: _join.Config) -> str:
    """What the machine proves to the API server who it is with.

    Raises:
        MeshError: there is none to be had.
    """
    expected = "an identity that the API server takes"
    if source.get("command"):
        text = _run(source["command"], expected)
    else:
        request = urllib.request.Request(source["url"], headers=dict(source.get("headers") or {}))
        text = _fetch(request, None, "the metadata server", expected)
    try:
        value = _join.at(json.loads(text), source["field"]) if source.get("field") else text
    except ValueError:
        what = f"what gives the identity says nothing at {source['field']}"
        raise MeshError(what, expected, "correct `field` of the source") from None
    if not str(value).strip():
        raise MeshError("what gives the identity says nothing", expected, _DOCS)
    return str(value).strip()


def _fetch(request: urllib.request.Request, context: ssl.SSLContext | None, who: str, expected: str) -> str:
    # No proxy: a metadata server is one for this machine alone.
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    url = request.full_url.split("?", 1)[0]
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT) as answer:
            return str(answer.read(_MOST).decode("utf-8", "replace"))
    except urllib.error.HTTPError as error:
        reason = _reason(error.read(_MOST).decode("utf-8", "replace"))
        raise MeshError(f"{who} answers {error.code} at {url}{reason}", expected, _DOCS) from None
    except (OSError, ValueError) as error:
        raise MeshError(f"{who} does not answer at {url}: {error}", expected, "check the way there") from None


def _reason(body: str) -> str:
    """What an API server says about a refusal."""
    try:
        return ": " + str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return ""


class _Api:
    """The API server, as this machine's identity may ask it."""

    def __init__(self, source: _join.Config) -> None:
        self.server = str(source["api_server"]).rstrip("/")
        self.bearer = identity(source)
        self.context = ssl.create_default_context(cadata=source["api_ca"])

    def ask(self, path: str, body: t.Mapping[str, t.Any] | None = None) -> dict[str, t.Any]:
        """GETs a path, or POSTs to it."""
        headers = {"Authorization": "Bearer " + self.bearer, "Accept": "application/json"}
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        request = urllib.request.Request(self.server + path, data=data, headers=headers)
        expected = "the machine's identity has the rights of docs/rights/join.yml"
        text = _fetch(request, self.context, "the API server", expected)
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise MeshError(f"the API server gives no object at {path}", "a Kubernetes API server", "check api_server")
        return answer


def _from_cluster(config: _join.Config) -> Found:
    api = _Api(config["source"])
    namespace, account = config["namespace"], config["service_account"]
    roots = api.ask(f"/api/v1/namespaces/{namespace}/configmaps/istio-ca-root-cert").get("data") or {}
    gateways = tuple(config.get("gateway_addresses") or ())
    if not gateways:
        service = "{gateway_namespace}/services/{gateway_service}".format(**config)
        gateways = _join.gateways_of(api.ask(f"/api/v1/namespaces/{service}"))
        if not gateways:
            raise MeshError(
                f"the Service {service.replace('/services/', '/')} has no address",
                "one that machines reach",
                "set vm_sidecar_gateway_address in the image, or wait for the load balancer",
            )

    def token() -> str:
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        answer = api.ask(path, _join.token_request(config["token_duration"]))
        return str((answer.get("status") or {}).get("token") or "")

    # Read by the same function as all bundles are.
    bundle = {"root_certificates": roots.get("root-cert.pem"), "gateway_addresses": list(gateways)}
    found = _join.read_bundle(json.dumps(bundle))
    return Found(found.roots, found.gateways, token)
