# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup plugin hybridmesh.istio.gcp_kubeconfig."""

from __future__ import annotations

DOCUMENTATION = r"""
name: gcp_kubeconfig
author: hybridmesh.istio contributors (@hybridmesh)
version_added: 0.1.0
short_description: A kubeconfig for a GKE cluster, without gcloud
description:
  - Reads the cluster's endpoint and certificate authority from Google, and gets a token by google-auth.
  - The result is a dictionary in memory, fit for C(mesh_kubeconfig). Nothing is written to disk.
  - Ansible evaluates a variable anew in each task that uses it. So a variable that holds this lookup always has a token that
    is valid, also in a play that runs for longer than the hour that a token lives.
  - The result holds a secret, unless O(exec) is true. Don't put it into a fact, which outlives the task.
requirements:
  - google-auth
  - requests
options:
  _terms:
    description: Names of clusters.
    type: list
    elements: str
    required: true
  location:
    description: The cluster's zone or, for a regional one, its region.
    type: str
    required: true
  private_endpoint:
    description: Whether the API server is reached at its private address, from within the network.
    type: bool
    default: false
  exec:
    description:
      - Whether the kubeconfig has no token, but C(gke-gcloud-auth-plugin), which then must be there, get one.
      - It uses gcloud's credentials, not those of these options.
    type: bool
    default: false
  project:
    description: ID of the project.
    type: str
    env:
      - name: GCP_PROJECT
  auth_kind:
    description: Where the credentials come from - V(application), V(serviceaccount), V(machineaccount) or V(accesstoken).
    type: str
    env:
      - name: GCP_AUTH_KIND
  service_account_email:
    description: Which service account of this machine, for O(auth_kind=machineaccount).
    type: str
    env:
      - name: GCP_SERVICE_ACCOUNT_EMAIL
  service_account_file:
    description: Path of a service account's key, for O(auth_kind=serviceaccount).
    type: path
    env:
      - name: GCP_SERVICE_ACCOUNT_FILE
  service_account_contents:
    description: Or the key itself, as a dictionary or as JSON.
    type: raw
    env:
      - name: GCP_SERVICE_ACCOUNT_CONTENTS
  access_token:
    description: A token, for O(auth_kind=accesstoken). It is not renewed.
    type: str
    env:
      - name: GCP_ACCESS_TOKEN
seealso:
  - module: hybridmesh.istio.gcp_infra
"""

EXAMPLES = r"""
- name: Prove that the VMs are in the mesh of a GKE cluster
  ansible.builtin.include_role:
    name: hybridmesh.istio.mesh_verify
  vars:
    mesh_kubeconfig: "{{ lookup('hybridmesh.istio.gcp_kubeconfig', 'cluster1', location='australia-southeast1-a') }}"
"""

RETURN = r"""
_raw:
  description: One kubeconfig for each cluster.
  type: list
  elements: dict
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _gcp_auth
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_api import Google
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_kubeconfig import kubeconfig
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._gcp_resource import Target

# One answer (seconds).
TIMEOUT = 60.0


class LookupModule(LookupBase):
    """See DOCUMENTATION."""

    def run(self, terms: t.Any, variables: t.Any = None, **kwargs: t.Any) -> list[t.Any]:
        """One kubeconfig for each term."""
        self.set_options(var_options=variables, direct=kwargs)
        options = _gcp_auth.from_environment({name: self.get_option(name) for name in _gcp_auth.ENVIRONMENT})
        try:
            return [self._of(str(term), options) for term in terms]
        except MeshError as error:
            raise AnsibleLookupError(str(error)) from error

    def _of(self, name: str, options: dict[str, t.Any]) -> dict[str, t.Any]:
        location, project = self.get_option("location"), options["project"]
        if not project:
            raise MeshError("no project is given", "the ID of a Google Cloud project", "set project, or GCP_PROJECT")
        credentials = _gcp_auth.credentials(options)
        google = Google(options, Target("", project, "", ""), TIMEOUT, credentials)
        path = f"projects/{project}/locations/{location}/clusters/{name}"
        cluster = google.get("container", path, f"reading cluster {name}")
        if cluster is None:
            raise MeshError(
                f"there is no cluster {name} in {location} of project {project}",
                "one that is there",
                "make it first (playbook infra_gcp), or correct its name and location",
            )
        token = None if self.get_option("exec") else _gcp_auth.token(credentials)
        return kubeconfig(name, cluster, token, self.get_option("private_endpoint"))
