# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The look at a machine: all that the role vm_sidecar decides by. Private to the collection.

Imports nothing of Ansible: see _bare.
"""

from __future__ import annotations

import functools
import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _reach, _vm_config, _vm_facts

# Where packets to anywhere would go; documentation addresses (RFC 5737) are never somebody's.
ANYWHERE = "192.0.2.1"


def try_target(target: str, timeout: float, other_ports: t.Sequence[int]) -> dict[str, t.Any]:
    """One connection; where it fails, also what else is known about the way."""
    result = _reach.tcp(target, timeout)
    if result["ok"]:
        return result
    host, port = _reach.split_target(target)
    if result["error"] == "timeout":
        others = [f"{host}:{other}" for other in other_ports if other != port]
        answers = _reach.each(functools.partial(_reach.tcp, timeout=timeout), others)
        result["elsewhere"] = any(answer["ok"] or answer["error"] == "refused" for answer in answers)
    return result


def try_all(params: t.Mapping[str, t.Any], captured: bool, run: _reach.Run) -> list[dict[str, t.Any]]:
    """All targets at once, past the capture if it is on."""
    if not params["targets"]:
        return []

    def tries() -> list[dict[str, t.Any]]:
        return _reach.each(
            functools.partial(try_target, timeout=params["timeout"], other_ports=params["other_ports"]),
            params["targets"],
        )

    results: list[dict[str, t.Any]] = _reach.apart(tries, _vm_facts.sidecar_user() if captured else None)
    for result in results:
        if not result["ok"]:
            result["route"] = _reach.route_to(_reach.split_target(result["target"])[0], run)
    return results


def drift(config: t.Mapping[str, t.Any], facts: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Where the machine differs from what the module sidecar would make of it.

    Raises:
        ValueError: a value can't be written, or one is missing; the module that writes it says so, too.
    """
    try:
        found = _vm_config.compare(_vm_config.on_machine(config, facts["address"], facts["ssh_ports"]))
    except (KeyError, ValueError) as error:
        raise ValueError(f"config: {error}") from error
    return {"files": [change.path for change in found.changes], "effects": found.effects, "reasons": found.told}


def look(params: t.Mapping[str, t.Any], run: _reach.Run) -> dict[str, t.Any]:
    """What is known of the machine.

    Args:
        params: the options of sidecar_info, with `config` as _vm_options validates it.
        run: runs a command and returns what it prints.

    Raises:
        ValueError: see drift.
    """
    deadline = time.monotonic() + params["certificate_timeout"]
    while time.monotonic() < deadline and not _vm_facts.certificate(time.time()).get("valid"):
        time.sleep(0.5)
    facts = _vm_facts.collect(run, params["names"])
    if params["controller_time"] is not None:
        facts["clock_offset"] = round(facts["time"] - params["controller_time"], 3)
    facts["reach"] = try_all(params, facts["capture"]["applied"], run)
    towards = _reach.split_target(params["targets"][0])[0] if params["targets"] else ANYWHERE
    facts["address"] = _reach.source_address(towards)
    if params["names_resolve"]:
        # Not loaded on each of hundreds of machines at every look: it is a tenth of what a look takes.
        from ansible_collections.hybridmesh.istio.plugins.module_utils import _proof

        facts["resolver"] = _proof.ask_resolver(facts["hostname"], params["timeout"])
    if params["config"] is not None:
        facts["drift"] = drift(params["config"], facts)
    return facts
