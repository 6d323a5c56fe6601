# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that the modules for gateways share."""

from __future__ import annotations


class ModuleDocFragment:
    """What is installed, and how it is reached."""

    DOCUMENTATION = r"""
options:
  namespace:
    description: The gateway's namespace, which must exist. The default is O(istio_namespace).
    type: str
  istio_namespace:
    description: istiod's namespace.
    type: str
    default: istio-system
  revision:
    description: Revision of the istiod that the gateway itself belongs to. Null for the default one.
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
  address_timeout:
    description: Time to wait for the load balancer's address, in seconds.
    type: int
    default: 120
  spec:
    description: Further settings, laid on the IstioOperator's spec that the other options make. Lists are replaced.
    type: dict
    default: {}
  readiness_timeout:
    description: Time until the gateway's Pods must be ready, in seconds.
    type: int
    default: 300
"""
