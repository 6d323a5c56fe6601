# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How plugins of this collection reach the Kubernetes API. Private to the collection.

Options and environment variables have the names and the meaning that kubernetes.core gives them. Requests are raw
JSON: the typed models of the kubernetes client cost more time and memory than all that is done with them here.
"""

from __future__ import annotations

import base64
import json
import os
import typing as t
import urllib.parse

from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

try:
    import kubernetes.client
    import kubernetes.config
    import urllib3
    import yaml

    IMPORT_ERROR: ImportError | None = None
except ImportError as error:
    IMPORT_ERROR = error


def connection_argument_spec() -> dict[str, t.Any]:
    """The connection options for an AnsibleModule, in step with the doc fragment `hybridmesh.istio.cluster`."""
    return {
        "kubeconfig": {"type": "raw"},
        "context": {"type": "str"},
        "host": {"type": "str"},
        "api_key": {"type": "str", "no_log": True},
        "validate_certs": {"type": "bool", "aliases": ["verify_ssl"]},
        "ca_cert": {"type": "path", "aliases": ["ssl_ca_cert"]},
        "client_cert": {"type": "path", "aliases": ["cert_file"]},
        "client_key": {"type": "path", "aliases": ["key_file"], "no_log": False},
        "proxy": {"type": "str"},
        "no_proxy": {"type": "str"},
        "impersonate_user": {"type": "str"},
        "impersonate_groups": {"type": "list", "elements": "str"},
    }


class ApiError(MeshError):
    """The API server refused or did not answer a request.

    Attributes:
        status: the HTTP status, 0 where there was no answer at all.
        reason: the API's own reason (`NotFound`, `Forbidden`, `Expired`, ...), or ''.
    """

    def __init__(self, found: str, expected: str, next_step: str, status: int, reason: str = "") -> None:
        super().__init__(found, expected, next_step)
        self.status = status
        self.reason = reason


class Cluster:
    """One connection to one API server."""

    def __init__(self, options: t.Mapping[str, t.Any]) -> None:
        """Reads the options (as `connection_argument_spec` has them; null means K8S_AUTH_*, then kubeconfig).

        Raises:
            MeshError: the client library is missing, or the options lead to no usable configuration.
        """
        if IMPORT_ERROR is not None:
            raise MeshError(
                f"the Python library '{IMPORT_ERROR.name}' is not importable",
                "the Python that runs on the controller has the kubernetes client",
                "install it there: pip install kubernetes",
            )
        self.options = effective_options(options)
        self._keep_open: list[t.Any] = []
        self.configuration = self._configure()
        self._client = kubernetes.client.ApiClient(self.configuration)
        if self.options.get("impersonate_user"):
            self._client.set_default_header("Impersonate-User", self.options["impersonate_user"])

    def _configure(self) -> t.Any:
        options = self.options
        configuration = kubernetes.client.Configuration()
        if not (options.get("host") and (options.get("api_key") or options.get("client_cert"))):
            self._from_kubeconfig(configuration)
        if options.get("host"):
            configuration.host = options["host"].rstrip("/")
        if options.get("api_key"):
            configuration.api_key = {"authorization": options["api_key"]}
            configuration.api_key_prefix = {"authorization": "Bearer"}
            configuration.refresh_api_key_hook = None
        for option, attribute in (
            ("ca_cert", "ssl_ca_cert"),
            ("client_cert", "cert_file"),
            ("client_key", "key_file"),
            ("proxy", "proxy"),
            ("no_proxy", "no_proxy"),
        ):
            if options.get(option):
                setattr(configuration, attribute, options[option])
        if options.get("validate_certs") is not None:
            configuration.verify_ssl = options["validate_certs"]
            if not configuration.verify_ssl:
                urllib3.disable_warnings()
        # Retries hide an unreachable API server for minutes; callers that wait do so on their own terms.
        configuration.retries = False
        return configuration

    def _from_kubeconfig(self, configuration: t.Any) -> None:
        source = self.options.get("kubeconfig")
        try:
            if source is None and "KUBERNETES_SERVICE_HOST" in os.environ and not os.path.exists(default_kubeconfig()):
                kubernetes.config.load_incluster_config(client_configuration=configuration)
                return
            path = None if isinstance(source, dict) else str(source or default_kubeconfig())
            document = load_kubeconfig(path) if path else t.cast(t.Dict[str, t.Any], source)
            base = os.path.dirname(os.path.abspath(path.split(os.pathsep)[0])) if path else None
            kubernetes.config.load_kube_config_from_dict(
                self._without_files(document, base),
                context=self.options.get("context"),
                client_configuration=configuration,
                persist_config=False,
            )
        except kubernetes.config.ConfigException as error:
            raise MeshError(
                f"the kubeconfig can't be used: {error}",
                "a kubeconfig with a cluster, a user and the context asked for",
                "check the options kubeconfig and context (or K8S_AUTH_KUBECONFIG, K8S_AUTH_CONTEXT, KUBECONFIG)",
            ) from error

    def _without_files(self, document: t.Mapping[str, t.Any], base: str | None) -> dict[str, t.Any]:
        """The same kubeconfig with its inline keys held in memory.

        The kubernetes client writes `*-data` entries to files in TMPDIR, which outlive a killed process. OpenSSL only
        takes files, so they become anonymous ones where the system has them (Linux).
        """
        result: dict[str, t.Any] = json.loads(json.dumps(document))
        for section, keys in (
            ("clusters", ("certificate-authority",)),
            ("users", ("client-certificate", "client-key")),
        ):
            for item in result.get(section) or []:
                entry = item.get(section[:-1]) or {}
                for key in keys:
                    data = entry.get(key + "-data")
                    if data and hasattr(os, "memfd_create"):
                        entry[key] = self.memory_file(base64.b64decode(data))
                        del entry[key + "-data"]
                    elif entry.get(key) and base and not os.path.isabs(entry[key]):
                        entry[key] = os.path.join(base, entry[key])
        return result

    def memory_file(self, content: bytes) -> str:
        """A path under /proc that reads as `content` for as long as this object lives; nothing is written to disk."""
        handle = os.fdopen(os.memfd_create("hybridmesh", 0), "wb")
        handle.write(content)
        handle.flush()
        self._keep_open.append(handle)
        return f"/proc/self/fd/{handle.fileno()}"

    @property
    def server(self) -> str:
        """The API server's base URL."""
        return str(self.configuration.host)

    def request(
        self,
        method: str,
        path: str,
        query: t.Mapping[str, t.Any] | None = None,
        body: t.Any = None,
        content_type: str = "application/json",
        timeout: float = 30.0,
    ) -> dict[str, t.Any]:
        """Sends one request and returns the decoded JSON answer.

        Args:
            method: GET, POST, PUT, PATCH, DELETE.
            path: the path, as `/api/v1/namespaces/x/configmaps/y`.
            query: query parameters.
            body: sent as JSON, unless it is text.
            content_type: for PATCH: application/merge-patch+json, application/apply-patch+yaml, ...
            timeout: seconds.

        Raises:
            ApiError: with `status` 404, 403, ..., or 0 where nothing answered.
        """
        response = self.open(method, path, query, body, content_type, timeout)
        try:
            return t.cast(t.Dict[str, t.Any], json.loads(response.data or b"{}"))
        finally:
            response.release_conn()

    def get(self, path: str, query: t.Mapping[str, t.Any] | None = None) -> dict[str, t.Any] | None:
        """GETs one object; None where it (or its kind) does not exist."""
        try:
            return self.request("GET", path, query)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def open(
        self,
        method: str,
        path: str,
        query: t.Mapping[str, t.Any] | None = None,
        body: t.Any = None,
        content_type: str = "application/json",
        timeout: float = 30.0,
        preload: bool = True,
    ) -> t.Any:
        """As `request`, but returns the urllib3 response; without `preload` its body can be read as a stream."""
        headers = urllib3.HTTPHeaderDict({"Accept": "application/json", "Content-Type": content_type})
        headers.extend(self._client.default_headers)
        # Asked for at every request: exec credentials and in-cluster tokens are renewed by the client when they expire.
        for setting in self.configuration.auth_settings().values():
            headers[setting["key"]] = setting["value"]
        for group in self.options.get("impersonate_groups") or []:
            headers.add("Impersonate-Group", group)
        url = self.server + path + ("?" + urllib.parse.urlencode(query) if query else "")
        encoded = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
        try:
            response = self._client.rest_client.pool_manager.request(
                method,
                url,
                body=encoded,
                headers=headers,
                timeout=urllib3.Timeout(connect=min(timeout, 10.0), read=timeout),
                preload_content=preload,
                retries=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise ApiError(
                f"no answer from the API server {self.server}: {error}",
                f"the API server answers {method} {path}",
                "check that the kubeconfig names the right cluster and that the controller reaches it",
                0,
            ) from error
        if response.status >= 400:
            raise refused(method, path, response.status, response.data)
        return response


# What kubernetes.core calls the request methods when it speaks of RBAC verbs.
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def refused(method: str, path: str, status: int, body: bytes) -> ApiError:
    """The error for an answer of 400 and above; names the missing verb and resource where rights are missing."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = {}
    message = str(answer.get("message") or body[:300].decode("utf-8", "replace") or f"HTTP {status}")
    reason = str(answer.get("reason") or "")
    found = "the API server answered {} to {} {}: {}".format(status, method, path.split("?")[0], message)
    if status == 403:
        return ApiError(
            found,
            f"the kubeconfig's user may {rights_of(method, path)}",
            "have a Role or ClusterRole with that verb and resource bound to the user, or use another kubeconfig",
            status,
            reason,
        )
    if status == 401:
        return ApiError(
            found,
            "credentials that the API server accepts",
            "renew the kubeconfig or the token (kubectl auth whoami)",
            status,
            reason,
        )
    return ApiError(found, "an answer without an error", "read the API server's message above", status, reason)


def rights_of(method: str, path: str) -> str:
    """`verb "v" on resource "r" (group "g") in namespace "n"` for a request, as RBAC would name it."""
    parts = [part for part in path.split("?")[0].split("/") if part]
    group = "" if parts[:1] == ["api"] else parts[1] if len(parts) > 1 else ""
    rest = parts[2:] if parts[:1] == ["api"] else parts[3:]
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    verb = _VERBS.get(method, method.lower())
    if verb == "get" and len(rest) < 2:
        verb = "list"
    resource = "/".join(rest[:1] + rest[2:3]) or path
    of_group = f' of the API group "{group}"' if group else ""
    in_namespace = f' in namespace "{namespace}"' if namespace else ""
    return f'verb "{verb}" on resource "{resource}"{of_group}{in_namespace}'


# Option -> the environment variable that kubernetes.core reads for it.
ENVIRONMENT = {
    "kubeconfig": "K8S_AUTH_KUBECONFIG",
    "context": "K8S_AUTH_CONTEXT",
    "host": "K8S_AUTH_HOST",
    "api_key": "K8S_AUTH_API_KEY",
    "validate_certs": "K8S_AUTH_VERIFY_SSL",
    "ca_cert": "K8S_AUTH_SSL_CA_CERT",
    "client_cert": "K8S_AUTH_CERT_FILE",
    "client_key": "K8S_AUTH_KEY_FILE",
    "proxy": "K8S_AUTH_PROXY",
    "no_proxy": "K8S_AUTH_NO_PROXY",
    "impersonate_user": "K8S_AUTH_IMPERSONATE_USER",
    "impersonate_groups": "K8S_AUTH_IMPERSONATE_GROUPS",
}


def effective_options(options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The options with nulls filled from the environment, as kubernetes.core does it."""
    result: dict[str, t.Any] = {}
    for name, variable in ENVIRONMENT.items():
        value = options.get(name)
        if value is None and variable in os.environ:
            value = os.environ[variable]
            if name == "validate_certs":
                value = value.lower() not in ("0", "no", "false", "off", "n", "f")
            elif name == "impersonate_groups":
                value = [group.strip() for group in value.split(",") if group.strip()]
        result[name] = value
    return result


def default_kubeconfig() -> str:
    """Where kubectl would look: KUBECONFIG, else ~/.kube/config."""
    return os.environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")


def load_kubeconfig(source: str) -> dict[str, t.Any]:
    """A kubeconfig from a path, or from several joined by ':' (the first that names a thing wins, as for kubectl)."""
    merged: dict[str, t.Any] = {}
    for path in source.split(os.pathsep):
        path = os.path.expanduser(path)
        try:
            with open(path, encoding="utf-8") as stream:
                document = yaml.safe_load(stream)
        except OSError as error:
            if os.pathsep in source:
                continue
            raise MeshError(
                f"the kubeconfig {path} can't be read: {error.strerror}",
                "a readable kubeconfig",
                "set kubeconfig (mesh_kubeconfig for the roles, or K8S_AUTH_KUBECONFIG)",
            ) from error
        except yaml.YAMLError as error:
            raise MeshError(
                f"the kubeconfig {path} is not valid YAML", "a kubeconfig", "see kubectl config view"
            ) from error
        if not isinstance(document, dict):
            raise MeshError(f"the kubeconfig {path} holds no mapping", "a kubeconfig", "see kubectl config view")
        for key, value in document.items():
            if isinstance(value, list) and isinstance(merged.get(key), list):
                known = [item.get("name") for item in merged[key]]
                merged[key] += [item for item in value if item.get("name") not in known]
            elif not merged.get(key):
                merged[key] = value
    return merged
