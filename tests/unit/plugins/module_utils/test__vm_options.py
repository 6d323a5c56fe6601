# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _vm_config, _vm_options


def test_options_get_their_types_and_defaults():
    params = _vm_options.validated({"capture": {"inbound_ports": ["*"], "exclude_outbound_ports": ["25"]}})
    assert params["capture"]["exclude_outbound_ports"] == [25]
    assert (params["own_files"], params["image"]) == ([], False)


def test_wrong_ones_are_told():
    with pytest.raises(ValueError, match=r"config: .*concurrency"):
        _vm_options.validated({"concurrency": "many"})


@pytest.mark.parametrize(
    ("given", "address"),
    [({}, "192.0.2.1"), ({"address": "192.0.2.9"}, "192.0.2.9"), ({"image": True}, None)],
)
def test_the_machine_knows_the_rest(given, address):
    options = _vm_options.validated({"capture": {"management_ports": [2222]}, **given})
    params = _vm_config.on_machine(options, "192.0.2.1", [22, 2222])
    assert params["address"] == address
    assert params["capture"]["management_ports"] == [22, 2222]
    # What was given is not changed.
    assert options["capture"]["management_ports"] == [2222]
