# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which boxes a graph has, and who is in them."""

from __future__ import annotations

from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _graph_nodes as core


def test_pods_machines_and_services(scenes):
    cast = core.build(*scenes.small())
    assert sorted(cast.nodes) == [
        "gateway/istio-system/istio-eastwestgateway",
        "gateway/istio-system/istio-ingressgateway",
        "pods/chapter10/envoydummy",
        "pods/lab/workbench",
        # What the mesh has nothing to do with (default/kubernetes) is left out.
        "service/chapter10/envoydummy",
        "service/chapter10vm/envoydummy",
        "service/lab/workbench",
        "vm/chapter10vm/vm1",
        "vm/chapter10vm/vm2",
    ]
    assert cast.backends["service/chapter10vm/envoydummy"] == ["vm/chapter10vm/vm1", "vm/chapter10vm/vm2"]
    assert cast.unread == []
    vm2 = cast.nodes["vm/chapter10vm/vm2"]
    (member,) = vm2.members
    assert (vm2.group, vm2.bad, vm2.read, vm2.versions) == ("envoydummy", 1, 1, ["v3"])
    assert (member.health, member.address, member.proxy_version) == ("unhealthy", "10.88.0.22", "1.31.0")
    assert cast.by_address["10.88.0.22"] == (vm2.id, member)
    assert cast.hosts["vm2"] == (vm2.id, member)


def test_what_could_not_be_read_is_listed(scenes):
    cast = core.build(*scenes.unread())
    assert cast.unread == [
        ("pod lab/workbench-6d5f7-x2k4q", "the API server refused a command in a container"),
        ("machine vm1", "the machine can't be reached: ssh: connect to host 10.88.0.21 port 22: No route to host"),
        ("machine vm3", "the run did not get to it"),
        ("1 WorkloadEntry of the group chapter10vm/old", "no machine of this run, so no more is known of it"),
    ]
    # It is found by its address, and what its entry says is known.
    assert cast.nodes["vm/chapter10vm/vm1"].members[0].health == "healthy"
    assert cast.nodes["vm/vm3"].members[0].health == "unknown"
    assert cast.nodes["vm/chapter10vm/old-10.88.0.99"].members[0].health == "disconnected"


def test_many_machines_of_a_group_are_one_box(scenes):
    cast = core.build(*scenes.big())
    node = cast.nodes["vms/legacy/search"]
    assert (len(node.members), node.bad, node.read) == (20, 2, 20)
    assert [member.name for member in node.members][:3] == ["search1", "search2", "search3"]
    assert not [name for name in cast.nodes if name.startswith("vm/")]
    assert core.build(*scenes.big(each=core.MOST_SINGLE)).nodes["vm/legacy/search1"]
    # Four pods, of which three were chosen, and one of these could not be read.
    web = cast.nodes["pods/shop/web-reports"]
    assert (len(web.members), web.read, web.sampled) == (4, 2, True)


def test_a_machine_without_an_entry(scenes):
    known, machines = scenes.small()
    known["workload_entries"].pop(0)
    cast = core.build(known, machines)
    assert cast.nodes["vm/chapter10vm/vm1"].members[0].health == "not_registered"
    assert cast.backends["service/chapter10vm/envoydummy"] == ["vm/chapter10vm/vm2"]


def test_an_entry_made_by_hand_need_not_be_connected(scenes):
    entry = scenes.entry("by-hand", "shop", "", "10.0.0.1", "not_checked", connected=False, app="x")
    known = {**scenes.small()[0], "workload_entries": [entry]}
    cast = core.build(known, [])
    assert cast.nodes["vm/shop/by-hand"].members[0].health == "not_checked"
    assert cast.unread[-1][0] == "1 WorkloadEntry of the namespace shop"


def test_entries_of_the_same_name_in_two_namespaces(scenes):
    entries = [scenes.entry("same", namespace, "g", "10.0.0.1") for namespace in ("a", "b")]
    cast = core.build({**scenes.small()[0], "workload_entries": entries}, [])
    assert {"vm/a/same", "vm/b/same"} <= set(cast.nodes)


def test_one_address_in_two_namespaces_leads_to_no_entry(scenes):
    """Unless the sidecar says which namespace it is in."""
    entries = [scenes.entry("same", namespace, "g", "10.0.0.1") for namespace in ("a", "b")]
    known = {**scenes.small()[0], "workload_entries": entries}
    machine = {"name": "vm1", "address": "10.0.0.1", "result": {"failed": True, "msg": "no Python"}}
    cast = core.build(known, [machine])
    assert cast.nodes["vm/vm1"].members[0].unread == "no Python"
    told = scenes.machine("vm1", "b", "g", "10.0.0.1", scenes.sample({}))
    assert core.build(known, [told]).nodes["vm/b/vm1"].members[0].health == "healthy"


def test_why_there_is_nothing_of_a_machine(scenes):
    def why(result):
        return core.build(scenes.small()[0], [{"name": "x", "address": None, "result": result}]).hosts["x"][1].unread

    assert why("") == "the run did not get to it"
    assert why({"unread": "no answer", "sample": None}) == "no answer"
    assert why({"unreachable": True}) == "the machine can't be reached: no connection"
    assert why({"failed": True}) == "the module failed"


def test_a_sample_without_security_is_told_and_used(scenes):
    known, machines = scenes.small()
    machines[1]["result"]["unread"] = "Envoy does not tell its configuration"
    cast = core.build(known, machines)
    assert cast.unread == [("machine vm2", "Envoy does not tell its configuration")]
    assert cast.nodes["vm/chapter10vm/vm2"].read == 1
