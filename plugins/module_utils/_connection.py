# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How plugins of this collection reach the Kubernetes API. Private to the collection.

Options and environment variables have the names and the meaning that kubernetes.core gives them. The kubernetes client
reads the credentials and renews them, where a kubeconfig does not simply have them. Requests are raw JSON: its typed models cost
more time and memory than all that is done with them here. The connections are ours, too, so that they are the same over all its releases.
"""

from __future__ import annotations

import base64
import copy
import email.utils
import importlib.util
import json
import os
import time
import typing as t
import urllib.parse
import urllib.request

from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._kubeconfig import (
    Access,
    default_kubeconfig,
    inline,
    load_kubeconfig,
    of_context,
    read_plain,
    secrets_of,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._pool import make_pool
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import PATIENCE, ApiError, refused

try:
    import urllib3

    # Loaded where it is needed only.
    if importlib.util.find_spec("kubernetes") is None:
        raise ImportError(name="kubernetes")
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
        "username": {"type": "str"},
        "password": {"type": "str", "no_log": True},
        "validate_certs": {"type": "bool", "aliases": ["verify_ssl"]},
        "ca_cert": {"type": "path", "aliases": ["ssl_ca_cert"]},
        "client_cert": {"type": "path", "aliases": ["cert_file"]},
        "client_key": {"type": "path", "aliases": ["key_file"], "no_log": False},
        "proxy": {"type": "str"},
        "no_proxy": {"type": "str"},
        "proxy_headers": {
            "type": "dict",
            "options": {
                "proxy_basic_auth": {"type": "str", "no_log": True},
                "basic_auth": {"type": "str", "no_log": True},
                "user_agent": {"type": "str"},
            },
        },
        "persist_config": {"type": "bool"},
        "impersonate_user": {"type": "str"},
        "impersonate_groups": {"type": "list", "elements": "str"},
    }


def hide_secrets(module: t.Any) -> None:
    """Keeps the secrets of a kubeconfig that was given as a dictionary out of what a module prints of its arguments.

    The option itself can't be `no_log`: the path of a kubeconfig would be blanked out in every message.
    """
    module.no_log_values.update(secrets_of(module.params.get("kubeconfig")))


class Cluster:
    """One connection to one API server.

    Attributes:
        server: the API server's base URL.
        server_time: the API server's clock at its last answer (seconds since 1970); None before the first.
        options: the options with those filled in that came from the environment.
        configuration: where the API server is, and how to get in. Paths in it can be read for as long as this object lives.
    """

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
        self._proxy_url: str | None = None
        self.server_time: float | None = None
        self.configuration = self._configure()
        # Kept apart: when the client renews credentials, it sets the configuration's host anew.
        self.server = str(self.configuration.host)
        self._pool = make_pool(self.configuration)

    def _configure(self) -> Access:
        options = self.options
        configuration = Access()
        if not (
            options.get("host") and (options.get("api_key") or options.get("client_cert") or options.get("username"))
        ):
            self._from_kubeconfig(configuration)
        if options.get("host"):
            configuration.host = options["host"].rstrip("/")
        if options.get("api_key"):
            configuration.api_key = {"authorization": options["api_key"]}
            configuration.api_key_prefix = {"authorization": "Bearer"}
            configuration.refresh_api_key_hook, configuration.username = None, ""
        if options.get("username"):
            configuration.username, configuration.password = options["username"], options.get("password") or ""
            configuration.api_key, configuration.refresh_api_key_hook = {}, None
        for option, attribute in (
            ("ca_cert", "ssl_ca_cert"),
            ("client_cert", "cert_file"),
            ("client_key", "key_file"),
        ):
            if options.get(option):
                setattr(configuration, attribute, os.path.expanduser(options[option]))
        # As kubectl has it: what is said here, else the kubeconfig's proxy-url, else the usual variables.
        proxies = urllib.request.getproxies_environment()
        scheme = urllib.parse.urlsplit(configuration.host).scheme
        configuration.proxy = options.get("proxy") or self._proxy_url or proxies.get(scheme)
        configuration.no_proxy = options.get("no_proxy") or proxies.get("no")
        if options.get("validate_certs") is not None:
            configuration.verify_ssl = options["validate_certs"]
        return configuration

    def authorization(self) -> str | None:
        """The value of the header Authorization; None where a certificate or nothing says who we are.

        Asked for at every request: exec credentials and in-cluster tokens are renewed by the client when they expire.
        """
        configuration = self.configuration
        if configuration.refresh_api_key_hook is not None:
            configuration.refresh_api_key_hook(configuration)
        if configuration.username:
            name_and_password = f"{configuration.username}:{configuration.password}".encode()
            return "Basic " + base64.b64encode(name_and_password).decode()
        # Releases of the client differ in the name, and one differs with itself.
        for name in ("BearerToken", "authorization"):
            if configuration.api_key.get(name):
                prefix = configuration.api_key_prefix.get(name)
                return f"{prefix} {configuration.api_key[name]}" if prefix else str(configuration.api_key[name])
        return None

    def _by_client(self, configuration: Access, function: str, **given: t.Any) -> None:
        """Has the kubernetes client read the credentials, which may mean to ask a plugin or a provider for them."""
        from kubernetes import config
        from kubernetes.config import kube_config

        try:
            getattr(config, function)(client_configuration=configuration, **given)
        except config.ConfigException as error:
            raise _unusable(error) from error
        self._keep_in_memory(configuration, getattr(kube_config, "_temp_files", {}))

    def _keep_in_memory(self, configuration: Access, files: dict[str, str]) -> None:
        """Takes keys off the disk that the kubernetes client has put there (those of exec credentials)."""
        for attribute in ("cert_file", "key_file", "ssl_ca_cert"):
            path = getattr(configuration, attribute)
            names = [name for name, known in files.items() if known == path]
            if names and hasattr(os, "memfd_create"):
                with open(path, "rb") as stream:
                    setattr(configuration, attribute, self.memory_file(stream.read()))
                for name in names:
                    del files[name]
                os.remove(path)

    def _from_kubeconfig(self, configuration: Access) -> None:
        source, context = self.options.get("kubeconfig"), self.options.get("context")
        if source is None and "KUBERNETES_SERVICE_HOST" in os.environ and not os.path.exists(default_kubeconfig()):
            self._by_client(configuration, "load_incluster_config")
            return
        path = None if isinstance(source, dict) else str(source or default_kubeconfig())
        document = load_kubeconfig(path) if path else t.cast(t.Dict[str, t.Any], source)
        user, cluster = of_context(document, context)
        self._proxy_url = cluster.get("proxy-url") or None
        if path and self.options.get("persist_config"):
            # A renewed OIDC token is to be written back, and the client writes back what it has read itself.
            self._by_client(configuration, "load_kube_config", config_file=path, context=context)
        else:
            base = os.path.dirname(os.path.abspath(path.split(os.pathsep, maxsplit=1)[0])) if path else None
            document = self._without_files(document, base)
            if read_plain(configuration, *of_context(document, context)):
                return
            self._by_client(
                configuration, "load_kube_config_from_dict", config_dict=document, context=context, persist_config=False
            )
        # The client only logs it when a credential plugin fails, and would go on as nobody.
        given = self.options.get("api_key") or self.options.get("client_cert") or self.options.get("username")
        if "exec" in user and not (given or configuration.api_key or configuration.cert_file):
            raise _unusable("the credential plugin {} gave no credentials".format(user["exec"].get("command")))

    def _without_files(self, document: t.Mapping[str, t.Any], base: str | None) -> dict[str, t.Any]:
        """The same kubeconfig with its inline keys held in memory.

        The kubernetes client writes `*-data` entries to files in TMPDIR, which outlive a killed process. OpenSSL only
        takes files, so they become anonymous ones where the system has them (Linux).
        """
        result: dict[str, t.Any] = copy.deepcopy(dict(document))
        for section, keys in (
            ("clusters", ("certificate-authority",)),
            ("users", ("client-certificate", "client-key", "tokenFile")),
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

    def list_all(
        self, path: str, query: t.Mapping[str, t.Any] | None = None, limit: int = 500
    ) -> list[dict[str, t.Any]]:
        """All objects of a collection, read in pages of `limit`; none where the kind does not exist."""
        items: list[dict[str, t.Any]] = []
        page: dict[str, t.Any] = {"limit": limit}
        while True:
            try:
                answer = self.request("GET", path, {**(query or {}), **page})
            except ApiError as error:
                if error.status == 404:
                    return []
                # The snapshot behind the pages is gone (a very slow reader): one answer without pages is consistent.
                if error.status == 410 and "continue" in page:
                    items, page = [], {}
                    continue
                raise
            items += answer.get("items") or []
            following = (answer.get("metadata") or {}).get("continue")
            if not following:
                return items
            page = {"limit": limit, "continue": following}

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
        headers = urllib3.HTTPHeaderDict(
            {"Accept": "application/json", "Content-Type": content_type, "User-Agent": "hybridmesh.istio"}
        )
        headers.update(urllib3.make_headers(**(self.options.get("proxy_headers") or {})))
        if self.options.get("impersonate_user"):
            headers["Impersonate-User"] = self.options["impersonate_user"]
        authorization = self.authorization()
        if authorization:
            headers["Authorization"] = authorization
        for group in self.options.get("impersonate_groups") or []:
            headers.add("Impersonate-Group", group)
        url = self.server + path + ("?" + urllib.parse.urlencode(query) if query else "")
        encoded = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
        waited = 0.0
        try:
            while True:
                response = self._pool.request(
                    method,
                    url,
                    body=encoded,
                    headers=headers,
                    timeout=urllib3.Timeout(connect=min(timeout, 10.0), read=timeout),
                    preload_content=preload,
                    retries=False,
                )
                if response.status != 429 or waited >= PATIENCE:
                    break
                # The API server did nothing yet, and says when it will have time (priority and fairness).
                said = response.headers.get("Retry-After") or ""
                response.drain_conn()
                pause = min(max(float(said) if said.isdigit() else 1.0, 0.1), PATIENCE - waited)
                time.sleep(pause)
                waited += pause
        except urllib3.exceptions.HTTPError as error:
            next_step = "check that the kubeconfig names the right cluster and that the controller reaches it"
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                next_step = "set ca_cert (or the kubeconfig's certificate-authority) to the CA of this API server"
            raise ApiError(
                f"no answer from the API server {self.server}: {error}",
                f"the API server answers {method} {path}",
                next_step,
                0,
            ) from error
        date = email.utils.parsedate_tz(response.headers.get("Date") or "")
        if date:
            self.server_time = float(email.utils.mktime_tz(date))
        if response.status >= 400:
            raise refused(method, path, response.status, response.data)
        return response


def _unusable(why: t.Any) -> MeshError:
    return MeshError(
        f"the kubeconfig can't be used: {why}",
        "a kubeconfig with a cluster, a user and the context asked for",
        "check the options kubeconfig and context (or K8S_AUTH_KUBECONFIG, K8S_AUTH_CONTEXT, KUBECONFIG)",
    )


# Option -> the environment variable that kubernetes.core reads for it; proxy_headers has one for each header.
ENVIRONMENT = {
    "kubeconfig": "K8S_AUTH_KUBECONFIG",
    "context": "K8S_AUTH_CONTEXT",
    "host": "K8S_AUTH_HOST",
    "api_key": "K8S_AUTH_API_KEY",
    "username": "K8S_AUTH_USERNAME",
    "password": "K8S_AUTH_PASSWORD",
    "validate_certs": "K8S_AUTH_VERIFY_SSL",
    "ca_cert": "K8S_AUTH_SSL_CA_CERT",
    "client_cert": "K8S_AUTH_CERT_FILE",
    "client_key": "K8S_AUTH_KEY_FILE",
    "proxy": "K8S_AUTH_PROXY",
    "no_proxy": "K8S_AUTH_NO_PROXY",
    "proxy_headers": "",
    "persist_config": "K8S_AUTH_PERSIST_CONFIG",
    "impersonate_user": "K8S_AUTH_IMPERSONATE_USER",
    "impersonate_groups": "K8S_AUTH_IMPERSONATE_GROUPS",
}


_PROXY_HEADERS = ("proxy_basic_auth", "basic_auth", "user_agent")


def effective_options(options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The options with nulls filled from the environment, as kubernetes.core does it."""
    result: dict[str, t.Any] = {}
    for name, variable in ENVIRONMENT.items():
        value = options.get(name)
        if name == "proxy_headers":
            # Names as kubernetes.core has them.
            said = {key: os.environ.get(f"K8S_AUTH_PROXY_HEADERS_{key.upper()}") for key in _PROXY_HEADERS}
            value = {key: found for key, found in {**said, **(value or {})}.items() if found} or None
        elif value is None and variable in os.environ:
            value = os.environ[variable]
            if name in ("validate_certs", "persist_config"):
                value = value.lower() not in ("0", "no", "false", "off", "n", "f")
            elif name == "impersonate_groups":
                value = [group.strip() for group in value.split(",") if group.strip()]
        result[name] = value
    result["kubeconfig"] = inline(result["kubeconfig"])
    return result
