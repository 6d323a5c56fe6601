# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands for a cloud's metadata server and for the issuer of what it says.

A machine that asks 169.254.169.254 gets a signed identity token for the audience that it names, by the address that it asks from. Whoever
wants to know whether such a token is right finds the key at the issuer, by OpenID Connect's discovery. Both are what clouds do; only who
is who is decided by the last number of the address: from .31 on, a machine is of the group envoydummy.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

KEY = Path("/var/lib/lab-metadata/key.pem")
ISSUER, CERTIFICATE, CERTIFICATE_KEY, NETWORK = sys.argv[1:5]
FIRST_OF_GROUP = 31


def encoded(data: bytes) -> str:
    """As JSON Web Tokens have it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*arguments: str, data: bytes = b"") -> bytes:
    """Runs openssl."""
    return subprocess.run(["openssl", *arguments], input=data, stdout=subprocess.PIPE, check=True).stdout


def keys() -> dict[str, object]:
    """The issuer's public key."""
    modulus = openssl("rsa", "-in", str(KEY), "-noout", "-modulus").decode().strip().split("=")[1]
    key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "lab", "e": "AQAB", "n": encoded(bytes.fromhex(modulus))}
    return {"keys": [key]}


def identity(address: str, audience: str) -> str:
    """What the machine at an address is, signed."""
    net = ipaddress.ip_network(NETWORK)
    number = int(ipaddress.ip_address(address)) - int(net.network_address)
    email = "envoydummy@lab.test" if FIRST_OF_GROUP <= number < 200 else "other@lab.test"
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": audience,
        "sub": f"machine-{address}",
        "email": email,
        "email_verified": True,
        "iat": now,
        "exp": now + 3600,
    }
    words = [encoded(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT", "kid": "lab"}, claims)]
    signature = openssl("dgst", "-sha256", "-sign", str(KEY), data=".".join(words).encode())
    return ".".join([*words, encoded(signature)])


class Handler(BaseHTTPRequestHandler):
    """Answers GETs with text."""

    def answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if text.startswith("{") else "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


class Metadata(Handler):
    """What machines ask."""

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        audience = urllib.parse.parse_qs(url.query).get("audience", [""])[0]
        # A browser, or a program that was tricked into asking, can't add a header.
        if self.headers.get("Metadata-Flavor") != "Lab":
            self.answer(403, "the header Metadata-Flavor: Lab is missing")
        elif url.path != "/identity" or not audience:
            self.answer(404, "there is /identity?audience=...")
        else:
            self.answer(200, identity(self.client_address[0], audience))


class Issuer(Handler):
    """What those ask who want to know whether an identity is right."""

    def do_GET(self) -> None:
        if self.path == "/.well-known/openid-configuration":
            told = {
                "issuer": ISSUER,
                "jwks_uri": f"{ISSUER}/keys",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
            self.answer(200, json.dumps(told))
        elif self.path == "/keys":
            self.answer(200, json.dumps(keys()))
        else:
            self.answer(404, "not here")


def main() -> None:
    if not KEY.exists():
        openssl("genrsa", "-out", str(KEY), "2048")
    where = urllib.parse.urlsplit(ISSUER)
    issuer = ThreadingHTTPServer((where.hostname or "", where.port or 443), Issuer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, CERTIFICATE_KEY)
    issuer.socket = context.wrap_socket(issuer.socket, server_side=True)
    threading.Thread(target=issuer.serve_forever, daemon=True).start()
    ThreadingHTTPServer(("169.254.169.254", 80), Metadata).serve_forever()


if __name__ == "__main__":
    main()
