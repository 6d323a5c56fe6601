# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The small parts: declarations, credentials, kubeconfigs, google.cloud's words, IAM policies."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._kubeconfig import secrets_of
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import (
    _gcp_apply,
    _gcp_auth,
    _gcp_declared,
    _gcp_kubeconfig,
    _gcp_modules,
    _gcp_wanted,
)

from .gcp_declared import APP, WEB, declaration

WRONG: dict[str, tuple[dict[str, t.Any], str]] = {
    "name": ({"name": "Mesh"}, "gcp_infra_name 'Mesh'"),
    "long name": ({"name": "m" * 21}, "20 characters at most"),
    "no project": ({"project": None}, "no project is given"),
    "no credentials": ({"auth_kind": None}, "auth_kind is not given"),
    "range": ({"subnet_range": "10.0.0.1/8"}, "gcp_infra_subnet_range"),
    "overlap": ({"service_range": "10.20.0.0/20"}, "overlap"),
    "control plane": ({"cluster": {"control_plane_range": "172.16.0.0/24"}}, "a /28"),
    "private endpoint": (
        {"cluster": {"private_endpoint": True, "private_nodes": False}},
        "private endpoint and public nodes",
    ),
    "subnet alone": ({"subnet": "s"}, "without its network"),
    "twice": ({"vms": [APP, APP]}, "declared twice"),
    "group": ({"vms": [{**APP, "workload_group": "app"}]}, "namespace/name"),
    "port": ({"vms": [{**APP, "ports": [0]}]}, "port 0"),
    "count": ({"vms": [{**APP, "count": -1}]}, "count -1"),
    "autoscale": ({"vms": [{**WEB, "autoscale": {"min": 3, "max": 1}}]}, "from 3 to 1"),
    "cpu": ({"vms": [{**WEB, "autoscale": {"min": 1, "max": 1, "cpu": 60}}]}, "autoscale.cpu"),
    "label": ({"vms": [{**APP, "labels": {"a": "B"}}]}, "label a: B"),
    "regional, but fixed": ({"vms": [{**APP, "regional": True}]}, "but are not autoscaled"),
    "regional, in a zone": ({"vms": [{**WEB, "regional": True, "zone": "r-s1-b"}]}, "regional, in a zone"),
    "ssh": ({"ssh_ranges": ["office"]}, "gcp_infra_ssh_ranges[0]"),
    "keys and OS Login": ({"ssh_keys": ["ops:ssh-ed25519 AAAA"], "os_login": True}, "both OS Login and ssh keys"),
    "a key without a user": ({"ssh_keys": ["ssh-ed25519 AAAA ops"]}, "gcp_infra_ssh_keys[0] begins with"),
    "a user without a key": ({"ssh_keys": ["ops"]}, "a user, a colon, and a public key"),
    "keys as metadata": ({"vms": [{**APP, "metadata": {"ssh-keys": "a:b"}}]}, "metadata ssh-keys of the VMs app"),
    "OS Login as metadata": ({"vms": [{**APP, "metadata": {"enable-oslogin": "TRUE"}}]}, "metadata enable-oslogin"),
}


@pytest.mark.parametrize("case", WRONG)
def test_declared_wrongly(case: str) -> None:
    changes, words = WRONG[case]
    (problem,) = _gcp_declared.problems(declaration(**changes))
    assert words in str(problem)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"os_login": True},
        {"ssh_keys": ["ops:ssh-ed25519 AAAA ops@office", "j.d_1:ecdsa-sha2-nistp256 AAAA", "o:ssh-rsa AAAA\n"]},
    ],
)
def test_declared_rightly(changes: dict[str, t.Any]) -> None:
    assert _gcp_declared.problems(declaration(**changes)) == []


def test_nobody_can_log_in() -> None:
    (note,) = _gcp_declared.notes(declaration())
    assert "gcp_infra_ssh_keys, gcp_infra_os_login" in note
    for changes in ({"os_login": True}, {"ssh_keys": ["ops:ssh-ed25519 AAAA"]}, {"vms": []}):
        assert _gcp_declared.notes(declaration(**changes)) == []


def test_environment_counts_where_nothing_is_said_and_only_for_its_kind() -> None:
    environ = {
        "GCP_PROJECT": "p",
        "GCP_AUTH_KIND": "serviceaccount",
        "GCP_SERVICE_ACCOUNT_FILE": "f",
        "GCP_ACCESS_TOKEN": "t",
    }
    found = _gcp_auth.from_environment({"project": None, "auth_kind": None}, environ)
    assert (found["project"], found["service_account_file"], found["access_token"]) == ("p", "f", None)
    found = _gcp_auth.from_environment({"project": "q", "auth_kind": "accesstoken"}, environ)
    assert (found["project"], found["service_account_file"], found["access_token"]) == ("q", None, "t")


def test_secrets() -> None:
    contents = {"private_key": "k"}
    found = _gcp_auth.secrets({"access_token": "t", "service_account_contents": contents})
    assert found == {"t", "k", '{"private_key": "k"}'}
    assert isinstance(_gcp_auth.module_options({"service_account_contents": contents})["service_account_contents"], str)


CLUSTER = {
    "endpoint": "192.0.2.1",
    "status": "RUNNING",
    "masterAuth": {"clusterCaCertificate": "Q0E="},
    "privateClusterConfig": {"privateEndpoint": "172.16.0.2"},
}


def test_kubeconfig() -> None:
    found = _gcp_kubeconfig.kubeconfig("c", CLUSTER, "secret", False)
    assert found["clusters"][0]["cluster"] == {"server": "https://192.0.2.1", "certificate-authority-data": "Q0E="}
    # It is known for a secret where options are blanked out.
    assert secrets_of(found) == {"secret"}
    private = _gcp_kubeconfig.kubeconfig("c", CLUSTER, None, True)
    assert private["clusters"][0]["cluster"]["server"] == "https://172.16.0.2"
    assert private["users"][0]["user"]["exec"]["command"] == "gke-gcloud-auth-plugin"
    assert secrets_of(private) == set()
    with pytest.raises(MeshError, match="PROVISIONING"):
        _gcp_kubeconfig.kubeconfig("c", {"status": "PROVISIONING"}, None, False)


def test_words_of_google_cloud() -> None:
    assert [_gcp_modules.snake(word) for word in ("IPProtocol", "ipCidrRange", "natIP", "diskSizeGb")] == [
        "ip_protocol",
        "ip_cidr_range",
        "nat_ip",
        "disk_size_gb",
    ]
    wanted = {resource.key.kind: resource for resource in _gcp_wanted.wanted(declaration(ssh_keys=["a:b"]))}
    instance = _gcp_modules.options(wanted["instance"], "present")
    assert instance["metadata"] == {"ssh-keys": "a:b"}
    assert instance["machine_type"] == "e2-small"
    assert instance["disks"][0]["initialize_params"]["disk_type"] == "pd-balanced"
    assert instance["zone"] == "australia-southeast1-a"
    assert instance["network_interfaces"][0]["subnetwork"]["selfLink"].endswith("/subnetworks/mesh1")
    firewall = _gcp_modules.options(wanted["firewall"], "present")
    assert firewall["allowed"] == [{"ip_protocol": "tcp", "ports": ["22"]}]
    assert firewall["network"] == {"selfLink": wanted["firewall"].body["network"]}
    assert set(_gcp_modules.options(wanted["subnetwork"], "absent")) == {
        "name",
        "state",
        "region",
        "network",
        "ip_cidr_range",
    }


def test_policy() -> None:
    policy = {
        "etag": "e",
        "bindings": [{"role": "r", "members": ["a"]}, {"role": "r", "members": ["c"], "condition": {}}],
    }
    more = _gcp_apply.with_member(policy, "r", "b", True)
    assert more["bindings"][0]["members"] == ["a", "b"]
    assert more["etag"] == "e"
    assert _gcp_apply.with_member(more, "r", "b", True) == more
    assert _gcp_apply.with_member(more, "r", "b", False) == policy
    assert _gcp_apply.with_member({}, "s", "b", True)["bindings"] == [{"role": "s", "members": ["b"]}]
    assert _gcp_apply.with_member(policy, "r", "a", False)["bindings"] == policy["bindings"][1:]
