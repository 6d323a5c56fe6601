# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup plugin hybridmesh.istio.sidecar_token."""

from __future__ import annotations

DOCUMENTATION = r"""
name: sidecar_token
author: hybridmesh.istio contributors (@hybridmesh)
version_added: 0.1.0
short_description: Tokens by which the sidecars of a WorkloadGroup get their first certificates
description:
  - Has the API server make a token for the ServiceAccount of a WorkloadGroup, with the audience V(istio-ca).
  - A sidecar needs it until it has its first certificate, and again when its certificate has expired.
  - The result is a secret. Tasks that use this lookup need C(no_log=true), and must not put the result into a fact,
    which outlives the task. Switch pipelining on, or Ansible writes the arguments of the task to a temporary file.
  - In check mode no token is made; the result is an empty text.
options:
  _terms:
    description: WorkloadGroups, each as V(NAMESPACE/GROUP), or V(GROUP) together with O(namespace).
    type: list
    elements: str
    required: true
  namespace:
    description: Namespace of the groups that are given without one.
    type: str
  vms:
    description:
      - Names of VMs. With it the result for each group is a dictionary with a token of its own for each VM. They are
        requested in parallel.
      - All VMs of a group share one identity; tokens of their own make a difference only in audit logs.
    type: list
    elements: str
  duration:
    description: For how long a token is to be valid, in seconds. The API server wants 600 at least. Where it allows
      less than what is asked for, there is a warning; less than 600 is an error.
    type: int
    default: 3600
    ini:
      - section: hybridmesh_istio
        key: token_duration
    env:
      - name: HYBRIDMESH_TOKEN_DURATION
    vars:
      - name: mesh_token_duration
extends_documentation_fragment:
  - hybridmesh.istio.cluster
  - hybridmesh.istio.cluster.plugins
seealso:
  - plugin: hybridmesh.istio.sidecar_bootstrap
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Give this machine a token
  hybridmesh.istio.sidecar:
    token: "{{ lookup('hybridmesh.istio.sidecar_token', 'chapter10vm/envoydummy') }}"
  no_log: true
  vars:
    ansible_pipelining: true
"""

RETURN = r"""
_raw:
  description: For each group a token, or with O(vms) a dictionary of tokens by VM. Empty texts in check mode.
  type: list
  elements: raw
"""

import typing as t

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _material, _options
from ansible_collections.hybridmesh.istio.plugins.plugin_utils._definition import Name


class LookupModule(LookupBase):
    """One token, or one mapping of tokens, for each WorkloadGroup."""

    def run(self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[t.Any]:
        _options.read(self, variables, kwargs)
        try:
            names = _options.names(self, terms)
            vms = _options.option(self, "vms")
            if _options.in_check_mode(variables):
                return ["" if vms is None else dict.fromkeys(vms, "") for _name in names]
            return self._tokens(names, vms)
        except MeshError as error:
            raise AnsibleError(f"sidecar_token: {error}") from None

    def _tokens(self, names: list[Name], vms: list[str] | None) -> list[str | dict[str, str]]:
        cluster = _options.connect(self)
        result: list[str | dict[str, str]] = []
        for name in names:
            account = _material.account_of_group(cluster, name)
            tokens = _options.tokens(self, cluster, name, account, "duration", 1 if vms is None else len(vms))
            result.append(tokens[0] if vms is None else dict(zip(vms, tokens, strict=True)))
        return result
