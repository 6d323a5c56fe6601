# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who asks: each kind of credentials, tokens that grow old during a run, and that none of it is told or left behind."""

from __future__ import annotations

import json
import typing as t

import pytest

from .conftest import VMS, Cloud
from .server.metadata import Metadata

SMALL: dict[str, t.Any] = {"cluster": None, "nat": False, "vms": []}


def test_each_kind_of_credentials(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    key = cloud.folder / "service-account.json"
    token = cloud.world.settings.token
    assert not cloud.run(**SMALL, auth_kind="serviceaccount", service_account_file=str(key)).get("failed")
    monkeypatch.delenv("GCP_SERVICE_ACCOUNT_FILE")
    contents = {"auth_kind": "serviceaccount", "service_account_contents": key.read_text()}
    assert not cloud.run(**{**SMALL, "iap": False}, **contents).get("failed")
    assert not cloud.run(**SMALL, auth_kind="accesstoken", access_token=token).get("failed")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    assert not cloud.run(**SMALL, auth_kind="application").get("failed")
    wrong = cloud.run(**SMALL, auth_kind="accesstoken", access_token="wrong-token")
    assert "credentials" in wrong["msg"]
    assert "wrong-token" not in str(wrong)
    broken = cloud.folder / "broken.json"
    broken.write_text('{"private_key": "very-secret"}')
    said = cloud.run(**SMALL, auth_kind="serviceaccount", service_account_file=str(broken))
    assert "credentials of the kind serviceaccount" in said["msg"]
    assert "very-secret" not in str(said)
    content = {"auth_kind": "serviceaccount", "service_account_contents": broken.read_text()}
    assert "very-secret" not in str(cloud.run(**SMALL, **content))
    nothing = cloud.run(**SMALL, auth_kind="serviceaccount")
    assert "gcp_infra_service_account_file" in nothing["msg"]


@pytest.mark.parametrize("kind", ["application", "contents", "machineaccount", "accesstoken"])
def test_no_log_holds_a_secret(cloud: Cloud, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The playbook with all that Ansible can be made to say, on the terminal and in its log."""
    key = (cloud.folder / "service-account.json").read_text()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(cloud.folder / "service-account.json"))
    log = cloud.folder / "ansible.log"
    monkeypatch.setenv("ANSIBLE_LOG_PATH", str(log))
    # By the environment, as the server's own is otherwise.
    environment = {
        "application": {"GCP_AUTH_KIND": "application"},
        "contents": {"GCP_AUTH_KIND": "serviceaccount", "GCP_SERVICE_ACCOUNT_CONTENTS": key},
        "machineaccount": {"GCP_AUTH_KIND": "machineaccount"},
        "accesstoken": {"GCP_AUTH_KIND": "accesstoken", "GCP_ACCESS_TOKEN": cloud.world.settings.token},
    }[kind]
    with Metadata(cloud.world.issued) as metadata:
        # What the environment says for other kinds does no harm; a file and the content of one are the same kind.
        other = {"GCP_SERVICE_ACCOUNT_FILE": ""} if kind == "contents" else {}
        cloud.own = {**other, **environment, **metadata.environment}
        run = cloud.play("-vvvv", with_cluster=False, nat=False, vms=[])
    assert run.code == 0, run.output
    assert run.changed == 1
    said = run.output + log.read_text()
    for secret in (cloud.world.settings.token, json.loads(key)["private_key"], "PRIVATE KEY"):
        assert secret not in said
    assert bool(metadata.asked) == (kind == "machineaccount")


def test_as_options_no_log_holds_a_secret(cloud: Cloud) -> None:
    """The same where they are the role's variables; a wrong one is not told either."""
    contents = json.loads((cloud.folder / "service-account.json").read_text())
    given = {"auth_kind": "serviceaccount", "service_account_contents": contents}
    run = cloud.play("-vvvv", **given, with_cluster=False, nat=False, vms=[])
    assert run.code == 0, run.output
    assert "PRIVATE KEY" not in run.output
    wrong = cloud.play("-vvvv", auth_kind="accesstoken", access_token="wrong-token", with_cluster=False, vms=[])
    assert wrong.code != 0
    assert "gcp_infra_auth_kind" in wrong.words
    assert "wrong-token" not in wrong.output


def test_a_run_that_outlives_its_token(cloud: Cloud) -> None:
    """Tokens are good for a second, and the run takes some; each of Google's answers to an old one is 401."""
    cloud.world.settings.lifetime = 1.0
    cloud.world.settings.duration = 0.6
    machine = {**SMALL, "vms": [{**VMS, "count": 1}]}
    result = cloud.run(**machine)
    assert not result.get("failed"), result["msg"]
    assert cloud.world.outdated > 0, "no token grew old"
    assert cloud.run(**machine)["diff"] == []

    # One that was handed over can't be had anew; what to do is told.
    token = str(cloud.world.issued()["access_token"])
    old = cloud.run(**{**machine, "vms": [{**VMS, "count": 2}]}, auth_kind="accesstoken", access_token=token)
    assert "lives for an hour" in old["msg"]
    assert token not in str(old)
    assert not cloud.run(**{**machine, "vms": [{**VMS, "count": 2}]}).get("failed")
