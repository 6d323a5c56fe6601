# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done to a virtual machine: package, token, start. Private to the collection. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _preflight, _sidecar_version, _vm_files

Facts = t.Mapping[str, t.Any]

# A certificate that ends sooner than this is not relied on: the agent renews at half its life, so it did not.
CERTIFICATE_MARGIN = 600
UNITS = ("istio.service", "istio-capture.service")


def package_plan(facts: Facts, wanted: Facts) -> dict[str, t.Any]:
    """Whether the sidecar's package has to be installed, and why.

    Args:
        facts: `package` as `sidecar_info` returns it: version, status, record.
        wanted: `source` (release, url, path or apt), `version` (or null), `explicit` (the user named a version or a
            package, rather than leaving it at istiod's), `url`, `checksum`, `mesh_version`.

    Returns:
        `needed`, `reason` (or null), `from` (the installed version or null).
    """
    package = facts.get("package") or {}
    installed, record = package.get("version"), package.get("record") or {}
    plan = {"needed": True, "reason": None, "from": installed}
    if not installed:
        return dict(plan, reason="it is not installed")
    if package.get("status") != "installed":
        return dict(plan, reason=f"the package is {package.get('status')}")
    version, checksum = wanted.get("version"), wanted.get("checksum")
    if version and not _sidecar_version.same(version, installed):
        if wanted.get("explicit") or _unsupported(installed, wanted.get("mesh_version")):
            return dict(plan, reason=f"version {installed} is installed, {version} is wanted")
        # Istio's own upgrade must not restart every sidecar at the next run: an older one that istiod supports stays.
        return dict(plan, needed=False)
    if wanted.get("source") in ("url", "path"):
        if checksum and record.get("checksum") != checksum:
            return dict(plan, reason="another package file is wanted than the one that is installed")
        if not checksum and record.get("source") != wanted.get("url"):
            return dict(plan, reason="the installed package came from elsewhere")
    return dict(plan, needed=False)


def _unsupported(installed: str, mesh: str | None) -> bool:
    try:
        return bool(mesh) and _sidecar_version.skew_fault(installed, str(mesh)) is not None
    except ValueError:
        return False


def token_plan(facts: Facts, wanted: Facts) -> dict[str, t.Any]:
    """Whether a new token has to be made, and whether what is in /etc/certs must go first.

    Args:
        facts: `certificate` as `sidecar_info` returns it, with `roots` (fingerprints).
        wanted: `identity` (the URI that the mesh gives this group), `roots` (fingerprints).

    Returns:
        `needed`, `reason` (or null), `discard` (the certificate and key are of no use and would be refused).
    """
    certificate = facts.get("certificate") or {}
    if not certificate.get("present"):
        return {"needed": True, "reason": "there is no certificate yet", "discard": False}
    identity, roots = wanted.get("identity"), wanted.get("roots") or []
    if identity and certificate.get("identity") and certificate["identity"] != identity:
        # With a certificate of another identity istiod refuses the connection, token or not.
        reason = f"the certificate is for {certificate['identity']}, not {identity}"
        return {"needed": True, "reason": reason, "discard": True}
    if roots and certificate.get("roots") and not set(roots) & set(certificate["roots"]):
        return {"needed": True, "reason": "the certificate was issued by another mesh's authority", "discard": True}
    if not certificate.get("valid") or not certificate.get("key"):
        return {"needed": True, "reason": certificate.get("error") or "the certificate has expired", "discard": False}
    if certificate.get("remaining", 0) < CERTIFICATE_MARGIN:
        return {"needed": True, "reason": "the certificate is about to expire", "discard": False}
    return {"needed": False, "reason": None, "discard": False}


def start_reasons(facts: Facts) -> list[str]:
    """Why the sidecar has to be started under supervision, even if no file changes; empty where all is well."""
    units = facts.get("units") or {}
    reasons = []
    if not all((units.get(unit) or {}).get("enabled") for unit in UNITS):
        reasons.append("the machine has not been proven to work with the sidecar yet")
    if (units.get("istio.service") or {}).get("active") != "active":
        reasons.append("the sidecar does not run")
    capture = facts.get("capture") or {}
    if capture.get("held"):
        reasons.append("the capture was taken away by the dead man's timer")
    elif not capture.get("applied"):
        reasons.append("the capture is off")
    if facts.get("stale_program"):
        reasons.append("the running program is not the installed one")
    return reasons


def identity_of(proxy_config: Facts) -> str | None:
    """The URI of a group's certificates, from `defaultConfig` of its mesh.yaml."""
    metadata = proxy_config.get("proxyMetadata") or {}
    try:
        domain = metadata["TRUST_DOMAIN"]
        return f"spiffe://{domain}/ns/{metadata['POD_NAMESPACE']}/sa/{metadata['SERVICE_ACCOUNT']}"
    except KeyError:
        return None


def plan(facts: Facts, wanted: Facts) -> dict[str, t.Any]:
    """All that has to be done to one machine, and all that stands in the way.

    Args:
        facts: what `sidecar_info` returned.
        wanted: `package` (see `package_plan`), `proxy_config` and `files` of the group (null where they do not exist
            yet), `pod_to_vm`, and what `_preflight.problems` wants to know.

    Returns:
        `package`, `token`, `start` (reasons) and `problems` (check, found, expected, next_step, message).
    """
    files = wanted.get("files") or {}
    package = package_plan(facts, wanted.get("package") or {})
    roots = _vm_files.fingerprints(files.get("root-cert.pem", ""))
    token = token_plan(facts, {"identity": identity_of(wanted.get("proxy_config") or {}), "roots": roots})
    tries = [_preflight.pod_try(entry["target"], entry["rc"], entry["output"]) for entry in wanted.get("tries") or []]
    expect = dict(
        wanted,
        install=package["needed"],
        version=(wanted.get("package") or {}).get("version"),
        token=token["needed"],
        hosts=files.get("hosts", ""),
        pod_to_vm=tries,
    )
    return {
        "package": package,
        "token": token,
        "start": start_reasons(facts),
        "problems": [
            {
                "check": problem.check,
                "found": problem.found,
                "expected": problem.expected,
                "next_step": problem.next_step,
                "message": str(problem),
            }
            for problem in _preflight.problems(facts, expect)
        ],
    }
