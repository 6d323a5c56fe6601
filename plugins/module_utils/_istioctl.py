# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds istioctl, or downloads it, and runs it. Private to the collection.

istioctl takes its way to the cluster from a kubeconfig only. It gets one that holds what our own requests use, in
memory where the system has anonymous files.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import platform
import re
import shutil
import stat
import tarfile
import tempfile
import typing as t

from ansible.module_utils.urls import open_url
from ansible_collections.hybridmesh.istio.plugins.module_utils import _lock, _manifest
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

# AnsibleModule.run_command: (arguments, keywords) -> (exit code, standard output, standard error)
RunCommand = t.Callable[..., t.Tuple[int, str, str]]

RELEASE_URL = "https://storage.googleapis.com/istio-release/releases"

_SYSTEMS = {"Linux": "linux", "Darwin": "osx"}
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64", "armv7l": "armv7"}


def archive_name(version: str, system: str, machine: str) -> str:
    """The name that Istio's releases give to the archive with istioctl alone.

    Raises:
        MeshError: there is no istioctl for that system.
    """
    try:
        return f"istioctl-{version}-{_SYSTEMS[system]}-{_MACHINES[machine.lower()]}.tar.gz"
    except KeyError as error:
        raise MeshError(
            f"the controller is {system} on {machine}",
            "a controller for which Istio publishes istioctl ({} on {})".format(
                " or ".join(sorted(_SYSTEMS)), ", ".join(sorted(set(_MACHINES.values())))
            ),
            "run Ansible on such a machine, or give the path of an istioctl that runs here",
        ) from error


def default_cache() -> str:
    """Where downloaded releases of istioctl are kept."""
    base = os.environ.get("HYBRIDMESH_CACHE")
    if not base:
        base = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "hybridmesh")
    return os.path.join(base, "istioctl")


class Finder:
    """Where istioctl of a version is found."""

    def __init__(self, run: RunCommand, release_url: str | None, cache: str | None) -> None:
        self._run = run
        self.release_url = (release_url or RELEASE_URL).rstrip("/")
        self.cache = os.path.expanduser(cache or default_cache())

    def find(self, version: str | None, path: str | None) -> tuple[str, str]:
        """The path of istioctl and its version.

        Args:
            version: the version asked for; None takes that of `path`.
            path: an istioctl that must be used; None looks in the cache, then in PATH, then downloads.

        Raises:
            MeshError: there is none of that version, or what was downloaded is not what was published.
        """
        if path:
            return self._given(os.path.expanduser(path), version)
        if not version:
            raise MeshError("neither a version of Istio nor an istioctl is given", "one of both", "set the version")
        cached = os.path.join(self.cache, f"istioctl-{version}")
        if self._trusted(cached):
            return cached, version
        known = shutil.which("istioctl")
        if known and self.version_of(known) == version:
            return known, version
        self._download(version, cached)
        return cached, version

    def _given(self, path: str, version: str | None) -> tuple[str, str]:
        if not os.access(path, os.X_OK):
            raise MeshError(f"{path} is not an executable file", "the path of istioctl", "correct the path")
        own = self.version_of(path)
        if version and own != version:
            raise MeshError(
                f"{path} is istioctl {own or 'of an unknown version'}",
                f"istioctl {version}, since it installs its own version",
                "give the path of that version, or none to have it downloaded, or ask for its version of Istio",
            )
        return path, own

    def version_of(self, path: str) -> str:
        """The version that an istioctl says it has, or ''."""
        code, out, _err = self._run([path, "version", "--remote=false", "-o", "json"])
        try:
            return str(json.loads(out)["clientVersion"]["version"]) if code == 0 else ""
        except (ValueError, KeyError, TypeError):
            return ""

    @staticmethod
    def _trusted(path: str) -> bool:
        """Whether an earlier run put the file there, and nobody else could have since."""
        try:
            folder, file = os.stat(os.path.dirname(path)), os.stat(path)
        except OSError:
            return False
        return all(
            entry.st_uid in (os.getuid(), 0) and not entry.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            for entry in (folder, file)
        )

    def _download(self, version: str, target: str) -> None:
        name = archive_name(version, platform.system(), platform.machine())
        url = f"{self.release_url}/{version}/{name}"
        expected = self._fetch(url + ".sha256", version).decode("ascii", "replace").split()
        archive = self._fetch(url, version)
        found = hashlib.sha256(archive).hexdigest()
        if not expected or expected[0].lower() != found:
            raise MeshError(
                f"the SHA-256 of {url} is {found}",
                "{}, as {}.sha256 says".format(expected[0] if expected else "a checksum", url),
                "have a look at the mirror or the proxy in between; nothing was installed",
            )
        os.makedirs(self.cache, mode=0o755, exist_ok=True)
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
            member = next((item for item in tar.getmembers() if os.path.basename(item.name) == "istioctl"), None)
            content = tar.extractfile(member) if member else None
            if content is None:
                raise MeshError(f"{url} holds no istioctl", "an archive of istioctl", "check the release's URL")
            # Two runs may download at the same time: whoever is last wins, and nobody sees half a file.
            handle, partial = tempfile.mkstemp(dir=self.cache)
            try:
                with os.fdopen(handle, "wb") as stream:
                    shutil.copyfileobj(content, stream)
                os.chmod(partial, 0o755)
                os.replace(partial, target)
            except BaseException:
                os.unlink(partial)
                raise

    def _fetch(self, url: str, version: str) -> bytes:
        try:
            return bytes(open_url(url, timeout=60, follow_redirects="all").read())
        except Exception as error:  # urllib, ssl, socket and http each have their own
            raise MeshError(
                f"{url} can't be downloaded: {error}",
                f"istioctl {version} in the cache {self.cache}, in PATH, or at the release's URL",
                "check the version and the URL of the releases (mesh_release_url for the roles), or give the path of"
                " an istioctl",
            ) from error


def kubeconfig(cluster: Cluster) -> dict[str, t.Any]:
    """A kubeconfig of one context that leads where the cluster's own requests go, as the same user."""
    configuration = cluster.configuration
    server: dict[str, t.Any] = {"server": cluster.server}
    if not configuration.verify_ssl:
        server["insecure-skip-tls-verify"] = True
    elif configuration.ssl_ca_cert:
        server["certificate-authority-data"] = _content(configuration.ssl_ca_cert)
    if configuration.tls_server_name:
        server["tls-server-name"] = configuration.tls_server_name
    user: dict[str, t.Any] = {}
    if configuration.cert_file and configuration.key_file:
        user["client-certificate-data"] = _content(configuration.cert_file)
        user["client-key-data"] = _content(configuration.key_file)
    scheme, _blank, token = (cluster.authorization() or "").partition(" ")
    if scheme == "Bearer":
        user["token"] = token
    elif scheme == "Basic":
        user["username"], user["password"] = configuration.username, configuration.password
    if cluster.options.get("impersonate_user"):
        user["as"] = cluster.options["impersonate_user"]
    if cluster.options.get("impersonate_groups"):
        user["as-groups"] = cluster.options["impersonate_groups"]
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "mesh", "cluster": server}],
        "users": [{"name": "mesh", "user": user}],
        "contexts": [{"name": "mesh", "context": {"cluster": "mesh", "user": "mesh"}}],
        "current-context": "mesh",
    }


def _content(path: str) -> str:
    with open(path, "rb") as stream:
        return base64.b64encode(stream.read()).decode("ascii")


def way(cluster: Cluster, folder: str) -> tuple[str, tuple[int, ...], dict[str, str]]:
    """How a program reaches the cluster: the path of a kubeconfig, file descriptors to pass on, and its environment.

    Args:
        cluster: the cluster, which holds the kubeconfig where the system has anonymous files.
        folder: a folder of this run that Ansible sweeps, used only where the system has none.
    """
    content = json.dumps(kubeconfig(cluster)).encode()
    descriptors: tuple[int, ...] = ()
    if hasattr(os, "memfd_create"):
        path = cluster.memory_file(content)
        descriptors = (int(path.rsplit("/", 1)[-1]),)
    else:
        handle, path = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
    environment = {"NO_COLOR": "1"}
    proxy, no_proxy = cluster.configuration.proxy, cluster.configuration.no_proxy
    if proxy:
        environment.update(HTTPS_PROXY=proxy, HTTP_PROXY=proxy)
        if no_proxy:
            environment["NO_PROXY"] = no_proxy
    return path, descriptors, environment


class Istioctl:
    """istioctl, run against one cluster."""

    def __init__(self, path: str, version: str, cluster: Cluster, run: RunCommand, folder: str, namespace: str) -> None:
        """Prepares to run it.

        Args:
            path: where it is.
            version: which it is.
            cluster: the cluster.
            run: runs a command, as AnsibleModule.run_command does.
            folder: a folder of this run that Ansible sweeps, used only where the system has no anonymous files.
            namespace: Istio's namespace.
        """
        self.path = path
        self.version = version
        self._run = run
        self._namespace = namespace
        self._kubeconfig, self._pass, self._environment = way(cluster, folder)

    def _call(self, arguments: list[str], operator: _manifest.Object | None = None) -> tuple[int, str, str]:
        command = [self.path, *arguments, "--kubeconfig", self._kubeconfig]
        # JSON is YAML, too.
        data = None if operator is None else json.dumps(operator)
        return self._run(command, data=data, binary_data=True, pass_fds=self._pass, environ_update=self._environment)

    def generate(self, operator: _manifest.Object) -> list[_manifest.Object]:
        """The objects that an IstioOperator stands for.

        Raises:
            MeshError: istioctl does not accept it.
        """
        code, out, err = self._call(["manifest", "generate", "--cluster-specific", "-f", "-"], operator)
        if code != 0:
            raise MeshError(
                f"istioctl {self.version} can't make objects of the IstioOperator: {reason(err or out)}",
                "a spec that this version of Istio understands",
                "correct what the message names; see Istio's reference of IstioOperator options and chart values",
            )
        return _manifest.parse(out)

    def precheck(self) -> list[str]:
        """What stands against an installation or an upgrade; empty where nothing does."""
        code, out, err = self._call(["experimental", "precheck", "--istioNamespace", self._namespace])
        if code == 0:
            return []
        findings = [line.strip() for line in out.splitlines() if line.strip()]
        return findings or [reason(err)]

    def install(self, operator: _manifest.Object, timeout: int) -> None:
        """Installs what an IstioOperator stands for, and waits until it is ready.

        Raises:
            MeshError: it failed, or was not ready in time.
        """
        _lock.need()
        code, out, err = self._call(
            ["install", "--skip-confirmation", "--readiness-timeout", f"{timeout}s", "-f", "-"], operator
        )
        if code == 0:
            return
        text = reason(err or out)
        if "not ready after" in text:
            raise MeshError(
                text,
                f"everything that istioctl {self.version} installs is ready within {timeout} s",
                "look at the Pods and events named (kubectl describe); the next run goes on from here; where it was"
                " only slow, raise the readiness time-out",
            )
        raise MeshError(
            f"istioctl {self.version} failed: {text}", "the installation succeeds", "correct what the message names"
        )

    def set_default(self, revision: str) -> None:
        """Gives the tag `default` to a revision.

        Raises:
            MeshError: it failed.
        """
        _lock.need()
        arguments = ["tag", "set", "default", "--revision", revision, "--overwrite", "--skip-confirmation"]
        code, out, err = self._call([*arguments, "--istioNamespace", self._namespace])
        if code != 0:
            raise MeshError(
                f"istioctl {self.version} can't give the tag default to {revision}: {reason(err or out)}",
                "the revision is installed",
                "correct what the message names",
            )

    def proxies(self, revision: str | None = None) -> dict[str, str]:
        """The version of each proxy that is connected to istiod, by the proxy's ID.

        Args:
            revision: of the istiod that is asked; None for all of them, '' for the one without a revision.

        Raises:
            MeshError: istiod does not tell.
        """
        which = [] if revision is None else ["--revision", revision or "default"]
        code, out, err = self._call(["version", "-o", "json", "--istioNamespace", self._namespace, *which])
        answer: dict[str, t.Any] = {}
        if code == 0:
            try:
                answer = json.loads(out[out.index("{") :])
            except ValueError:
                answer = {}
        if not answer.get("meshVersion"):
            raise MeshError(
                f"istiod does not tell which proxies are connected to it: {reason(err or out)}",
                "istiod answers, so that proxies that a new version would leave behind are known before",
                "repair istiod first, and give the kubeconfig's user the verb create on pods/portforward",
            )
        return {
            str(proxy.get("ID") or proxy.get("id") or "?"): str(proxy.get("IstioVersion") or "unknown")
            for proxy in answer.get("dataPlaneVersion") or []
        }


_NOISE = re.compile(r"\x1b\[[0-9;]*m|^\d{4}-\d\d-\d\dT\S+\s+\w+\s+", re.MULTILINE)


def reason(text: str) -> str:
    """istioctl's message without its log's times, colours and picture of a sail, on one line."""
    lines = [line.strip() for line in _NOISE.sub("", text).splitlines()]
    errors = [index for index, line in enumerate(lines) if line.startswith("Error: ")]
    if errors:
        lines = lines[errors[-1] :]
    kept = [line for line in lines if re.search(r"[A-Za-z]{2}", line)]
    return "; ".join(kept).replace("Error: ", "", 1).lstrip(": ")[-2000:] or "no message"
