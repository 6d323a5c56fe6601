#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: istio_install
short_description: Installs Istio as an IstioOperator declares it, or tells what Helm has to release
version_added: 0.1.0
description:
  - Compares what C(istioctl) makes of an IstioOperator with what is in the cluster, object by object, by a server-side
    dry run, and runs C(istioctl install) where they differ.
  - Each installation is known by a marker, the ConfigMap C(hybridmesh-<name>) in O(istio_namespace), which is written
    before the installation begins. An istiod without one was installed by somebody else. It is never changed; the
    module then says what it lacks for virtual machines.
  - Objects that are no longer declared are removed; custom resource definitions never are.
  - Refused are downgrades, upgrades that skip a minor, and upgrades that would leave a connected proxy outside of the
    skew that Istio supports.
  - An installation that was left half-way, or is not ready, is waited for, also where nothing has to be changed.
  - With O(method=helm) the same is compared, and judged, for releases of Istio's charts. The module releases nothing
    itself. It returns what has to be released with C(kubernetes.core.helm), after which it is to be called once more, to
    wait until all is ready. What differs in the cluster though it was released as declared is put right by the module.
  - What was installed by the one method is never taken over by the other.
  - Where C(istioctl) has to be downloaded, this is done in check mode as well, since nothing can be compared without
    it.
author:
  - hybridmesh.istio contributors (@hybridmesh)
extends_documentation_fragment:
  - hybridmesh.istio.attributes
  - hybridmesh.istio.attributes.cluster
  - hybridmesh.istio.cluster
  - hybridmesh.istio.lock
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  state:
    description:
      - With V(absent) the installation is removed, but for custom resource definitions, the namespace, and the key of its
        certificate authority.
      - That is refused as long as proxies are connected to it, which are listed, or while it has a tag and there is
        another control plane.
    type: str
    choices: [present, absent]
    default: present
  default:
    description:
      - Whether this revision is to have the tag C(default), which another one has. With V(false) it stays where it is. A
        first control plane always gets it.
      - Only for O(method=istioctl). With V(helm), C(revisionTags) in O(spec)'s C(values) says the same.
    type: bool
    default: false
  name:
    description:
      - Name of the IstioOperator, which tells installations apart.
      - The default is V(control-plane), with the revision appended where there is one.
    type: str
  role:
    description:
      - What the installation is, as its marker says it.
      - With V(control-plane), a control plane that somebody else installed is used as it is.
    type: str
    default: control-plane
  spec:
    description: The IstioOperator's C(spec), without its revision.
    type: dict
    default: {}
  istio_namespace:
    description: Istio's namespace. It is created where it is missing.
    type: str
    default: istio-system
  revision:
    description: Revision of the control plane. Null or empty for none.
    type: str
  version:
    description:
      - Version of Istio, such as V(1.30.3). It may be left out where O(istioctl) is given.
    type: str
  method:
    description:
      - By what Istio is installed.
      - With V(helm), C(istioctl) is needed for a first installation and a change of version alone, which it judges.
    type: str
    choices: [istioctl, helm]
    default: istioctl
  charts:
    description:
      - Where Istio's charts are, for O(method=helm). The URL of a repository (C(https), C(http), C(oci)), or a folder with
        the charts C(base), C(istiod) and C(gateway), such as C(manifests/charts) of a release.
      - The default is C(https://istio-release.storage.googleapis.com/charts).
    type: str
  helm:
    description: Path of C(helm), version 3, for O(method=helm). The default is the one in E(PATH).
    type: path
  istioctl:
    description:
      - Path of an C(istioctl), which must be of O(version).
      - Without it, the cache, then E(PATH) are looked through for that version, and then it is downloaded.
    type: path
  release_url:
    description:
      - Base URL of Istio's releases. The archive is
        C(<release_url>/<version>/istioctl-<version>-<system>-<machine>.tar.gz), its checksum has the same name with
        C(.sha256) at the end.
      - The default is C(https://storage.googleapis.com/istio-release/releases).
    type: str
  cache_dir:
    description:
      - Folder for downloaded C(istioctl)s.
      - The default is the folder C(istioctl) in E(HYBRIDMESH_CACHE), else in C(hybridmesh) in E(XDG_CACHE_HOME), else
        in C(~/.cache/hybridmesh).
    type: path
  readiness_timeout:
    description: Time until everything must be ready, in seconds.
    type: int
    default: 300
  allow_upgrade:
    description: Whether the version of what is installed may change.
    type: bool
    default: false
  ignore_precheck:
    description:
      - Whether to go on where C(istioctl experimental precheck) has findings, which are then shown as a warning.
      - The pre-check runs before a first installation and before a change of version.
    type: bool
    default: false
seealso:
  - module: hybridmesh.istio.mesh_info
  - module: hybridmesh.istio.eastwest_gateway
"""

EXAMPLES = r"""
- name: Istio's control plane
  hybridmesh.istio.istio_install:
    version: 1.30.3
    spec:
      profile: minimal
      values:
        global:
          meshID: mesh1
          network: network1
          multiCluster:
            clusterName: cluster1

- name: The same, one minor up
  hybridmesh.istio.istio_install:
    version: 1.31.0
    allow_upgrade: true
    spec: "{{ my_spec }}"
"""

RETURN = r"""
managed:
  description: Whether the installation is this collection's own. If not, nothing was changed.
  returned: success
  type: bool
version:
  description: Version of Istio, as installed now.
  returned: success
  type: str
previous_version:
  description: Version that was there before; empty for none.
  returned: success
  type: str
istioctl:
  description: Path of the C(istioctl) that was used; empty where none was needed.
  returned: success
  type: str
objects:
  description: Each object that was changed, or would be.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: The object's kind.
      type: str
    namespace:
      description: Its namespace; empty for objects without one.
      type: str
    name:
      description: Its name.
      type: str
    action:
      description: V(create), V(update) or V(delete).
      type: str
report:
  description: The same in words, one line for each object.
  returned: success
  type: list
  elements: str
  sample: [would create Deployment istio-system/istiod]
releases:
  description: What has to be released with C(kubernetes.core.helm), in this order, before the module is called again.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the release.
      type: str
    namespace:
      description: Its namespace.
      type: str
    chart_ref:
      description: The chart, by its name in a repository, or its path.
      type: str
    chart_repo_url:
      description: The repository, or null.
      type: str
    chart_version:
      description: Version of the chart.
      type: str
    release_values:
      description: Values for the chart.
      type: dict
    force:
      description: Whether an earlier run failed on it.
      type: bool
foreign:
  description: The control planes in the cluster that somebody else installed.
  returned: success
  type: list
  elements: str
differences:
  description: Where a control plane of somebody else has something else than what is declared.
  returned: success
  type: list
  elements: str
  sample: ["the network is '', not 'network1'"]
vm_needs:
  description: What a control plane of somebody else lacks for virtual machines, and what to do about it.
  returned: success
  type: list
  elements: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hybridmesh.istio.plugins.module_utils import (
    _cluster,
    _installer,
    _manifest,
    _uninstall,
    _vm_needs,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import (
    Cluster,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._helm import Charts, Helm
from ansible_collections.hybridmesh.istio.plugins.module_utils._install import (
    CONTROL_PLANE,
    HELM,
    ISTIOCTL,
    Installation,
    Istiod,
    Wanted,
    istiods,
)
from ansible_collections.hybridmesh.istio.plugins.module_utils._install_charts import ChartInstallation
from ansible_collections.hybridmesh.istio.plugins.module_utils._istioctl import Finder, Istioctl

ARGUMENTS: dict[str, t.Any] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "default": {"type": "bool", "default": False},
    "name": {"type": "str"},
    "role": {"type": "str", "default": CONTROL_PLANE},
    "spec": {"type": "dict", "default": {}},
    "istio_namespace": {"type": "str", "default": "istio-system"},
    "revision": {"type": "str"},
    "version": {"type": "str"},
    "method": {"type": "str", "choices": [ISTIOCTL, HELM], "default": ISTIOCTL},
    "charts": {"type": "str"},
    "helm": {"type": "path"},
    "istioctl": {"type": "path"},
    "release_url": {"type": "str"},
    "cache_dir": {"type": "path"},
    "readiness_timeout": {"type": "int", "default": 300},
    "allow_upgrade": {"type": "bool", "default": False},
    "ignore_precheck": {"type": "bool", "default": False},
}


def wanted(options: t.Mapping[str, t.Any]) -> Wanted:
    """What the options ask for."""
    revision = options["revision"] or ""
    return Wanted(
        name=options["name"] or "-".join(filter(None, [CONTROL_PLANE, revision])),
        role=options["role"],
        spec=options["spec"],
        namespace=options["istio_namespace"],
        revision=revision,
        allow_upgrade=options["allow_upgrade"],
        ignore_precheck=options["ignore_precheck"],
        readiness_timeout=options["readiness_timeout"],
        method=options["method"],
        default=options["default"],
    )


def made_of(module: AnsibleModule, cluster: Cluster) -> Installation:
    """The installation, as the method makes it.

    Raises:
        MeshError: it was made by another method, or nothing says which version is wanted.
    """
    options = module.params
    if options["method"] != HELM:
        return Installation(cluster, wanted(options))
    if not options["version"]:
        raise MeshError("no version of Istio is given", "the version of the charts", "set the version")
    charts = Charts(options["charts"], options["version"])
    helm = Helm(options["helm"], charts, cluster, module.run_command, module.tmpdir)
    return ChartInstallation(cluster, wanted(options), helm)


def read_only(cluster: Cluster, options: t.Mapping[str, t.Any], theirs: list[Istiod]) -> dict[str, t.Any]:
    """What is told of a control plane that is somebody else's."""
    own = [istiod for istiod in theirs if istiod.namespace == options["istio_namespace"]]
    mesh = _cluster.read_mesh(cluster, options["istio_namespace"], options["revision"]) if own else None
    foreign = [str(istiod) for istiod in theirs]
    if mesh is None:
        where = options["istio_namespace"] + (f", revision {options['revision']}" if options["revision"] else "")
        raise MeshError(
            f"somebody else's Istio is in the cluster: {'; '.join(foreign)}; {where} is asked for",
            "either that Istio is used, or there is none: a second one would change definitions and roles of the first",
            "set istio_namespace and revision (control_plane_namespace, control_plane_revision for the role) to those"
            " of the Istio that is there, or remove it",
        )
    version = mesh["version"] or ""
    return {
        "managed": False,
        "version": version,
        "previous_version": version,
        "foreign": foreign,
        "differences": _vm_needs.differences(mesh, options["spec"], options["version"]),
        "vm_needs": _vm_needs.control_plane_needs(mesh),
    }


def run(module: AnsibleModule) -> dict[str, t.Any]:
    """Brings the installation about and tells what came of it."""
    options = module.params
    cluster = Cluster(options)
    installation = made_of(module, cluster)
    answer: dict[str, t.Any] = {
        "changed": False,
        "managed": True,
        "version": "",
        "previous_version": "",
        "istioctl": "",
        "objects": [],
        "report": [],
        "releases": [],
        "foreign": [],
        "differences": [],
        "vm_needs": [],
    }
    used: list[str] = []

    def istioctl() -> Istioctl:
        finder = Finder(module.run_command, options["release_url"], options["cache_dir"])
        path, version = finder.find(options["version"], options["istioctl"])
        used.append(path)
        return Istioctl(path, version, cluster, module.run_command, module.tmpdir, options["istio_namespace"])

    if options["state"] == "absent":
        changes, removed = _uninstall.remove(installation, istioctl, module.check_mode)
        return dict(
            answer,
            changed=bool(changes) and (module.check_mode or not removed),
            managed=True,
            releases=removed,
            objects=_manifest.told(changes),
            report=_manifest.summary(changes, module.check_mode),
            **({"diff": _manifest.diff(changes)} if module._diff else {}),
        )
    if options["role"] == CONTROL_PLANE and not installation.marked:
        theirs = [istiod for istiod in istiods(installation.applier) if not istiod.marked]
        if theirs:
            return dict(answer, **read_only(cluster, options, theirs))
    if options["version"]:
        installation.judge_version(options["version"])
    releases: list[dict[str, t.Any]] = []
    if isinstance(installation, ChartInstallation):
        result, releases = installation.converge_charts(istioctl, module.check_mode)
    else:
        result = installation.converge(istioctl(), module.check_mode)
    for finding in result.precheck:
        module.warn(f"istioctl's pre-check: {finding}")
    if result.unjudged_proxies:
        module.warn("the version of these proxies can't be told: " + ", ".join(result.unjudged_proxies))
    answer.update(
        # What Helm releases afterwards is for that task to tell.
        changed=bool(result.here if releases and not module.check_mode else result.changes),
        version=result.version,
        previous_version=result.previous_version,
        istioctl="".join(used),
        releases=releases,
        objects=_manifest.told(result.changes),
        report=_manifest.summary(result.changes, module.check_mode),
    )
    if module._diff:
        answer["diff"] = _manifest.diff(result.changes)
    return answer


def main() -> None:
    """Runs the module."""
    _installer.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
