# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done to a virtual machine: package, token, start. Private to the collection. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _capture, _preflight, _sidecar_version, _vm_files

Facts = t.Mapping[str, t.Any]

# A certificate that ends sooner than this is not relied on: the agent renews at half its life, so it did not.
CERTIFICATE_MARGIN = 600
PACKAGE = "istio-sidecar"
UNITS = ("istio.service", "istio-capture.service")


def wanted_package(asked: Facts, architecture: str, mesh_version: str | None) -> dict[str, t.Any]:
    """Which package is wanted, from the role's variables.

    Args:
        asked: `path` with `path_checksum`, or `url`, or `apt` (a package's name), or `release_url`; and `version`,
            `checksum`.
        architecture: in Debian's words.
        mesh_version: istiod's version, the default.

    Returns:
        `source` (path, url, apt or release), `url` (null while there is no istiod to tell the version), `version`,
        `explicit` (the user named a version or a package, rather than leaving it at istiod's), `checksum` (SHA-256),
        `checksum_url` (where it is published).
    """
    version, checksum = asked.get("version"), asked.get("checksum")
    wanted = {"url": None, "version": version, "explicit": bool(version), "checksum": checksum, "checksum_url": None}
    if asked.get("path"):
        return dict(wanted, source="path", url=asked["path"], explicit=True, checksum=asked.get("path_checksum"))
    if asked.get("url"):
        checksum_url = None if checksum else asked["url"] + ".sha256"
        return dict(wanted, source="url", url=asked["url"], explicit=True, checksum_url=checksum_url)
    wanted["version"] = version or mesh_version
    if asked.get("apt"):
        return dict(wanted, source="apt", url=asked["apt"])
    if not wanted["version"]:
        return dict(wanted, source="release")
    suffix = "" if architecture == "amd64" else f"-{architecture}"
    url = "{}/{}/deb/{}{}.deb".format(str(asked["release_url"]).rstrip("/"), wanted["version"], PACKAGE, suffix)
    return dict(wanted, source="release", url=url, checksum_url=None if checksum else url + ".sha256")


def package_plan(facts: Facts, wanted: Facts, mesh_version: str | None) -> dict[str, t.Any]:
    """Whether the sidecar's package has to be installed, and why.

    Args:
        facts: `package` as `sidecar_info` returns it: version, status, record.
        wanted: what `wanted_package` returned.
        mesh_version: istiod's version.

    Returns:
        All of `wanted`, and `needed`, `reason` (or null), `installed` (the version on the machine or null), `previous_url`
        (where that can be had, or null).
    """
    package = facts.get("package") or {}
    installed, record = package.get("version"), package.get("record") or {}
    plan = dict(
        wanted, needed=True, reason=None, installed=installed, previous_url=_previous_url(record, installed, wanted)
    )
    if not installed:
        return dict(plan, reason="it is not installed")
    if package.get("status") != "installed":
        return dict(plan, reason=f"the package is {package.get('status')}")
    version, checksum = wanted.get("version"), wanted.get("checksum")
    if version and not _sidecar_version.same(version, installed):
        if wanted.get("explicit") or _unsupported(installed, mesh_version):
            return dict(plan, reason=f"version {installed} is installed, {version} is wanted")
        # Istio's own upgrade must not restart every sidecar at the next run: an older one that istiod supports stays.
        return dict(plan, needed=False)
    if wanted.get("source") in ("url", "path"):
        if checksum and record.get("checksum") != checksum:
            return dict(plan, reason="another package file is wanted than the one that is installed")
        if not checksum and record.get("source") != wanted.get("url"):
            return dict(plan, reason="the installed package came from elsewhere")
    return dict(plan, needed=False)


def _previous_url(record: Facts, installed: str | None, wanted: Facts) -> str | None:
    """Where the package that is installed can be had again."""
    source = str(record.get("source") or "")
    return source if installed and "://" in source and source != wanted.get("url") else None


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
    if (facts.get("capture") or {}).get("held"):
        reasons.append("the capture was taken away by the dead man's timer")
    if facts.get("stale_program"):
        reasons.append("the running program is not the installed one")
    return reasons


def is_running(facts: Facts) -> bool:
    """Whether the sidecar was proven and runs."""
    unit = (facts.get("units") or {}).get("istio.service") or {}
    return bool(unit.get("enabled")) and unit.get("active") == "active"


def start_plan(facts: Facts, package: Facts, token: Facts, mesh: t.Sequence[str]) -> dict[str, t.Any]:
    """What has to be started anew, and why.

    Args:
        facts: what `sidecar_info` returned.
        package: what `package_plan` returned.
        token: what `token_plan` returned.
        mesh: reasons that the cluster gives.

    Returns:
        `what`: `restart` (of the sidecar, and the capture with it), `capture` (its rules alone, while the sidecar goes
        on), or null; and `reasons`.
    """
    drift = facts.get("drift") or {}
    effects = drift.get("effects") or []
    restart = [*start_reasons(facts), *mesh]
    capture: list[str] = []
    if package["needed"]:
        restart.append("the package has to be installed")
    if token["discard"]:
        restart.append("the certificate is of no use")
    told = {line.split(":", 1)[0]: line.split(": ", 1)[1] for line in drift.get("reasons") or []}
    for effect, into in (("restart", restart), ("capture", capture)):
        if effect in effects:
            into.append(f"changed: {told[effect]}" if effect in told else "an earlier run was cut off")
    state = facts.get("capture") or {}
    if not state.get("applied") and not state.get("held"):
        capture.append("the capture is off")
    what = "restart" if restart else "capture" if capture else None
    return {"what": what, "reasons": restart + [reason for reason in capture if reason not in restart]}


def identity_of(proxy_config: Facts) -> str | None:
    """The URI of a group's certificates, from `defaultConfig` of its mesh.yaml."""
    metadata = proxy_config.get("proxyMetadata") or {}
    try:
        domain = metadata["TRUST_DOMAIN"]
        return f"spiffe://{domain}/ns/{metadata['POD_NAMESPACE']}/sa/{metadata['SERVICE_ACCOUNT']}"
    except KeyError:
        return None


def pod_target(files: t.Mapping[str, str], wanted: Facts) -> str | None:
    """Where a pod should reach the machine, to see whether there is a way; None where no port is to be reached."""
    ports: t.Sequence[t.Any] | None = wanted.get("inbound_ports")
    if ports is None:
        ports = _capture.parse_environment(files.get("cluster.env", "")).get("ISTIO_INBOUND_PORTS", "").split(",")
    numbers = [str(port) for port in ports if str(port).isdigit()]
    return f"{wanted['address']}:{numbers[0]}" if numbers and wanted.get("address") else None


def plan(facts: Facts, wanted: Facts) -> dict[str, t.Any]:
    """All that has to be done to one machine, and all that stands in the way.

    Args:
        facts: what `sidecar_info` returned.
        wanted: `package` (see `wanted_package`), `proxy_config` and `files` of the group (null where they do not exist
            yet), `inbound_ports` (or null), `tries` (of `pod_reach_info`, at whatever machines), `mesh_reasons` (why the cluster wants the
            sidecar started anew), `hold` (whether the package is to be held), and what `_preflight.problems` wants.

    Returns:
        `package`, `token`, `start` (see `start_plan`), `hold` (whether the hold has to be set), `drifted` (whether a file
        differs), `way_back` (whether a run that was cut off left one), `stale` (whether that is of no use any more),
        `apart` (whether the package comes in a way of its own before all else), `running` (whether the sidecar was proven and
        runs), `work` (whether anything is to be done at all), `pod_target`
        (what a pod should reach, or null) and `problems` (check, found, expected, next_step, message).
    """
    files = wanted.get("files") or {}
    mesh_version = wanted.get("mesh_version")
    asked = wanted_package(wanted["package"], str(facts.get("architecture")), mesh_version)
    package = package_plan(facts, asked, mesh_version)
    roots = _vm_files.fingerprints(files.get("root-cert.pem", ""))
    token = token_plan(facts, {"identity": identity_of(wanted.get("proxy_config") or {}), "roots": roots})
    start = start_plan(facts, package, token, wanted.get("mesh_reasons") or [])
    target = pod_target(files, wanted) if start["what"] == "restart" else None
    tries = [
        _preflight.pod_try(entry["target"], entry["rc"], entry["output"])
        for entry in wanted.get("tries") or []
        if entry["target"] == target
    ]
    expect = dict(
        wanted,
        install=package["needed"],
        version=package["version"],
        token=token["needed"],
        hosts=files.get("hosts", ""),
        pod_to_vm=tries,
    )
    hold = bool(wanted.get("hold")) and not package["needed"] and not (facts.get("package") or {}).get("held")
    drifted = bool((facts.get("drift") or {}).get("files"))
    way_back = bool(facts.get("way_back"))
    # What it leads away from was proven since. Taken later, it would lead to a package from before that.
    stale = way_back and is_running(facts)
    return {
        "package": package,
        "token": token,
        "start": start,
        "running": is_running(facts),
        "hold": hold,
        "drifted": drifted,
        "way_back": way_back,
        "stale": stale,
        "apart": bool(package["needed"]) and package["source"] in ("path", "apt"),
        "work": bool(package["needed"] or token["needed"] or start["what"] or hold or drifted or stale),
        "pod_target": target,
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
