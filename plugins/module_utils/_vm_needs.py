# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an Istio that somebody else installed lacks for virtual machines, with what to do. Pure. Private."""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _versions
from ansible_collections.hybridmesh.istio.plugins.module_utils._cluster import Gateway, Mesh
from ansible_collections.hybridmesh.istio.plugins.module_utils._eastwest import ADDRESS
from ansible_collections.hybridmesh.istio.plugins.module_utils._exposure import Exposure

# The oldest minor whose agents read what the lookup sidecar_bootstrap writes.
OLDEST = (1, 24)

# Seconds without a connection that an entry should survive: a gateway's or a node's restart takes this long at most.
GRACE = 300


def differences(mesh: Mesh, spec: t.Mapping[str, t.Any], version: str | None) -> list[str]:
    """Where an istiod that is used as it is has something else than what is declared for it."""
    declared = (spec.get("values") or {}).get("global") or {}
    return [
        f"the {what} is '{found or ''}', not '{wanted}'"
        for what, found, wanted in (
            ("version", mesh["version"], version),
            ("mesh ID", mesh["mesh_id"], declared.get("meshID")),
            ("cluster name", mesh["cluster_name"], (declared.get("multiCluster") or {}).get("clusterName")),
            ("network", mesh["network"], declared.get("network")),
        )
        if wanted and found != wanted
    ]


def control_plane_needs(mesh: Mesh) -> list[str]:
    """What istiod lacks for virtual machines, each with what to do."""
    where = "istiod in {}{}".format(mesh["namespace"], f" (revision {mesh['revision']})" if mesh["revision"] else "")
    needs = []
    version = _versions.parse(mesh["version"])
    if version and version.numbers[:2] < OLDEST:
        needs.append(f"{where} has version {version.text}: upgrade it to 1.24 or newer")
    if not mesh["istiod_pods"]:
        needs.append(f"{where} has no Pod that is ready: see kubectl -n {mesh['namespace']} get pods")
    for setting, what, on in (
        ("PILOT_ENABLE_WORKLOAD_ENTRY_AUTOREGISTRATION", "registers no virtual machine", mesh["auto_registration"]),
        ("PILOT_ENABLE_WORKLOAD_ENTRY_HEALTHCHECKS", "ignores the health of virtual machines", mesh["health_checks"]),
    ):
        if not on:
            needs.append(f"{where} {what}: set its environment variable {setting} to true (values.pilot.env)")
    if mesh["entry_grace_period"] < GRACE:
        needs.append(
            "{} deletes the entry of a virtual machine {:g} s after its connection broke, so an outage of the gateway"
            " takes all of them out of the mesh: set PILOT_WORKLOAD_ENTRY_GRACE_PERIOD to {}s".format(
                where, mesh["entry_grace_period"], GRACE
            )
        )
    return needs


def gateway_needs(mesh: Mesh, gateway: Gateway, exposed: Exposure) -> list[str]:
    """What a gateway of somebody else lacks for virtual machines, each with what to do."""
    where = f"{gateway['namespace']}/{gateway['name']}"
    needs = []
    for what, setting, wanted, found in (
        ("mesh ID", "global.meshID", mesh["mesh_id"], gateway["mesh_id"]),
        ("cluster name", "global.multiCluster.clusterName", mesh["cluster_name"], gateway["cluster_name"]),
        ("network", "global.network", mesh["network"], gateway["network"]),
    ):
        if found is not None and wanted and found != wanted:
            needs.append(f"the {what} of gateway {where} is '{found}', istiod's is '{wanted}': set {setting} to that")
    if not gateway["pods"]:
        needs.append(f"gateway {where} has no Pod that is ready: see kubectl -n {gateway['namespace']} get pods")
    if not gateway["addresses"]:
        needs.append(
            f"gateway {where} has no address: have a load balancer give one, or annotate the Service with {ADDRESS}"
        )
    if not exposed["exposed"]:
        needs.append(
            f"istiod can't be reached through gateway {where}, as {exposed['reason']}: add a Gateway and a"
            f" VirtualService for port 15012 and {mesh['discovery_host']}"
        )
    return needs
