# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server itself: what Google's documents do not have, it refuses; and nothing but Google's names is tunnelled to it."""

from __future__ import annotations

import pytest
import requests
from google.auth.transport.requests import AuthorizedSession
from google.oauth2 import service_account

from .conftest import Cloud
from .server.discovery import document
from .server.faults import failing

ROOT = "https://compute.googleapis.com/compute/v1/projects/my-project"
SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]


@pytest.fixture
def session(cloud: Cloud) -> AuthorizedSession:
    key = str(cloud.folder / "service-account.json")
    return AuthorizedSession(service_account.Credentials.from_service_account_file(key, scopes=SCOPES))


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("global/networks", {"name": "n", "colour": "red"}, "colour"),
        ("global/networks", {"name": "N"}, "must match"),
        ("global/networks", {"name": "n", "mtu": "many"}, "mtu"),
        ("global/networks", {"name": "n", "autoCreateSubnetworks": "yes"}, "autoCreateSubnetworks"),
        ("global/networks", {"name": "n", "routingConfig": {"routingMode": "LOCAL"}}, "LOCAL"),
        ("global/firewalls", {"name": "f", "network": f"{ROOT}/global/networks/none"}, "does not exist"),
        ("global/networks?colour=red", {"name": "n"}, "unknown parameter"),
    ],
)
def test_what_no_schema_allows_is_refused(
    cloud: Cloud, session: AuthorizedSession, path: str, body: dict[str, object], word: str
) -> None:
    answer = session.post(f"{ROOT}/{path}", json=body)
    assert answer.status_code == 400
    assert word in answer.json()["error"]["message"]
    assert cloud.world.state.things == {}


def test_what_json_of_google_may_look_like(session: AuthorizedSession) -> None:
    body = {"name": "n", "mtu": "1460", "description": None, "kind": "compute#network"}
    assert session.post(f"{ROOT}/global/networks", json=body).status_code == 200
    assert session.get(f"{ROOT}/global/networks/n").json()["mtu"] == "1460"
    # The other name of the same.
    assert session.get(f"{ROOT}/global/networks/n".replace("compute.", "www.", 1)).status_code == 200


def test_methods_that_do_not_exist(session: AuthorizedSession) -> None:
    assert session.put(f"{ROOT}/zones/z/autoscalers/a", json={}).status_code == 404
    assert session.get(f"{ROOT}/global/firewalls/none").status_code == 404
    assert session.post("https://storage.googleapis.com/b", json={}).status_code == 404


def test_who_asks_must_say_so(cloud: Cloud) -> None:
    assert requests.get(f"{ROOT}/global/networks", timeout=10).status_code == 401
    assert requests.get(f"{ROOT}/global/networks", headers={"Authorization": "Bearer x"}, timeout=10).status_code == 401
    with pytest.raises(requests.exceptions.ProxyError):
        requests.get("https://example.com/", timeout=10)
    assert cloud.world.tunnels_refused == ["example.com:443"]


def test_operations_end_and_fail_late(cloud: Cloud, session: AuthorizedSession) -> None:
    cloud.world.settings.duration = 0.2
    cloud.world.faults.add("compute.networks.insert", error=failing("SOME_CODE", "words"), times=1)
    for name, fails in (("a", True), ("b", False)):
        operation = session.post(f"{ROOT}/global/networks", json={"name": name}).json()
        assert operation["status"] == "RUNNING"
        assert session.get(f"{ROOT}/global/networks/{name}").status_code == 404
        cloud.world.settled()
        ended = session.get(f"{ROOT}/global/operations/{operation['name']}").json()
        assert ended["status"] == "DONE"
        assert ("error" in ended) == fails
        assert session.get(f"{ROOT}/global/networks/{name}").status_code == (404 if fails else 200)


def test_what_is_in_use_stays(cloud: Cloud, session: AuthorizedSession) -> None:
    session.post(f"{ROOT}/global/networks", json={"name": "n"})
    body = {"name": "f", "network": f"{ROOT}/global/networks/n", "allowed": [{"IPProtocol": "tcp", "ports": ["1"]}]}
    assert session.post(f"{ROOT}/global/firewalls", json=body).status_code == 200
    assert "already being used" in session.delete(f"{ROOT}/global/networks/n").text
    assert session.delete(f"{ROOT}/global/firewalls/f").status_code == 200
    assert session.delete(f"{ROOT}/global/networks/n").status_code == 200


def test_documents_are_googles() -> None:
    known = document("compute.googleapis.com")
    assert known is not None
    assert known.content["documentationLink"].startswith("https://")
    assert len(known.schemas) > 500
