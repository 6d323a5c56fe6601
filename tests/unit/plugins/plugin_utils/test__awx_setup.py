# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role awx_setup may be told, and what it can do in an AWX that lacks something."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _awx_setup

KUBECONFIG = "clusters: [{name: x, cluster: {server: 'https://x'}}]\nusers: [{name: x, user: {token: secret-x}}]\n"
BEARER = {"host": "https://x", "bearer_token": "secret-x", "ca_cert": "-----BEGIN CERTIFICATE-----"}
OPTIONS: dict[str, t.Any] = {
    "state": "present",
    "organization": "Mesh",
    "prefix": "Mesh - ",
    "project_credential": None,
    "image": "registry.example/mesh:1",
    "kubeconfig": KUBECONFIG,
    "bearer": None,
    "cluster_credential": None,
    "machine": {"username": "ops", "ssh_key_data": "secret-y"},
    "machine_credential": None,
    "credentials": [],
    "job_credentials": {"verify": "Mesh verify"},
    "hosts": {"vm1": {}},
    "inventory_sources": [{"name": "more", "source_path": "inventories/more.yml"}],
    "registered": True,
    "registered_jobs": ["renew"],
    "slices": 3,
    "forks": 20,
    "renew_time": "02:00",
    "timezone": "Europe/Vienna",
    "callback_key": "secret-of-16-characters",
}
NAMES: dict[str, t.Any] = {
    "organization": "Mesh",
    "image": "Mesh - image",
    "kubeconfig_type": "Mesh - kubeconfig",
    "bearer_type": "Mesh - bearer token",
    "cluster": "Mesh - cluster",
    "machines": "Mesh - machines",
    "project": "Mesh - playbooks",
    "inventory": "Mesh - inventory",
    "registered": "Mesh - registered machines",
    "templates": ["Mesh - site", "Mesh - renew"],
    "join": "Mesh - join",
    "own_credentials": ["Mesh - cluster", "Mesh - machines"],
    "workflow": "Mesh - everything",
    "nodes": ["site", "report"],
}
NOTHING: dict[str, list[t.Any]] = {
    endpoint: []
    for endpoint in (
        "organizations",
        "execution_environments",
        "credential_types",
        "credentials",
        "named_credentials",
        "projects",
        "inventories",
        "job_templates",
        "workflow_job_templates",
        "hosts",
        "workflow_job_template_nodes",
        "counts",
        "typed_credentials",
    )
}
ALL: dict[str, list[t.Any]] = {
    **NOTHING,
    "organizations": ["Mesh"],
    "execution_environments": ["Mesh - image"],
    "credential_types": ["Mesh - kubeconfig", "Mesh - bearer token"],
    "credentials": ["Mesh - cluster", "Mesh - machines"],
    "named_credentials": ["Mesh - cluster", "Mesh - machines"],
    "projects": ["Mesh - playbooks"],
    "inventories": ["Mesh - inventory", "Mesh - registered machines"],
    "job_templates": ["Mesh - site", "Mesh - renew"],
    "workflow_job_templates": ["Mesh - everything"],
    "hosts": ["vm1"],
    "workflow_job_template_nodes": ["site", "report"],
}


def problems(**changes: t.Any) -> str:
    found = _awx_setup.problems({**OPTIONS, **changes}, ["site", "verify", "renew"])
    assert not any("secret-" in text for text in found)
    return "\n".join(found)


def user(**entry: t.Any) -> dict[str, t.Any]:
    return {"clusters": [{"name": "x", "cluster": {}}], "users": [{"name": "x", "user": entry}]}


def test_what_is_right_is_taken() -> None:
    assert problems() == ""
    assert problems(kubeconfig=None, bearer=BEARER, machine=None, callback_key=None, registered_jobs=[]) == ""
    assert problems(kubeconfig=user(token="secret-x")) == ""
    # What goes needs no secrets, and no other sense.
    assert problems(state="absent", kubeconfig=None, machine=None, slices=0) == ""


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"bearer": BEARER}, "Found: awx_setup_kubeconfig and awx_setup_bearer. Expected: one way to the cluster"),
        ({"cluster_credential": "mine"}, "awx_setup_kubeconfig and awx_setup_cluster_credential"),
        ({"machine_credential": "mine"}, "awx_setup_machine and awx_setup_machine_credential"),
        ({"kubeconfig": "/home/me/.kube/config"}, "no kubeconfig (a path, perhaps)"),
        ({"kubeconfig": "a: {secret-z"}, "no kubeconfig"),
        ({"kubeconfig": "users: []\n"}, "no kubeconfig"),
        ({"kubeconfig": user(**{"client-key": "/a/secret-z"})}, "client-key in a user of awx_setup_kubeconfig"),
        ({"kubeconfig": user(exec={"command": "aws"})}, "exec in a user of awx_setup_kubeconfig"),
        ({"kubeconfig": None, "bearer": {**BEARER, "host": "10.0.0.1"}}, "awx_setup_bearer.host '10.0.0.1'"),
        ({"kubeconfig": None, "bearer": {**BEARER, "ca_cert": "/etc/ca.pem"}}, "ca_cert that is no certificate"),
        ({"machine": {"user": "ops"}}, "Found: user in awx_setup_machine"),
        ({"job_credentials": {"proof": "x"}}, "Found: proof in awx_setup_job_credentials"),
        ({"slices": 0}, "awx_setup_slices 0"),
        ({"forks": -1}, "awx_setup_forks -1"),
        ({"renew_time": "24:00"}, "awx_setup_renew_time '24:00'"),
        ({"renew_time": 750}, "awx_setup_renew_time 750"),
        ({"timezone": "Vienna"}, "awx_setup_timezone 'Vienna'"),
        ({"callback_key": "short"}, "an awx_setup_callback_key of 5 characters"),
        ({"callback_key": "x" * 1025}, "an awx_setup_callback_key of 1025 characters"),
        ({"registered": False}, "awx_setup_registered_jobs without awx_setup_registered"),
        ({"prefix": " "}, "an empty awx_setup_prefix"),
        ({"prefix": "x" * 500}, "an awx_setup_prefix of 500 characters"),
        ({"state": "absent", "organization": ""}, "an empty awx_setup_prefix or awx_setup_organization"),
        ({"inventory_sources": [{"name": "a"}]}, "'a', of the project (scm) without source_path"),
        ({"inventory_sources": [{"name": "a", "source": "gce", "source_path": "x"}]}, "of the kind gce"),
        ({"inventory_sources": [{"name": "a", "source": "gce"}] * 2}, "2 sources of machines called 'a'"),
        ({"hosts": {"": {}}}, "without a name"),
    ],
)
def test_what_is_wrong_is_told(changes: dict[str, t.Any], told: str) -> None:
    found = problems(**changes)
    assert told in found
    assert "Next step: " in found


def test_what_must_be_there_already() -> None:
    (verify,) = _awx_setup.lacking(OPTIONS, NAMES, NOTHING)
    assert "no credential called 'Mesh verify'" in verify
    options = {**OPTIONS, "job_credentials": {}}
    assert _awx_setup.lacking(options, NAMES, NOTHING) == []
    given = {**options, "kubeconfig": None, "machine": None}
    cluster, machines = _awx_setup.lacking(given, NAMES, NOTHING)
    assert "neither awx_setup_kubeconfig or awx_setup_bearer nor a credential called 'Mesh - cluster'" in cluster
    assert "awx_setup_machine_credential" in machines
    assert _awx_setup.lacking(given, NAMES, ALL) == []
    assert _awx_setup.lacking({**given, "state": "absent"}, NAMES, NOTHING) == []

    mine = {**given, "cluster_credential": "mine", "machine_credential": "Mesh - machines", "credentials": ["Vault"]}
    names = {**NAMES, "cluster": "mine"}
    there = {**NOTHING, "named_credentials": ["mine", "mine", "Mesh - machines"]}
    vault, twice = _awx_setup.lacking(mine, names, there)
    assert "no credential called 'Vault'" in vault
    assert "2 credentials called 'mine'" in twice


def test_a_type_of_credentials_that_others_use_is_in_the_way() -> None:
    absent = {**OPTIONS, "state": "absent"}
    assert _awx_setup.lacking(absent, NAMES, {**ALL, "typed_credentials": ["Mesh - cluster"]}) == []
    (found,) = _awx_setup.lacking(absent, NAMES, {**ALL, "typed_credentials": ["Mesh - cluster", "Mesh verify"]})
    assert "1 credentials of the types that are to go (Mesh verify)" in found


def test_what_awx_is_asked() -> None:
    asked = _awx_setup.questions({**OPTIONS, "credentials": ["Vault"]}, NAMES, check=False)
    assert {item["what"] for item in asked} == set(NOTHING) - {
        "hosts",
        "workflow_job_template_nodes",
        "counts",
        "typed_credentials",
    }
    named = [item["query"]["name"] for item in asked if item["what"] == "named_credentials"]
    assert named == ["Mesh - cluster", "Mesh - machines", "Mesh verify", "Vault"]
    more = {item["what"] for item in _awx_setup.questions({**OPTIONS, "state": "absent"}, NAMES, check=True)}
    assert more == set(NOTHING)


def later(there: dict[str, list[t.Any]], check: bool = True, **changes: t.Any) -> set[str]:
    can = _awx_setup.parts({**OPTIONS, **changes}, NAMES, there, check)
    return {part for part, value in can.items() if not value}


def test_check_mode_leaves_out_what_needs_something_that_is_not_there() -> None:
    assert later(ALL) == set()
    assert later(NOTHING, check=False) == set()
    everything = later(NOTHING)
    assert everything >= {
        "image",
        "credentials",
        "project",
        "inventory",
        "hosts",
        "sources",
        "templates",
        "workflow",
        "nodes",
    }
    assert later({**ALL, "hosts": []}) == {"group"}
    assert later({**ALL, "workflow_job_template_nodes": ["site"]}) == {"nodes"}
    assert later({**ALL, "job_templates": ["Mesh - site"]}) == {"schedule", "nodes"}
    no_image = {**ALL, "execution_environments": []}
    assert later(no_image) == {"project", "sources", "registered", "templates"}
    assert later(no_image, image=None) == set()
    assert "sources" not in later(NOTHING, inventory_sources=[])
    assert "registered" not in later(NOTHING, registered=False)


def test_an_organisation_that_others_use_stays() -> None:
    assert _awx_setup.others(NAMES, ALL) == []
    more = {
        **ALL,
        "job_templates": [*ALL["job_templates"], "Mesh - join", "other"],
        "counts": [{"users": 2, "admins": 0, "teams": 1}],
    }
    assert _awx_setup.others(NAMES, more) == ["1 job templates", "2 users", "1 teams"]
