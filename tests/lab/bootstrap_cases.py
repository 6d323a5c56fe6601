# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The meshes and groups for which the lookup's files are compared with istioctl's."""

from __future__ import annotations

import dataclasses
import typing as t

MESH = """\
defaultConfig:
  discoveryAddress: istiod.{istio}.svc:15012
  meshId: mesh1
  tracing:
    zipkin:
      address: zipkin.{istio}:9411
enablePrometheusMerge: true
rootNamespace: {istio}
trustDomain: cluster.local
"""

GROUP: dict[str, t.Any] = {
    "metadata": {"labels": {"app": "envoydummy", "version": "v2"}},
    "template": {"serviceAccount": "chapter10-sa", "network": "network1", "ports": {"http": 10000}},
    "probe": {"initialDelaySeconds": 1, "periodSeconds": 5, "httpGet": {"path": "/", "port": 10000}},
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A mesh with one group.

    Attributes:
        name: of the case; `{istio}` in texts stands for the mesh's namespace.
        group: what is laid over GROUP; null removes.
        annotations: of the WorkloadGroup itself.
        mesh: the mesh config.
        revision: of istiod.
        asked: the revision or tag that is asked for.
        tag: a tag that stands for the revision.
        flags: istioctl's.
        settings: ours, meaning the same.
        wish: likewise.
        network: the cluster's.
        service: the gateway's Service, as name or name.namespace.
        service_type: its type.
        ingress: its status.loadBalancer.ingress. An address of nobody: kube-proxy takes over what is here.
        external_ips: of the gateway.
        file: the group is handed over as a whole, to istioctl by --file.
        twin: what to change in this case so that istioctl, where it fails, comes to what it should have come to.
    """

    name: str
    group: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    annotations: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    mesh: str = MESH
    revision: str = ""
    asked: str | None = None
    tag: str = ""
    flags: tuple[str, ...] = ("--autoregister",)
    settings: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    wish: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    network: str = "network1"
    service: str = "istio-eastwestgateway"
    service_type: str = "LoadBalancer"
    ingress: tuple[t.Mapping[str, str], ...] = ({"ip": "192.0.2.200"},)
    external_ips: tuple[str, ...] = ()
    file: bool = False
    twin: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)


def labelled(name: str, **labels: str) -> Case:
    return Case(name, {"metadata": {"labels": labels}})


def probed(name: str, file: bool = False, **probe: t.Any) -> Case:
    return Case(name, {"probe": {"httpGet": None, **probe}}, file=file)


def configured(name: str, default_config: str, rest: str = "") -> Case:
    """A mesh config of two parts: lines of defaultConfig (indented by two), and whole lines beside it."""
    return Case(
        name, mesh="defaultConfig:\n  discoveryAddress: istiod.{istio}.svc:15012\n" + default_config + "\n" + rest
    )


def with_metadata(name: str, value: str) -> Case:
    """The value, as YAML, of a variable in proxyMetadata."""
    return configured(name, f"  proxyMetadata:\n    VALUE: {value}")


def unregistered(name: str, *flags: str, **settings: t.Any) -> Case:
    return Case(name, flags=flags, settings={"autoregister": False, **settings})


ANNOTATION = "proxy.istio.io/config"
WITH_METADATA = MESH.replace("  meshId", "  proxyMetadata: {{A: '0'}}\n  meshId")

# Each gives the same bytes as istioctl, but for the order of inbound ports, which istioctl leaves to chance.
EQUAL = [
    Case("chapter"),
    # Probes
    Case("no-probe", {"probe": None}),
    probed("tcp-probe", tcpSocket={"port": 10000}, failureThreshold=7),
    probed("tcp-probe-host", tcpSocket={"port": 10000, "host": "127.0.0.1"}, successThreshold=1),
    probed("exec-probe", exec={"command": ["sh", "-c", "exit 'no' # x: y"]}),
    # Istio 1.31 and before refuse such a group in the cluster, their istioctl takes it as a file.
    probed("grpc-probe", file=True, grpc={"port": 10001, "service": "health"}, timeoutSeconds=3),
    probed("grpc-probe-without-service", file=True, grpc={"port": 10001}),
    probed("https-probe", httpGet={"path": "/ok?a=b&c", "port": 10443, "scheme": "HTTPS"}, timeoutSeconds=2),
    probed(
        "http-probe-headers",
        httpGet={"port": 10000, "host": "127.0.0.1", "httpHeaders": [{"name": "a", "value": "<&"}, {"name": "b"}]},
    ),
    probed("probe-defaults", httpGet={"port": 10000}, initialDelaySeconds=0, periodSeconds=0),
    # Ports, network, locality
    Case("several-ports", {"template": {"ports": {"http": 8080, "grpc": 9090, "tcp-x": 70, "z": 65535}}}),
    Case("same-port-by-two-names", {"template": {"ports": {"http": 8080, "tcp": 8080}}}),
    Case("no-network", {"template": {"network": None}}),
    Case("odd-network", {"template": {"network": "a 'b' $c: #d"}}, network="a 'b' $c: #d"),
    Case("locality-weight", {"template": {"locality": "eu/eu-west/$zone 1", "weight": 5}}),
    # Labels and annotations
    labelled("labels-like-other-types", app="true", version="1.0", a="null", b="0x1f", c="1e3", d="0123", e="y"),
    labelled("label-without-value", app="envoydummy", version="", team=""),
    labelled("long-labels", **{"app": "a" * 63, "example.com/" + "k" * 63: "v" * 63}),
    labelled("istio-canonical-labels", **{"service.istio.io/canonical-name": "n", "service.istio.io/canonical-revision": "r"}),
    Case("kubernetes-labels", {"metadata": {"labels": {"app.kubernetes.io/name": "n", "app.kubernetes.io/version": "3", "x": "y.z_0"}}}),
    Case("template-labels", {"template": {"labels": {"app": "other", "team": "pay"}}}),
    Case("template-labels-alone", {"metadata": {"labels": None, "annotations": {"a": "b"}}, "template": {"labels": {"app": "t"}}}),
    Case("no-labels", {"metadata": {"labels": None, "annotations": {"a": "b"}}}),
    Case("annotations", {"metadata": {"annotations": {"a": "b: c", "sidecar.istio.io/x": "\u00fc"}}}, {"own": "x"}),
    # istioctl's flags
    unregistered("not-registered"),
    unregistered("dns-off", "--capture-dns=false", capture_dns=False),
    unregistered("internal-ip", "--internalIP", "10.1.2.3", internal_ip="10.1.2.3"),
    unregistered("internal-ipv6", "--internalIP", "2001:db8::21", internal_ip="2001:db8::21"),
    unregistered("external-ip", "--externalIP", "192.0.2.33", external_ip="192.0.2.33"),
    unregistered("external-ipv6", "--externalIP", "2001:db8::1", external_ip="2001:db8::1"),
    Case("registered-with-internal-ip", flags=("--autoregister", "--internalIP", "10.1.2.3"), settings={"internal_ip": "10.1.2.3"}),
    Case("issue-43656-ingress-ip", flags=("--autoregister", "--ingressIP", "192.0.2.7"), wish={"ingress_ip": "192.0.2.7"}),
    Case("ingress-ipv6", flags=("--autoregister", "--ingressIP", "2001:db8::7"), wish={"ingress_ip": "2001:db8::7"}),
    Case("cluster-id", flags=("--autoregister", "--clusterID", "other"), wish={"cluster_id": "other"}),
    Case("odd-cluster-id", flags=("--autoregister", "--clusterID", "it's $1"), wish={"cluster_id": "it's $1"}),
    Case("empty-cluster-id", flags=("--autoregister", "--clusterID", ""), wish={"cluster_id": ""}),
    Case("issue-35777-ingress-service", service="gw", flags=("--autoregister", "--ingressService", "gw")),
    Case("ingress-service-elsewhere", service="gw.{istio}-gw", flags=("--autoregister", "--ingressService", "gw.{istio}-gw")),
    Case("token-duration", flags=("--autoregister", "--tokenDuration", "7200")),
    # The gateway's address
    Case("external-ip-of-the-service", ingress=(), external_ips=("192.0.2.1",)),
    Case("external-ip-beside-a-load-balancer", external_ips=("192.0.2.1",)),
    Case("ipv6-gateway", ingress=({"ip": "2001:db8::5"},)),
    Case("dual-stack-gateway", ingress=({"ip": "2001:db8::5"}, {"ip": "192.0.2.9"})),
    Case("gateway-with-address-and-name", ingress=({"ip": "192.0.2.5", "hostname": "gw.example"},)),
    # Revisions
    Case("issue-52257-revision", revision="1-31", asked="1-31", mesh=MESH.replace("istiod.", "istiod-1-31.")),
    Case("revision-without-address", revision="canary", asked="canary",
         mesh=MESH.replace("  discoveryAddress: istiod.{istio}.svc:15012\n", "")),
    Case("revision-named-default", asked="default"),
    # proxy.istio.io/config
    Case("proxy-config", annotations={ANNOTATION: "concurrency: 3\nproxyMetadata: {A: '1', B: x}\n"}, mesh=WITH_METADATA),
    Case("proxy-config-of-the-template", {"metadata": {"annotations": {ANNOTATION: "statusPort: 15999"}}}, mesh=WITH_METADATA),
    Case(
        "proxy-config-twice",
        {"metadata": {"annotations": {ANNOTATION: "proxyMetadata: {B: 'y'}\nconcurrency: 0"}}},
        {ANNOTATION: "concurrency: 3\nproxyMetadata: {A: '1', B: x}\ntracing: {datadog: {address: 'd:1'}}"},
        mesh=WITH_METADATA,
    ),
    Case("proxy-config-discovery-address", annotations={ANNOTATION: "discoveryAddress: other.example:15012"}, mesh=WITH_METADATA),
    Case("proxy-config-empty", annotations={ANNOTATION: ""}, mesh=WITH_METADATA),
    # The mesh config
    Case("empty-mesh-config", {"template": {"network": None}}, mesh="", network=""),
    configured("trust-domain-unicode", "  meshId: m", "trustDomain: b\u00fccher.example"),
    configured("trust-domain-odd", "  meshId: 'it''s $x'", "trustDomain: \"a b: #c\""),
    configured("snake-case", "  mesh_id: m1\n  drain_duration: 45s\n  proxy_metadata: {{A: b}}", "trust_domain: td"),
    configured("status-port-15021", "  statusPort: 15021"),
    configured("status-port-15090", "  statusPort: 15090"),
    configured("status-port-of-its-own", "  statusPort: 16000"),
    configured("readiness-probe-of-the-mesh", "  readinessProbe: {{httpGet: {{port: 1}}}}"),
    configured("concurrency-0", "  concurrency: 0\n  proxyAdminPort: 15000"),
    configured("dual-stack", "  proxyMetadata: {{ISTIO_DUAL_STACK: 'true', ISTIO_AGENT_DUAL_STACK: 'true'}}"),
    configured("tracing", "  tracing: {{sampling: 0.00001, maxPathTagLength: 256, customTags: {{yes: {{literal: {{value: 'on'}}}}}}}}"),
    configured("tracing-by-lightstep", "  tracing: {{lightstep: {{address: 'l:1', accessToken: x}}, sampling: 100}}"),
    configured("enumerations", "  interceptionMode: TPROXY\n  controlPlaneAuthPolicy: NONE\n  image: {{imageType: debug}}"),
    configured("durations", "  drainDuration: 1m30.5s\n  terminationDrainDuration: 5s\n  fileFlushInterval: 0.001s"),
    configured("lists", "  extraStatTags: ['1', 'true', '']\n  proxyStatsMatcher: {{inclusionRegexps: ['.*', 'a: b', '- x']}}"),
    configured("certificates", "  caCertificatesPem:\n  - |\n    -----BEGIN CERTIFICATE-----\n    abc\n    -----END CERTIFICATE-----"),
    configured("headers", "  proxyHeaders: {{server: {{value: x}}, requestId: {{disabled: false}}, forwardedClientCert: SANITIZE}}"),
    configured("private-key-provider", "  privateKeyProvider: {{cryptomb: {{pollDelay: 10ms}}}}\n  gatewayTopology: {{}}"),
    configured("runtime-values", "  runtimeValues: {{overload.global_downstream_max_connections: '50000'}}\n  unknownField: 1"),
    configured("what-is-not-for-proxies", "  meshId: m", "accessLogFile: /dev/stdout\nextensionProviders:\n- name: x\n"),
    with_metadata("quotes", """it's "so" $HOME `id`"""),
    with_metadata("unicode", '"\\u00fc \\U0001f600 \\u2028 end"'),
    with_metadata("lines", '"one\\n two\\n"'),
    with_metadata("number-like", '"0123"'),
    with_metadata("date-like", '"2024-01-01"'),
    with_metadata("merge-like", '"<<"'),
    with_metadata("equals", '"="'),
    with_metadata("empty-value", '""'),
    with_metadata("html", '"<a href=''x''>&amp;</a>"'),
    with_metadata("long", "a very long text that goes on and on, and then a bit more, until it must be folded, twice perhaps, or not"),
    # Groups handed over as a whole
    Case("file", file=True),
    Case("file-without-service-account", {"template": {"serviceAccount": None}}, file=True, wish={"allow_service_account": True}),
    Case("file-without-metadata", {"metadata": None}, file=True),
    Case("file-with-everything", {"template": {"ports": {"a": 1, "b": 2}, "labels": {"x": "y"}, "locality": "r/z"}},
         {ANNOTATION: "proxyMetadata: {A: '1'}"}, mesh=WITH_METADATA, file=True),
]  # fmt: skip

# Where istioctl stops, although the API server takes the group; ours gives what istioctl gives for the twin.
FAILING = {
    "a nil map is written to where the mesh config has no proxyMetadata: annotation of the group": Case(
        "nil-map", annotations={ANNOTATION: "concurrency: 3\nproxyMetadata: {A: '1'}\n"}, twin={"mesh": WITH_METADATA}
    ),
    "likewise: annotation of spec.metadata": Case(
        "nil-map-of-the-template",
        {"metadata": {"annotations": {ANNOTATION: "statusPort: 15999\nproxyMetadata: {A: '1'}"}}},
        twin={"mesh": WITH_METADATA},
    ),
    "a group without spec.metadata is read through a nil pointer": Case(
        "no-metadata", {"metadata": None}, twin={"group": {"metadata": {"labels": None, "annotations": {"a": "b"}}}}
    ),
    "a group without a ServiceAccount gets no token": Case(
        "no-service-account",
        {"template": {"serviceAccount": None}},
        wish={"allow_service_account": True},
        twin={"group": {"template": {"serviceAccount": "default"}}},
    ),
    "a tag other than `default` is taken for a revision": Case(
        "tag",
        revision="stable",
        tag="prod",
        asked="prod",
        mesh=MESH.replace("istiod.", "istiod-stable."),
        twin={"asked": "stable"},
    ),
}

# istioctl 1.30 knows the tag `default` only where istiod is in istio-system; ours and 1.31's in each namespace.
DEFAULT_TAG = Case("default-tag", revision="stable", tag="default", mesh=MESH.replace("istiod.", "istiod-stable."))

# Where istioctl leaves `hosts` empty, with a warning only; ours has what stands beside the case.
WITHOUT_HOSTS = {
    "a load balancer with a name": (Case("name", ingress=({"hostname": "localhost"},)), ["127.0.0.1"]),
    "an address that is a name": (
        Case("name-given", ingress=(), flags=("--autoregister", "--ingressIP", "localhost"), wish={"ingress_ip": "localhost"}),
        ["127.0.0.1"],
    ),
}  # fmt: skip

# Where istioctl takes the first of several addresses; ours has a line for each.
SEVERAL = [
    Case("several-external-ips", ingress=(), external_ips=("192.0.2.1", "192.0.2.2")),
    Case("several-ingress-ips", ingress=({"ip": "192.0.2.8"}, {"ip": "192.0.2.7"}, {"ip": "2001:db8::5"})),
]
