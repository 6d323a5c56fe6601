# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module traffic against an API server made of a dictionary."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.hybridmesh.istio.plugins.module_utils import _cluster_module
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import refused
from ansible_collections.hybridmesh.istio.plugins.modules import traffic

ROUTES = "/apis/networking.istio.io/v1/namespaces/chapter10/virtualservices"


class Exit(Exception):
    """The module has ended."""


def run(cluster, rules, check=False, **options):
    ended = {"slept": []}

    def end(own, **result):
        ended.update(result)
        raise Exit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(basic.AnsibleModule, "exit_json", end)
        patch.setattr(basic.AnsibleModule, "fail_json", end)
        patch.setattr(_cluster_module, "Cluster", lambda _options: cluster)
        patch.setattr(traffic.time, "sleep", ended["slept"].append)
        arguments = {"rules": rules, **options, "_ansible_check_mode": check, "_ansible_diff": True}
        with patch_module_args(arguments), pytest.raises(Exit):
            traffic.main()
    return ended


def thing(kind, name, namespace, labels=None, **more):
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace, "labels": labels or {}}, **more}


@pytest.fixture
def shop(applying_mesh):
    """The mesh with an ingress gateway, and a Service of Pods and one of virtual machines."""
    selects = {"selector": {"app": "envoydummy"}, "ports": [{"port": 80}]}
    applying_mesh.put(
        thing("Pod", "ingress", "istio-system", {"istio": "ingressgateway"}),
        thing("Service", "envoydummy", "chapter10", spec=selects),
        thing("Service", "envoydummy", "chapter10vm", spec=selects),
        thing("Pod", "v1", "chapter10", {"app": "envoydummy", "version": "v1"}),
        thing("WorkloadEntry", "v2", "chapter10vm", {"app": "envoydummy", "version": "v2"}),
        thing("ServiceAccount", "chapter10-sa", "chapter10vm"),
    )
    for namespace in ("istio-system", "chapter10", "chapter10vm"):
        applying_mesh.objects[f"/api/v1/namespaces/{namespace}"] = {"metadata": {"name": namespace}}
    return applying_mesh


def declared(pods=50, machines=50, **more):
    backends = [
        {"service": "envoydummy.chapter10", "port": 80, "weight": pods},
        {"service": "envoydummy.chapter10vm", "subset": "v2", "weight": machines},
    ]
    server = {"port": 80, "hosts": ["mockshop.com"]}
    return {
        "gateways": [{"name": "mockshop", "namespace": "chapter10", "servers": [server]}],
        "routes": [
            {
                "name": "mockshop",
                "namespace": "chapter10",
                "hosts": ["mockshop.com"],
                "gateways": ["mockshop"],
                "rules": [{"backends": backends}],
            }
        ],
        "destinations": [{"service": "envoydummy.chapter10vm", "subsets": {"v2": {"version": "v2"}}}],
        **more,
    }


MADE = ["DestinationRule chapter10vm/envoydummy", "Gateway chapter10/mockshop", "VirtualService chapter10/mockshop"]


def test_made_once(shop):
    would = run(shop, declared(), check=True)
    assert would["report"] == [f"would create {what}" for what in MADE]
    assert shop.changes() == []
    done = run(shop, declared())
    assert done["report"] == [f"created {what}" for what in MADE]
    assert len(done["diff"]) == len(MADE)
    assert [change.rpartition("/")[2] for change in shop.changes()] == ["envoydummy", "mockshop", "mockshop"]
    # The subset first, then the route.
    assert done["slept"] == [5.0]
    again = run(shop, declared())
    assert (again["changed"], again["report"], again["diff"], again["notes"], again["slept"]) == (False, [], [], [], [])


def test_null_does_nothing_and_nothing_declared_removes_all(shop):
    run(shop, declared())
    nothing = run(shop, None)
    assert (nothing["changed"], nothing["report"]) == (False, [])
    assert "nothing is declared" in nothing["notes"][0]
    would = run(shop, {}, check=True)
    assert would["removed"] == list(reversed(MADE))
    assert len(shop.changes()) == 3
    gone = run(shop, {}, settle=0)
    assert gone["report"] == [f"removed {what}" for what in reversed(MADE)]
    assert [change.split("/")[-2] for change in shop.changes()[3:]] == [
        "virtualservices",
        "gateways",
        "destinationrules",
    ]
    assert run(shop, {})["changed"] is False


def test_declarations_live_side_by_side(shop):
    run(shop, declared())
    other = run(shop, {"mtls": [{"namespace": "chapter10vm"}]}, name="mtls")
    assert other["report"] == ["created PeerAuthentication chapter10vm/default"]
    assert run(shop, {}, name="mtls")["report"] == ["removed PeerAuthentication chapter10vm/default"]
    assert run(shop, declared())["changed"] is False


def test_what_a_declaration_loses_goes(shop):
    run(shop, declared(mtls=[{"namespace": "chapter10vm"}]))
    assert run(shop, declared())["report"] == ["removed PeerAuthentication chapter10vm/default"]
    assert run(shop, declared(pods=90, machines=10))["report"] == ["changed VirtualService chapter10/mockshop"]


def test_all_problems_are_told_at_once_and_nothing_is_applied(shop):
    rules = declared(
        pods=40,
        gateways=[
            {
                "name": "mockshop",
                "namespace": "chapter10",
                "selector": {"istio": "ingres"},
                "servers": [{"port": 80, "hosts": ["mockshop.com"]}],
            }
        ],
    )
    rules["routes"][0]["rules"][0]["backends"][0]["service"] = "envoydumy.chapter10"
    result = run(shop, rules)
    assert result["found"].startswith("3 problems: (1) route chapter10/mockshop, rule 1: the weights")
    assert "istio=ingres, and there is none" in result["found"]
    assert "the Service chapter10/envoydumy, which is not in the cluster" in result["found"]
    assert "(in chapter10 are: envoydummy)" in result["next_step"]
    assert "eastwestgateway, ingressgateway" in result["next_step"]
    assert shop.changes() == []
    # Check mode is no excuse for what no earlier step could mend.
    assert "3 problems" in run(shop, rules, check=True)["found"]


def test_slips_of_the_declaration_itself(shop):
    result = run(shop, {"access": [{"name": "a", "namespace": "chapter10"}]})
    assert "access chapter10/a has neither allow nor deny" in result["msg"]
    assert shop.changes() == []


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "admission webhook 'validation.istio.io' denied the request"),
        # A field that its schema does not have.
        (500, "failed to create typed patch object"),
    ],
)
def test_what_the_api_server_refuses_is_told_before_anything_is_applied(shop, monkeypatch, status, words):
    answer = shop.request

    def picky(method, path, query=None, body=None, *more, **options):
        if method == "PATCH" and body["kind"] in ("Gateway", "VirtualService"):
            said = f"{words}: {body['kind']} is wrong"
            raise refused(method, path, status, json.dumps({"message": said}).encode())
        return answer(method, path, query, body, *more, **options)

    monkeypatch.setattr(shop, "request", picky)
    result = run(shop, declared())
    assert f"2 problems: (1) gateway chapter10/mockshop (Gateway) is refused: {words}" in result["found"]
    assert "VirtualService is wrong" in result["found"]
    assert shop.changes() == []


def test_missing_rights_are_told_as_such(shop, monkeypatch):
    answer = shop.request

    def forbidding(method, path, *more, **options):
        if method == "PATCH":
            raise refused(method, path, 403, b'{"reason": "Forbidden", "message": "it is forbidden"}')
        return answer(method, path, *more, **options)

    monkeypatch.setattr(shop, "request", forbidding)
    assert 'verb "patch" on resource' in run(shop, declared())["expected"]


def test_objects_of_others_are_not_changed(shop):
    run(shop, declared())
    path = f"{ROUTES}/mockshop"
    ours = shop.objects[path]["metadata"]["labels"]
    before = len(shop.changes())
    for labels, who in (
        ({}, "somebody else"),
        ({**ours, "hybridmesh.istio/traffic": "other"}, "the declaration other"),
    ):
        shop.objects[path]["metadata"]["labels"] = labels
        result = run(shop, declared(pods=90, machines=10))
        assert f"VirtualService chapter10/mockshop is there, {who} made it, and it differs" in result["found"]
        assert "kubectl -n chapter10 label virtualservice mockshop --overwrite" in result["next_step"]
        assert "hybridmesh.istio/traffic=traffic" in result["next_step"]
    # As it is, it may stay, and it is not ours to remove.
    del shop.objects[path]["metadata"]["labels"]
    same = run(shop, declared())
    assert (same["changed"], same["removed"]) == (False, [])
    assert "route chapter10/mockshop is as declared and somebody else's" in same["notes"][0]
    assert len(shop.changes()) == before


def test_an_empty_cluster_in_check_mode(empty_cluster):
    empty_cluster.unknown = {"networking.istio.io/v1", "security.istio.io/v1"}
    access = [{"name": "a", "namespace": "chapter10", "allow": [{"identities": ["chapter10vm/chapter10-sa"]}]}]
    result = run(empty_cluster, declared(access=access), check=True)
    assert result["report"] == [
        f"would create {what}" for what in [MADE[0], "AuthorizationPolicy chapter10/a", *MADE[1:]]
    ]
    assert any("not there yet: there is no namespace chapter10" in note for note in result["notes"])
    assert run(empty_cluster, declared())["next_step"] == "install it first (role control_plane)"
    # What is wrong by itself is wrong on an empty cluster, too.
    assert "which makes 90" in run(empty_cluster, declared(pods=40), check=True)["found"]
    assert empty_cluster.changes() == []


def test_identities_have_the_meshs_trust_domain(shop):
    config = shop.objects["/api/v1/namespaces/istio-system/configmaps/istio"]["data"]
    config["mesh"] = config["mesh"].replace("trustDomain: cluster.local", "trustDomain: corp.example")
    access = [{"name": "a", "namespace": "chapter10", "allow": [{"identities": ["chapter10vm/chapter10-sa"]}]}]
    assert run(shop, {"access": access})["notes"] == []
    made = shop.objects["/apis/security.istio.io/v1/namespaces/chapter10/authorizationpolicies/a"]
    source = made["spec"]["rules"][0]["from"][0]["source"]
    assert source == {"principals": ["corp.example/ns/chapter10vm/sa/chapter10-sa"]}
    assert "there is no Istio in mine" in run(shop, {"access": access}, istio_namespace="mine")["found"]


def test_notes(shop):
    rules = declared(destinations=[{"service": "envoydummy.chapter10vm", "subsets": {"v2": {"version": "v9"}}}])
    assert run(shop, rules)["notes"] == [
        "DestinationRule chapter10vm/envoydummy, subset v2: no Pod and no WorkloadEntry in chapter10vm has the labels"
        " app=envoydummy, version=v9 so far"
    ]


def test_a_subset_is_replaced_without_a_gap(shop):
    run(shop, declared())
    rules = declared(destinations=[{"service": "envoydummy.chapter10vm", "subsets": {"new": {"version": "v2"}}}])
    rules["routes"][0]["rules"][0]["backends"][1]["subset"] = "new"
    done = run(shop, rules, settle=2)
    assert done["slept"] == [2.0, 2.0]
    kinds = [change.split("/")[-2] for change in shop.changes()[3:]]
    assert kinds == ["destinationrules", "virtualservices", "destinationrules"]
    rule = shop.objects["/apis/networking.istio.io/v1/namespaces/chapter10vm/destinationrules/envoydummy"]
    assert [subset["name"] for subset in rule["spec"]["subsets"]] == ["new"]
    assert run(shop, rules)["changed"] is False
