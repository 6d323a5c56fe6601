#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_probe
version_added: 0.1.0
short_description: What a virtual machine's sidecar says of itself, and whether requests go through the mesh
author: hybridmesh.istio contributors (@hybridmesh)
description:
  - Runs on the virtual machine, in one round trip. Reads the admin interface of the sidecar's Envoy (state,
    certificate), sends a GET to each of O(targets), and reads in Envoy's counters and configuration which endpoint got
    it, over which transport, and which identity of the peer Envoy verified.
  - It only reports. A verdict other than V(ok) is no failure of the module. Needs no privileges.
options:
  targets:
    description: What to GET, one after the other. Redirects are not followed. Nothing is requested in check mode.
    type: list
    elements: dict
    default: []
    suboptions:
      url:
        description: The URL, with the host name of a Service of the mesh.
        type: str
        required: true
      identity:
        description:
          - Who must answer, as C(spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT), or C(NAMESPACE/ACCOUNT).
          - Null reports the identities that Envoy accepts for that Service, and asks only that there is one.
        type: str
      status:
        description: HTTP status codes that count as an answer. Null means 200 to 399.
        type: list
        elements: int
  timeout:
    description: Seconds for each target, in which it is tried again until its verdict is V(ok).
    type: int
    default: 15
  request_timeout:
    description: Seconds for one request.
    type: int
    default: 5
  admin_port:
    description: Port of Envoy's admin interface on the loopback address.
    type: int
    default: 15000
  certificate_max_age:
    description: Share of its lifetime after which a certificate that was not renewed is V(rotation_broken).
    type: float
    default: 0.6
  workload_group:
    description: Returned as it is, for reports that read the results of many machines.
    type: str
extends_documentation_fragment:
  - hybridmesh.istio.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
seealso:
  - module: hybridmesh.istio.workload_entry_info
  - module: hybridmesh.istio.workload_probe
"""

EXAMPLES = r"""
- name: See that this machine reaches a Service through the mesh
  hybridmesh.istio.mesh_probe:
    targets:
      - url: http://workbench.lab.svc.cluster.local/
        identity: lab/workbench
  register: probe

- name: Fail where it does not
  ansible.builtin.assert:
    that: probe.targets | rejectattr('ok') | length == 0
    fail_msg: "{{ probe.targets | rejectattr('ok') | map(attribute='evidence') | join(', ') }}"
"""

RETURN = r"""
sidecar:
  description: The sidecar itself.
  returned: always
  type: dict
  contains:
    verdict:
      description: V(ok), V(not_running), or V(not_live).
      type: str
      sample: ok
    evidence:
      description: What was seen, empty where all is well.
      type: str
    next_step:
      description: What to do now, empty where all is well.
      type: str
    address:
      description: The address by which the mesh knows this machine.
      type: str
      sample: 10.88.0.21
    node_id:
      description: The node ID that istiod knows.
      type: str
      sample: sidecar~10.88.0.21~vm1.chapter10vm~chapter10vm.svc.cluster.local
    namespace:
      description: The namespace it registers in.
      type: str
      sample: chapter10vm
    network:
      description: The network it says it is in.
      type: str
      sample: network1
    group:
      description: The WorkloadGroup that it registers with.
      type: str
      sample: envoydummy
    service_account:
      description: The service account that it says it runs as.
      type: str
      sample: chapter10-sa
    version:
      description: The version of Istio's agent.
      type: str
      sample: 1.31.0
certificate:
  description: The workload certificate that Envoy holds. Never its key.
  returned: always
  type: dict
  contains:
    verdict:
      description: V(ok), V(missing), V(expired), V(not_yet_valid), V(rotation_broken), or V(not_tested).
      type: str
      sample: ok
    evidence:
      description: What was seen, empty where all is well.
      type: str
    next_step:
      description: What to do now, empty where all is well.
      type: str
    identity:
      description: The SPIFFE identity in it.
      type: str
      sample: spiffe://cluster.local/ns/chapter10vm/sa/chapter10-sa
    expires:
      description: When it expires.
      type: str
      sample: "2026-11-24T15:36:07Z"
    remaining_seconds:
      description: Seconds until then, by this machine's clock.
      type: int
      sample: 86000
    age:
      description: The share of its lifetime that is over.
      type: float
      sample: 0.1
targets:
  description: A verdict for each target, in the order asked.
  returned: always
  type: list
  elements: dict
  contains:
    url:
      description: The URL.
      type: str
      sample: http://workbench.lab.svc.cluster.local/
    ok:
      description: Whether the request was answered through the mesh, by whom it should be.
      type: bool
    verdict:
      description:
        - V(ok), V(request_failed), V(connection_failed), V(bad_status), V(not_through_mesh), V(plaintext),
          V(no_identity), V(wrong_identity), or V(not_tested).
      type: str
      sample: ok
    evidence:
      description: What was seen, empty where all is well.
      type: str
    next_step:
      description: What to do now, empty where all is well.
      type: str
    status:
      description: The HTTP status, null where no answer came.
      type: int
      sample: 200
    through_mesh:
      description: Whether an endpoint of the mesh answered over mutual TLS, by Envoy's counters.
      type: bool
    cluster:
      description: Envoy's cluster that the request went to.
      type: str
      sample: outbound|80||workbench.lab.svc.cluster.local
    endpoints:
      description: The endpoints that answered.
      type: list
      elements: str
      sample: ["10.89.0.7:8080"]
    peer_identity:
      description: The identity that the peer proved, null where Envoy accepts several or none.
      type: str
      sample: spiffe://cluster.local/ns/lab/sa/workbench
    peer_identities:
      description: The identities that Envoy accepts of the peer.
      type: list
      elements: str
    requests:
      description: How often it was tried.
      type: int
      sample: 1
workload_group:
  description: O(workload_group) as given.
  returned: always
  type: str
  sample: chapter10vm/envoydummy
"""

import datetime
import re
import time
import urllib.error
import urllib.parse
import urllib.request

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hybridmesh.istio.plugins.module_utils import _admin, _probe


class Admin(_admin.Admin):
    """Envoy's admin interface, and what of it counts here."""

    def clusters(self):
        return _probe.parse_clusters(self.text("clusters"))

    def transports(self, cluster):
        name = urllib.parse.quote(re.escape(cluster), safe="")
        return _probe.transports(
            self.json(f"config_dump?resource=dynamic_active_clusters&name_regex={name}"),
            self.json(f"config_dump?include_eds&resource=dynamic_endpoint_configs&name_regex={name}"),
        )


def get(url, timeout):
    """Sends one GET; the answer's body is read and thrown away."""
    request = urllib.request.Request(url, headers={"User-Agent": "hybridmesh.istio", "Connection": "close"})
    try:
        with _admin.OPENER.open(request, timeout=timeout) as answer:
            answer.read()
            return {"status": answer.status}
    except urllib.error.HTTPError as error:
        error.close()
        return {"status": error.code}
    except _admin.ERRORS as error:
        return {"status": None, "error": _admin.reason(error)}


def try_target(admin, target, timeout, request_timeout):
    """Tries a target until it is right or the time is up; the last verdict counts."""
    deadline = time.monotonic() + timeout
    before = admin.clusters()
    requests = 0
    while True:
        answer = get(target["url"], request_timeout)
        requests += 1
        after = admin.clusters()
        verdict = _probe.judge_target(target, answer, _probe.moved(before, after), admin.transports)
        verdict["requests"] = requests
        if verdict["ok"] or time.monotonic() + 0.5 > deadline:
            return verdict
        time.sleep(0.5)
        before = after


def not_tested(target, why):
    return {
        "url": target["url"],
        "verdict": "not_tested",
        "ok": False,
        "status": None,
        "through_mesh": False,
        "cluster": None,
        "endpoints": [],
        "peer_identity": None,
        "peer_identities": [],
        "evidence": why,
        "next_step": "",
        "requests": 0,
    }


def look(params, check_mode):
    admin = Admin(params["admin_port"])
    targets = params["targets"]
    try:
        node = _probe.parse_server_info(admin.json("server_info"))
        certificate = _probe.parse_certificate(
            admin.json("certs"), datetime.datetime.now(datetime.timezone.utc), params["certificate_max_age"]
        )
    except _admin.ERRORS as error:
        why = f"no answer from Envoy on 127.0.0.1:{params['admin_port']}: {_admin.reason(error)}"
        next_step = "see systemctl status istio and /var/log/istio/istio.err.log"
        sidecar = dict.fromkeys(_probe.Node._fields)
        sidecar.update(verdict="not_running", evidence=why, next_step=next_step)
        certificate = {"verdict": "not_tested", "evidence": why, "next_step": next_step, "identity": None}
        certificate.update(dict.fromkeys(("not_before", "expires", "remaining_seconds", "age")))
        return sidecar, certificate, [not_tested(target, "no sidecar runs here") for target in targets]
    sidecar = node._asdict()
    if node.state == "LIVE":
        sidecar.update(verdict="ok", evidence="", next_step="")
    else:
        sidecar.update(
            verdict="not_live",
            evidence=f"Envoy is in state {node.state}",
            next_step="wait, and see /var/log/istio/istio.log where it lasts",
        )
    if check_mode:
        return sidecar, certificate, [not_tested(target, "check mode sends no request") for target in targets]
    verdicts = []
    for target in targets:
        try:
            verdicts.append(try_target(admin, target, params["timeout"], params["request_timeout"]))
        except _admin.ERRORS as error:
            verdicts.append(not_tested(target, f"Envoy's admin interface stopped answering: {error}"))
    return sidecar, certificate, verdicts


def main():
    module = AnsibleModule(
        argument_spec={
            "targets": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "url": {"type": "str", "required": True},
                    "identity": {"type": "str"},
                    "status": {"type": "list", "elements": "int"},
                },
            },
            "timeout": {"type": "int", "default": 15},
            "request_timeout": {"type": "int", "default": 5},
            "admin_port": {"type": "int", "default": 15000},
            "certificate_max_age": {"type": "float", "default": 0.6},
            "workload_group": {"type": "str"},
        },
        supports_check_mode=True,
    )
    sidecar, certificate, targets = look(module.params, module.check_mode)
    module.exit_json(
        changed=False,
        sidecar=sidecar,
        certificate=certificate,
        targets=targets,
        workload_group=module.params["workload_group"],
    )


if __name__ == "__main__":
    main()
