#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: eastwest_gateway
short_description: The gateway through which virtual machines reach istiod
version_added: 0.1.0
description:
  - Installs an east-west gateway with the mesh ID, cluster name and network of istiod, which are read from the cluster,
    waits for its address, and then exposes istiod through it.
  - Nothing is exposed before the address is known to be one that not everybody reaches, unless O(public) says so.
  - A gateway of that name that somebody else installed is not changed; the module says what it lacks.
author:
  - hybridmesh.istio contributors (@hybridmesh)
extends_documentation_fragment:
  - hybridmesh.istio.attributes
  - hybridmesh.istio.attributes.cluster
  - hybridmesh.istio.cluster
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  name:
    description: Name of the gateway's Deployment and Service.
    type: str
    default: istio-eastwestgateway
  namespace:
    description: The gateway's namespace, which must exist. The default is O(istio_namespace).
    type: str
  istio_namespace:
    description: istiod's namespace.
    type: str
    default: istio-system
  revision:
    description:
      - Revision of the istiod that the gateway itself belongs to. Null for the default one.
      - All control planes in O(istio_namespace) are exposed, each by its own name.
    type: str
  version:
    description: Version of the gateway. Null for istiod's; a newer one is refused.
    type: str
  allow_upgrade:
    description: Whether the gateway's version may change, so that it follows istiod's.
    type: bool
    default: true
  method:
    description:
      - By what the gateway is installed, as for M(hybridmesh.istio.istio_install), with the chart C(gateway) for V(helm).
      - V(auto) is what istiod was installed by.
    type: str
    choices: [auto, istioctl, helm]
    default: auto
  charts:
    description: Where Istio's charts are, as for M(hybridmesh.istio.istio_install).
    type: str
  helm:
    description: Path of C(helm), as for M(hybridmesh.istio.istio_install).
    type: path
  istioctl:
    description: Path of an C(istioctl), which must be of the gateway's version. Null to find or download it.
    type: path
  release_url:
    description:
      - Base URL of Istio's releases, as for M(hybridmesh.istio.istio_install).
    type: str
  cache_dir:
    description: Folder for downloaded C(istioctl)s, as for M(hybridmesh.istio.istio_install).
    type: path
  hub:
    description: Registry and path of Istio's images. Null for the release's own.
    type: str
  replicas:
    description:
      - How many Pods. They are spread over nodes where possible, and a PodDisruptionBudget keeps one of several.
    type: int
    default: 2
  resources:
    description: Resources of the gateway's container, as in a Pod. Null for Istio's own.
    type: dict
  service_type:
    description: Type of the gateway's Service.
    type: str
    choices: [LoadBalancer, NodePort, ClusterIP]
    default: LoadBalancer
  annotations:
    description: Further annotations of the Service.
    type: dict
    default: {}
  internal:
    description:
      - Cloud in which the load balancer is to be internal, which sets the Service's annotations for it.
      - One of V(gcp), V(aws) and V(azure). Null for the cloud's default, which is a public one.
    type: str
  source_ranges:
    description: Ranges of addresses that may use the load balancer, such as V(10.0.0.0/8).
    type: list
    elements: str
    default: []
  public:
    description: Whether everybody may reach istiod, where its address is public and O(source_ranges) is empty.
    type: bool
    default: false
  address:
    description:
      - Addresses or names at which virtual machines reach the gateway, where the cluster does not know them, as behind
        NAT or with a Service of type V(NodePort).
      - Kept in the annotation C(hybridmesh.istio/address) of the Service. Empty to use what the load balancer gives.
    type: list
    elements: str
    default: []
  address_timeout:
    description: Time to wait for the load balancer's address, in seconds.
    type: int
    default: 120
  webhook:
    description:
      - Whether istiod's webhooks are exposed on port 15017, too. Only remote clusters use them, virtual machines never.
    type: bool
    default: false
  cross_network:
    description: Whether all Services are exposed on port 15443 to proxies of other networks.
    type: bool
    default: false
  sni_hosts:
    description: Further names by which proxies ask for istiod, such as those in istiod's C(ISTIOD_CUSTOM_HOST).
    type: list
    elements: str
    default: []
  cluster_domain:
    description: The cluster's DNS domain.
    type: str
    default: cluster.local
  spec:
    description: Further settings, laid on the IstioOperator's spec that the other options make. Lists are replaced.
    type: dict
    default: {}
  readiness_timeout:
    description: Time until the gateway's Pods must be ready, in seconds.
    type: int
    default: 300
seealso:
  - module: hybridmesh.istio.istio_install
  - module: hybridmesh.istio.mesh_info
"""

EXAMPLES = r"""
- name: A gateway for virtual machines in the cluster's own network
  hybridmesh.istio.eastwest_gateway:
    internal: gcp
    source_ranges: [10.0.0.0/8]

- name: A gateway behind NAT
  hybridmesh.istio.eastwest_gateway:
    service_type: NodePort
    address: [203.0.113.7]
    public: true
"""

RETURN = r"""
managed:
  description: Whether the gateway is this collection's own. If not, nothing was changed.
  returned: success
  type: bool
version:
  description: Version of the gateway; empty where it is not ours, or not known yet.
  returned: success
  type: str
addresses:
  description: Where virtual machines reach the gateway; empty in check mode where it is not there yet.
  returned: success
  type: list
  elements: str
hosts:
  description: The SNI names that are let through to istiod.
  returned: success
  type: list
  elements: str
objects:
  description: Each object that was changed, or would be.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: The object's kind.
      type: str
    namespace:
      description: Its namespace; empty for objects without one.
      type: str
    name:
      description: Its name.
      type: str
    action:
      description: V(create), V(update) or V(delete).
      type: str
report:
  description: The same in words, one line for each object.
  returned: success
  type: list
  elements: str
releases:
  description: >-
    What has to be released with C(kubernetes.core.helm), before the module is called again. As M(hybridmesh.istio.istio_install)
    returns it.
  returned: success
  type: list
  elements: dict
vm_needs:
  description: What a gateway of somebody else lacks for virtual machines, and what to do about it.
  returned: success
  type: list
  elements: str
"""

import socket
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hybridmesh.istio.plugins.module_utils import (
    _cluster,
    _eastwest,
    _exposure,
    _manifest,
    _vm_needs,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._apply import Applier
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import (
    Cluster,
    connection_argument_spec,
    hide_secrets,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._helm import Charts, Helm
from ansible_collections.hybridmesh.istio.plugins.module_utils._install import (
    CONTROL_PLANE,
    HELM,
    ISTIOCTL,
    Installation,
    Wanted,
    istiods,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._install_charts import ChartInstallation
from ansible_collections.hybridmesh.istio.plugins.module_utils._istioctl import Finder, Istioctl
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Change, Object, Ref

ARGUMENTS: dict[str, t.Any] = {
    "name": {"type": "str", "default": "istio-eastwestgateway"},
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
    "public": {"type": "bool", "default": False},
    "address": {"type": "list", "elements": "str", "default": []},
    "address_timeout": {"type": "int", "default": 120},
    "webhook": {"type": "bool", "default": False},
    "cross_network": {"type": "bool", "default": False},
    "sni_hosts": {"type": "list", "elements": "str", "default": []},
    "cluster_domain": {"type": "str", "default": "cluster.local"},
    "spec": {"type": "dict", "default": {}},
    "readiness_timeout": {"type": "int", "default": 300},
}

IOP_NAME = "eastwest-gateway"


def gateway_options(params: t.Mapping[str, t.Any]) -> _eastwest.Options:
    """The module's options as the pure part takes them."""
    return _eastwest.Options(
        name=params["name"],
        namespace=params["namespace"] or params["istio_namespace"],
        replicas=params["replicas"],
        service_type=params["service_type"],
        internal=params["internal"],
        source_ranges=params["source_ranges"],
        annotations={key: str(value) for key, value in params["annotations"].items()},
        addresses=params["address"],
        public=params["public"],
        webhook=params["webhook"],
        cross_network=params["cross_network"],
        sni_hosts=params["sni_hosts"],
        cluster_domain=params["cluster_domain"],
        hub=params["hub"],
        resources=params["resources"],
        spec=params["spec"],
    )


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


class Run:
    """One run of the module."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params = module.params
        self.options = gateway_options(module.params)
        _eastwest.check_options(self.options)
        _eastwest.judge_addresses(self.options, resolve(self.options.addresses), False)
        self.cluster = Cluster(module.params)
        self.applier = Applier(self.cluster)

    def run(self) -> dict[str, t.Any]:
        """Brings the gateway about and tells what came of it."""
        mesh = _cluster.read_mesh(self.cluster, self.params["istio_namespace"], self.params["revision"])
        if mesh is None:
            return self._without_istio()
        wanted = Wanted(
            name=IOP_NAME,
            role="eastwest-gateway",
            spec=_eastwest.spec(self.options, mesh),
            namespace=mesh["namespace"],
            revision=mesh["revision"],
            allow_upgrade=self.params["allow_upgrade"],
            allow_option="eastwest_gateway_allow_upgrade",
            readiness_timeout=self.params["readiness_timeout"],
            method=self._method(mesh),
            method_option="eastwest_gateway_method",
        )
        installation = Installation(self.cluster, wanted)
        gateway = _cluster.read_gateway(self.cluster, self.options.namespace, self.options.name)
        if gateway and not installation.marked:
            exposed = _exposure.read_exposure(self.cluster, mesh, gateway)
            needs = _vm_needs.gateway_needs(mesh, gateway, exposed)
            return self._answer([], False, "", gateway["addresses"], exposed["hosts"], needs)
        version = _eastwest.gateway_version(self.params["version"], mesh)
        installation.judge_version(version)
        if wanted.method == HELM:
            charts = self._charts(wanted, version)
            result, releases = charts.converge_charts(self._no_istioctl, self.module.check_mode)
            if releases and not self.module.check_mode:
                # They have to be made before anything can be reached through the gateway.
                answer = self._answer(result.changes, True, version, [], [], [])
                return dict(answer, changed=bool(result.here), releases=releases)
            changes = result.changes
        else:
            changes = installation.converge(self._istioctl(version, mesh), self.module.check_mode).changes
        addresses = self._addresses(mesh)
        revisions = [istiod.revision for istiod in istiods(self.applier) if istiod.namespace == mesh["namespace"]]
        changes += self._expose(mesh, revisions)
        by_service = _eastwest.istiod_hosts(self.options, mesh, revisions)
        hosts = sorted(host for names in by_service.values() for host in names)
        return self._answer(changes, True, version, addresses, hosts, [])

    def _method(self, mesh: _cluster.Mesh) -> str:
        """By what the gateway is installed: what was asked for, else by what istiod was."""
        if self.params["method"] != "auto":
            return str(self.params["method"])
        for mark in _cluster.read_marks(self.cluster, mesh["namespace"]):
            if mark.get("role") == CONTROL_PLANE and (mark.get("revision") or "") == mesh["revision"]:
                return mark.get("method") or ISTIOCTL
        return ISTIOCTL

    def _istioctl(self, version: str, mesh: _cluster.Mesh) -> Istioctl:
        finder = Finder(self.module.run_command, self.params["release_url"], self.params["cache_dir"])
        path, found = finder.find(version, self.params["istioctl"])
        return Istioctl(path, found, self.cluster, self.module.run_command, self.module.tmpdir, mesh["namespace"])

    def _charts(self, wanted: Wanted, version: str) -> ChartInstallation:
        charts = Charts(self.params["charts"], version)
        helm = Helm(self.params["helm"], charts, self.cluster, self.module.run_command, self.module.tmpdir)
        return ChartInstallation(self.cluster, wanted, helm, self.options.namespace)

    @staticmethod
    def _no_istioctl() -> Istioctl:
        raise NotImplementedError("only a control plane's version is judged by istioctl")

    def _without_istio(self) -> dict[str, t.Any]:
        """Where there is no Istio yet: an error, or in check mode a promise."""
        where = "{}{}".format(
            self.params["istio_namespace"],
            f" (revision {self.params['revision']})" if self.params["revision"] else "",
        )
        if not self.module.check_mode:
            raise MeshError(
                f"there is no Istio in {where}", "an istiod to expose", "install it first (role control_plane)"
            )
        own = self.options
        changes = [
            Change(Ref(api_version, kind, own.namespace, name), "create", None, None)
            for api_version, kind, name in (
                ("apps/v1", "Deployment", own.name),
                ("v1", "Service", own.name),
                (_eastwest.NETWORKING, "Gateway", _eastwest.ISTIOD_GATEWAY),
                (_eastwest.NETWORKING, "VirtualService", _eastwest.ISTIOD_ROUTE),
            )
        ]
        return self._answer(changes, True, self.params["version"] or "", list(own.addresses), [], [])

    def _addresses(self, mesh: _cluster.Mesh) -> list[str]:
        """Waits for the gateway's addresses and refuses public ones that were not asked for."""
        if self.options.addresses:
            return list(self.options.addresses)
        deadline = time.monotonic() + self.params["address_timeout"]
        while True:
            gateway = _cluster.read_gateway(self.cluster, self.options.namespace, self.options.name)
            addresses = gateway["addresses"] if gateway else []
            resolved = resolve(addresses)
            if gateway and addresses and all(resolved.values()):
                exposed = _exposure.read_exposure(self.cluster, mesh, gateway)["exposed"]
                _eastwest.judge_addresses(self.options, resolved, exposed)
                return addresses
            if self.module.check_mode:
                # The load balancer gives one only after the Service was made.
                return []
            if time.monotonic() >= deadline:
                raise self._no_address(addresses)
            time.sleep(1)

    def _no_address(self, names: t.Sequence[str]) -> MeshError:
        """Why there is no address, as far as the cluster tells."""
        own = f"{self.options.namespace}/{self.options.name}"
        if names:
            return MeshError(
                f"the address {', '.join(names)} of the gateway's Service {own} does not resolve on the controller",
                f"a name that resolves within {self.params['address_timeout']} s",
                "check the controller's DNS, or give an address (eastwest_gateway_address)",
            )
        events = self.cluster.request(
            "GET",
            f"/api/v1/namespaces/{self.options.namespace}/events",
            {"fieldSelector": f"involvedObject.kind=Service,involvedObject.name={self.options.name}"},
        ).get("items", [])
        told = "; ".join(str(event.get("message", "")).strip() for event in events[-3:])
        return MeshError(
            f"the gateway's Service {own} got no address within {self.params['address_timeout']} s"
            + (f"; its events say: {told}" if told else ", and it has no events"),
            "a load balancer that gives Services of type LoadBalancer an address",
            "install one where the cluster has none (MetalLB, for example), or see why the cloud's refuses; else set"
            " eastwest_gateway_service_type to NodePort and give eastwest_gateway_address; where it is only slow, raise"
            " eastwest_gateway_address_timeout",
        )

    def _expose(self, mesh: _cluster.Mesh, revisions: list[str]) -> list[Change]:
        """Opens the gateway's ports, and closes those that are no longer asked for."""
        wanted = _eastwest.exposure(self.options, mesh, revisions)
        changes: list[Change] = []
        for item in wanted:
            live = self.applier.get(_manifest.ref(item))
            if live is not None and not self._is_own(live):
                raise MeshError(
                    f"{_manifest.ref(item)} is there already, and this collection did not make it for this gateway",
                    "a name that is free, or an object of our own",
                    "remove it, or use a gateway of another namespace (eastwest_gateway_namespace)",
                )
        previews = self.applier.preview_all(wanted)
        for item, change in zip(wanted, previews):
            if change.action != "none" and not self.module.check_mode:
                self.applier.apply(item)
            changes.append(change)
        kept = {_manifest.ref(item) for item in wanted}
        for item in self._made():
            if _manifest.ref(item) not in kept:
                changes.append(Change(_manifest.ref(item), "delete", _manifest.normalised(item), None))
                if not self.module.check_mode:
                    self.applier.delete(_manifest.ref(item))
        return [change for change in changes if change.action != "none"]

    def _is_own(self, item: Object) -> bool:
        return _manifest.labels(item).get(_eastwest.GATEWAY_LABEL) == self.options.name

    def _made(self) -> list[Object]:
        selector = f"{_eastwest.GATEWAY_LABEL}={self.options.name}"
        kinds = [(_eastwest.NETWORKING, kind) for kind in ("Gateway", "VirtualService")]
        return [item for api, kind in kinds for item in self.applier.find(api, kind, selector, self.options.namespace)]

    def _answer(
        self,
        changes: list[Change],
        managed: bool,
        version: str,
        addresses: t.Sequence[str],
        hosts: t.Sequence[str],
        needs: t.Sequence[str],
    ) -> dict[str, t.Any]:
        answer: dict[str, t.Any] = {
            "changed": bool(changes),
            "managed": managed,
            "version": version,
            "addresses": list(addresses),
            "hosts": list(hosts),
            "objects": _manifest.told(changes),
            "report": _manifest.summary(changes, self.module.check_mode),
            "releases": [],
            "vm_needs": list(needs),
        }
        if self.module._diff:
            answer["diff"] = _manifest.diff(changes)
        return answer


def main() -> None:
    """Runs the module."""
    module = AnsibleModule(argument_spec=dict(ARGUMENTS, **connection_argument_spec()), supports_check_mode=True)
    hide_secrets(module)
    try:
        module.exit_json(**Run(module).run())
    except MeshError as error:
        module.fail_json(msg=str(error), found=error.found, expected=error.expected, next_step=error.next_step)


if __name__ == "__main__":
    main()
