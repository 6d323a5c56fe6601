# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the filters about all machines of a run read."""

from __future__ import annotations


class ModuleDocFragment:
    """Their first two options."""

    DOCUMENTATION = r"""
options:
  _input:
    description: Inventory names.
    type: list
    elements: str
    required: true
  known:
    description: The variables by host, which is C(hostvars), as the roles of this collection leave them.
    type: dict
    required: true
"""
