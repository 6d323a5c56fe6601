# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Prometheus: metrics of machines and pods arrive, machines come and go without a run, alerts fire; and all of it goes again."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import subprocess
import time
import typing as t
import urllib.parse

import pytest
import yaml
from ansible_collections.hybridmesh.istio.plugins.module_utils import _observability_config, _observability_rules
from ansible_collections.hybridmesh.istio.plugins.modules import observability

from ..conftest import Lab, Run
from ..test_4_rights import Job

PLAYBOOK = "playbooks/observability.yml"
SPACE = "observability"
API = f"/api/v1/namespaces/{SPACE}/services/prometheus:http/proxy/api/v1"
KINDS = (
    "deployments,services,configmaps,serviceaccounts,secrets,persistentvolumeclaims,clusterroles,clusterrolebindings"
)
OURS = ("-l", f"hybridmesh.istio/observability={SPACE}", "-o", "name")
ENTRIES = {"vm1": "envoydummy-10.88.0.21-network1", "vm2": "envoydummy-10.88.0.22-network1"}
# Soon enough to be waited for.
SOON = {"observability_disconnected_for": "4s", "observability_gone_window": "1m"}
GROUP = ("-n", "chapter10vm")


def play(lab: Lab, *arguments: str, **variables: t.Any) -> Run:
    return lab.playbook(PLAYBOOK, *arguments, variables={**SOON, **variables})


def made(lab: Lab) -> set[str]:
    found = lab.kubectl("get", KINDS, "-A", *OURS).split()
    return {*found, *lab.kubectl("get", "namespace", SPACE, "--ignore-not-found", "-o", "name").split()}


class Prometheus:
    """The one in the lab, by its HTTP API."""

    def __init__(self, lab: Lab, installed: Run) -> None:
        self.lab, self.installed = lab, installed

    def get(self, path: str, **query: str) -> t.Any:
        answer = self.lab.kubectl("get", "--raw", f"{API}/{path}?{urllib.parse.urlencode(query)}")
        return json.loads(answer)["data"]

    def query(self, expression: str, by: str) -> dict[str, float]:
        """An instant query's values, by one of their labels."""
        found = self.get("query", query=expression)["result"]
        values = {item["metric"].get(by, ""): float(item["value"][1]) for item in found}
        assert len(values) == len(found), found
        return values

    def firing(self) -> set[tuple[str, str]]:
        """Alert and machine."""
        alerts = self.get("alerts")["alerts"]
        return {
            (item["labels"]["alertname"], item["labels"].get("entry", ""))
            for item in alerts
            if item["state"] == "firing"
        }

    def wait(self, what: str, ask: t.Callable[[], t.Any], seconds: int = 90) -> t.Any:
        deadline = time.monotonic() + seconds
        while True:
            found = ask()
            if found:
                return found
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}; firing: {self.firing()}"
            time.sleep(0.5)

    def machines(self) -> dict[str, float]:
        return self.query('up{job="mesh-machines"}', "entry")


@pytest.fixture(scope="module")
def watched(mesh: Lab) -> t.Iterator[Prometheus]:
    if made(mesh):
        assert play(mesh, observability_state="absent").code == 0
    check = play(mesh, "--check", "--diff")
    assert check.code == 0, check.output
    assert "would create Deployment observability/prometheus" in check.words
    assert made(mesh) == set()
    installed = play(mesh)
    assert installed.code == 0, installed.output
    yield Prometheus(mesh, installed)
    if made(mesh):
        assert play(mesh, observability_state="absent").code == 0


def test_a_second_run_changes_nothing(watched: Prometheus) -> None:
    assert watched.installed.changed == 1
    again = play(watched.lab)
    assert (again.code, again.changed) == (0, 0), again.output
    assert not re.search(r"\[(WARNING|DEPRECATION)", again.output), again.output
    # The key of Kiali's sessions is not shown, and was not made anew.
    key = json.loads(watched.lab.kubectl("get", "secret", "-n", SPACE, "kiali-signing-key", "-o", "json"))["data"][
        "value.txt"
    ]
    assert key not in watched.installed.output


def test_the_run_tells_who_answers(watched: Prometheus) -> None:
    assert re.search(r"Prometheus scrapes: 1 istiod, \d+ mesh-pods, 2 mesh-machines", watched.installed.words)


def test_metrics_of_machines_and_pods_arrive(watched: Prometheus) -> None:
    assert watched.machines() == dict.fromkeys(ENTRIES.values(), 1)
    started = watched.query('istio_agent_process_start_time_seconds{job="mesh-machines"}', "entry")
    for machine, entry in ENTRIES.items():
        # What Prometheus has is what the machine itself says.
        own = watched.lab.ssh(machine, "curl -s http://127.0.0.1:15020/stats/prometheus")
        found = re.search(r"^istio_agent_process_start_time_seconds (\S+)$", own, re.MULTILINE)
        assert found
        assert started[entry] == float(found.group(1))
    for job, by, names in (("mesh-machines", "entry", set(ENTRIES.values())), ("mesh-pods", "app", {"workbench"})):
        left = watched.query(f'min by ({by}) (istio_agent_cert_expiry_seconds{{job="{job}"}})', by)
        assert names <= set(left)
        assert all(0 < seconds <= 86400 for seconds in left.values()), left
        assert set(watched.query(f'max by ({by}) (envoy_server_live{{job="{job}"}})', by).values()) == {1}
    # Both machines and the gateway's Pods at the least. A Pod that was there before an upgrade has a proxy of the old version.
    assert watched.query('pilot_xds{job="istiod"}', "version")["1.31.0-lab"] >= 3
    labels = watched.get("query", query=f'up{{entry="{ENTRIES["vm1"]}"}}')["result"][0]["metric"]
    expected = {
        "namespace": "chapter10vm",
        "group": "envoydummy",
        "app": "envoydummy",
        "version": "v2",
        "network": "network1",
    }
    assert labels.items() >= expected.items()
    assert watched.query("mesh_machine_connected", "entry") == dict.fromkeys(ENTRIES.values(), 1)
    assert watched.query("mesh_machine_healthy", "entry") == dict.fromkeys(ENTRIES.values(), 1)


def test_rules_are_evaluated_and_nothing_is_wrong(watched: Prometheus) -> None:
    rules = [rule for group in watched.get("rules")["groups"] for rule in group["rules"]]
    assert len(rules) == 13
    assert {rule["health"] for rule in watched.wait("all rules evaluated", lambda: evaluated(watched))} == {"ok"}
    assert watched.firing() == set()


def evaluated(watched: Prometheus) -> list[t.Any]:
    rules = [rule for group in watched.get("rules")["groups"] for rule in group["rules"]]
    return [] if any(rule["health"] == "unknown" for rule in rules) else rules


def test_promtool_takes_what_is_in_the_cluster(watched: Prometheus, tmp_path: pathlib.Path) -> None:
    data = json.loads(watched.lab.kubectl("get", "configmap", "-n", SPACE, "prometheus", "-o", "json"))["data"]
    for name, text in data.items():
        (tmp_path / name).write_text(text.replace("/etc/prometheus/", f"{tmp_path}/"))
    promtool("check", "config", str(tmp_path / "prometheus.yml"))


def test_rules_do_what_they_say(tmp_path: pathlib.Path) -> None:
    options = {name: option.get("default") for name, option in observability.OPTIONS.items()}
    groups = _observability_rules.groups({**options, "autoscaled_groups": ["shop/workers"]})
    (tmp_path / "rules.yml").write_text(_observability_config.text({"groups": groups}))
    shutil.copy(pathlib.Path(__file__).with_name("alert_rules_test.yml"), tmp_path)
    promtool("test", "rules", str(tmp_path / "alert_rules_test.yml"))


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_machine_that_goes_and_comes_back(watched: Prometheus) -> None:
    lab, entry = watched.lab, ENTRIES["vm2"]
    generation = ("get", "deployment", "-n", SPACE, "prometheus", "-o", "jsonpath={.metadata.generation}")
    before = lab.kubectl(*generation)
    lab.ssh("vm2", "systemctl stop istio")
    try:
        gone = {("MeshMachineDown", entry), ("MeshMachineDisconnected", entry)}
        watched.wait("it is down, and istiod says so", lambda: gone <= watched.firing())
        # What istiod does after its grace period, which is five minutes long here.
        lab.kubectl("delete", "workloadentry", *GROUP, entry)
        watched.wait("its entry went away", lambda: {("MeshMachineGone", entry)} == watched.firing())
        assert watched.machines() == {ENTRIES["vm1"]: 1}
    finally:
        lab.ssh("vm2", "systemctl start istio")
    # It registers by itself, and is scraped, with no run.
    watched.wait("it is scraped again", lambda: watched.machines() == dict.fromkeys(ENTRIES.values(), 1))
    watched.wait("no alert any more", lambda: watched.firing() == set())
    assert lab.kubectl(*generation) == before


ENTRY = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: by-hand
  namespace: chapter10vm
  annotations: {prometheus.io/scrape: "true"}
spec: {address: 10.88.0.21, locality: region/zone, labels: {app: other}}
"""


def test_an_entry_becomes_a_target_and_stops_being_one(watched: Prometheus) -> None:
    watched.lab.apply(ENTRY)
    try:
        watched.wait("it is scraped", lambda: watched.machines().get("by-hand") == 1)
        labels = watched.get("query", query='up{entry="by-hand"}')["result"][0]["metric"]
        assert (labels["app"], labels["locality"]) == ("other", "region/zone")
    finally:
        watched.lab.kubectl("delete", "workloadentry", *GROUP, "by-hand")
    watched.wait("it is scraped no more", lambda: "by-hand" not in watched.machines())


STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
"""


def test_strict_mutual_tls_is_not_in_the_way(watched: Prometheus) -> None:
    def plain() -> str:
        script = "curl -s -o /dev/null -m 3 -w '%{http_code}' http://10.88.0.21:10000/ || true"
        return watched.lab.ssh("cluster1", script).strip()

    assert plain() == "200"
    watched.lab.apply(STRICT)
    try:
        watched.wait("nobody gets in without mutual TLS", lambda: plain() == "000")
        time.sleep(5)
        assert watched.query('min by (job) (min_over_time(up{job=~"mesh-.*"}[4s]))', "job") == {
            "mesh-pods": 1,
            "mesh-machines": 1,
            "mesh-discovery": 1,
        }
    finally:
        watched.lab.kubectl("delete", "peerauthentication", "-n", "istio-system", "strict")


def test_a_changed_configuration_is_read_while_it_runs(watched: Prometheus) -> None:
    pods = ("get", "pods", "-n", SPACE, "-l", "app=prometheus", "-o", "name")
    before = watched.lab.kubectl(*pods)
    # No certificate here has that long to live.
    changed = {"observability_external_labels": {"cluster": "lab"}, "observability_certificate_warning_hours": 30.0}
    run = play(watched.lab, **changed)
    assert "changed ConfigMap observability/prometheus" in run.words
    # The kubelet brings it to the Pod within a minute or so; a changed Pod it looks at at once.
    watched.lab.kubectl("annotate", "-n", SPACE, before.strip(), "test/now=1")
    watched.wait("it is read", lambda: "cluster: lab" in watched.get("status/config")["yaml"], 180)
    assert watched.lab.kubectl(*pods) == before

    def old() -> set[str]:
        alerts = watched.get("alerts")["alerts"]
        return {
            item["labels"].get("entry", "") for item in alerts if item["labels"]["alertname"] == "MeshCertificateOld"
        }

    watched.wait("certificates with less than that are told", lambda: set(ENTRIES.values()) <= old())


# What Istio's own Envoy has and the lab's has not.
REFUSED_BY_ENVOY = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: refused, namespace: chapter10vm}
spec:
  configPatches:
    - applyTo: NETWORK_FILTER
      match: {context: SIDECAR_INBOUND, listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}}
      patch:
        operation: INSERT_BEFORE
        value:
          name: istio.metadata_exchange
          typed_config:
            "@type": type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange
            protocol: istio2
"""


def test_configuration_that_is_rejected(watched: Prometheus) -> None:
    told = {("MeshConfigurationRejected", entry) for entry in ENTRIES.values()} | {
        ("MeshConfigurationRejectedByProxies", "")
    }
    assert not told & watched.firing()
    watched.lab.apply(REFUSED_BY_ENVOY)
    try:
        # A counter that istiod has only from now on says nothing before Prometheus has looked at istiod for two minutes.
        watched.wait("both machines reject it", lambda: told <= watched.firing(), 240)
    finally:
        watched.lab.kubectl("delete", "envoyfilter", *GROUP, "refused")


def test_kiali_is_accepted(watched: Prometheus) -> None:
    """Its image can't be had here, so that is all there is to be seen."""
    lab = watched.lab
    config = json.loads(lab.kubectl("get", "configmap", "-n", SPACE, "kiali", "-o", "json"))["data"]["config.yaml"]
    assert yaml.safe_load(config)["external_services"]["prometheus"]["url"] == f"http://prometheus.{SPACE}:9090"
    pods = json.loads(lab.kubectl("get", "pods", "-n", SPACE, "-l", "app=kiali", "-o", "json"))["items"]
    assert [pod["spec"]["containers"][0]["image"] for pod in pods] == ["quay.io/kiali/kiali:v2.26"]
    user = f"system:serviceaccount:{SPACE}:kiali"
    for what, answer in (
        (("list", "virtualservices.networking.istio.io", "-A"), "yes"),
        (("create", "virtualservices.networking.istio.io", "-A"), "no"),
        (("get", "secrets", "-A"), "no"),
    ):
        assert lab.kubectl("auth", "can-i", *what, "--as", user, check=False).strip() == answer, what


def test_with_the_rights_of_its_job(watched: Prometheus) -> None:
    job = Job(watched.lab, "observability")
    reached = {"mesh_kubeconfig": str(job.kubeconfig)}
    run = play(watched.lab, **reached, observability_external_labels={"cluster": "rights"}, observability_kiali=False)
    assert run.code == 0, run.output
    assert "removed Deployment observability/kiali" in run.words
    run = play(watched.lab, **reached)
    assert "created ClusterRole hybridmesh:observability:kiali" in run.words
    assert "Prometheus scrapes: 1 istiod" in run.words
    for what in (
        ("get", "secrets", "-n", "istio-system"),
        ("create", "deployments", "-n", "istio-system"),
        ("create", "pods/exec", "-n", SPACE),
        ("escalate", "clusterroles"),
        ("patch", "clusterroles"),
        ("create", "serviceaccounts/token", "-n", "chapter10vm"),
    ):
        assert not job.may(*what), what


def test_nothing_is_left(watched: Prometheus) -> None:
    lab = watched.lab
    assert f"namespace/{SPACE}" in made(lab)
    run = play(lab, observability_state="absent")
    assert run.code == 0, run.output
    assert made(lab) == set()
    again = play(lab, observability_state="absent")
    assert (again.code, again.changed) == (0, 0), again.output
