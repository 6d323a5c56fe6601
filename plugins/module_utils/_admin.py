# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Envoy's admin interface on this machine's loopback address. Private to the collection."""

from __future__ import annotations

import json
import typing as t
import urllib.error
import urllib.request


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Takes a redirect as an answer."""

    def redirect_request(self, *args: t.Any, **kwargs: t.Any) -> None:
        """Follows none."""


# A proxy in the environment would take requests away from this machine, and out of the mesh.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect())

# What asking raises where nobody answers, or something else than Envoy.
ERRORS = (urllib.error.URLError, OSError, ValueError)


class Admin:
    """Envoy's admin interface."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}/"

    def text(self, path: str) -> str:
        """An answer as it is."""
        with OPENER.open(self._base + path, timeout=10) as answer:
            return str(answer.read().decode("utf-8", "replace"))

    def json(self, path: str) -> dict[str, t.Any]:
        """An answer that is a JSON object."""
        return t.cast(t.Dict[str, t.Any], json.loads(self.text(path) or "{}"))


def reason(error: BaseException) -> str:
    """What one of ERRORS says, without the wrapping."""
    return str(getattr(error, "reason", None) or error)
