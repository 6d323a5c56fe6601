# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes with a control plane that istioctl made, and what stays for the other revisions."""

from __future__ import annotations

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _manifest, _uninstall
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._install import Installation, Wanted

from .test__install import Pretending, istiod, item, webhook


def objects(revision):
    made = [istiod(), item("Service", "istiod")]
    for each in made:
        each["metadata"]["name"] += f"-{revision}"
        each["metadata"]["labels"]["app"] = "istiod"
    return made


def wanted(revision):
    return Wanted(f"control-plane-{revision}", "control-plane", {"profile": "minimal"}, revision=revision)


@pytest.fixture
def two(empty_cluster):
    """Revisions a and b, and the tag, which a had first and which leads to b."""
    for revision in ("a", "b"):
        istioctl = Pretending(empty_cluster, objects(revision))
        istioctl.install = lambda operator, _timeout, own=istioctl: [
            empty_cluster.put(
                _manifest.with_owner(
                    {**each, "status": {"observedGeneration": 1, "availableReplicas": 1, "updatedReplicas": 1}},
                    operator["metadata"]["name"],
                    "istio-system",
                    operator["spec"]["revision"],
                    own.version,
                )
            )
            for each in own.generate(operator)
        ]
        Installation(empty_cluster, wanted(revision)).converge(istioctl, False)
    tag = webhook("MutatingWebhookConfiguration", "istio-revision-tag-default", **{_manifest.TAG: "default"})
    empty_cluster.put(_manifest.with_owner(tag, "control-plane-a", "istio-system", "b", "1.30.3"))
    return empty_cluster


def remove(cluster, revision, check=False, proxies=None):
    asked = Pretending(cluster, [])
    asked.proxies = lambda _revision: proxies or {}
    changes, releases = _uninstall.remove(Installation(cluster, wanted(revision)), lambda: asked, check)
    assert releases == []
    return _manifest.summary(changes, check)


def test_a_revision_goes_and_the_tag_stays_where_it_is(two):
    would = remove(two, "a", check=True)
    assert would == [
        "would remove Deployment istio-system/istiod-a",
        "would remove Service istio-system/istiod-a",
        "would remove ConfigMap istio-system/hybridmesh-control-plane-a",
    ]
    assert remove(two, "a") == [line.replace("would remove", "removed") for line in would]
    assert remove(two, "a") == []


def test_one_that_has_the_tag_stays_as_long_as_there_is_another(two):
    with pytest.raises(MeshError, match="control-plane-b in istio-system has the tag default"):
        remove(two, "b")
    remove(two, "a")
    assert "removed MutatingWebhookConfiguration istio-revision-tag-default" in remove(two, "b")


def test_one_with_proxies_stays(two):
    with pytest.raises(MeshError, match=r"1 proxies are connected to the control plane control-plane-a .*: vm.shop"):
        remove(two, "a", proxies={"vm.shop": "1.30.3"})
