# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of how a machine gets the sidecar's package, from a server on this machine."""

from __future__ import annotations

import hashlib
import http.server
import os
import threading

import pytest
from ansible_collections.hybridmesh.istio.plugins.module_utils import _package, _package_source
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

CONTENT = b"a package" * 1000
SUM = hashlib.sha256(CONTENT).hexdigest()


class Releases(http.server.BaseHTTPRequestHandler):
    """What it serves depends on the path."""

    def do_GET(self):
        name = self.path.rsplit("/", 1)[1]
        body = {"x.deb": CONTENT, "x.deb.sha256": f"{SUM}  x.deb\n".encode(), "cut.deb": CONTENT}.get(name)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write((body or b"")[: 100 if name == "cut.deb" else None])

    def log_message(self, *_arguments):
        """Says nothing."""


@pytest.fixture(scope="module")
def releases():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Releases) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(_package, "CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_package_is_fetched_and_verified(releases):
    path, checksum = _package_source.obtain(releases + "/x.deb", None, releases + "/x.deb.sha256")
    assert checksum == SUM
    assert os.stat(path).st_mode & 0o777 == 0o644
    with open(path, "rb") as stream:
        assert stream.read() == CONTENT


@pytest.mark.parametrize("checksum", [SUM, "sha256:" + SUM, SUM.upper()])
def test_a_checksum_that_was_given_counts(releases, checksum):
    assert _package_source.obtain(releases + "/x.deb", checksum, None)


@pytest.mark.parametrize(
    ("name", "checksum", "words"),
    [
        ("x.deb", "0" * 64, "which was published or given"),
        ("cut.deb", SUM, "can't be fetched"),
        ("gone.deb", None, "HTTP status 404"),
    ],
)
def test_what_is_wrong_is_refused_and_leaves_nothing(releases, cache, name, checksum, words):
    with pytest.raises(MeshError, match=words):
        _package_source.obtain(f"{releases}/{name}", checksum, None)
    assert os.listdir(cache) == []


def test_a_server_that_is_not_there_is_told(cache):
    with pytest.raises(MeshError, match="vm_sidecar_package_path"):
        _package_source.obtain("http://127.0.0.1:9/x.deb", None, None)
    assert os.listdir(cache) == []


def test_a_file_of_the_controller_s_is_taken(tmp_path):
    (tmp_path / "copied.deb").write_bytes(CONTENT)
    assert _package_source.obtain(str(tmp_path / "copied.deb"), SUM, None)
    assert not (tmp_path / "copied.deb").exists()
