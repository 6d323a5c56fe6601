# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks Helm what a chart makes and what was released. Private to the collection. Changes nothing in a cluster.

What is to be released is released by kubernetes.core.helm, which a role calls with what is found out here.
"""

from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _manifest
from ansible_collections.hybridmesh.istio.plugins.module_utils._charts import CHARTS, Release, Released, is_url
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._istioctl import RunCommand, reason, way

# Where Istio publishes its charts.
REPOSITORY = "https://istio-release.storage.googleapis.com/charts"

_NEXT = "check control_plane_charts and the version (mesh_charts sets it for all roles)"


class Charts:
    """Where charts are found: in a repository, or in a folder."""

    def __init__(self, place: str | None, version: str) -> None:
        self.place = place or REPOSITORY
        self.version = version

    def where(self, chart: str) -> tuple[str, str | None]:
        """What Helm calls the chart, and the repository where that is a name in one.

        Raises:
            MeshError: there is no such chart in the folder.
        """
        if self.place.startswith("oci://"):
            return f"{self.place.rstrip('/')}/{chart}", None
        if is_url(self.place):
            return chart, self.place
        folder = os.path.abspath(os.path.expanduser(self.place))
        tried = [os.path.join(folder, name) for name in (*CHARTS[chart], f"{chart}-{self.version}.tgz")]
        for path in tried:
            if os.path.isfile(path) or os.path.isfile(os.path.join(path, "Chart.yaml")):
                return path, None
        raise MeshError(
            f"there is no chart {chart} in {folder} (looked for {', '.join(os.path.relpath(p, folder) for p in tried)})",
            "the folder manifests/charts of a release of Istio, or one with the charts base, istiod and gateway",
            _NEXT,
        )


class Helm:
    """helm, run against one cluster."""

    def __init__(self, binary: str | None, charts: Charts, cluster: Cluster, run: RunCommand, folder: str) -> None:
        """Prepares to run it.

        Args:
            binary: its path or name; None for `helm`.
            charts: where charts are.
            cluster: the cluster.
            run: runs a command, as AnsibleModule.run_command does.
            folder: a folder of this run that Ansible sweeps, used only where the system has no anonymous files.
        """
        self.binary = os.path.expanduser(binary or "helm")
        self.charts = charts
        self._cluster = cluster
        self._run = run
        self._kubeconfig, self._pass, self._environment = way(cluster, folder)
        self._capabilities: list[str] | None = None

    def _call(self, arguments: list[str], data: str | None = None) -> str:
        try:
            code, out, err = self._run(
                [self.binary, *arguments],
                data=data,
                binary_data=True,
                pass_fds=self._pass,
                environ_update=dict(self._environment, KUBECONFIG=self._kubeconfig),
                handle_exceptions=False,
            )
        except OSError as error:
            raise MeshError(
                f"{self.binary} can't be run: {error.strerror}",
                "Helm 3 on the controller",
                "install it, or set its path (control_plane_helm_binary, or mesh_helm_binary for all roles)",
            ) from error
        if code != 0:
            raise MeshError(
                f"helm {arguments[0]} failed: {reason(err or out)}",
                "charts that can be read, with values that they understand",
                "correct what the message names; " + _NEXT,
            )
        return out

    def check_version(self, release: Release) -> None:
        """Refuses a chart of another version than the one that is asked for.

        Raises:
            MeshError: it is another, or the chart can't be had.
        """
        found = _manifest.parse(self._call(["show", "chart", *self._reference(release)]))[0]
        if str(found.get("version")) != self.charts.version:
            raise MeshError(
                f"the chart {release.chart} in {self.charts.place} is of version {found.get('version')}",
                f"version {self.charts.version}",
                "give the charts of that version of Istio, or ask for the charts' version (control_plane_version)",
            )

    def _reference(self, release: Release) -> list[str]:
        name, repository = self.charts.where(release.chart)
        return [name, *(["--repo", repository] if repository else []), "--version", self.charts.version]

    def template(self, release: Release, upgrade: bool) -> list[_manifest.Object]:
        """The objects that a release would consist of."""
        arguments = ["template", release.name, *self._reference(release), "--namespace", release.namespace]
        if upgrade:
            arguments.append("--is-upgrade")
        out = self._call([*arguments, *self._able(), "--values", "-"], json.dumps(release.values))
        return _manifest.parse(out)

    def _able(self) -> list[str]:
        """What the API server can do, as charts may ask; Helm itself would look only where it also validates."""
        if self._capabilities is None:
            version = self._cluster.request("GET", "/version")["gitVersion"]
            groups = self._cluster.request("GET", "/apis").get("groups", [])
            known = [item["groupVersion"] for group in groups for item in group["versions"]]
            self._capabilities = ["--kube-version", version] + [f"--api-versions={item}" for item in known]
        return self._capabilities

    def task(self, release: Release, again: bool) -> dict[str, t.Any]:
        """The options with which kubernetes.core.helm makes the release."""
        name, repository = self.charts.where(release.chart)
        return {
            "name": release.name,
            "namespace": release.namespace,
            "chart_ref": name,
            "chart_repo_url": repository,
            "chart_version": self.charts.version,
            "release_values": release.values,
            "force": again,
        }

    def released(self, namespace: str) -> dict[str, Released]:
        """What was released in a namespace, by name."""
        out = self._call(["list", "--all", "--output", "json", "--namespace", namespace])
        return {item["name"]: Released(item["status"], item["chart"]) for item in json.loads(out or "[]")}

    def values(self, release: Release) -> dict[str, t.Any]:
        """The values that a release was made with."""
        arguments = ["get", "values", release.name, "--output", "json", "--namespace", release.namespace]
        return json.loads(self._call(arguments)) or {}

    def manifest(self, release: Release) -> list[_manifest.Object]:
        """The objects that a release consists of."""
        return _manifest.parse(self._call(["get", "manifest", release.name, "--namespace", release.namespace]))
