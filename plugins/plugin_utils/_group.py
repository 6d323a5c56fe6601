# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the files of a group say about the way to istiod. Pure. Private to the collection."""

from __future__ import annotations

import typing as t

import yaml
from ansible_collections.hybridmesh.istio.plugins.module_utils import _reach, _vm_files


def of_files(files: t.Mapping[str, str], istiod_pods: t.Sequence[str] = ()) -> dict[str, t.Any]:
    """What the role vm_sidecar asks of a group's files again and again.

    Args:
        files: as the lookup `sidecar_bootstrap` returns them; empty where the group is still to be created.
        istiod_pods: addresses of istiod's Pods, where they are known.

    Returns:
        `files`; `proxy_config` (`defaultConfig` of mesh.yaml); `istiod_port`; `gateways` and `pods` (host:port, what a machine
        must reach); `names` (those that /etc/hosts will know), the first of which is `mesh_name` (null without any).
    """
    config = (yaml.safe_load(files.get("mesh.yaml", "")) or {}).get("defaultConfig") or {}
    _host, port = _reach.split_target(config.get("discoveryAddress") or "istiod:15012")
    lines = _vm_files.hosts_lines(files.get("hosts", ""))
    names = list(dict.fromkeys(line[0] for _address, line in lines))
    return {
        "files": dict(files),
        "proxy_config": config,
        "istiod_port": port,
        "gateways": [f"{address}:{port}" for address, _names in lines],
        "pods": [f"{address}:15012" for address in istiod_pods],
        "names": names,
        "mesh_name": names[0] if names else None,
    }
