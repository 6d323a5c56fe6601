# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What expires on a virtual machine, what has to be renewed, and what else somebody should know. Pure. Private."""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _plan, _vm_files

Facts = t.Mapping[str, t.Any]

# Share of its life after which a certificate should have been replaced: the agent does it at half
# (SECRET_GRACE_PERIOD_RATIO), give or take a tenth (its jitter).
ROTATED_BY = 0.6

# What a file that differs stands for.
_MEANINGS = {
    _vm_files.HOSTS: "the gateway's address, or the name that istiod is reached by",
    _vm_files.ROOT_CERTIFICATE: "the mesh's root certificate",
    _vm_files.MESH_CONFIG: "the mesh's or the group's configuration",
    _vm_files.CLUSTER_ENV: "the mesh's or the group's configuration",
    _vm_files.CAPTURE_ENV: "which traffic is captured",
}


def _finding(check: str, fails: bool, found: str, next_step: str) -> dict[str, t.Any]:
    return {"check": check, "fails": fails, "found": found, "next_step": next_step}


def renewal(facts: Facts, wanted: Facts) -> dict[str, t.Any]:
    """What `renew` does to one machine, and what it tells of it.

    Args:
        facts: what `sidecar_info` returned.
        wanted: `identity` and `roots` of the group (see `token_plan`), `external_ca` (whether certificates are only to be
            had for a token), `interval` (seconds between two runs), `all` (whether to renew in any case).

    Returns:
        `token` (`needed`, `reason`), `findings` (`check`, `fails`, `found`, `next_step`), and of the machine `version`,
        `certificate` and `token_remaining` (seconds or null), `age`, `capture` (on, off, held, bypassed), `proven`.
    """
    package = facts.get("package") or {}
    certificate, token = facts.get("certificate") or {}, facts.get("token") or {}
    result = {
        "version": package.get("version"),
        "certificate_remaining": certificate.get("remaining"),
        "age": certificate.get("age"),
        "token_remaining": token.get("remaining"),
        "capture": capture_state(facts),
        "proven": facts.get("proven"),
    }
    if not package.get("version"):
        found = _finding("not_onboarded", True, "no sidecar is installed", "run the playbook onboard for it")
        return dict(result, token={"needed": False, "reason": None}, findings=[found])
    reason = _token_reason(certificate, token, facts, wanted)
    return dict(
        result,
        token={"needed": reason is not None, "reason": reason},
        findings=[*_certificate_findings(certificate, token, facts, wanted), *_other_findings(facts)],
    )


def capture_state(facts: Facts) -> str:
    """`on`, `off`, `held` (by the dead man's timer) or `bypassed` (by hand)."""
    capture = facts.get("capture") or {}
    if capture.get("bypassed"):
        return "bypassed"
    if capture.get("held"):
        return "held"
    return "on" if capture.get("applied") else "off"


def _token_reason(certificate: Facts, token: Facts, facts: Facts, wanted: Facts) -> str | None:
    # An expired token beside a certificate that rotates is fine: the certificate renews itself.
    plan = _plan.token_plan({"certificate": certificate}, wanted)
    if plan["discard"]:
        # Not for a token alone to mend: see the findings.
        return None
    if plan["needed"]:
        return str(plan["reason"])
    if certificate.get("age", 0) > ROTATED_BY:
        return "the certificate was not rotated"
    if wanted.get("external_ca") and token.get("remaining", 0) < 2 * wanted.get("interval", 0):
        return "an external authority takes nothing but a token, and this one does not outlive two runs"
    return "all are renewed" if wanted.get("all") else None


def _certificate_findings(
    certificate: Facts, token: Facts, facts: Facts, wanted: Facts
) -> t.Iterator[dict[str, t.Any]]:
    plan = _plan.token_plan({"certificate": certificate}, wanted)
    if plan["discard"]:
        yield _finding("wrong_certificate", True, plan["reason"], "run the playbook onboard for it")
    elif certificate.get("present") and not certificate.get("valid"):
        yield _finding(
            "expired",
            True,
            f"the certificate is not valid ({certificate.get('error') or 'it has expired'})",
            "see /var/log/istio/istio.log on the machine, and the playbook diagnose",
        )
    elif certificate.get("age", 0) > ROTATED_BY:
        yield _finding(
            "rotation_broken",
            True,
            f"{certificate['age']:.0%} of the certificate's life are over and it was not replaced",
            "see /var/log/istio/istio.log on the machine: istiod can't be reached, or refuses; playbook diagnose tells which",
        )


def _other_findings(facts: Facts) -> t.Iterator[dict[str, t.Any]]:
    unit = (facts.get("units") or {}).get("istio.service") or {}
    state = capture_state(facts)
    if state == "bypassed":
        why = (facts.get("capture") or {}).get("bypassed")
        yield _finding("bypassed", False, f"somebody put the sidecar out of use, {why}", "istio-capture resume, there")
    elif unit.get("active") != "active":
        yield _finding("not_running", True, "the sidecar does not run", "run the playbook onboard for it")
    elif state != "on":
        yield _finding("capture_off", True, f"the capture is {state}", "run the playbook onboard for it")
    drifted = (facts.get("drift") or {}).get("files") or []
    meanings = list(dict.fromkeys(_MEANINGS.get(path, f"the file {path}") for path in drifted))
    if meanings:
        effects = (facts.get("drift") or {}).get("effects") or []
        cost = "its sidecar is restarted" if "restart" in effects else "nothing is restarted"
        yield _finding("changed", False, "; ".join(meanings) + " changed", f"run the playbook onboard for it ({cost})")
