# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a virtual machine is not in the mesh: symptoms in, causes out, the first cause first. Pure. Private.

Each layer needs those before it: a machine whose sidecar does not run has no entry, either. So the first finding is the
cause, and what comes after it may well be its consequences.
"""

from __future__ import annotations

import collections.abc
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils import _plan, _preflight, _sidecar_version, _vm_files

Mapping = collections.abc.Mapping

# More than this, in seconds, and certificates or tokens are not valid yet, or not any more (see `_preflight`).
CLOCK_LIMIT = 120


class Finding(t.NamedTuple):
    """One thing that is wrong.

    Attributes:
        cause: a stable name, for whoever compares.
        found: the evidence.
        remedy: what to do.
    """

    cause: str
    found: str
    remedy: str


class Case:
    """All that is known of one machine.

    Args:
        known: `contact` (the result of looking at the machine), `vm` (its symptoms), `mesh` and `mesh_error`, `group`
            (namespace/name), `files`, `proxy_config` and `material_error` (what the group's machines should have), `entry` (the
            verdict on its entry), `state` (of `workload_capacity_info`), `seen` (by a client), `review` (of its token).
            Whatever is missing is not judged.
    """

    def __init__(self, known: Mapping[str, t.Any]) -> None:
        self.contact = known.get("contact") or {}
        self.vm = known.get("vm")
        self.mesh = known.get("mesh")
        self.mesh_error = known.get("mesh_error")
        self.group = known.get("group") or ""
        self.files = known.get("files") or {}
        self.proxy_config = known.get("proxy_config") or {}
        self.material_error = known.get("material_error")
        self.entry = known.get("entry") or {}
        self.state = known.get("state") or {}
        self.seen = known.get("seen")
        self.review = known.get("review")

    @property
    def facts(self) -> Mapping[str, t.Any]:
        """The machine's symptoms, empty where it could not be looked at."""
        return self.vm or {}

    @property
    def unit(self) -> Mapping[str, t.Any]:
        """The sidecar's unit."""
        return (self.facts.get("units") or {}).get("istio.service") or {}

    @property
    def way(self) -> Mapping[str, t.Any]:
        """The way to istiod."""
        return self.facts.get("way") or {}


Findings = t.Iterator[Finding]


def _contact(case: Case) -> Findings:
    if case.contact.get("unreachable"):
        yield Finding(
            "unreachable", str(case.contact.get("msg") or "no connection"), "see that it is up and that ssh gets there"
        )
    elif case.contact.get("failed"):
        yield Finding(
            "not_examined", str(case.contact.get("msg") or "it can't be looked at"), "see the message; is it root?"
        )


def _package(case: Case) -> Findings:
    package = case.facts.get("package") or {}
    if case.vm and package.get("version") is None:
        yield Finding("not_installed", "the package istio-sidecar is not installed", "run the playbook onboard for it")
    elif case.vm and package.get("status") != "installed":
        yield Finding(
            "half_installed",
            f"the package is {package.get('status')}",
            "dpkg --configure -a there, then the playbook onboard",
        )


def _disk(case: Case) -> Findings:
    for path, said in (case.facts.get("unwritable") or {}).items():
        yield Finding("disk_full", f"{path}: {said}", "make room there (logs, old packages), or mend the file system")


def _clock(case: Case) -> Findings:
    offset = case.facts.get("clock_offset")
    if offset is not None and abs(offset) > CLOCK_LIMIT:
        direction = "ahead of" if offset > 0 else "behind"
        yield Finding(
            "clock",
            f"its clock is {abs(offset):.0f} s {direction} the controller's, so that certificates and tokens are not valid there",
            "set up time synchronisation on the machine (systemd-timesyncd, chrony)",
        )


def _settings(case: Case) -> Findings:
    for path, said in (case.facts.get("broken_settings") or {}).items():
        yield Finding(
            "bad_settings", f"a shell can't read {path}: {said}", "run the playbook onboard, which writes it anew"
        )


def _running(case: Case) -> Findings:
    if not case.vm or case.facts.get("package", {}).get("version") is None:
        return
    capture = case.facts.get("capture") or {}
    if capture.get("bypassed"):
        yield Finding(
            "bypassed", f"somebody put the sidecar out of use, {capture['bypassed']}", "istio-capture resume, there"
        )
    elif capture.get("held"):
        yield Finding(
            "held",
            "the dead man's timer took capture and sidecar away after a start that nobody confirmed",
            "run the playbook onboard",
        )
    elif case.unit.get("active") not in ("active", "reloading"):
        result = case.facts.get("unit_result") or {}
        yield Finding(
            "not_running",
            "istio.service is {} ({}, exit status {})".format(
                case.unit.get("active"), result.get("Result", "?"), result.get("ExecMainStatus", "?")
            ),
            "systemctl start istio, or the playbook onboard; see journalctl -u istio",
        )


def _address(case: Case) -> Findings:
    if case.facts.get("has_address") is False:
        yield Finding(
            "address_gone",
            f"the sidecar registers {case.facts.get('pinned_address')}, which this machine does not have",
            "give the machine that address, or set vm_sidecar_address and run the playbook onboard",
        )


def _ports(case: Case) -> Findings:
    for listener in case.facts.get("listeners") or []:
        if not listener["sidecar"]:
            yield Finding(
                "port_taken",
                f"{listener.get('command') or 'another process'} listens on port {listener['port']}",
                "stop it, or move it away from 15000 to 15090",
            )


def _name(case: Case) -> Findings:
    if not case.way.get("target"):
        if case.vm and case.facts.get("package", {}).get("version"):
            yield Finding("no_configuration", f"{_vm_files.MESH_CONFIG} names no istiod", "run the playbook onboard")
        return
    host = case.way["target"].rpartition(":")[0]
    found = case.way.get("addresses") or []
    wanted = [address for address, names in _vm_files.hosts_lines(case.files.get("hosts", "")) if host in names]
    if not found:
        yield Finding(
            "name_unresolved",
            f"{host} does not resolve on the machine",
            "run the playbook onboard, which adds it to /etc/hosts",
        )
    elif wanted and not set(found) & set(wanted):
        yield Finding(
            "wrong_address",
            f"{host} is {', '.join(found)} on the machine, but the gateway is at {', '.join(wanted)}",
            "remove other lines for it from /etc/hosts, and run the playbook onboard",
        )


def _tcp(case: Case) -> Findings:
    tries = case.way.get("tcp") or []
    if not tries or any(tried["ok"] for tried in tries):
        return
    gateway = (case.mesh or {}).get("gateway") if case.mesh else None
    tried = tries[0]
    told = f"no TCP connection to {tried['target']}: {tried['error']}"
    if case.mesh and gateway is None:
        yield Finding("no_gateway", f"{told}; the cluster has no east-west gateway", "run the playbook mesh")
    elif gateway and not gateway.get("pods"):
        where = f"{gateway['namespace']}/{gateway['name']}"
        yield Finding(
            "gateway_down",
            f"{told}; no Pod of the gateway {where} is ready",
            f"kubectl -n {gateway['namespace']} get pods, and see why",
        )
    else:
        kind = _preflight.cause_of(tried)
        yield Finding(
            f"tcp_{kind}",
            f"{told} (probably the {kind}; ip route get: {(tried.get('route') or {}).get('text', 'not asked')})",
            "allow port 15012 from the machine to the gateway in every firewall on the way, the machine's own included"
            if kind == "firewall"
            else "add a route from the machine to the gateway, and back",
        )


def _tls(case: Case) -> Findings:
    tls = case.way.get("tls")
    if not tls or tls["ok"]:
        return
    told = f"no TLS with istiod at {tls['target']}: {tls.get('detail') or tls['error']}"
    mesh, gateway = case.mesh or {}, (case.mesh or {}).get("gateway") or {}
    wanted = _vm_files.fingerprints(case.files.get("root-cert.pem", ""))
    roots = ((case.facts.get("certificate") or {}).get("roots")) or []
    if case.mesh and not mesh.get("istiod_pods"):
        yield Finding(
            "istiod_down",
            f"{told}; no Pod of istiod is ready",
            f"kubectl -n {mesh.get('namespace')} get pods, and see why",
        )
    elif gateway and not gateway.get("exposed", True):
        yield Finding("not_exposed", f"{told}; {gateway.get('reason')}", "run the playbook mesh, which exposes istiod")
    elif wanted and not set(wanted) & set(roots):
        yield Finding(
            "wrong_root",
            f"{told}; the machine's root certificate is not the mesh's",
            "run the playbook onboard, which brings the right one",
        )
    else:
        yield Finding("tls", told, "is something between the machine and the gateway that ends TLS?")


def _cluster(case: Case) -> Findings:
    if case.mesh_error:
        yield Finding(
            "api",
            str(case.mesh_error),
            "mend how the controller reaches the API server; the cluster's side is not judged",
        )
    elif case.mesh is not None and not case.mesh.get("installed"):
        yield Finding("no_istio", "there is no istiod in the cluster", "run the playbook mesh")


def _identity(case: Case) -> Findings:
    if not case.vm or case.facts.get("package", {}).get("version") is None:
        return
    certificate, token = case.facts.get("certificate") or {}, case.facts.get("token") or {}
    identity = _plan.identity_of(case.proxy_config)
    if certificate.get("valid") and certificate.get("key"):
        if identity and certificate.get("identity") != identity:
            yield Finding(
                "wrong_identity",
                f"the certificate is for {certificate.get('identity')}, not {identity}",
                "run the playbook onboard",
            )
        return
    lacks = "there is no certificate" if not certificate.get("present") else "the certificate is not valid any more"
    renew = "run the playbook renew: a new token mends it without a restart"
    metadata = case.proxy_config.get("proxyMetadata") or {}
    subject = "system:serviceaccount:{}:{}".format(metadata.get("POD_NAMESPACE"), metadata.get("SERVICE_ACCOUNT"))
    if not token.get("present"):
        yield Finding("no_token", f"{lacks}, and no token to get one with", renew)
    elif token.get("error"):
        yield Finding("bad_token", f"{lacks}, and the token is none ({token['error']})", renew)
    elif token["remaining"] <= 0:
        yield Finding("expired_token", f"{lacks}, and the token expired {-token['remaining']} s ago", renew)
    elif "istio-ca" not in token["audiences"]:
        yield Finding(
            "wrong_audience", f"{lacks}, and the token is for {', '.join(token['audiences'])}, not istio-ca", renew
        )
    elif metadata and token.get("subject") != subject:
        yield Finding(
            "wrong_service_account", f"{lacks}, and the token is of {token.get('subject')}, not {subject}", renew
        )
    elif case.review and case.review.get("reviewed") and not case.review.get("authenticated"):
        yield Finding(
            "token_refused", f"{lacks}, and the API server refuses the token: {case.review.get('error')}", renew
        )


def _flags(case: Case) -> Findings:
    # A machine that is registered keeps its entry; it is those that are not that these keep out.
    if not case.mesh or not case.mesh.get("installed") or case.entry.get("ok"):
        return
    for flag, setting, what in (
        ("auto_registration", "PILOT_ENABLE_WORKLOAD_ENTRY_AUTOREGISTRATION", "registers no virtual machines"),
        ("health_checks", "PILOT_ENABLE_WORKLOAD_ENTRY_HEALTHCHECKS", "ignores the health of virtual machines"),
    ):
        if not case.mesh.get(flag, True):
            yield Finding(f"{flag}_off", f"istiod {what} ({setting})", f"set {setting} to true (values.pilot.env)")


def _names(case: Case) -> Findings:
    settings = case.facts.get("settings") or {}
    if not settings:
        return
    mesh = case.mesh or {}
    namespace, _slash, group = case.group.partition("/")
    for cause, variable, wanted in (
        ("wrong_cluster_id", "ISTIO_META_CLUSTER_ID", mesh.get("cluster_name")),
        ("wrong_network", "ISTIO_META_NETWORK", mesh.get("network")),
        ("wrong_namespace", "POD_NAMESPACE", namespace),
        ("wrong_group", "ISTIO_META_AUTO_REGISTER_GROUP", group),
    ):
        if wanted and variable in settings and settings[variable] != wanted:
            yield Finding(
                cause,
                f"{variable} is {settings[variable]} on the machine, not {wanted}",
                "run the playbook onboard, which writes it anew",
            )


def _group(case: Case) -> Findings:
    if case.entry.get("verdict") == "group_missing":
        yield Finding("group_missing", str(case.entry.get("evidence")), "run the playbook onboard, which makes it")
    elif case.material_error:
        yield Finding(
            "group", str(case.material_error), "mend what it says; the playbook onboard makes what is missing"
        )


def _envoy(case: Case) -> Findings:
    envoy = case.facts.get("envoy") or {}
    if not case.vm or case.unit.get("active") != "active":
        return
    if not envoy.get("answers"):
        told = "; ".join((case.facts.get("complaints") or [])[-3:])
        yield Finding(
            "envoy_down",
            f"Envoy does not answer. The log says: {told or 'nothing'}",
            "see /var/log/istio/istio.log there",
        )
        return
    if envoy.get("rejected"):
        yield Finding(
            "config_rejected",
            "Envoy rejects " + "; ".join(envoy["rejected"]),
            "mend the EnvoyFilter or resource that asks for it",
        )
    elif envoy.get("state") != "LIVE":
        told = "; ".join((case.facts.get("complaints") or [])[-3:])
        yield Finding(
            "envoy_not_ready",
            f"Envoy is in state {envoy.get('state')}. The log says: {told}",
            "see /var/log/istio/istio.log there",
        )
    version, istiod = (case.facts.get("package") or {}).get("version"), (case.mesh or {}).get("version")
    try:
        fault = _sidecar_version.skew_fault(version, istiod) if version and istiod else None
    except ValueError:
        fault = None
    if fault:
        yield Finding(
            "version_skew",
            f"the sidecar is version {version}, {fault} ({istiod})",
            "run the playbook upgrade, istiod first",
        )


def _capture(case: Case) -> Findings:
    capture = case.facts.get("capture") or {}
    # It is put on only once Envoy is ready.
    live = (case.facts.get("envoy") or {}).get("state") == "LIVE"
    if live and not capture.get("applied") and not capture.get("held") and not capture.get("bypassed"):
        yield Finding(
            "capture_off",
            "the sidecar runs, but no traffic goes through it",
            "systemctl start istio-capture there; see journalctl -u istio-capture",
        )


def _entry(case: Case) -> Findings:
    verdict = case.entry.get("verdict")
    if case.entry and not case.entry.get("ok") and verdict not in ("unhealthy", "group_missing", "no_address"):
        remedy = case.entry.get("next_step") or ""
        if verdict == "not_registered":
            remedy = "run the playbook onboard: the sidecar connects anew, upon which istiod makes the entry"
        yield Finding(str(verdict), str(case.entry.get("evidence")), remedy)


def _health(case: Case) -> Findings:
    if case.state.get("drained"):
        yield Finding(
            "drained",
            str(case.entry.get("evidence") or "a run drained it"),
            "run the playbook onboard, or restart the sidecar",
        )
        return
    probe = case.facts.get("probe")
    if probe and not probe["ok"]:
        yield Finding(
            "probe_fails",
            f"the application does not answer the group's probe at {probe['target']}: {probe['found']}",
            "see the application",
        )
    elif case.entry.get("verdict") == "unhealthy":
        yield Finding(
            "unhealthy", str(case.entry.get("evidence")), case.entry.get("next_step") or "see the application"
        )


def _endpoint(case: Case) -> Findings:
    if not case.entry.get("ok"):
        return
    if case.state and not case.state.get("services"):
        yield Finding(
            "no_service",
            "no Service selects its WorkloadEntry",
            "compare the Service's selector with the group's labels",
        )
    elif case.seen is False:
        yield Finding(
            "not_an_endpoint",
            "a client of the mesh does not have it among its endpoints",
            "see Sidecar resources and exportTo of the Service",
        )


# In the order in which one needs the other.
LAYERS: tuple[tuple[str, tuple[t.Callable[[Case], Findings], ...]], ...] = (
    ("The machine", (_contact, _package, _disk, _clock, _settings, _running, _address, _ports)),
    ("The cluster's API", (_cluster,)),
    ("Name of istiod", (_name,)),
    ("TCP to the gateway", (_tcp,)),
    ("TLS with istiod", (_tls,)),
    ("Certificate and token", (_identity,)),
    ("istiod's settings", (_flags,)),
    ("Names in the mesh", (_names,)),
    ("WorkloadGroup", (_group,)),
    ("Envoy", (_envoy,)),
    ("The capture", (_capture,)),
    ("WorkloadEntry", (_entry,)),
    ("Health", (_health,)),
    ("Endpoint", (_endpoint,)),
)


def diagnose(known: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The diagnosis of one machine; see `Case` for the argument.

    Returns:
        `ok`; `first` (cause, layer, found, remedy; null where nothing is wrong); `findings`, all of them in order; `layers`
        (name, `ok`, `findings` of each); `complaints` (of the sidecar's logs).
    """
    case = Case(known)
    layers, findings = [], []
    for name, checks in LAYERS:
        found = [dict(finding._asdict(), layer=name) for check in checks for finding in check(case)]
        layers.append({"name": name, "ok": not found, "findings": found})
        findings += found
    return {
        "ok": not findings,
        "first": findings[0] if findings else None,
        "findings": findings,
        "layers": layers,
        "complaints": list(case.facts.get("complaints") or []),
    }
