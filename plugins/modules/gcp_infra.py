#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action hybridmesh.istio.gcp_infra, which runs in the controller's own process."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gcp_infra
author: hybridmesh.istio contributors (@hybridmesh)
version_added: 0.1.0
short_description: A mesh's infrastructure in Google Cloud, as declared
description:
  - Makes, changes and removes a network with a subnet, a GKE cluster with its node pool, virtual machines, service accounts, firewall rules,
    a Cloud NAT and the gateway's address. Uses an existing network and subnet where they are named.
  - Reads what there is from Google's APIs, and plans from that; so check mode and diff tell what a run would do, which google.cloud's modules can't.
  - What is made and removed, google.cloud's modules make and remove, where they can. What is changed, is changed by the API's own methods. A field
    that can't be changed in place is refused, by its name, before anything is done.
  - Never touches what it did not make. It knows its own by the label C(hybridmesh-infra), or by how their descriptions begin.
  - A run that was cut off is gone on with by the next one.
  - Always runs on the controller.
options:
  project:
    type: str
    description:
      - ID of the project. Without it, the environment variable C(GCP_PROJECT) counts.
  auth_kind:
    type: str
    description:
      - Where the credentials come from - V(application), V(serviceaccount), V(machineaccount) or V(accesstoken). Without
        it, the environment variable C(GCP_AUTH_KIND) counts.
  service_account_email:
    type: str
    description:
      - Which service account of this machine, for the kind V(machineaccount). Without it, the environment variable C(GCP_SERVICE_ACCOUNT_EMAIL)
        counts.
  service_account_file:
    type: path
    description:
      - Path of a service account's key, for the kind V(serviceaccount). Without it, the environment variable C(GCP_SERVICE_ACCOUNT_FILE)
        counts.
  service_account_contents:
    type: raw
    description:
      - Or the key itself, as a dictionary or as JSON. Without it, the environment variable C(GCP_SERVICE_ACCOUNT_CONTENTS)
        counts.
  access_token:
    type: str
    description:
      - A token, for the kind V(accesstoken). It lives for an hour and is not renewed. Without it, the environment variable
        C(GCP_ACCESS_TOKEN) counts.
  state:
    type: str
    choices:
      - present
      - absent
    default: present
    description:
      - V(present) makes and changes what is declared, and removes what was made before and is declared no more. V(absent)
        removes everything that was made under this name.
  name:
    type: str
    default: mesh1
    description:
      - Name of the infrastructure. All that is made begins with it, and is recognised by it. Small letters, digits and
        dashes, 20 at most.
  region:
    type: str
    default: australia-southeast1
    description:
      - Region of the subnet, of the addresses and of a regional cluster.
  zone:
    type: str
    description:
      - Zone of a zonal cluster, and of VMs that say nothing else. Without it, the zone a of the region.
  network:
    type: str
    description:
      - An existing network to use. Without it, one is made.
  subnet:
    type: str
    description:
      - An existing subnet to use, in the region; needs the network. Without it, one is made.
  subnet_range:
    type: str
    default: 10.10.0.0/20
    description:
      - Addresses of nodes and VMs. It can grow later. With an existing subnet, its range.
  pod_range:
    type: str
    default: 10.20.0.0/16
    description:
      - Addresses of pods. VMs reach them without any translation.
  service_range:
    type: str
    default: 10.30.0.0/20
    description:
      - Addresses of Services.
  nat:
    type: bool
    default: true
    description:
      - Whether a Cloud NAT is made, by which machines without a public address get packages and images.
  cluster:
    type: dict
    description:
      - The GKE cluster. Null for none.
    suboptions:
      name:
        type: str
        default: cluster1
        description:
          - Its name.
      regional:
        type: bool
        default: false
        description:
          - Whether control plane and nodes are in all of the region's zones, not in one.
      release_channel:
        type: str
        choices:
          - RAPID
          - REGULAR
          - STABLE
          - EXTENDED
        default: REGULAR
        description:
          - Where its version comes from.
      private_nodes:
        type: bool
        default: true
        description:
          - Whether nodes have no public addresses.
      private_endpoint:
        type: bool
        default: false
        description:
          - Whether the API server has no public address. Ansible must then run within the network.
      control_plane_range:
        type: str
        default: 172.16.0.0/28
        description:
          - Addresses of the control plane, a /28, for private nodes.
      authorized_ranges:
        type: list
        elements: str
        default: []
        description:
          - Who may reach the API server. Empty for everybody who has credentials.
      workload_identity:
        type: bool
        default: true
        description:
          - Whether pods are known to Google by their ServiceAccounts.
  nodes:
    type: dict
    description:
      - The cluster's node pool.
    suboptions:
      name:
        type: str
        default: nodes
        description:
          - Its name.
      count:
        type: int
        default: 3
        description:
          - How many nodes; in each zone, for a regional cluster.
      machine_type:
        type: str
        default: e2-medium
        description:
          - Their type.
      disk_gb:
        type: int
        default: 50
        description:
          - Size of their disks (GB).
      disk_type:
        type: str
        default: pd-balanced
        description:
          - Type of their disks.
      labels:
        type: dict
        default: {}
        description:
          - Their labels in Kubernetes.
      autoscale:
        type: dict
        description:
          - From how many to how many it grows and shrinks, in each zone. Without it, it does not.
        suboptions:
          min:
            type: int
            required: true
            description:
              - How few.
          max:
            type: int
            required: true
            description:
              - How many.
  vms:
    type: list
    elements: dict
    default: []
    description:
      - Groups of virtual machines.
    suboptions:
      name:
        type: str
        required: true
        description:
          - Its name, part of the names of its VMs. 20 characters at most.
      workload_group:
        type: str
        required: true
        description:
          - Their WorkloadGroup, as C(namespace/name). The inventory reads it from their labels.
      ports:
        type: list
        elements: int
        required: true
        description:
          - Ports of their application, which pods and other VMs call.
      count:
        type: int
        default: 1
        description:
          - How many; not for autoscaled ones.
      autoscale:
        type: dict
        description:
          - 'For VMs that come and go by themselves: an instance template, a managed group and an autoscaler.'
        suboptions:
          min:
            type: int
            required: true
            description:
              - How few.
          max:
            type: int
            required: true
            description:
              - How many.
          cpu:
            type: float
            default: 0.6
            description:
              - Share of their CPUs that is aimed at.
      zone:
        type: str
        description:
          - Their zone. Without it, that of the infrastructure.
      regional:
        type: bool
        default: false
        description:
          - Whether Google spreads them over the zones of the region, as a regional managed group. Only with autoscale, and without a
            zone.
      machine_type:
        type: str
        default: e2-small
        description:
          - Their type.
      image:
        type: str
        default: projects/debian-cloud/global/images/family/debian-12
        description:
          - Image, or family of images, of their disk. Only looked at when a VM is made.
      disk_gb:
        type: int
        default: 10
        description:
          - Size of their disk (GB). It can grow.
      disk_type:
        type: str
        default: pd-balanced
        description:
          - Type of their disk. Only looked at when a VM is made.
      tags:
        type: list
        elements: str
        default: []
        description:
          - Further network tags.
      labels:
        type: dict
        default: {}
        description:
          - Further labels.
      metadata:
        type: dict
        default: {}
        description:
          - Their metadata, all of it but for the ssh keys. What is not declared is removed.
      public_address:
        type: bool
        default: false
        description:
          - Whether they have public addresses.
  ssh_keys:
    type: list
    elements: str
    default: []
    description:
      - Who may log in to VMs, each as C(user:public key). Part of the VMs' metadata.
  os_login:
    type: bool
    default: false
    description:
      - Whether OS Login decides who may log in to VMs. Not together with O(ssh_keys), which machines then don't look at.
  allow_stop:
    type: bool
    default: false
    description:
      - 'Whether a VM may be stopped and started for a change that needs it: of its machine type, or of its service account.'
  pod_ports:
    type: list
    elements: int
    default: []
    description:
      - Ports of applications in pods that VMs call. Empty for none.
  metrics_ports:
    type: list
    elements: int
    default: []
    description:
      - Ports of VMs from which Prometheus in the cluster reads metrics. Empty for none.
  vms_join:
    type: bool
    default: false
    description:
      - Whether VMs join by themselves, and so ask the Kubernetes API server.
  iap:
    type: bool
    default: true
    description:
      - Whether ssh to VMs may come through Identity-Aware Proxy.
  ssh_ranges:
    type: list
    elements: str
    default: []
    description:
      - Ranges from which ssh to VMs may come.
  gateway_address:
    type: bool
    default: true
    description:
      - Whether an address is reserved for the east-west gateway, which then stays the same when the gateway's Service
        is made anew. It is called C(NAME-gateway).
  gateway_internal:
    type: bool
    default: true
    description:
      - Whether that address is an internal one.
  firewall_rules:
    type: list
    elements: dict
    default: []
    description:
      - Further firewall rules.
    suboptions:
      name:
        type: str
        required: true
        description:
          - Its name, which is put after that of the infrastructure.
      reason:
        type: str
        required: true
        description:
          - What it is for. It becomes its description.
      ports:
        type: list
        elements: str
        required: true
        description:
          - Ports, or ranges such as C(8000-8010).
      protocol:
        type: str
        default: tcp
        description:
          - Its protocol.
      source_ranges:
        type: list
        elements: str
        default: []
        description:
          - Who may call, by address.
      source_tags:
        type: list
        elements: str
        default: []
        description:
          - Who may call, by network tag.
      target_tags:
        type: list
        elements: str
        default: []
        description:
          - Who is called, by network tag. Empty for all in the network.
      priority:
        type: int
        default: 1000
        description:
          - Its priority, from 0 to 65535; the lowest number decides.
  timeout:
    type: int
    default: 1800
    description:
      - Seconds in which an operation of Google must end.
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
requirements:
  - google.cloud (the collection)
  - google-auth
  - requests
extends_documentation_fragment:
  - hybridmesh.istio.attributes
seealso:
  - plugin: hybridmesh.istio.gcp_kubeconfig
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: A cluster, and three machines of a shop
  hybridmesh.istio.gcp_infra:
    project: my-project
    auth_kind: application
    name: shop
    cluster: {}
    vms:
      - name: billing
        workload_group: shop/billing
        ports: [8080]
        count: 3
"""

RETURN = r"""
steps:
  description: What was done, or would be, in order.
  returned: success
  type: list
  elements: dict
  contains:
    action:
      description: V(create), V(change) or V(remove).
      type: str
    kind:
      description: What kind of resource.
      type: str
    name:
      description: Its name.
      type: str
    location:
      description: Its zone or region; empty for a global one.
      type: str
report:
  description: The same for people, with reasons. After a failure, what was done before it.
  returned: always
  type: list
  elements: str
cost:
  description: What the declaration costs money for, thing by thing.
  returned: success
  type: list
  elements: str
notes:
  description: What should be known.
  returned: success
  type: list
  elements: str
cluster:
  description: Name, location, endpoint and version of the cluster; null where it is not there.
  returned: success
  type: dict
gateway_address:
  description: The address reserved for the gateway; null where there is none.
  returned: success
  type: str
"""
