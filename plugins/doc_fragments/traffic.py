# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A declaration of traffic, key by key. Apart from its module, as it is longer than all else there."""

from __future__ import annotations


class ModuleDocFragment:
    """DOCUMENTATION says what `_traffic_spec` checks, as the role's argument spec does."""

    DOCUMENTATION = r"""
options:
  rules:
    description:
      - What is declared. Null does nothing; C({}) removes what was made under this O(name).
      - Each object takes a C(spec), for what Istio knows and these keys do not. It is laid over the object's own C(spec), mapping by
        mapping; lists are replaced.
    type: dict
    suboptions:
      gateways:
        description: Ways in. Each becomes a Gateway.
        type: list
        elements: dict
        suboptions:
          name:
            description: Its name.
            type: str
            required: true
          namespace:
            description: Its namespace.
            type: str
            required: true
          selector:
            description: Labels of the Pods that are the gateway, in whatever namespace.
            type: dict
            default: {istio: ingressgateway}
          servers:
            description: What they listen for.
            type: list
            elements: dict
            required: true
            suboptions:
              port:
                description: The port.
                type: int
                required: true
              protocol:
                description: Its protocol.
                type: str
                choices: [HTTP, HTTPS, HTTP2, GRPC, TLS, TCP, MONGO]
                default: HTTP
              name:
                description: The port's name. Without it, one made of protocol and port.
                type: str
              hosts:
                description: Hosts that are served, such as C(mockshop.com), C(*.example.com), or C(*) for all.
                type: list
                elements: str
                required: true
              tls:
                description: How TLS ends here. For C(HTTPS) and C(TLS).
                type: dict
                suboptions:
                  mode:
                    description: As Istio has it. Without it, C(SIMPLE) where there is a C(secret).
                    type: str
                    choices: [SIMPLE, MUTUAL, OPTIONAL_MUTUAL, PASSTHROUGH, AUTO_PASSTHROUGH, ISTIO_MUTUAL]
                  secret:
                    description: Secret with the certificate and its key, in the namespace that the gateway's Pods run in.
                    type: str
                  redirect:
                    description: Whether a server of protocol C(HTTP) sends all its clients on to HTTPS.
                    type: bool
                  min_version:
                    description: The oldest TLS that is spoken. Without it, Istio's own.
                    type: str
                    choices: [TLSV1_2, TLSV1_3]
          spec:
            description: Laid over the Gateway's own C(spec).
            type: dict
      routes:
        description: Where requests go. Each becomes a VirtualService.
        type: list
        elements: dict
        suboptions:
          name:
            description: Its name.
            type: str
            required: true
          namespace:
            description: Its namespace.
            type: str
            required: true
          hosts:
            description: Hosts as clients call them, such as C(mockshop.com).
            type: list
            elements: str
          services:
            description: Services of the cluster whose calls are routed, as C(name.namespace).
            type: list
            elements: str
          gateways:
            description: Gateways that it is on, as C(name) or C(namespace/name), declared here or there already; C(mesh) stands for all
              sidecars. Without it, C(mesh).
            type: list
            elements: str
          protocol:
            description: What the rules are about - C(http) requests, C(tls) connections by their SNI, C(tcp) connections.
            type: str
            choices: [http, tls, tcp]
            default: http
          rules:
            description: The rules, in order; the first that matches decides.
            type: list
            elements: dict
            suboptions:
              name:
                description: A name for logs and metrics.
                type: str
              match:
                description: Which requests it is for. One of the list suffices; within it all that is given must hold. Without it, all.
                type: list
                elements: dict
                suboptions:
                  path:
                    description: The path, exactly.
                    type: str
                  path_prefix:
                    description: What the path begins with.
                    type: str
                  path_regex:
                    description: A regular expression (RE2) for the whole path.
                    type: str
                  method:
                    description: The method, such as C(GET).
                    type: str
                  headers:
                    description: 'Headers by name, in lower case. A value, or C({prefix: ...}), C({regex: ...}) or C({present: true}).'
                    type: dict
                  query:
                    description: 'Parameters of the query by name. A value, or C({prefix: ...}) or C({regex: ...}).'
                    type: dict
                  port:
                    description: The port that was called.
                    type: int
                  sni:
                    description: Names asked for by SNI. For C(tls), where it is the route's hosts without this.
                    type: list
                    elements: str
                  source_labels:
                    description: Labels of the workload that calls. Within the mesh only.
                    type: dict
                  source_namespace:
                    description: Namespace of the workload that calls. Within the mesh only.
                    type: str
              backends:
                description: Where they go.
                type: list
                elements: dict
                suboptions:
                  service:
                    description: A Service of the cluster, as C(name.namespace).
                    type: str
                  host:
                    description: Or the host of a ServiceEntry.
                    type: str
                  port:
                    description: The Service's port. Needed at a gateway where it has several.
                    type: int
                  subset:
                    description: A subset that a destination declares.
                    type: str
                  weight:
                    description: Share of the requests, in percent. Needed where there are several backends; 100 in all.
                    type: int
              timeout:
                description: Seconds for a request, with all its retries. Without it, no limit.
                type: float
              retries:
                description: How often a request is tried again. Without it, twice, as Istio has it.
                type: dict
                suboptions:
                  attempts:
                    description: How often; 0 for never.
                    type: int
                    required: true
                  per_try_timeout:
                    description: Seconds for each try. Without it, C(timeout).
                    type: float
                  conditions:
                    description: When, as Envoy has it, such as C(5xx) or C(connect-failure). Without it, Istio's own.
                    type: list
                    elements: str
              mirrors:
                description: Where copies of the requests go. Their answers are dropped.
                type: list
                elements: dict
                suboptions:
                  service:
                    description: A Service of the cluster, as C(name.namespace).
                    type: str
                  host:
                    description: Or the host of a ServiceEntry.
                    type: str
                  port:
                    description: The Service's port. Needed at a gateway where it has several.
                    type: int
                  subset:
                    description: A subset that a destination declares.
                    type: str
                  percent:
                    description: Share of the requests that is copied, in percent.
                    type: float
                    default: 100.0
              rewrite:
                description: What is changed in a request on its way.
                type: dict
                suboptions:
                  path:
                    description: What the path, or the prefix that matched, becomes.
                    type: str
                  host:
                    description: What the host becomes.
                    type: str
              spec:
                description: Laid over the rule itself, such as C(redirect), C(fault), C(corsPolicy) or C(headers).
                type: dict
          spec:
            description: Laid over the VirtualService's own C(spec).
            type: dict
      destinations:
        description: What is behind a host, and how it is called. Each becomes a DestinationRule.
        type: list
        elements: dict
        suboptions:
          service:
            description: A Service of the cluster, as C(name.namespace).
            type: str
          host:
            description: Or the host of a ServiceEntry, or a pattern such as C(*.shop.svc.cluster.local).
            type: str
          name:
            description: The object's name. Without it, the Service's, or one made of the host.
            type: str
          namespace:
            description: The object's namespace. Without it, the Service's. With C(host), it is needed.
            type: str
          subsets:
            description: 'Subsets by name, each with its labels, such as C(v2: {version: v2}).'
            type: dict
          tls:
            description: How it is called. Without it, by mutual TLS wherever a sidecar is.
            type: dict
            suboptions:
              mode:
                description: As Istio has it.
                type: str
                required: true
                choices: [DISABLE, SIMPLE, MUTUAL, ISTIO_MUTUAL]
              secret:
                description: Secret with a certificate of the client, and the authority for the server's. At gateways only.
                type: str
              sni:
                description: Name that is asked for by SNI.
                type: str
              subject_alt_names:
                description: Names one of which the server's certificate must have.
                type: list
                elements: str
          load_balancing:
            description: Which endpoint is chosen. Without it, Istio's own, C(LEAST_REQUEST).
            type: str
            choices: [LEAST_REQUEST, ROUND_ROBIN, RANDOM, PASSTHROUGH]
          connections:
            description: Limits for each client. Without them, Istio's own.
            type: dict
            suboptions:
              max:
                description: Connections at most.
                type: int
              connect_timeout:
                description: Seconds until a connection must be there.
                type: float
              max_pending:
                description: Requests at most that wait for a connection.
                type: int
              max_requests:
                description: Requests at most at one time.
                type: int
              max_requests_per_connection:
                description: Requests after which a connection is closed.
                type: int
              idle_timeout:
                description: Seconds without a request after which a connection is closed.
                type: float
          outliers:
            description: When an endpoint that fails is left out for a while. Without it, never.
            type: dict
            suboptions:
              errors:
                description: Answers of 5xx in a row. Without it, 5.
                type: int
              interval:
                description: Seconds between two looks. Without it, 10.
                type: float
              ejection_time:
                description: Seconds that it is left out at least. Without it, 30.
                type: float
              max_percent:
                description: Share of the endpoints that may be left out, in percent. Without it, 10.
                type: int
          spec:
            description: Laid over the DestinationRule's own C(spec).
            type: dict
      sidecars:
        description: What sidecars know of. Each becomes a Sidecar.
        type: list
        elements: dict
        suboptions:
          name:
            description: Its name.
            type: str
            default: default
          namespace:
            description: Its namespace.
            type: str
            required: true
          selector:
            description: Labels of the workloads that it is for. Without it, all of the namespace.
            type: dict
          egress:
            description: Hosts that they call, as C(namespace/host), such as C(./*) for all of the own namespace and C(istio-system/*).
              Without it, all of the mesh.
            type: list
            elements: str
          outbound:
            description: What happens to calls of hosts that the mesh does not know. Without it, as the mesh has it.
            type: str
            choices: [ALLOW_ANY, REGISTRY_ONLY]
          spec:
            description: Laid over the Sidecar's own C(spec).
            type: dict
      mtls:
        description: Which connections workloads take. Each becomes a PeerAuthentication.
        type: list
        elements: dict
        suboptions:
          name:
            description: Its name.
            type: str
            default: default
          namespace:
            description: Its namespace. In istiod's own, it is for the whole mesh.
            type: str
            required: true
          mode:
            description: C(STRICT) takes mutual TLS alone; C(PERMISSIVE) plain text, too; C(UNSET) follows what is above it.
            type: str
            choices: [STRICT, PERMISSIVE, DISABLE, UNSET]
            default: STRICT
          selector:
            description: Labels of the workloads that it is for. Without it, all of the namespace.
            type: dict
          ports:
            description: 'Ports of the workloads with another mode, such as C(8080: PERMISSIVE). Needs a selector.'
            type: dict
          spec:
            description: Laid over the PeerAuthentication's own C(spec).
            type: dict
      access:
        description: Who may call whom. Each becomes an AuthorizationPolicy.
        type: list
        elements: dict
        suboptions:
          name:
            description: Its name.
            type: str
            required: true
          namespace:
            description: Its namespace. In istiod's own, it is for the whole mesh.
            type: str
            required: true
          selector:
            description: Labels of the workloads that are called. Without it, all of the namespace.
            type: dict
          allow:
            description: Who is let in, and nobody else. One of the list suffices; within it all that is given must hold. C([]) lets nobody
              in; a rule without keys, everybody. Either this or C(deny).
            type: list
            elements: dict
            suboptions:
              identities:
                description: ServiceAccounts, as C(namespace/name), of Pods and virtual machines alike.
                type: list
                elements: str
              namespaces:
                description: Namespaces of the callers.
                type: list
                elements: str
              methods:
                description: Methods, such as C(GET). HTTP only.
                type: list
                elements: str
              paths:
                description: Paths, with a C(*) at the end or the beginning. HTTP only.
                type: list
                elements: str
              ports:
                description: Ports of the workload, not of its Service.
                type: list
                elements: int
          deny:
            description: Who is not let in, whatever other policies say. As C(allow).
            type: list
            elements: dict
            suboptions:
              identities:
                description: ServiceAccounts, as C(namespace/name), of Pods and virtual machines alike.
                type: list
                elements: str
              namespaces:
                description: Namespaces of the callers.
                type: list
                elements: str
              methods:
                description: Methods, such as C(GET). HTTP only.
                type: list
                elements: str
              paths:
                description: Paths, with a C(*) at the end or the beginning. HTTP only.
                type: list
                elements: str
              ports:
                description: Ports of the workload, not of its Service.
                type: list
                elements: int
          spec:
            description: Laid over the AuthorizationPolicy's own C(spec).
            type: dict
"""
