# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds and reads kubeconfigs as kubectl does. Private to the collection."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

# A missing one is told by Cluster (it comes with the kubernetes client).
with contextlib.suppress(ImportError):
    import yaml


def default_kubeconfig() -> str:
    """Where kubectl would look: KUBECONFIG, else ~/.kube/config."""
    return os.environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")


def load_kubeconfig(source: str) -> dict[str, t.Any]:
    """A kubeconfig from a path, or from several joined by ':' (the first that names a thing wins, as for kubectl)."""
    merged: dict[str, t.Any] = {}
    for path in source.split(os.pathsep):
        path = os.path.expanduser(path)
        try:
            with open(path, encoding="utf-8") as stream:
                document = yaml.safe_load(stream)
        except OSError as error:
            if os.pathsep in source:
                continue
            raise MeshError(
                f"the kubeconfig {path} can't be read: {error.strerror}",
                "a readable kubeconfig",
                "set kubeconfig (mesh_kubeconfig for the roles, or K8S_AUTH_KUBECONFIG)",
            ) from error
        except yaml.YAMLError as error:
            raise MeshError(
                f"the kubeconfig {path} is not valid YAML", "a kubeconfig", "see kubectl config view"
            ) from error
        if not isinstance(document, dict):
            raise MeshError(f"the kubeconfig {path} holds no mapping", "a kubeconfig", "see kubectl config view")
        for key, value in document.items():
            if isinstance(value, list) and isinstance(merged.get(key), list):
                known = [item.get("name") for item in merged[key]]
                merged[key] += [item for item in value if item.get("name") not in known]
            elif not merged.get(key):
                merged[key] = value
    return merged


def inline(source: t.Any) -> t.Any:
    """A kubeconfig that is given as text (a credential of AWX, which knows no dictionaries) as a dictionary; all else as it is.

    Raises:
        MeshError: it is text of several lines, and no kubeconfig. The message has nothing of it, as it may hold secrets.
    """
    if not isinstance(source, str) or not ("\n" in source.strip() or source.lstrip().startswith("{")):
        return source
    try:
        document = yaml.safe_load(source)
    except yaml.YAMLError:
        document = None
    if not isinstance(document, dict):
        raise MeshError(
            "the kubeconfig is given as text, which is not valid YAML of a mapping",
            "the content of a kubeconfig, or its path",
            "see kubectl config view --raw --minify",
        )
    return document


def of_context(
    document: t.Mapping[str, t.Any], context: str | None
) -> tuple[t.Mapping[str, t.Any], t.Mapping[str, t.Any]]:
    """The user's and the cluster's entry that the (or the current) context names; empty where there is none."""

    def entry(section: str, name: t.Any) -> t.Mapping[str, t.Any]:
        found = (item.get(section[:-1]) for item in document.get(section) or [] if item.get("name") == name)
        return next(found, None) or {}

    chosen = entry("contexts", context or document.get("current-context"))
    return entry("users", chosen.get("user")), entry("clusters", chosen.get("cluster"))


# The entries of a kubeconfig's users that open a door.
_SECRETS = ("client-key-data", "token", "password", "access-token", "id-token", "refresh-token", "client-secret")


def secrets_of(kubeconfig: t.Any) -> set[str]:
    """The secrets in a kubeconfig that is given as a dictionary or as text; none for a path."""
    with contextlib.suppress(MeshError):
        kubeconfig = inline(kubeconfig)
    if isinstance(kubeconfig, dict):
        own = {str(value) for key, value in kubeconfig.items() if key in _SECRETS and value}
        return own.union(*(secrets_of(value) for value in kubeconfig.values()))
    if isinstance(kubeconfig, list):
        return set().union(*(secrets_of(item) for item in kubeconfig))
    return set()
