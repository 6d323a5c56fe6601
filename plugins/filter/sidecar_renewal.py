# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter sidecar_renewal."""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _plan, _renewal, _vm_files

DOCUMENTATION = r"""
name: sidecar_renewal
author: hybridmesh.istio contributors (@hybridmesh)
version_added: 0.1.0
short_description: What expires on a virtual machine, and what has to be renewed
description:
  - Judges what M(hybridmesh.istio.sidecar_info) found on a machine.
positional: _input
options:
  _input:
    description: The RV(hybridmesh.istio.sidecar_info#module:vm) of M(hybridmesh.istio.sidecar_info).
    type: dict
    required: true
  files:
    description: The group's files, as P(hybridmesh.istio.sidecar_bootstrap#lookup) returns them.
    type: dict
    required: true
  proxy_config:
    description: The C(defaultConfig) of its C(mesh.yaml).
    type: dict
    required: true
  external_ca:
    description: Whether certificates are only to be had for a token.
    type: bool
    default: false
  interval:
    description: Seconds between two runs.
    type: int
    default: 86400
  everything:
    description: Whether to renew in any case.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Does this machine need a token
  ansible.builtin.debug:
    msg: "{{ (found.vm | hybridmesh.istio.sidecar_renewal(files, proxy_config)).token }}"
"""

RETURN = r"""
_value:
  description:
    - C(token) with C(needed) and C(reason); C(findings), each with C(check), C(fails), C(found) and C(next_step); C(version),
      C(certificate_remaining) and C(token_remaining) in seconds, C(age), C(capture) and C(proven).
  type: dict
"""


def sidecar_renewal(
    facts: t.Mapping[str, t.Any],
    files: t.Mapping[str, str],
    proxy_config: t.Mapping[str, t.Any],
    external_ca: bool = False,
    interval: int = 86400,
    everything: bool = False,
) -> dict[str, t.Any]:
    """See DOCUMENTATION."""
    wanted = {
        "identity": _plan.identity_of(proxy_config),
        "roots": _vm_files.fingerprints(files.get("root-cert.pem", "")),
        "external_ca": external_ca,
        "interval": interval,
        "all": everything,
    }
    return _renewal.renewal(facts, wanted)


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """By name."""
        return {"sidecar_renewal": sidecar_renewal}
