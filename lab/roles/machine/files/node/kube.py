# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""As much of a Kubernetes client as the lab's own units need, from the standard library alone."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any


class Gone(Exception):
    """The watch is too old: list again."""


class Api:
    """Requests with the client certificate of a kubeconfig (JSON, everything inline)."""

    def __init__(self, kubeconfig: str) -> None:
        with open(kubeconfig, encoding="utf-8") as stream:
            config = json.load(stream)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.host = urllib.parse.urlsplit(cluster["server"]).netloc
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self.tls = ssl.create_default_context(cadata=authority)
        # The ssl module takes key and certificate from files only.
        with tempfile.NamedTemporaryFile() as pem:
            for part in ("client-certificate-data", "client-key-data"):
                pem.write(base64.b64decode(user[part]))
            pem.flush()
            self.tls.load_cert_chain(pem.name)

    def _open(
        self, method: str, path: str, body: Any = None, kind: str = "application/json", timeout: int = 30
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPSConnection(self.host, context=self.tls, timeout=timeout)
        connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": kind})
        response = connection.getresponse()
        if response.status == 410:
            raise Gone
        if response.status >= 300:
            raise OSError(f"{method} {path}: {response.status} {response.read(500).decode(errors='replace')}")
        return response

    def get(self, path: str) -> Any:
        """One object, or a list."""
        return json.load(self._open("GET", path))

    def patch(self, path: str, body: Any) -> None:
        """A merge patch."""
        self._open("PATCH", path, body, "application/merge-patch+json").read()

    def events(self, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """("LISTED", whole list) first and after every gap, then (ADDED | MODIFIED | DELETED, object) as it happens, for ever."""
        while True:
            try:
                listed = self.get(path)
                yield "LISTED", listed
                version = listed["metadata"]["resourceVersion"]
                while True:
                    query = urllib.parse.urlencode({"watch": 1, "resourceVersion": version, "timeoutSeconds": 600})
                    for line in self._open("GET", f"{path}?{query}", timeout=660):
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            raise Gone
                        version = event["object"]["metadata"]["resourceVersion"]
                        yield event["type"], event["object"]
            except (Gone, OSError, http.client.HTTPException, ValueError) as error:
                print(f"watching {path} again: {error!r}")
                time.sleep(1)
