# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module says about itself: how it behaves in check mode, with --diff, and when run twice."""

from __future__ import annotations


class ModuleDocFragment:
    """DOCUMENTATION is for all modules; CLUSTER for those that are members of the action group."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Whether C(--check) tells what a run would change, and changes nothing.
  diff_mode:
    description: Whether C(--diff) shows what changes, or would change.
  idempotent:
    description: Whether a second run with the same arguments reports no change, if nobody changed anything in between.
    support: full
"""

    CLUSTER = r"""
options: {}
attributes:
  action_group:
    description: >-
      Use C(group/hybridmesh.istio.cluster) in C(module_defaults) to set, once, how all these modules reach the cluster.
    support: full
    membership:
      - hybridmesh.istio.cluster
"""
