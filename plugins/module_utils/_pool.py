# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to an API server: TLS, and proxies. Private to the collection."""

from __future__ import annotations

import contextlib
import ipaddress
import ssl
import typing as t
import urllib.parse

from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._kubeconfig import Access

# A missing one is told by Cluster (it comes with the kubernetes client).
with contextlib.suppress(ImportError):
    import urllib3

# More at once make no API server faster.
CONNECTIONS = 16


def make_pool(configuration: Access) -> t.Any:
    """A pool of connections that threads may share.

    Args:
        configuration: where the API server is, and how to get in.

    Raises:
        MeshError: certificates or keys can't be read, or a proxy needs a library that isn't there.
    """
    context = _context(configuration)
    settings: dict[str, t.Any] = {
        "ssl_context": context,
        "cert_reqs": context.verify_mode,
        "maxsize": CONNECTIONS,
        # Retries hide an unreachable API server for minutes; callers that wait do so on their own terms.
        "retries": False,
    }
    if configuration.tls_server_name:
        settings["server_hostname"] = settings["assert_hostname"] = configuration.tls_server_name
    proxy = configuration.proxy
    if not proxy or bypasses(configuration.host, configuration.no_proxy or ""):
        return urllib3.PoolManager(**settings)
    parts = urllib.parse.urlsplit(proxy)
    if parts.scheme.startswith("socks"):
        try:
            from urllib3.contrib.socks import SOCKSProxyManager
        except ImportError as error:
            raise MeshError(
                f"a SOCKS proxy ({parts.hostname}), and no PySocks",
                "the Python library PySocks on the controller",
                "install it there: pip install pysocks",
            ) from error
        return SOCKSProxyManager(proxy, **settings)
    headers = None
    if parts.username:
        credentials = urllib.parse.unquote(parts.username) + ":" + urllib.parse.unquote(parts.password or "")
        headers = urllib3.make_headers(proxy_basic_auth=credentials)
    return urllib3.ProxyManager(proxy, proxy_headers=headers, **settings)


def _context(configuration: Access) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert or None)
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, configuration.key_file)
    except (OSError, ssl.SSLError) as error:
        raise MeshError(
            f"a certificate or key for the API server can't be used: {error}",
            "readable PEM files, and a key that fits its certificate",
            "check ca_cert, client_cert and client_key, or the kubeconfig's entries",
        ) from error
    # Python 3.13 turned on a strictness that the CAs of many clusters don't meet; kubectl has no such thing.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return context


def bypasses(url: str, no_proxy: str) -> bool:
    """Whether a URL is to be reached without the proxy: `no_proxy` has names, domains, addresses, ranges, or `*`."""
    parts = urllib.parse.urlsplit(url)
    host = (parts.hostname or "").lower()
    with_port = f"{host}:{parts.port}"
    address = None
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
    for entry in (word.strip().lower() for word in no_proxy.split(",")):
        if address is not None:
            with contextlib.suppress(ValueError):
                if address in ipaddress.ip_network(entry, strict=False):
                    return True
        bare = entry.lstrip("*").lstrip(".")
        if entry == "*" or (bare and (bare in (host, with_port) or host.endswith("." + bare))):
            return True
    return False
