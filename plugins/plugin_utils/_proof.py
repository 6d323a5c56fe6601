# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what was measured to a table of all VMs, and to reasons. Pure. Private to the collection."""

from __future__ import annotations

import collections.abc
import datetime
import typing as t

from ansible_collections.hybridmesh.istio.plugins.plugin_utils import _summary, _tables

OK = "ok"
FAILED = "failed"
UNREACHABLE = "unreachable"
NOT_REACHED = "not_reached"
NOT_TESTED = "not_tested"

# States that make a run fail, in the order in which they are told.
FAILING = (FAILED, UNREACHABLE)
_WORDS = {OK: "ok", FAILED: "FAILED", UNREACHABLE: "UNREACHABLE", NOT_REACHED: "not_reached", NOT_TESTED: "not_tested"}

# No cell has a blank in it: YAML output folds long lines at single blanks, and never at the two between columns.
_COLUMNS = (
    ("VM", "vm"),
    ("PROOF", "proof"),
    ("ADDRESS", "address"),
    ("ENTRY", "entry"),
    ("HEALTH", "health"),
    ("CERTIFICATE", "certificate"),
    ("TO_MESH", "to_mesh"),
    ("FROM_MESH", "from_mesh"),
)

# What a run in check mode on a bare VM or an empty cluster finds missing, because it would make it first.
_WOULD_COME_FIRST = frozenset(["not_running", "group_missing", "no_address", "missing"])

Mapping = collections.abc.Mapping
Finding = dict[str, t.Any]


def vms_for_api(
    probes: t.Iterable[tuple[str, t.Any]],
    namespace: str | None = None,
    entries: t.Sequence[Mapping[str, t.Any]] | None = None,
) -> list[dict[str, t.Any]]:
    """What the modules on the API's side must know of each VM that answered: name, group, address.

    Args:
        probes: inventory names, and their results of mesh_probe; None for those without.
        namespace: namespace of groups given by name only; else the one that the VM's sidecar says.
        entries: verdicts on the entries. If given, only VMs whose entry is right are returned.
    """
    fine = None if entries is None else {entry["vm"] for entry in entries if entry["ok"]}
    result = []
    for host, probe in probes:
        if not _answered(probe) or (fine is not None and host not in fine):
            continue
        sidecar = probe["sidecar"]
        group = str(probe.get("workload_group") or sidecar.get("group") or "")
        if "/" not in group:
            group = "{}/{}".format(namespace or sidecar.get("namespace") or "", group)
        result.append({"name": host, "group": group, "address": sidecar.get("address") or None})
    return result


def _lost(probe: t.Any) -> bool:
    return isinstance(probe, Mapping) and bool(probe.get("unreachable") or probe.get("failed"))


def _answered(probe: t.Any) -> bool:
    return isinstance(probe, Mapping) and "sidecar" in probe


def prove(
    known: t.Iterable[tuple[t.Any, ...]],
    entries: t.Sequence[Mapping[str, t.Any]],
    pods: t.Sequence[Mapping[str, t.Any]],
    targeted: t.Collection[str],
    alive: t.Collection[str],
    from_pod: bool,
    check_mode: bool,
) -> dict[str, t.Any]:
    """The verdicts on all hosts, and the table.

    Args:
        known: for every VM to list its name, the result of mesh_probe (None where it did not run), why it failed before (text, or a
            mapping with found/next_step; None for the others), the result of an earlier task (read only where it says that the VM could
            not be reached), and what an earlier batch of this run said of it (None for the others).
        entries: verdicts of workload_entry_info.
        pods: verdicts of workload_probe.
        targeted: the hosts of the play.
        alive: those that have not failed.
        from_pod: whether a workload to send requests from was given.
        check_mode: whether this run changes nothing.
    """
    by_entry = {entry["vm"]: entry for entry in entries}
    by_pod = {verdict["vm"]: verdict for verdict in pods}
    rows = []
    for host, probe, failure, contact, before in known:
        if host in by_entry and _answered(probe):
            row = _row(host, probe, by_entry[host], by_pod.get(host), from_pod, check_mode)
        elif isinstance(before, Mapping) and "state" in before and not _lost(probe):
            row = dict(before)
        else:
            row = _absent(host, (probe, contact), failure, host in targeted, host in alive)
        rows.append(row)
    rows.sort(key=lambda row: _tables.natural(row["vm"]))
    counts = {state: sum(row["state"] == state for row in rows) for state in _WORDS}
    bad = [row for state in FAILING for row in rows if row["state"] == state]
    return {
        "by_vm": {row["vm"]: row for row in rows},
        "counts": counts,
        "failed": [row["vm"] for row in bad],
        "lines": _lines(rows, counts),
        "summary": _summary.summary(map(_outcome, rows)),
    }


def _outcome(row: Mapping[str, t.Any]) -> _summary.Outcome:
    expires = (row["certificate"] or {}).get("expires")
    ends = datetime.datetime.fromisoformat(expires.replace("Z", "+00:00")).timestamp() if expires else None
    return _summary.Outcome(row["vm"], row["state"], "\n".join(row["reasons"]), ends)


def _finding(part: str, verdict: Mapping[str, t.Any]) -> Finding:
    return {
        "part": part,
        "reason": verdict["verdict"],
        "evidence": verdict.get("evidence") or "",
        "next_step": verdict.get("next_step") or "",
    }


def _row(
    host: str,
    probe: Mapping[str, t.Any],
    entry: Mapping[str, t.Any],
    pod: Mapping[str, t.Any] | None,
    from_pod: bool,
    check_mode: bool,
) -> dict[str, t.Any]:
    sidecar, certificate, targets = probe["sidecar"], dict(probe["certificate"]), probe["targets"]
    _compare_identity(certificate, entry)
    parts = [("sidecar", sidecar), ("entry", entry), ("certificate", certificate)]
    parts += [("request to {}".format(target["url"]), target) for target in targets]
    if pod is not None:
        parts.append(("request from the pod", pod))
    findings = [_finding(part, verdict) for part, verdict in parts if verdict["verdict"] not in (OK, NOT_TESTED)]
    # A sidecar that does not run explains all the rest.
    findings = findings[:1] if sidecar["verdict"] == "not_running" else findings
    state = FAILED if findings else OK
    if check_mode and findings and all(finding["reason"] in _WOULD_COME_FIRST for finding in findings):
        state = NOT_TESTED
    return {
        "vm": host,
        "state": state,
        "findings": findings,
        "reasons": [_reason(host, finding) for finding in findings] if state in FAILING else [],
        "address": sidecar.get("address") or entry.get("address") or None,
        "sidecar": dict(sidecar),
        "entry": dict(entry),
        "certificate": certificate,
        "to_mesh": [dict(target) for target in targets],
        "from_mesh": dict(pod) if pod is not None else {"verdict": NOT_TESTED, "evidence": _why(from_pod)},
    }


def _why(from_pod: bool) -> str:
    return "the WorkloadEntry is not right" if from_pod else "mesh_verify_from is not set"


def _compare_identity(certificate: dict[str, t.Any], entry: Mapping[str, t.Any]) -> None:
    """The identity in the certificate must be the one that the entry's service account has."""
    account = entry.get("service_account")
    if certificate["verdict"] != OK or not account:
        return
    wanted = "/ns/{}/sa/{}".format(entry["namespace"], account)
    if not str(certificate.get("identity") or "").endswith(wanted):
        certificate["verdict"] = "wrong_identity"
        certificate["evidence"] = "the certificate is for {}, expected ...{}".format(certificate["identity"], wanted)
        certificate["next_step"] = "onboard the VM again with its group's files"


def _absent(host: str, tasks: t.Sequence[t.Any], failure: t.Any, targeted: bool, alive: bool) -> dict[str, t.Any]:
    """The row of a host that was not proven in this run."""
    results = [task for task in tasks if isinstance(task, Mapping)]
    lost = next((task for task in results if task.get("unreachable")), None)
    broken = next((task for task in results if task.get("failed")), None)
    step = ""
    if lost:
        state, reason, evidence = UNREACHABLE, "unreachable", _message(lost) or "no connection"
        step = "see that the machine is up and that ssh gets there"
    elif failure:
        state, reason = FAILED, "failed_before"
        if isinstance(failure, Mapping):
            evidence = str(failure.get("found") or failure.get("msg") or failure)
            step = str(failure.get("next_step") or "")
        else:
            evidence = str(failure)
    elif broken:
        state, reason, evidence = FAILED, "failed_before", _message(broken) or "a task failed"
    elif targeted and not alive:
        state, reason, evidence = FAILED, "failed_before", "it failed or could not be reached earlier in this run"
        step = "see its message above"
    else:
        state, reason = NOT_REACHED, NOT_REACHED
        evidence = "its batch comes later" if targeted else "not part of this run"
    finding = {"part": "machine", "reason": reason, "evidence": evidence, "next_step": step}
    return {
        "vm": host,
        "state": state,
        "findings": [finding],
        "reasons": [_reason(host, finding)] if state in FAILING else [],
        "address": None,
        "sidecar": None,
        "entry": None,
        "certificate": None,
        "to_mesh": [],
        "from_mesh": None,
    }


def _message(result: Mapping[str, t.Any]) -> str:
    return str(result.get("msg") or "").replace("Task failed: ", "")


def _reason(host: str, finding: Finding) -> str:
    text = "{}: {}: {}. Found: {}.".format(host, finding["part"], finding["reason"], finding["evidence"].rstrip("."))
    return text + (" Next step: {}.".format(finding["next_step"].rstrip(".")) if finding["next_step"] else "")


def _lines(rows: t.Sequence[Mapping[str, t.Any]], counts: Mapping[str, int]) -> list[str]:
    """The table. No line has what YAML would quote, so that columns stay aligned in every output format."""
    cells = [[title for title, _key in _COLUMNS]]
    cells += [[_cells(row)[key] for _title, key in _COLUMNS] for row in rows]
    lines = _tables.columns(cells)
    told = ", ".join(f"{counts[state]} {_WORDS[state]}" for state in _WORDS if counts[state])
    lines.append("{} {} - {}".format(len(rows), "VM" if len(rows) == 1 else "VMs", told or "nothing to prove"))
    for row in rows:
        if row["state"] == NOT_TESTED:
            lines.append(
                _tables.plain(
                    "{} - {} - this run would make that first".format(row["vm"], row["findings"][0]["reason"])
                )
            )
        if row["state"] in (OK, NOT_TESTED):
            continue
        for finding in row["findings"]:
            parts = [row["vm"], finding["part"], finding["reason"], finding["evidence"], finding["next_step"]]
            lines.append(_tables.plain(" - ".join(part for part in _without_repeats(parts) if part)))
    return lines


def _without_repeats(parts: t.Iterable[str]) -> list[str]:
    return list(dict.fromkeys(parts))


def _cells(row: Mapping[str, t.Any]) -> dict[str, str]:
    entry, certificate = row["entry"] or {}, row["certificate"] or {}
    return {
        "vm": row["vm"],
        "proof": _WORDS[row["state"]],
        "address": row["address"] or "-",
        "entry": entry.get("verdict") or "-",
        "health": str(entry.get("health") or "-"),
        "certificate": _certificate_cell(certificate),
        "to_mesh": _targets_cell(row["to_mesh"]) if entry else "-",
        "from_mesh": str((row["from_mesh"] or {}).get("verdict") or "-"),
    }


def _certificate_cell(certificate: Mapping[str, t.Any]) -> str:
    if certificate.get("verdict") != OK:
        return str(certificate.get("verdict") or "-")
    return "ok," + _tables.span(int(certificate["remaining_seconds"]))


def _targets_cell(targets: t.Sequence[Mapping[str, t.Any]]) -> str:
    if all(target["verdict"] == NOT_TESTED for target in targets):
        return NOT_TESTED
    bad = [target["verdict"] for target in targets if target["verdict"] != OK]
    if len(targets) == 1:
        return bad[0] if bad else OK
    return f"{len(targets) - len(bad)}/{len(targets)}," + (bad[0] if bad else OK)
