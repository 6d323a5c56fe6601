#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ingress_gateway
short_description: A gateway through which requests come into the mesh
version_added: 0.1.0
description:
  - Installs an Istio ingress gateway with the mesh ID, cluster name and network of istiod, which are read from the cluster, and
    waits for its address.
  - It opens no port by itself. Istio's Gateways, which M(hybridmesh.istio.traffic) makes, select it by its labels, and say for
    which hosts it listens.
  - A gateway of that name that somebody else installed is used as it is, and never changed or removed.
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
  state:
    description:
      - V(present) installs the gateway or changes it. V(absent) removes it with all that belongs to it, if this collection
        installed it.
      - A gateway that some Gateway of Istio selects is not removed; that is an error.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: Name of the gateway's Deployment and Service, and value of the label C(app).
    type: str
    default: istio-ingressgateway
  labels:
    description: Further labels of the gateway's Pods, by which Istio's Gateways select it.
    type: dict
    default: {istio: ingressgateway}
  ports:
    description: The Service's ports.
    type: list
    elements: dict
    default:
      - {name: http2, port: 80, targetPort: 8080}
      - {name: https, port: 443, targetPort: 8443}
    suboptions:
      name:
        description: The port's name, of which the part before the first C(-) is its protocol.
        type: str
        required: true
      port:
        description: What clients connect to.
        type: int
        required: true
      targetPort:
        description: What the proxy listens on. The same port where it is left out.
        type: int
      protocol:
        description: The protocol.
        type: str
        choices: [TCP, UDP]
        default: TCP
seealso:
  - module: hybridmesh.istio.eastwest_gateway
  - module: hybridmesh.istio.traffic
"""

EXAMPLES = r"""
- name: The way into the mesh, for two networks alone
  hybridmesh.istio.ingress_gateway:
    source_ranges: [192.0.2.0/24, 198.51.100.0/24]

- name: It goes again
  hybridmesh.istio.ingress_gateway:
    state: absent
"""

RETURN = r"""
managed:
  description: Whether the gateway is this collection's own. If not, nothing was changed.
  returned: success
  type: bool
version:
  description: Version of the gateway; empty where it is not ours, not known yet, or removed.
  returned: success
  type: str
addresses:
  description: Where clients reach the gateway; empty where it is not there yet, and for other types than V(LoadBalancer).
  returned: success
  type: list
  elements: str
selector:
  description: The labels by which Istio's Gateways select it.
  returned: success
  type: dict
  sample: {app: istio-ingressgateway, istio: ingressgateway}
used_by:
  description: Gateways of Istio that select it, as C(namespace/name). Told where it is to be removed.
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
    What has to be released, or is to go, with C(kubernetes.core.helm), before the module is called again. As
    M(hybridmesh.istio.istio_install) returns it.
  returned: success
  type: list
  elements: dict
"""

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _cluster, _gateway_run, _ingress, _installer
from ansible_collections.hybridmesh.istio.plugins.module_utils._gateway_run import GatewayRun
from ansible_collections.hybridmesh.istio.plugins.module_utils._install import (
    HELM,
    ISTIOCTL,
    Installation,
    marker_name,
    remove,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Change, Ref

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

PORT: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "targetPort": {"type": "int"},
    "protocol": {"type": "str", "choices": ["TCP", "UDP"], "default": "TCP"},
}

ARGUMENTS: dict[str, t.Any] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "name": {"type": "str", "default": "istio-ingressgateway"},
    "labels": {"type": "dict", "default": {"istio": "ingressgateway"}},
    "ports": {"type": "list", "elements": "dict", "options": PORT, "default": [dict(port) for port in _ingress.PORTS]},
    **_gateway_run.ARGUMENTS,
}

GATEWAYS = ("networking.istio.io/v1", "Gateway")


class Run(GatewayRun):
    """One run of the module."""

    role = "ingress_gateway"

    def __init__(self, module: AnsibleModule) -> None:
        self.options = _ingress.Options(
            ports=module.params["ports"],
            labels={key: str(value) for key, value in module.params["labels"].items()},
            **_gateway_run.common_options(module.params),
        )
        _ingress.check_options(self.options)
        super().__init__(module, self.options)

    def run(self) -> dict[str, t.Any]:
        """Brings the gateway about, or away, and tells what came of it."""
        if self.params["state"] == "absent":
            return self._absent()
        mesh = self.read_mesh("an istiod for the gateway")
        if mesh is None:
            return self._answer(self.promised(), version=self.params["version"] or "")
        method = self.method(mesh["namespace"], mesh["revision"])
        if method == HELM:
            self.options.labels = _ingress.charts_labels(self.options)
        spec = _ingress.spec(self.options, mesh)
        installation = self._installation(spec, mesh["namespace"], mesh["revision"], method)
        gateway = self.read_gateway()
        if gateway and not installation.marked:
            labels = gateway["pod_labels"][0] if gateway["pod_labels"] else gateway["selector"]
            return self._answer([], managed=False, addresses=gateway["addresses"], selector=labels)
        installed = self.converge(installation, mesh)
        more = {"here": installed.here, "version": installed.version, "releases": installed.releases}
        balanced = self.options.service_type == "LoadBalancer" and not installed.releases
        addresses = self.addresses(lambda _gateway, _resolved: None) if balanced else []
        return self._answer(installed.changes, addresses=addresses, **more)

    def _absent(self) -> dict[str, t.Any]:
        """Takes away what is ours."""
        namespace = self.params["istio_namespace"]
        own = marker_name(_ingress.installation_name(self.options, namespace))
        marks = _cluster.read_marks(self.cluster, namespace)
        method = self.params["method"]
        if method == "auto":
            # By what it was installed, whatever istiod is by now.
            method = next((mark.get("method") or ISTIOCTL for mark in marks if mark["object"] == own), ISTIOCTL)
        installation = self._installation({}, namespace, "", method)
        if not installation.marked:
            return self._answer([], managed=False)
        if method == HELM:
            self.options.labels = _ingress.charts_labels(self.options)
        used_by = _ingress.users(self.options, self.applier.find(*GATEWAYS))
        # In a check, they may be what the same run would have removed before.
        if not self.module.check_mode:
            _ingress.judge_removal(self.options, used_by)
        if method == HELM and self.options.name in self.helm("").released(self.options.namespace):
            release = Ref("helm.sh/v3", "Release", self.options.namespace, self.options.name)
            changes = [Change(release, "delete"), *remove(installation, True)]
            if self.module.check_mode:
                return self._answer(changes, used_by=used_by)
            releases = [{"name": release.name, "namespace": release.namespace}]
            return self._answer(changes, here=False, used_by=used_by, releases=releases)
        return self._answer(remove(installation, self.module.check_mode), used_by=used_by)

    def _installation(self, spec: dict[str, t.Any], namespace: str, revision: str, method: str) -> Installation:
        name = _ingress.installation_name(self.options, namespace)
        return Installation(self.cluster, self.wanted(name, "ingress-gateway", spec, namespace, revision, method))

    def no_address_remedy(self) -> str:
        """What to do where no load balancer gives an address."""
        return "put a load balancer of your own in front of it"

    def _answer(self, changes: list[Change], **more: t.Any) -> dict[str, t.Any]:
        usual: dict[str, t.Any] = {"managed": True, "version": "", "addresses": [], "used_by": []}
        return self.answer(changes, **{**usual, "selector": self.options.selector, **more})


def main() -> None:
    """Runs the module."""
    _installer.main(ARGUMENTS, lambda module: Run(module).run())


if __name__ == "__main__":
    main()
