#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: workload_probe
version_added: 0.1.0
short_description: Whether a pod of the mesh reaches each virtual machine through the mesh
author: hybridmesh.istio contributors (@hybridmesh)
description:
  - Sends GET requests from a pod that you name to the Service of the virtual machines' WorkloadGroup, until the
    counters of the pod's Envoy show that each virtual machine has answered, over mutual TLS, with the identity of its
    group.
  - All of it is done in one shell in the pod's own container, whose traffic is captured, for any number of
    virtual machines. The container needs C(sh) and one of C(curl), C(wget) and C(python3).
  - It only reports. A verdict other than V(ok) is no failure of the module.
  - Runs where the Kubernetes API is reached, usually the controller. Requests nothing in check mode.
options:
  workload:
    description: The workload that the requests come from.
    type: dict
    required: true
    suboptions:
      namespace:
        description: Its namespace.
        type: str
        required: true
      deployment:
        description: Name of its Deployment. One of its ready pods is used.
        type: str
        required: true
      container:
        description: The container to run commands in. Null means the pod's first one that is not the sidecar.
        type: str
  vms:
    description: The virtual machines to reach.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What it is called in the answer, as its inventory name.
        type: str
        required: true
      group:
        description: Its WorkloadGroup, as C(namespace/name), or C(name) with O(namespace).
        type: str
        required: true
      address:
        description: Its address in the mesh.
        type: str
        required: true
  namespace:
    description: Namespace of the groups that are given by name only.
    type: str
  path:
    description:
      - Path to GET of the group's Service. Null means the path of the WorkloadGroup's HTTP probe, or C(/) where it has
        none.
    type: str
  cluster_domain:
    description: The cluster's DNS domain.
    type: str
    default: cluster.local
  max_requests:
    description: Requests at most for each virtual machine, as the load balancer chooses who gets one.
    type: int
    default: 20
  timeout:
    description: Seconds at most for a group, in which new endpoints may still reach the pod's Envoy.
    type: int
    default: 30
  request_timeout:
    description: Seconds for one request.
    type: int
    default: 5
  admin_port:
    description: Port of Envoy's admin interface on the pod's loopback address.
    type: int
    default: 15000
extends_documentation_fragment:
  - hybridmesh.istio.attributes
  - hybridmesh.istio.attributes.cluster
  - hybridmesh.istio.cluster
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
requirements:
  - websocket-client (Python library), which the kubernetes library brings
seealso:
  - module: hybridmesh.istio.mesh_probe
  - module: hybridmesh.istio.workload_entry_info
"""

EXAMPLES = r"""
- name: See that the workbench reaches both virtual machines
  hybridmesh.istio.workload_probe:
    workload:
      namespace: lab
      deployment: workbench
    vms:
      - name: vm1
        group: chapter10vm/envoydummy
        address: 10.88.0.21
      - name: vm2
        group: chapter10vm/envoydummy
        address: 10.88.0.22
  delegate_to: localhost
  register: reached
"""

RETURN = r"""
pod:
  description: The pod that the requests came from, null where there was none.
  returned: always, unless the API could not be read
  type: str
  sample: lab/workbench-6d5f7c9b8-x2k4q
verdicts:
  description: A verdict for each virtual machine, in the order asked.
  returned: always, unless the API could not be read
  type: list
  elements: dict
  contains:
    vm:
      description: The virtual machine's name, as asked.
      type: str
      sample: vm1
    ok:
      description: Whether it answered through the mesh, as whom it should.
      type: bool
    verdict:
      description:
        - V(ok), V(workload_missing), V(not_injected), V(no_client), V(group_missing), V(no_service), V(no_endpoint),
          V(unhealthy), V(connection_failed), V(request_failed), V(bad_status), V(not_through_mesh), V(not_reached),
          V(plaintext), V(no_identity), V(wrong_identity), or V(not_tested).
      type: str
      sample: ok
    evidence:
      description: What was seen, empty where all is well.
      type: str
    next_step:
      description: What to do now, empty where all is well.
      type: str
    url:
      description: What was requested.
      type: str
      sample: http://envoydummy.chapter10vm.svc.cluster.local:80/
    endpoint:
      description: The virtual machine's endpoint in the pod's Envoy.
      type: str
      sample: 10.88.0.21:10000
    through_mesh:
      description: Whether that endpoint answered over mutual TLS, by Envoy's counters.
      type: bool
    peer_identity:
      description: The identity that the virtual machine proved, null where Envoy accepts several or none.
      type: str
      sample: spiffe://cluster.local/ns/chapter10vm/sa/chapter10-sa
    peer_identities:
      description: The identities that the pod's Envoy accepts of that Service.
      type: list
      elements: str
    requests:
      description: Requests sent to the Service, for all virtual machines of the group.
      type: int
      sample: 6
    statuses:
      description: HTTP statuses that were seen, V(0) standing for no answer.
      type: list
      elements: int
      sample: [200]
"""

import json
import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _cluster_module, _probe
from ansible_collections.hybridmesh.istio.plugins.module_utils import _pod_probe as core
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._exec import ExecError, Session
from ansible_collections.hybridmesh.istio.plugins.module_utils._expectation import split_group

SIDECAR = "istio-proxy"


class Unable(Exception):
    """A proof that can't be had, for a reason that holds for all VMs concerned."""

    def __init__(self, verdict, evidence, next_step):
        super().__init__(evidence)
        self.finding = {"verdict": verdict, "evidence": evidence, "next_step": next_step}


def verdict_without_proof(vm, finding):
    empty = dict.fromkeys(("url", "service", "cluster", "endpoint", "peer_identity"))
    return dict(
        empty,
        vm=vm["name"],
        ok=False,
        through_mesh=False,
        peer_identities=[],
        requests=0,
        statuses=[],
        **finding,
    )


def find_pod(cluster, workload):
    """(pod, container) to send requests from."""
    namespace, name = workload["namespace"], workload["deployment"]
    where = f"{namespace}/{name}"
    deployment = cluster.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}")
    if deployment is None:
        raise Unable("workload_missing", f"there is no Deployment {where}", "correct mesh_verify_from")
    wanted = deployment["spec"]["selector"].get("matchLabels") or {}
    query = {"labelSelector": ",".join(f"{key}={wanted[key]}" for key in sorted(wanted))}
    pods = cluster.request("GET", f"/api/v1/namespaces/{namespace}/pods", query).get("items") or []
    ready = sorted((pod for pod in pods if is_ready(pod)), key=lambda pod: pod["metadata"]["name"])
    if not ready:
        raise Unable("workload_missing", f"no pod of the Deployment {where} is ready", "see why: kubectl describe")
    spec = ready[0]["spec"]
    names = [item["name"] for item in spec["containers"]]
    # A native sidecar is an init container.
    if SIDECAR not in names + [item["name"] for item in spec.get("initContainers") or []]:
        raise Unable(
            "not_injected",
            f"the pods of {where} have no sidecar",
            f"label the namespace {namespace} for injection and restart the Deployment",
        )
    container = workload["container"] or next(item for item in names if item != SIDECAR)
    if container not in names:
        found = ", ".join(names)
        raise Unable("workload_missing", f"{where} has no container {container}, but {found}", "correct container")
    return ready[0]["metadata"]["name"], container


def is_ready(pod):
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready = any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")


class Pod:
    """The shell in the pod, and its Envoy."""

    def __init__(self, cluster, workload, params):
        self._cluster = cluster
        self._namespace = workload["namespace"]
        self._request_timeout = params["request_timeout"]
        self.name, self._container = find_pod(cluster, workload)
        try:
            self._session = Session(cluster, self._namespace, self.name, self._container, ["sh"], 20)
            found = self._run(core.find_client(), 20).split()
        except ExecError as error:
            raise Unable("no_client", error.found, "choose a container with a shell in mesh_verify_from") from error
        clients = [word for word in found if word != "grep"]
        if not clients:
            raise Unable(
                "no_client",
                f"container {self._container} has no curl, wget or python3",
                "choose another container in mesh_verify_from",
            )
        self._has_grep = "grep" in found
        self._session.write(core.functions(clients[0], self._request_timeout, params["admin_port"]))
        self._by_agent = False

    def _run(self, command, timeout):
        self._session.write(command)
        return self._session.read_until(core.MARK, timeout)

    def ask(self, url, count, seconds):
        command = core.ask_many(url, count, seconds)
        return core.statuses(self._run(command, seconds + self._request_timeout + 10))

    def admin(self, path, only=()):
        """An answer of Envoy's admin interface, by the container's own client or by the sidecar's agent."""
        if not self._by_agent:
            said = self._run(core.ask_admin(path, only if self._has_grep else ()), 30).strip()
            if said or only:
                return said
            self._by_agent = True
        command = ["pilot-agent", "request", "GET", path]
        session = Session(self._cluster, self._namespace, self.name, SIDECAR, command, 20)
        try:
            return session.read_all(30)
        except ExecError as error:
            raise Unable(
                "no_client", f"Envoy's admin interface does not answer: {error.found}", "see the pod"
            ) from error
        finally:
            session.close()

    def clusters(self, mark):
        return _probe.parse_clusters(self.admin("clusters", [mark]))

    def transports(self, cluster):
        return _probe.transports(*(json.loads(self.admin(path) or "{}") for path in core.dump_paths(cluster)))

    def close(self):
        self._session.close()


def choose(cluster, namespace, group, params):
    """The group's resource and where to send requests for its VMs."""
    path = f"/apis/networking.istio.io/v1/namespaces/{namespace}/workloadgroups/{group}"
    resource = cluster.get(path) if namespace else None
    if resource is None:
        raise Unable("group_missing", f"there is no WorkloadGroup {namespace}/{group}", "correct mesh_workload_group")
    services = cluster.request("GET", f"/api/v1/namespaces/{namespace}/services").get("items") or []
    try:
        choice = core.choose_service(services, resource, params["cluster_domain"])
    except MeshError as error:
        raise Unable("no_service", error.found, error.next_step) from error
    if params["path"]:
        host = choice.url.split("/", 3)[2]
        choice = choice._replace(url="http://{}/{}".format(host, params["path"].lstrip("/")))
    account = ((resource["spec"].get("template") or {}).get("serviceAccount")) or "default"
    return choice, f"{namespace}/{account}"


def elsewhere(pod, choice, params):
    """The other Services that are asked while this one's URL is: where a route may lead its requests."""
    before = pod.clusters("outbound|")
    pod.ask(choice.url, 2, params["request_timeout"])
    return sorted({_probe.host_of(name) for name in _probe.moved(before, pod.clusters("outbound|"))} - {""})


def probe_group(pod, choice, identity, vms, params):
    """Requests until every VM of a group has answered, or the bounds are reached."""
    deadline = time.monotonic() + params["timeout"]
    budget = params["max_requests"] * len(vms)
    first = latest = pod.clusters(choice.mark)
    counted = core.as_one(latest, choice)
    grown: _probe.Clusters = {}
    transports: dict[str, _probe.Transport] = {}
    answers: list[int] = []
    while True:
        by_address = core.endpoints_of(counted, choice.cluster)
        endpoints = {vm["name"]: by_address.get(vm["address"]) for vm in vms}
        counters = grown.get(choice.cluster, {})
        waiting = [vm for vm in vms if not _probe.answered(counters.get(endpoints[vm["name"]] or "", {}), all(answers))]
        if not waiting or len(answers) >= budget or time.monotonic() >= deadline:
            break
        if any(endpoints[vm["name"]] for vm in waiting):
            count = min(max(2, 2 * len(waiting)), 50, budget - len(answers))
            answers += pod.ask(choice.url, count, max(1, int(deadline - time.monotonic())))
            if not any(200 <= status < 400 for status in answers[-count:]):
                time.sleep(0.5)
        else:
            time.sleep(0.5)
        latest = pod.clusters(choice.mark)
        counted = core.as_one(latest, choice)
        grown = _probe.moved(core.as_one(first, choice), counted)
    for name in filter(choice.includes, _probe.moved(first, latest)):
        transports.update(pod.transports(name))
    led = elsewhere(pod, choice, params) if any(answers) and not grown else []
    return [
        core.judge_vm(
            vm["name"],
            choice,
            endpoints[vm["name"]],
            counted,
            grown,
            transports.get(endpoints[vm["name"]] or ""),
            answers,
            identity,
            led,
        )
        for vm in vms
    ]


def probe(cluster, params, vms):
    """(pod, verdicts by VM)."""
    pod = Pod(cluster, params["workload"], params)
    verdicts: dict[str, t.Any] = {}
    groups: dict[tuple[str, str], t.Any] = {}
    try:
        for vm in vms:
            groups.setdefault((vm["namespace"], vm["group"]), []).append(vm)
        for (namespace, group), members in groups.items():
            try:
                choice, identity = choose(cluster, namespace, group, params)
                found = probe_group(pod, choice, identity, members, params)
            except Unable as unable:
                found = [verdict_without_proof(vm, unable.finding) for vm in members]
            verdicts.update((verdict["vm"], verdict) for verdict in found)
    finally:
        pod.close()
    return "{}/{}".format(params["workload"]["namespace"], pod.name), verdicts


def run(module: _cluster_module.Task, cluster: Cluster) -> dict[str, t.Any]:
    """Sends requests, and looks at who got them."""
    params = module.params
    vms = []
    for vm in params["vms"]:
        namespace, group = split_group(vm["group"], params["namespace"])
        vms.append(dict(vm, namespace=namespace, group=group))
    name, verdicts = None, {}
    try:
        if module.check_mode:
            raise Unable("not_tested", "check mode sends no request", "")
        if vms:
            name, verdicts = probe(cluster, params, vms)
    except Unable as unable:
        verdicts = {vm["name"]: verdict_without_proof(vm, unable.finding) for vm in vms}
    return {"changed": False, "pod": name, "verdicts": [verdicts[vm["name"]] for vm in vms]}


OPTIONS: dict[str, t.Any] = {
    "workload": dict(_cluster_module.WORKLOAD, required=True),
    "vms": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "group": {"type": "str", "required": True},
            "address": {"type": "str", "required": True},
        },
    },
    "namespace": {"type": "str"},
    "path": {"type": "str"},
    "cluster_domain": {"type": "str", "default": "cluster.local"},
    "max_requests": {"type": "int", "default": 20},
    "timeout": {"type": "int", "default": 30},
    "request_timeout": {"type": "int", "default": 5},
    "admin_port": {"type": "int", "default": 15000},
}
DEFINITION = _cluster_module.Definition(OPTIONS, run)


def main() -> None:
    """Runs the module."""
    _cluster_module.main(DEFINITION)


if __name__ == "__main__":
    main()
