# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _group

FILES = {
    "hosts": "10.0.0.1 istiod-1-31.istio-system.svc\n10.0.0.2 istiod-1-31.istio-system.svc\n",
    "mesh.yaml": "defaultConfig:\n  discoveryAddress: istiod-1-31.istio-system.svc:31012\n",
    "root-cert.pem": "",
    "cluster.env": "",
}


def test_what_the_files_say() -> None:
    found = _group.of_files(FILES, ["10.4.0.7"])
    assert found["files"] == FILES
    assert found["gateways"] == ["10.0.0.1:31012", "10.0.0.2:31012"]
    assert found["pods"] == ["10.4.0.7:15012"]
    assert (found["names"], found["mesh_name"]) == (["istiod-1-31.istio-system.svc"], "istiod-1-31.istio-system.svc")
    assert found["istiod_port"] == 31012
    assert found["proxy_config"] == {"discoveryAddress": "istiod-1-31.istio-system.svc:31012"}


def test_a_group_that_is_not_there_yet() -> None:
    found = _group.of_files({})
    assert (found["files"], found["gateways"], found["names"], found["mesh_name"]) == ({}, [], [], None)
    assert found["istiod_port"] == 15012
