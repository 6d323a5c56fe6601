# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules for gateways do alike: install one by istioctl or Helm, and wait for its address. Private to the collection."""

from __future__ import annotations

import dataclasses
import socket
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hybridmesh.istio.plugins.module_utils import _cluster, _gateway_spec, _manifest
from ansible_collections.hybridmesh.istio.plugins.module_utils._apply import Applier
from ansible_collections.hybridmesh.istio.plugins.module_utils._cluster import Gateway, Mesh
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import (
    Cluster,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._helm import Charts, Helm
from ansible_collections.hybridmesh.istio.plugins.module_utils._install import (
    CONTROL_PLANE,
    HELM,
    ISTIOCTL,
    Installation,
    Wanted,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._install_charts import ChartInstallation
from ansible_collections.hybridmesh.istio.plugins.module_utils._istioctl import Finder, Istioctl
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Change, Ref

# The options in the documentation fragment `gateway`.
ARGUMENTS: dict[str, t.Any] = {
    "namespace": {"type": "str"},
    "istio_namespace": {"type": "str", "default": "istio-system"},
    "revision": {"type": "str"},
    "version": {"type": "str"},
    "allow_upgrade": {"type": "bool", "default": True},
    "method": {"type": "str", "choices": ["auto", ISTIOCTL, HELM], "default": "auto"},
    "charts": {"type": "str"},
    "helm": {"type": "path"},
    "istioctl": {"type": "path"},
    "release_url": {"type": "str"},
    "cache_dir": {"type": "path"},
    "hub": {"type": "str"},
    "replicas": {"type": "int", "default": 2},
    "resources": {"type": "dict"},
    "service_type": {"type": "str", "choices": ["LoadBalancer", "NodePort", "ClusterIP"], "default": "LoadBalancer"},
    "annotations": {"type": "dict", "default": {}},
    "internal": {"type": "str"},
    "source_ranges": {"type": "list", "elements": "str", "default": []},
    "address_timeout": {"type": "int", "default": 120},
    "spec": {"type": "dict", "default": {}},
    "readiness_timeout": {"type": "int", "default": 300},
}


def common_options(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The options of any gateway, as the pure parts take them."""
    return {
        "name": params["name"],
        "namespace": params["namespace"] or params["istio_namespace"],
        "replicas": params["replicas"],
        "service_type": params["service_type"],
        "internal": params["internal"],
        "source_ranges": params["source_ranges"],
        "annotations": {key: str(value) for key, value in params["annotations"].items()},
        "hub": params["hub"],
        "resources": params["resources"],
        "spec": params["spec"],
    }


def resolve(addresses: t.Sequence[str]) -> dict[str, list[str]]:
    """What each address or name stands for; nothing for a name that does not resolve yet."""
    result: dict[str, list[str]] = {}
    for address in addresses:
        try:
            infos = socket.getaddrinfo(address, None, proto=socket.IPPROTO_TCP)
        except OSError:
            infos = []
        result[address] = sorted({str(info[4][0]) for info in infos})
    return result


@dataclasses.dataclass
class Installed:
    """What came of an installation.

    Attributes:
        changes: what was, or would be changed.
        version: the gateway's version.
        releases: what kubernetes.core.helm has to release before the module goes on; then most changes are that task's to tell.
        here: whether something was changed here.
    """

    changes: list[Change]
    version: str
    releases: list[dict[str, t.Any]]
    here: bool


class GatewayRun:
    """One run of a module for a gateway.

    Attributes:
        role: the role that users know it by, whose variables messages name.
    """

    role = ""

    def __init__(self, module: AnsibleModule, own: _gateway_spec.Common) -> None:
        self.module = module
        self.params: dict[str, t.Any] = module.params
        self.own = own
        self.cluster = Cluster(module.params)
        self.applier = Applier(self.cluster)

    def read_mesh(self, why: str) -> Mesh | None:
        """The istiod that the gateway belongs to; None where there is none yet, in check mode.

        Raises:
            MeshError: there is none, and this is no check.
        """
        mesh = _cluster.read_mesh(self.cluster, self.params["istio_namespace"], self.params["revision"])
        if mesh is None and not self.module.check_mode:
            where = "{}{}".format(
                self.params["istio_namespace"],
                f" (revision {self.params['revision']})" if self.params["revision"] else "",
            )
            raise MeshError(f"there is no Istio in {where}", why, "install it first (role control_plane)")
        return mesh

    def promised(self, further: t.Sequence[tuple[str, str, str]] = ()) -> list[Change]:
        """What would be made on a cluster without Istio: the gateway, and (API version, kind, name) of other objects."""
        kinds = (("apps/v1", "Deployment", self.own.name), ("v1", "Service", self.own.name), *further)
        return [Change(Ref(api, kind, self.own.namespace, name), "create", None, None) for api, kind, name in kinds]

    def method(self, namespace: str, revision: str) -> str:
        """By what the gateway is installed: what was asked for, else by what istiod was."""
        if self.params["method"] != "auto":
            return str(self.params["method"])
        for mark in _cluster.read_marks(self.cluster, namespace):
            if mark.get("role") == CONTROL_PLANE and (mark.get("revision") or "") == revision:
                return mark.get("method") or ISTIOCTL
        return ISTIOCTL

    def wanted(
        self, name: str, role: str, spec: _manifest.Object, namespace: str, revision: str, method: str
    ) -> Wanted:
        """The installation."""
        return Wanted(
            name=name,
            role=role,
            spec=spec,
            namespace=namespace,
            revision=revision,
            allow_upgrade=self.params["allow_upgrade"],
            allow_option=f"{self.role}_allow_upgrade",
            readiness_timeout=self.params["readiness_timeout"],
            method=method,
            method_option=f"{self.role}_method",
        )

    def judged_version(self, installation: Installation, mesh: Mesh) -> str:
        """The gateway's version.

        Raises:
            MeshError: it may not be that one.
        """
        version = _gateway_spec.gateway_version(self.params["version"], mesh, self.role)
        installation.judge_version(version)
        return version

    def converge(self, installation: Installation, mesh: Mesh) -> Installed:
        """Installs it, unless that is only to be checked."""
        check = self.module.check_mode
        version = self.judged_version(installation, mesh)
        if installation.wanted.method == HELM:
            releases = ChartInstallation(self.cluster, installation.wanted, self.helm(version), self.own.namespace)
            result, tasks = releases.converge_charts(self._no_istioctl, check)
            return Installed(result.changes, version, [] if check else tasks, bool(result.here))
        finder = Finder(self.module.run_command, self.params["release_url"], self.params["cache_dir"])
        path, version = finder.find(version, self.params["istioctl"])
        istioctl = Istioctl(path, version, self.cluster, self.module.run_command, self.module.tmpdir, mesh["namespace"])
        changes = installation.converge(istioctl, check).changes
        return Installed(changes, version, [], bool(changes))

    def helm(self, version: str) -> Helm:
        """Helm, with charts of that version."""
        charts = Charts(self.params["charts"], version)
        return Helm(self.params["helm"], charts, self.cluster, self.module.run_command, self.module.tmpdir)

    @staticmethod
    def _no_istioctl() -> Istioctl:
        raise NotImplementedError("only a control plane's version is judged by istioctl")

    def read_gateway(self) -> Gateway | None:
        """The gateway as it is."""
        return _cluster.read_gateway(self.cluster, self.own.namespace, self.own.name)

    def addresses(self, judge: t.Callable[[Gateway, dict[str, list[str]]], None]) -> list[str]:
        """Waits for the gateway's addresses; in check mode there may be none.

        Args:
            judge: may refuse the addresses, each with what it resolves to, by raising a MeshError.
        """
        deadline = time.monotonic() + self.params["address_timeout"]
        while True:
            gateway = self.read_gateway()
            addresses = gateway["addresses"] if gateway else []
            resolved = resolve(addresses)
            if gateway and addresses and all(resolved.values()):
                judge(gateway, resolved)
                return addresses
            if self.module.check_mode:
                # The load balancer gives one only after the Service was made.
                return []
            if time.monotonic() >= deadline:
                raise self._no_address(addresses)
            time.sleep(1)

    def no_address_remedy(self) -> str:
        """What to do where no load balancer gives an address."""
        raise NotImplementedError

    def _no_address(self, names: t.Sequence[str]) -> MeshError:
        """Why there is no address, as far as the cluster tells."""
        own = f"{self.own.namespace}/{self.own.name}"
        if names:
            return MeshError(
                f"the address {', '.join(names)} of the gateway's Service {own} does not resolve on the controller",
                f"a name that resolves within {self.params['address_timeout']} s",
                f"check the controller's DNS, or {self.no_address_remedy()}",
            )
        events = self.cluster.request(
            "GET",
            f"/api/v1/namespaces/{self.own.namespace}/events",
            {"fieldSelector": f"involvedObject.kind=Service,involvedObject.name={self.own.name}"},
        ).get("items", [])
        told = "; ".join(str(event.get("message", "")).strip() for event in events[-3:])
        return MeshError(
            f"the gateway's Service {own} got no address within {self.params['address_timeout']} s"
            + (f"; its events say: {told}" if told else ", and it has no events"),
            "a load balancer that gives Services of type LoadBalancer an address",
            "install one where the cluster has none (MetalLB, for example), or see why the cloud's refuses; else set"
            f" {self.role}_service_type to NodePort, or {self.no_address_remedy()}; where it is only slow, raise"
            f" {self.role}_address_timeout",
        )

    def answer(self, changes: list[Change], here: bool | None = None, **more: t.Any) -> dict[str, t.Any]:
        """The module's result.

        Args:
            changes: what is changed.
            here: whether something of it was changed here; None for all of it.
            more: what this module tells further.
        """
        result: dict[str, t.Any] = {
            "changed": bool(changes) if here is None else here,
            "releases": [],
            "objects": _manifest.told(changes),
            "report": _manifest.summary(changes, self.module.check_mode),
            **more,
        }
        if self.module._diff:
            result["diff"] = _manifest.diff(changes)
        return result
