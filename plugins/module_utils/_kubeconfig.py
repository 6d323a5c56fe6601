# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds and reads kubeconfigs as kubectl does. Private to the collection."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

# A missing one is told by Cluster (it comes with the kubernetes client).
with contextlib.suppress(ImportError):
    import yaml


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


def inline(source: t.Any) -> t.Any:
    """A kubeconfig that is given as text (a credential of AWX, which knows no dictionaries) as a dictionary; all else as it is.

    Raises:
        MeshError: it is text of several lines, and no kubeconfig. The message has nothing of it, as it may hold secrets.
    """
    if not isinstance(source, str) or not ("\n" in source.strip() or source.lstrip().startswith("{")):
        return source
    try:
        document = yaml.safe_load(source)
    except yaml.YAMLError:
        document = None
    if not isinstance(document, dict):
        raise MeshError(
            "the kubeconfig is given as text, which is not valid YAML of a mapping",
            "the content of a kubeconfig, or its path",
            "see kubectl config view --raw --minify",
        )
    return document


def of_context(
    document: t.Mapping[str, t.Any], context: str | None
) -> tuple[t.Mapping[str, t.Any], t.Mapping[str, t.Any]]:
    """The user's and the cluster's entry that the (or the current) context names; empty where there is none."""

    def entry(section: str, name: t.Any) -> t.Mapping[str, t.Any]:
        found = (item.get(section[:-1]) for item in document.get(section) or [] if item.get("name") == name)
        return next(found, None) or {}

    chosen = entry("contexts", context or document.get("current-context"))
    return entry("users", chosen.get("user")), entry("clusters", chosen.get("cluster"))


@dataclasses.dataclass
class Access:
    """Where an API server is, and how to get in. Has the attributes that the kubernetes client's Configuration has for it, which the
    client sets where it reads the credentials.

    Attributes:
        host: base URL.
        verify_ssl: whether the server's certificate is verified.
        ssl_ca_cert: path of the CA certificates to verify it with; None for the system's.
        tls_server_name: name that its certificate has where it is not the host's.
        cert_file: path of the client's certificate.
        key_file: path of its key.
        username: for basic authentication.
        password: for basic authentication.
        api_key: values of the header Authorization by names that differ between releases of the client.
        api_key_prefix: what goes before them, by the same names.
        refresh_api_key_hook: renews `api_key` where that is due; called with this object.
        proxy: URL of the proxy to go through.
        no_proxy: names and addresses to reach without it, separated by commas.
    """

    host: str = "http://localhost"
    verify_ssl: bool = True
    ssl_ca_cert: str | None = None
    tls_server_name: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    username: str = ""
    password: str = ""
    api_key: dict[str, str] = dataclasses.field(default_factory=dict)
    api_key_prefix: dict[str, str] = dataclasses.field(default_factory=dict)
    refresh_api_key_hook: t.Callable[[t.Any], None] | None = None
    proxy: str | None = None
    no_proxy: str | None = None


# Entries of a user that lead to the credentials; all others hold them.
_LEADING = ("exec", "auth-provider", "tokenFile")


def read_plain(access: Access, user: t.Mapping[str, t.Any], cluster: t.Mapping[str, t.Any]) -> bool:
    """Takes over what a kubeconfig says in plain words: a certificate, a token, or a name and a password.

    To load the kubernetes client for that takes a fifth of a second and 25 to 50 MB, in each process that asks an API server.

    Args:
        access: gets it.
        user: the user's entry, without inline files.
        cluster: the cluster's entry, without inline files.

    Returns:
        Whether that was all. Otherwise nothing was taken over: the client is needed, to read the rest or to say what is wrong with it.
    """
    files = cluster.get("certificate-authority"), user.get("client-certificate"), user.get("client-key")
    if (
        not cluster.get("server")
        or any(user.get(key) for key in _LEADING)
        or any(path and not os.path.isfile(path) for path in files)
        or any(key.endswith("-data") for key in (*user, *cluster))
    ):
        return False
    access.host = cluster["server"].rstrip("/")
    access.verify_ssl = not cluster.get("insecure-skip-tls-verify")
    access.tls_server_name = cluster.get("tls-server-name")
    if access.host.startswith("https"):
        access.ssl_ca_cert, access.cert_file, access.key_file = files
    if user.get("token"):
        access.api_key = {"authorization": user["token"]}
        access.api_key_prefix = {"authorization": "Bearer"}
    elif "username" in user and "password" in user:
        access.username, access.password = user["username"], user["password"]
    return True


# The entries of a kubeconfig's users that open a door.
_SECRETS = ("client-key-data", "token", "password", "access-token", "id-token", "refresh-token", "client-secret")


def secrets_of(kubeconfig: t.Any) -> set[str]:
    """The secrets in a kubeconfig that is given as a dictionary or as text; none for a path."""
    with contextlib.suppress(MeshError):
        kubeconfig = inline(kubeconfig)
    if isinstance(kubeconfig, dict):
        own = {str(value) for key, value in kubeconfig.items() if key in _SECRETS and value}
        return own.union(*(secrets_of(value) for value in kubeconfig.values()))
    if isinstance(kubeconfig, list):
        return set().union(*(secrets_of(item) for item in kubeconfig))
    return set()
