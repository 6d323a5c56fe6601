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
    waits for its address, and then exposes istiod through it. All control planes of O(istio_namespace) are exposed, each by
    its own name.
  - Nothing is exposed before the address is known to be one that not everybody reaches, unless O(public) says so.
  - A gateway of that name that somebody else installed is not changed; the module says what it lacks.
author:
  - hybridmesh.istio contributors (@hybridmesh)
extends_documentation_fragment:
  - hybridmesh.istio.attributes
  - hybridmesh.istio.attributes.cluster
  - hybridmesh.istio.cluster
  - hybridmesh.istio.gateway
  - hybridmesh.istio.lock
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

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import (
    _cluster,
    _eastwest,
    _exposure,
    _gateway_run,
    _installer,
    _manifest,
    _vm_needs,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._gateway_run import GatewayRun, resolve
from ansible_collections.hybridmesh.istio.plugins.module_utils._install import Installation, istiods
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Change, Object

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

ARGUMENTS: dict[str, t.Any] = {
    "name": {"type": "str", "default": "istio-eastwestgateway"},
    "public": {"type": "bool", "default": False},
    "address": {"type": "list", "elements": "str", "default": []},
    "webhook": {"type": "bool", "default": False},
    "cross_network": {"type": "bool", "default": False},
    "sni_hosts": {"type": "list", "elements": "str", "default": []},
    "cluster_domain": {"type": "str", "default": "cluster.local"},
    **_gateway_run.ARGUMENTS,
}

IOP_NAME = "eastwest-gateway"


def gateway_options(params: t.Mapping[str, t.Any]) -> _eastwest.Options:
    """The module's options as the pure part takes them."""
    return _eastwest.Options(
        addresses=params["address"],
        public=params["public"],
        webhook=params["webhook"],
        cross_network=params["cross_network"],
        sni_hosts=params["sni_hosts"],
        cluster_domain=params["cluster_domain"],
        **_gateway_run.common_options(params),
    )


class Run(GatewayRun):
    """One run of the module."""

    role = "eastwest_gateway"

    def __init__(self, module: AnsibleModule) -> None:
        self.options = gateway_options(module.params)
        _eastwest.check_options(self.options)
        _eastwest.judge_addresses(self.options, resolve(self.options.addresses), False)
        super().__init__(module, self.options)

    def run(self) -> dict[str, t.Any]:
        """Brings the gateway about and tells what came of it."""
        mesh = self.read_mesh("an istiod to expose")
        if mesh is None:
            further = (("Gateway", _eastwest.ISTIOD_GATEWAY), ("VirtualService", _eastwest.ISTIOD_ROUTE))
            changes = self.promised([(_eastwest.NETWORKING, *item) for item in further])
            return self._answer(changes, True, self.params["version"] or "", list(self.options.addresses), [], [])
        spec = _eastwest.spec(self.options, mesh)
        method = self.method(mesh["namespace"], mesh["revision"])
        wanted = self.wanted(IOP_NAME, "eastwest-gateway", spec, mesh["namespace"], mesh["revision"], method)
        installation = Installation(self.cluster, wanted)
        gateway = self.read_gateway()
        if gateway and not installation.marked:
            exposed = _exposure.read_exposure(self.cluster, mesh, gateway)
            needs = _vm_needs.gateway_needs(mesh, gateway, exposed)
            return self._answer([], False, "", gateway["addresses"], exposed["hosts"], needs)
        installed = self.converge(installation, mesh)
        if installed.releases:
            # They have to be made before anything can be reached through the gateway.
            answer = self._answer(installed.changes, True, installed.version, [], [], [])
            return dict(answer, changed=installed.here, releases=installed.releases)
        changes = installed.changes
        addresses = self._reached_at(mesh)
        revisions = [istiod.revision for istiod in istiods(self.applier) if istiod.namespace == mesh["namespace"]]
        changes += self._expose(mesh, revisions)
        by_service = _eastwest.istiod_hosts(self.options, mesh, revisions)
        hosts = sorted(host for names in by_service.values() for host in names)
        return self._answer(changes, True, installed.version, addresses, hosts, [])

    def _reached_at(self, mesh: _cluster.Mesh) -> list[str]:
        """The gateway's addresses; public ones that were not asked for are refused."""

        def judge(gateway: _cluster.Gateway, resolved: dict[str, list[str]]) -> None:
            exposed = _exposure.read_exposure(self.cluster, mesh, gateway)["exposed"]
            _eastwest.judge_addresses(self.options, resolved, exposed)

        return list(self.options.addresses) or self.addresses(judge)

    def no_address_remedy(self) -> str:
        """What to do where no load balancer gives an address."""
        return "give an address (eastwest_gateway_address)"

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
        return self.answer(
            changes,
            managed=managed,
            version=version,
            addresses=list(addresses),
            hosts=list(hosts),
            vm_needs=list(needs),
        )


def main() -> None:
    """Runs the module."""
    _installer.main(ARGUMENTS, lambda module: Run(module).run())


if __name__ == "__main__":
    main()
