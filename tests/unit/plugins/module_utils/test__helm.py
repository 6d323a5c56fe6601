# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Helm is asked, and what its answers mean."""

from __future__ import annotations

import json

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils._charts import Release, Released
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._helm import Charts, Helm

from .test__istioctl import Configured

RELEASE = Release("istiod", "istio-system", "istiod", {"a": 1})


class Api(Configured):
    """Also tells what the API server can do."""

    def request(self, _method, path):
        groups = [{"versions": [{"groupVersion": "apps/v1"}, {"groupVersion": "policy/v1"}]}]
        return {"/version": {"gitVersion": "v1.36.3"}, "/apis": {"groups": groups}}[path]


def helm(tmp_path, answer, seen=None):
    def run(command, **more):
        if isinstance(answer, OSError):
            raise answer
        if seen is not None:
            seen.append((command, more))
        return answer

    return Helm("/bin/helm", Charts("https://charts.example", "1.31.0"), Api(tmp_path), run, str(tmp_path))


def test_what_a_chart_makes_is_asked_as_the_api_server_is(tmp_path):
    seen = []
    made = helm(tmp_path, (0, "kind: Service\n---\n---\nkind: Deployment\n", ""), seen).template(RELEASE, True)
    assert [item["kind"] for item in made] == ["Service", "Deployment"]
    ((command, more),) = seen
    assert command == [
        *["/bin/helm", "template", "istiod", "istiod", "--repo", "https://charts.example", "--version", "1.31.0"],
        *["--namespace", "istio-system", "--is-upgrade", "--kube-version", "v1.36.3"],
        *["--api-versions=apps/v1", "--api-versions=policy/v1", "--values", "-"],
    ]
    assert json.loads(more["data"]) == {"a": 1}
    # The way to the cluster is no argument, and the file descriptor that it needs is handed over.
    assert more["environ_update"]["KUBECONFIG"] == f"/proc/self/fd/{more['pass_fds'][0]}"


def test_what_was_released(tmp_path):
    told = [{"name": "istiod", "status": "deployed", "chart": "istiod-1.31.0", "namespace": "istio-system"}]
    assert helm(tmp_path, (0, json.dumps(told), "")).released("istio-system") == {
        "istiod": Released("deployed", "istiod-1.31.0")
    }
    assert helm(tmp_path, (0, "null\n", "")).values(RELEASE) == {}


def test_the_options_of_the_task(tmp_path):
    assert helm(tmp_path, (0, "", "")).task(RELEASE, False) == {
        "name": "istiod",
        "namespace": "istio-system",
        "chart_ref": "istiod",
        "chart_repo_url": "https://charts.example",
        "chart_version": "1.31.0",
        "release_values": {"a": 1},
        "force": False,
    }


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((0, "name: istiod\nversion: 1.30.3\n", ""), "the chart istiod in https://charts.example is of version 1.30.3"),
        ((1, "", "Error: chart not found"), "helm show failed: chart not found"),
        (FileNotFoundError(2, "No such file or directory"), "/bin/helm can't be run: No such file or directory"),
    ],
)
def test_what_stands_in_the_way_is_told(tmp_path, answer, words):
    with pytest.raises(MeshError, match=words):
        helm(tmp_path, answer).check_version(RELEASE)
