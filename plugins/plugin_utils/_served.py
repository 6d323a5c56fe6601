# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which certificate istiod shows to those who come through the gateway. Private to the collection."""

from __future__ import annotations

import socket
import ssl
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._exposure import covers

# A gateway that the controller can reach answers at once; one behind a firewall must not hold up a run.
TIMEOUT = 2.0


class Served(t.NamedTuple):
    """What a TLS handshake with istiod showed.

    Attributes:
        trusted: whether the certificate follows from the given roots; None where nobody answered, or not in TLS.
        detail: why it was not, or why there was no answer.
        names: the DNS names of a trusted certificate.
    """

    trusted: bool | None
    detail: str
    names: tuple[str, ...] = ()

    def covers(self, host: str) -> bool:
        """Whether the certificate is one for that name."""
        return any(name == host or covers(name, host) for name in self.names)


def ask(address: str, port: int, server_name: str, roots: str, timeout: float = TIMEOUT) -> Served:
    """Makes one TLS handshake and ends the connection.

    Args:
        address: IP address or name to connect to.
        port: TCP port.
        server_name: name to ask for (SNI).
        roots: certificates (PEM), one of which the served chain must lead to.
        timeout: seconds, for connecting and for the handshake each.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Which names the certificate has is looked at by the caller: here it is the issuer that matters.
    context.check_hostname = False
    # Istio's roots lack what Python 3.13 is strict about; Go, which VMs verify with, isn't.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=roots)
    try:
        with (
            socket.create_connection((address, port), timeout) as plain,
            context.wrap_socket(plain, server_hostname=server_name) as secure,
        ):
            certificate = t.cast("dict[str, t.Any]", secure.getpeercert() or {})
    except ssl.SSLCertVerificationError as error:
        return Served(False, error.verify_message)
    except OSError as error:
        return Served(None, str(error))
    names = tuple(str(name) for kind, name in certificate.get("subjectAltName", ()) if kind == "DNS")
    return Served(True, "", names)
