# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installations by Helm: what is told to release, what is mended, what is refused, with a Helm that only pretends."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _charts, _install, _manifest, _uninstall
from ansible_collections.hybridmesh.istio.plugins.module_utils._charts import Released
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._helm import Charts
from ansible_collections.hybridmesh.istio.plugins.module_utils._install import Installation, Wanted
from ansible_collections.hybridmesh.istio.plugins.module_utils._install_charts import ChartInstallation

from .test__install import READY, istiod, item


class Judge:
    """An istioctl that is only asked."""

    def __init__(self, proxies=None):
        self.told, self.calls, self.version = proxies or {}, [], "1.31.0"

    def proxies(self, revision=None):
        self.calls.append("proxies")
        return self.told

    def precheck(self):
        self.calls.append("precheck")
        return []


class Pretending:
    """Makes of each chart what it was told, and releases it when a test says so."""

    def __init__(self, cluster, version="1.30.3"):
        self.cluster, self.charts, self.calls = cluster, Charts("https://charts.example", version), []
        self.made, self.told = {}, {}

    def released(self, namespace):
        return dict(self.made)

    def values(self, release):
        return copy.deepcopy(self.told.get(release.name, {}))

    def check_version(self, release):
        self.calls.append(f"version {release.chart}")

    def template(self, release, upgrade):
        suffix = f"-{release.values['revision']}" if release.values.get("revision") else ""
        if release.chart == "base":
            return [item("ServiceAccount", "istio-reader-service-account")]
        made = [istiod(f"docker.io/istio/pilot:{self.charts.version}"), item("Service", "istiod", spec={"ports": []})]
        for each in made:
            each["metadata"]["name"] += suffix
            each["metadata"]["labels"].update(
                {"istio.io/rev": release.values.get("revision", "default"), "app": "istiod"}
            )
        return made

    def manifest(self, release):
        return self.template(release, True)

    def task(self, release, again):
        return {"name": release.name, "force": again, "release": release}

    def release(self, tasks):
        for task in tasks:
            release = task["release"]
            for made in self.template(release, False):
                own = _charts.owned(made, release)
                if own["kind"] == "Deployment":
                    own["status"] = dict(READY)
                self.cluster.put(own)
            self.made[release.name] = Released("deployed", f"{release.chart}-{self.charts.version}")
            self.told[release.name] = release.values


def wanted(**more):
    name = "-".join(filter(None, ["control-plane", more.get("revision", "")]))
    return Wanted(name, "control-plane", {"profile": "minimal"}, method="helm", **more)


def converge(cluster, helm, check=False, judge=None, **more):
    return ChartInstallation(cluster, wanted(**more), helm).converge_charts(lambda: judge or Judge(), check)


def installed(cluster, helm, **more):
    helm.release(converge(cluster, helm, **more)[1])
    return helm


def told(result):
    return _manifest.summary(result.changes, False)


def test_check_mode_on_an_empty_cluster(empty_cluster):
    judge = Judge()
    result, tasks = converge(empty_cluster, Pretending(empty_cluster), check=True, judge=judge)
    assert told(result) == [
        "created Namespace istio-system",
        "created ConfigMap istio-system/hybridmesh-control-plane",
        "created Release istio-system/istio-base",
        "created ServiceAccount istio-system/istio-reader-service-account",
        "created Release istio-system/istiod",
        "created Deployment istio-system/istiod",
        "created Service istio-system/istiod",
    ]
    assert [task["name"] for task in tasks] == ["istio-base", "istiod"]
    assert (empty_cluster.changes(), judge.calls) == ([], ["precheck"])


def test_first_and_second_run(empty_cluster):
    helm = Pretending(empty_cluster)
    result, tasks = converge(empty_cluster, helm)
    marker = empty_cluster.objects["/api/v1/namespaces/istio-system/configmaps/hybridmesh-control-plane"]
    assert marker["data"]["method"] == "helm"
    assert [change.ref.kind for change in result.here] == ["Namespace", "ConfigMap"]
    helm.release(tasks)
    result, tasks = converge(empty_cluster, helm)
    assert (told(result), tasks, result.previous_version) == ([], [], "1.30.3")
    assert [(own.revision, own.marked) for own in _install.istiods(Installation(empty_cluster, wanted()).applier)] == [
        ("", True)
    ]


def test_what_somebody_changed_is_put_right(empty_cluster):
    helm = installed(empty_cluster, Pretending(empty_cluster))
    path = "/apis/apps/v1/namespaces/istio-system/deployments/istiod"
    empty_cluster.objects[path]["spec"]["replicas"] = 7
    result, tasks = converge(empty_cluster, helm, check=True)
    assert (told(result), tasks) == (["changed Deployment istio-system/istiod"], [])
    result, tasks = converge(empty_cluster, helm)
    assert [str(change.ref) for change in result.here] == ["Deployment istio-system/istiod"]
    assert (empty_cluster.objects[path]["spec"]["replicas"], tasks) == (1, [])


def test_an_upgrade_is_judged_as_by_istioctl(empty_cluster):
    helm = installed(empty_cluster, Pretending(empty_cluster))
    helm.charts = Charts("https://charts.example", "1.31.0")
    with pytest.raises(MeshError, match="set allow_upgrade to true"):
        converge(empty_cluster, helm)
    with pytest.raises(MeshError, match=r"vm.vms \(1.29.0\)"):
        converge(empty_cluster, helm, judge=Judge({"vm.vms": "1.29.0"}), allow_upgrade=True)
    result, tasks = converge(empty_cluster, helm, judge=Judge({"vm.vms": "1.30.3"}), allow_upgrade=True)
    assert [task["name"] for task in tasks] == ["istio-base", "istiod"]
    assert result.previous_version == "1.30.3"


def test_objects_and_releases_of_somebody_else_are_not_touched(empty_cluster):
    helm = Pretending(empty_cluster)
    empty_cluster.put(item("Service", "istiod"))
    with pytest.raises(MeshError, match=r"Service istio-system/istiod \(of no release\)"):
        converge(empty_cluster, helm)
    helm.made["istiod"] = Released("deployed", "istiod-1.30.3")
    with pytest.raises(MeshError, match="istio-system/istiod is there, and this collection did not make it"):
        converge(empty_cluster, helm)
    assert empty_cluster.changes() == []


def test_moving_from_one_method_to_the_other_is_refused(empty_cluster):
    installed(empty_cluster, Pretending(empty_cluster))
    for revision in ("", "1-31"):
        name = "-".join(filter(None, ["control-plane", revision]))
        with pytest.raises(MeshError, match="was installed by helm, and istioctl is asked for"):
            Installation(empty_cluster, Wanted(name, "control-plane", {}, revision=revision))


def test_what_revisions_share_stays_with_the_newest(empty_cluster):
    helm = installed(empty_cluster, Pretending(empty_cluster, "1.30.3"), revision="1-30")
    assert helm.told["istiod-1-30"]["revisionTags"] == ["default"]
    helm.charts = Charts("https://charts.example", "1.31.0")
    installed(empty_cluster, helm, revision="1-31")
    assert "revisionTags" not in helm.told["istiod-1-31"]
    assert helm.told["istio-base"]["defaultRevision"] == "1-30"
    for version, revision in (("1.31.0", "1-31"), ("1.30.3", "1-30")):
        helm.charts = Charts("https://charts.example", version)
        result, tasks = converge(empty_cluster, helm, revision=revision)
        assert (told(result), tasks) == ([], [])


def removal(cluster, helm, check=False, proxies=None, **more):
    return _uninstall.remove(ChartInstallation(cluster, wanted(**more), helm), lambda: Judge(proxies), check)


def test_a_control_plane_with_proxies_stays(empty_cluster):
    helm = installed(empty_cluster, Pretending(empty_cluster))
    with pytest.raises(MeshError, match=r"1 proxies are connected .*: vm1.shop"):
        removal(empty_cluster, helm, proxies={"vm1.shop": "1.30.3"})


def test_a_control_plane_goes_and_what_others_need_stays(empty_cluster):
    helm = installed(empty_cluster, Pretending(empty_cluster), revision="a")
    installed(empty_cluster, helm, revision="b")
    assert [item["name"] for item in removal(empty_cluster, helm, check=True, revision="b")[1]] == ["istiod-b"]
    del helm.made["istiod-b"]
    changes, releases = removal(empty_cluster, helm, revision="b")
    assert (_manifest.summary(changes, False), releases) == (
        ["removed ConfigMap istio-system/hybridmesh-control-plane-b"],
        [],
    )
    assert [item["name"] for item in removal(empty_cluster, helm, revision="a")[1]] == ["istiod-a", "istio-base"]
    assert removal(empty_cluster, helm, revision="c") == ([], [])


def test_charts_in_a_folder(tmp_path):
    (tmp_path / "istio-control" / "istio-discovery").mkdir(parents=True)
    (tmp_path / "istio-control" / "istio-discovery" / "Chart.yaml").write_text("name: istiod\n")
    (tmp_path / "base-1.31.0.tgz").write_text("")
    charts = Charts(str(tmp_path), "1.31.0")
    assert charts.where("istiod") == (str(tmp_path / "istio-control" / "istio-discovery"), None)
    assert charts.where("base") == (str(tmp_path / "base-1.31.0.tgz"), None)
    with pytest.raises(MeshError, match="there is no chart gateway"):
        charts.where("gateway")
    assert Charts(None, "1.31.0").where("base")[0] == "base"
    assert Charts("oci://registry.example/charts/", "1.31.0").where("base") == (
        "oci://registry.example/charts/base",
        None,
    )
