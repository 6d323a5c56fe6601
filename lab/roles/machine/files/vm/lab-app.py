#!/usr/bin/python3
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands for the application that people run on their VMs: answers every GET with one line."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER = b"V2----------Bootstrap Service Mesh Implementation with Istio----------V2"


class Handler(BaseHTTPRequestHandler):
    """One answer for all."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, *_arguments: object) -> None:
        """The probe asks every few seconds: not worth a line each."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", 10000), Handler).serve_forever()
