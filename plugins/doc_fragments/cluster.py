# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How to reach the Kubernetes API: the options that modules and lookups of this collection share."""

from __future__ import annotations


class ModuleDocFragment:
    """DOCUMENTATION is for modules; PLUGINS adds the variables and ini settings that lookups also read."""

    DOCUMENTATION = r"""
options:
  kubeconfig:
    description:
      - Path of a kubeconfig, or its content as a dictionary or as text. As text it may also be in E(K8S_AUTH_KUBECONFIG), which is
        how a credential of AWX gives it without a file.
      - Without it, E(K8S_AUTH_KUBECONFIG), E(KUBECONFIG), C(~/.kube/config) and the Pod's own service account
        are tried, in this order.
    type: raw
  context:
    description: Name of the kubeconfig's context. E(K8S_AUTH_CONTEXT) is read where it is null.
    type: str
  host:
    description: URL of the API server. E(K8S_AUTH_HOST) is read where it is null.
    type: str
  api_key:
    description: Bearer token for the API server. E(K8S_AUTH_API_KEY) is read where it is null.
    type: str
  username:
    description: Name for basic authentication, at a proxy in front of the API server. E(K8S_AUTH_USERNAME) is read where it is null.
    type: str
  password:
    description: Password for O(username). E(K8S_AUTH_PASSWORD) is read where it is null.
    type: str
  validate_certs:
    description: Whether the API server's certificate is verified. E(K8S_AUTH_VERIFY_SSL) is read where it is null.
    type: bool
    aliases: [verify_ssl]
  ca_cert:
    description: Path of the CA certificate for the API server. E(K8S_AUTH_SSL_CA_CERT) is read where it is null.
    type: path
    aliases: [ssl_ca_cert]
  client_cert:
    description: Path of a client certificate. E(K8S_AUTH_CERT_FILE) is read where it is null.
    type: path
    aliases: [cert_file]
  client_key:
    description: Path of the client certificate's key. E(K8S_AUTH_KEY_FILE) is read where it is null.
    type: path
    aliases: [key_file]
  proxy:
    description: URL of an HTTP proxy for requests to the API server. E(K8S_AUTH_PROXY) is read where it is null.
    type: str
  no_proxy:
    description: Comma-separated hosts to reach without the proxy. E(K8S_AUTH_NO_PROXY) is read where it is null.
    type: str
  proxy_headers:
    description: Headers for a proxy on the way to the API server.
    type: dict
    suboptions:
      proxy_basic_auth:
        description: C(name:password) for basic authentication at the proxy. E(K8S_AUTH_PROXY_HEADERS_PROXY_BASIC_AUTH) is read
          where it is null.
        type: str
      basic_auth:
        description: C(name:password) for basic authentication. E(K8S_AUTH_PROXY_HEADERS_BASIC_AUTH) is read where it is null.
        type: str
      user_agent:
        description: What the client calls itself. E(K8S_AUTH_PROXY_HEADERS_USER_AGENT) is read where it is null.
        type: str
  persist_config:
    description: Whether a renewed OIDC token is written back to the kubeconfig. E(K8S_AUTH_PERSIST_CONFIG) is read where it is null.
    type: bool
  impersonate_user:
    description: User to act as. E(K8S_AUTH_IMPERSONATE_USER) is read where it is null.
    type: str
  impersonate_groups:
    description: Groups to act as. E(K8S_AUTH_IMPERSONATE_GROUPS), comma-separated, is read where it is null.
    type: list
    elements: str
requirements:
  - kubernetes (Python library) on the machine that runs the plugin, usually the controller
"""

    # Lookups are no modules: module_defaults and the action group do not reach them, these do.
    PLUGINS = r"""
options:
  kubeconfig:
    ini:
      - section: hybridmesh_istio
        key: kubeconfig
    env:
      - name: K8S_AUTH_KUBECONFIG
    vars:
      - name: mesh_kubeconfig
  context:
    ini:
      - section: hybridmesh_istio
        key: context
    env:
      - name: K8S_AUTH_CONTEXT
    vars:
      - name: mesh_context
  host:
    ini:
      - section: hybridmesh_istio
        key: host
    env:
      - name: K8S_AUTH_HOST
    vars:
      - name: mesh_host
  api_key:
    env:
      - name: K8S_AUTH_API_KEY
    vars:
      - name: mesh_api_key
  username:
    env:
      - name: K8S_AUTH_USERNAME
  password:
    env:
      - name: K8S_AUTH_PASSWORD
  validate_certs:
    ini:
      - section: hybridmesh_istio
        key: validate_certs
    env:
      - name: K8S_AUTH_VERIFY_SSL
    vars:
      - name: mesh_validate_certs
  ca_cert:
    ini:
      - section: hybridmesh_istio
        key: ca_cert
    env:
      - name: K8S_AUTH_SSL_CA_CERT
    vars:
      - name: mesh_ca_cert
  client_cert:
    ini:
      - section: hybridmesh_istio
        key: client_cert
    env:
      - name: K8S_AUTH_CERT_FILE
  client_key:
    ini:
      - section: hybridmesh_istio
        key: client_key
    env:
      - name: K8S_AUTH_KEY_FILE
  proxy:
    ini:
      - section: hybridmesh_istio
        key: proxy
    env:
      - name: K8S_AUTH_PROXY
  no_proxy:
    ini:
      - section: hybridmesh_istio
        key: no_proxy
    env:
      - name: K8S_AUTH_NO_PROXY
  persist_config:
    ini:
      - section: hybridmesh_istio
        key: persist_config
    env:
      - name: K8S_AUTH_PERSIST_CONFIG
  impersonate_user:
    ini:
      - section: hybridmesh_istio
        key: impersonate_user
    env:
      - name: K8S_AUTH_IMPERSONATE_USER
  impersonate_groups:
    ini:
      - section: hybridmesh_istio
        key: impersonate_groups
    env:
      - name: K8S_AUTH_IMPERSONATE_GROUPS
"""
