# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long modules that change Istio or a gateway wait for each other."""

from __future__ import annotations


class ModuleDocFragment:
    """The option of module_utils/_lock.py."""

    DOCUMENTATION = r"""
options:
  lock_timeout:
    description:
      - How long another run that changes Istio or a gateway of the same cluster is waited for, in seconds. Only one does at a time (Lease
        C(hybridmesh-istio) in the namespace C(default)); who finds nothing to change waits for nobody.
    type: int
    default: 1800
"""
