# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup plugin hybridmesh.istio.sidecar_bootstrap."""

from __future__ import annotations

DOCUMENTATION = r"""
name: sidecar_bootstrap
author: hybridmesh.istio contributors (@hybridmesh)
version_added: 0.1.0
short_description: The files that an Istio sidecar on a virtual machine starts from
description:
  - Makes what C(istioctl x workload entry configure) makes, without istioctl, from the Kubernetes API alone.
  - The files are the same for all VMs of a WorkloadGroup, so one call serves a whole group. They equal those of
    istioctl byte for byte, but for the following.
  - Inbound ports are in order. istioctl writes them in another order at each call.
  - A WorkloadGroup without ports does not get every port of the VM captured, see O(inbound_ports).
  - The annotation C(proxy.istio.io/config) of the group is merged. istioctl may stop there.
  - There is always an address in C(hosts), that of a load balancer with a name and those of a NodePort included.
    istioctl leaves the file empty there. Several addresses of a gateway have a line each.
  - A group without a ServiceAccount has V(default), see O(allow_service_account).
  - Values with a backslash are quoted in C(cluster.env), and proxy metadata whose name is no variable's name
    for bash is left out there, as it would stop the sidecar's start script.
  - What would keep the VMs from joining is found before any file is made; the error tells what was found, what was
    expected and what to do.
options:
  _terms:
    description:
      - WorkloadGroups, each as V(NAMESPACE/GROUP), or V(GROUP) together with O(namespace).
      - One may also be given as a whole, as a dictionary or its YAML. It need not be in the cluster then.
        istioctl has C(--file) for that.
    type: list
    elements: raw
    required: true
  namespace:
    description: Namespace of the groups that are given without one. Another one in a group is an error.
    type: str
  istio_namespace:
    description: Namespace of istiod.
    type: str
    default: istio-system
    aliases: [istioNamespace]
    ini:
      - section: hybridmesh_istio
        key: istio_namespace
    env:
      - name: HYBRIDMESH_ISTIO_NAMESPACE
    vars:
      - name: mesh_istio_namespace
  revision:
    description:
      - Revision of istiod, or a tag for one.
      - Without it, what the tag V(default) stands for is used; where there is no such tag, the istiod without a
        revision. Reading the tag needs the right to get C(mutatingwebhookconfigurations); V(default) asks for the
        istiod without a revision straight away.
    type: str
    ini:
      - section: hybridmesh_istio
        key: revision
    env:
      - name: HYBRIDMESH_REVISION
    vars:
      - name: mesh_revision
  ingress_service:
    description:
      - Service of the gateway that VMs reach istiod through, as V(NAME) (in O(istio_namespace)) or V(NAME.NAMESPACE).
      - Its address is what its annotation C(hybridmesh.istio/address) says, else its load balancer's addresses or
        name, else its external IPs. Where its type is V(NodePort), up to three nodes that are ready are taken and the
        node port of 15012; listing C(nodes) is needed for that.
      - Each address gets a line in C(hosts), those of the first one's family only. istioctl takes the first alone.
    type: str
    default: istio-eastwestgateway
    aliases: [ingressService]
    ini:
      - section: hybridmesh_istio
        key: ingress_service
    env:
      - name: HYBRIDMESH_INGRESS_SERVICE
    vars:
      - name: mesh_ingress_service
  ingress_ip:
    description:
      - Address at which VMs reach istiod, in place of the gateway's own, for instance where there is address
        translation or a load balancer outside of the cluster. Several are joined by commas.
      - A port other than 15012 may follow, as in V(192.0.2.1:31012) or V([2001:db8::1]:31012).
      - A name is resolved on the controller. The name itself is what VMs look for where istiod's certificate is one
        for that name (its C(ISTIOD_CUSTOM_HOST)), which O(verify_istiod) finds out.
      - The gateway's identity and whether it exposes istiod are not checked then.
    type: str
    aliases: [ingressIP]
    ini:
      - section: hybridmesh_istio
        key: ingress_ip
    env:
      - name: HYBRIDMESH_INGRESS_IP
    vars:
      - name: mesh_ingress_ip
  discovery_address:
    description:
      - Where the sidecar looks for istiod and its CA, as V(HOST) or V(HOST:PORT). Without it, this is what the mesh
        config or an annotation of the group says, else istiod's name in the cluster.
      - istiod must be certified for that name.
    type: str
  verify_istiod:
    description:
      - Whether istiod's certificate is compared with the root certificates that the VMs get, by one TLS handshake
        through the gateway. Where the controller can't reach the gateway within 2 seconds, nothing is said.
      - Switch it off where istiod's certificate comes from another CA than those of the workloads.
    type: bool
    default: true
    ini:
      - section: hybridmesh_istio
        key: verify_istiod
    env:
      - name: HYBRIDMESH_VERIFY_ISTIOD
    vars:
      - name: mesh_verify_istiod
  cluster_id:
    description: Name of the cluster, in place of the one that istiod knows. To be set only where they can't agree.
    type: str
    aliases: [clusterID]
  autoregister:
    description: Whether istiod makes the WorkloadEntry when a VM connects.
    type: bool
    default: true
  capture_dns:
    description: Whether the VM's DNS queries go to the sidecar.
    type: bool
    default: true
  internal_ip:
    description: Address of the VM, fixed in the files, which are then for one VM only.
    type: str
    aliases: [internalIP]
  external_ip:
    description: Address at which others reach the VM, where its own is translated; excludes O(internal_ip).
    type: str
    aliases: [externalIP]
  inbound_ports:
    description:
      - Ports of the VM whose incoming connections go through the sidecar, joined by commas, V(*) for all (but those
        of ssh and of the sidecar itself), or an empty text for none.
      - Without it, these are the group's ports. Where the group has none, they are the port of its probe and the
        target ports of the Services in its namespace that select its labels; where there are none of these either,
        no incoming connection is captured. istioctl takes all ports then, which has to be asked for here.
    type: str
  exclude_inbound_ports:
    description: Ports whose incoming connections never go through the sidecar.
    type: list
    elements: int
  include_outbound_ip_ranges:
    description: Ranges (CIDR) to which outgoing connections go through the sidecar; V(*) alone is all.
    type: list
    elements: str
    default: ['*']
  exclude_outbound_ip_ranges:
    description: Ranges (CIDR) to which outgoing connections don't go through the sidecar.
    type: list
    elements: str
  include_outbound_ports:
    description: Ports to which outgoing connections go through the sidecar even outside of the included ranges.
    type: list
    elements: int
  exclude_outbound_ports:
    description: Ports to which outgoing connections don't go through the sidecar.
    type: list
    elements: int
  exclude_interfaces:
    description: Network interfaces of the VM that the sidecar leaves alone, such as V(docker0).
    type: list
    elements: str
  interception_mode:
    description:
      - How incoming connections reach the sidecar. V(TPROXY) keeps the client's address, and has Envoy run as root.
      - Without it, this is what the mesh says, and V(REDIRECT) where that says nothing.
    type: str
    choices: [REDIRECT, TPROXY]
  native_nftables:
    description: Whether nftables' own rules are used in place of iptables'. Needs nft 1.0.1 on the VM and Istio 1.27.
    type: bool
    default: false
  dual_stack:
    description: Whether the sidecar listens and captures on IPv4 and IPv6 side by side.
    type: bool
    default: false
  concurrency:
    description: Envoy's worker threads, V(0) for one per core. Without it, this is what the mesh says, else all cores.
    type: int
  proxy_metadata:
    description:
      - More variables of the sidecar, name and text, over those of the mesh config and the group's annotation.
      - Those that follow from the group and the cluster, such as V(ISTIO_META_NETWORK), are refused.
    type: dict
  allow_service_account:
    description:
      - Whether a group may have the ServiceAccount V(default), or one that has rights in the cluster. Root on a VM
        can do whatever its ServiceAccount may do, for as long as the certificate is renewed.
      - To know this, C(rolebindings) and C(clusterrolebindings) are listed. With V(true) they are not.
    type: bool
    default: false
  token:
    description:
      - Whether a token for the group's ServiceAccount is made as well. It is a secret; without it the result holds
        none. See P(hybridmesh.istio.sidecar_token#lookup) for tokens alone.
      - In check mode none is made.
    type: bool
    default: true
  token_duration:
    description: For how long the token is to be valid, in seconds. The API server wants 600 at least and may allow
      less than what is asked for.
    type: int
    default: 3600
    aliases: [tokenDuration]
    ini:
      - section: hybridmesh_istio
        key: token_duration
    env:
      - name: HYBRIDMESH_TOKEN_DURATION
    vars:
      - name: mesh_token_duration
  missing_ok:
    description:
      - What to do in check mode where the mesh, the gateway, the group or what belongs to it is not there. With
        V(true) the result for that group is an empty dictionary, as a run without check mode might create it first.
      - Outside of check mode it is an error all the same. Things that are there and wrong always are.
    type: bool
    default: false
extends_documentation_fragment:
  - hybridmesh.istio.cluster
  - hybridmesh.istio.cluster.plugins
seealso:
  - plugin: hybridmesh.istio.sidecar_token
    plugin_type: lookup
"""

EXAMPLES = r"""
# The files hold no secret without a token, so they may be put into a fact. A lookup in a variable would be made again
# at each use of the variable.
- name: Read the files of the group
  ansible.builtin.set_fact:
    bootstrap: "{{ lookup('hybridmesh.istio.sidecar_bootstrap', 'chapter10vm/envoydummy', token=false) }}"
  run_once: true

- name: Write them
  ansible.builtin.copy:
    dest: "{{ item.dest }}"
    content: "{{ bootstrap[item.file] }}"
    mode: "0644"
  loop:
    - {file: cluster.env, dest: /var/lib/istio/envoy/cluster.env}
    - {file: mesh.yaml, dest: /etc/istio/config/mesh}
    - {file: root-cert.pem, dest: /etc/certs/root-cert.pem}

- name: Read the files of two groups in one go, one of which is not in the cluster yet
  ansible.builtin.set_fact:
    groups_files: "{{ query('hybridmesh.istio.sidecar_bootstrap', 'envoydummy', planned, namespace='chapter10vm', token=false) }}"
  vars:
    planned:
      apiVersion: networking.istio.io/v1
      kind: WorkloadGroup
      metadata:
        name: planned
      spec:
        template:
          serviceAccount: chapter10-sa
          network: network1
"""

RETURN = r"""
_raw:
  description:
    - For each group a dictionary of text by file name. Empty where O(missing_ok) says so.
    - V(cluster.env), settings that the sidecar's start script sources.
    - V(mesh.yaml), settings of the proxy.
    - V(root-cert.pem), certificates that the VM trusts istiod by.
    - V(hosts), a line for C(/etc/hosts) by which the VM finds istiod.
    - V(istio-token), a token by which the VM gets its first certificate. Only with O(token), and not in check mode.
  type: list
  elements: dict
  sample:
    - hosts: "10.88.0.200 istiod.istio-system.svc\n"
"""

import typing as t

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _definition, _material, _options, _settings


class LookupModule(LookupBase):
    """One dictionary of files for each WorkloadGroup."""

    def run(self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[t.Any]:
        _options.read(self, variables, kwargs)
        check_mode = _options.in_check_mode(variables)
        try:
            return self._files(terms, check_mode)
        except MeshError as error:
            raise AnsibleError(f"sidecar_bootstrap: {error}") from None

    def _files(self, terms: list[t.Any], check_mode: bool) -> list[dict[str, str]]:
        names, definitions = self._groups(terms)
        wish = self._wish(check_mode)
        cluster = _options.connect(self)
        result: list[dict[str, str]] = []
        for name, material in zip(names, _material.materials(cluster, names, wish, definitions), strict=True):
            files = dict(material.files) if material else {}
            if material and _options.option(self, "token") and not check_mode:
                account = material.service_account
                files["istio-token"] = _options.tokens(self, cluster, name, account, "token_duration", 1)[0]
            result.append(files)
        return result

    def _groups(self, terms: t.Iterable[t.Any]) -> tuple[list[_definition.Name], dict[_definition.Name, t.Any]]:
        """The names of all groups, and what those are that were given as a whole."""
        names: list[_definition.Name] = []
        definitions: dict[_definition.Name, t.Any] = {}
        namespace = _options.option(self, "namespace")
        for term in terms:
            if not _definition.is_definition(term):
                names.append(_definition.parse_name(str(term), namespace))
                continue
            name, resource = _definition.parse_definition(term, namespace)
            if definitions.setdefault(name, resource) != resource:
                raise MeshError(f"two definitions of WorkloadGroup {name.namespace}/{name.name}", "one", "drop one")
            names.append(name)
        return names, definitions

    def _wish(self, check_mode: bool) -> _material.Wish:
        def text(name: str) -> str:
            return str(_options.option(self, name) or "").strip()

        return _material.Wish(
            istio_namespace=text("istio_namespace"),
            revision=text("revision") or None,
            ingress_service=text("ingress_service"),
            ingress_ip=text("ingress_ip"),
            cluster_id=_options.option(self, "cluster_id"),
            allow_service_account=_options.option(self, "allow_service_account"),
            discovery_address=text("discovery_address"),
            verify_istiod=_options.option(self, "verify_istiod"),
            missing_ok=check_mode and _options.option(self, "missing_ok"),
            settings=_settings.settings(lambda name: _options.option(self, name)),
        )
