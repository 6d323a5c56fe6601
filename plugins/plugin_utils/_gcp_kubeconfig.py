# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A kubeconfig of what Google knows of a cluster. Pure. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

# Google's own plugin, where gcloud is installed.
EXEC = {
    "apiVersion": "client.authentication.k8s.io/v1beta1",
    "command": "gke-gcloud-auth-plugin",
    "provideClusterInfo": True,
    "interactiveMode": "Never",
    "installHint": "install Google's package google-cloud-cli-gke-gcloud-auth-plugin",
}


def kubeconfig(name: str, cluster: t.Mapping[str, t.Any], token: str | None, private: bool) -> dict[str, t.Any]:
    """The kubeconfig.

    Args:
        name: of the cluster.
        cluster: as Google's API answers.
        token: a token; without one, Google's plugin is asked for it.
        private: whether the private endpoint is taken.

    Raises:
        MeshError: the cluster has no such endpoint yet.
    """
    endpoint = (
        (cluster.get("privateClusterConfig") or {}).get("privateEndpoint") if private else cluster.get("endpoint")
    )
    authority = (cluster.get("masterAuth") or {}).get("clusterCaCertificate")
    if not endpoint or not authority:
        kind = "private endpoint" if private else "endpoint"
        raise MeshError(
            f"cluster {name} ({cluster.get('status')}) has no {kind} with a certificate",
            "a cluster that is RUNNING",
            "wait until it is, or see private_endpoint",
        )
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [
            {"name": name, "cluster": {"server": f"https://{endpoint}", "certificate-authority-data": authority}}
        ],
        "users": [{"name": name, "user": {"token": token} if token else {"exec": dict(EXEC)}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }
