# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reaching an API server: against a server on this machine that speaks HTTP, with TLS where that matters."""

from __future__ import annotations

import base64
import http.server
import json
import os
import pathlib
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import typing as t

import pytest
import yaml
from ansible_collections.hybridmesh.istio.plugins.module_utils import _connection
from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import PATIENCE, ApiError

OPENSSL = shutil.which("openssl")
needs_openssl = pytest.mark.skipif(not OPENSSL, reason="there is no openssl to make certificates with")


class Server(http.server.ThreadingHTTPServer):
    """Remembers requests and answers what `answers` says, else with an empty object."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str, t.Any]] = []
        self.bodies: list[bytes] = []
        self.answers: list[tuple[int, t.Any]] = []
        self.peers: list[t.Any] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_args: t.Any) -> None:
        """Refused handshakes are what some tests are about."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.server.bodies.append(self.rfile.read(length))
        self.server.requests.append((self.command, self.path, self.headers))
        if isinstance(self.connection, ssl.SSLSocket):
            self.server.peers.append(self.connection.getpeercert())
        status, body = self.server.answers.pop(0) if self.server.answers else (200, {})
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def log_message(self, *_args: t.Any) -> None:
        pass


def serve(server: Server) -> t.Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def server() -> t.Iterator[Server]:
    yield from serve(Server())


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A CA as many clusters have it (no key usage), with a certificate for the server and one for a user."""
    folder = tmp_path_factory.mktemp("pki")

    def openssl(*arguments: str) -> None:
        subprocess.run([str(OPENSSL), *arguments], cwd=folder, check=True, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    (folder / "ca.cnf").write_text(
        "[req]\ndistinguished_name=dn\nx509_extensions=v3\n[dn]\n[v3]\nbasicConstraints=CA:true\n"
    )
    openssl(
        "req",
        "-x509",
        *curve,
        "-keyout",
        "ca.key",
        "-out",
        "ca.crt",
        "-days",
        "9",
        "-subj",
        "/CN=ca",
        "-config",
        "ca.cnf",
    )
    for name, extension in (
        ("server", "subjectAltName=IP:127.0.0.1,DNS:api.example\n"),
        ("user", "keyUsage=digitalSignature\n"),
    ):
        (folder / "ext").write_text(extension)
        openssl("req", *curve, "-keyout", f"{name}.key", "-out", "csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", "csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "9",
                "-extfile", "ext", "-out", f"{name}.crt")  # fmt: skip
    return folder


@pytest.fixture
def tls_server(pki: pathlib.Path) -> t.Iterator[Server]:
    server = Server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "server.crt", pki / "server.key")
    context.load_verify_locations(pki / "ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    server.socket = context.wrap_socket(server.socket, server_side=True)
    yield from serve(server)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    for name in (*_connection.ENVIRONMENT.values(), "KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def kubeconfig(server: str, user: dict[str, t.Any] | None = None, **cluster: t.Any) -> dict[str, t.Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "clusters": [
            {"name": "c", "cluster": {"server": server, **cluster}},
            {"name": "dead", "cluster": {"server": "http://127.0.0.1:1"}},
        ],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [
            {"name": "one", "context": {"cluster": "c", "user": "u"}},
            {"name": "two", "context": {"cluster": "dead", "user": "u"}},
        ],
    }


def inline(pki: pathlib.Path, name: str) -> str:
    return base64.b64encode((pki / name).read_bytes()).decode()


def user_of(pki: pathlib.Path) -> dict[str, str]:
    return {"client-certificate-data": inline(pki, "user.crt"), "client-key-data": inline(pki, "user.key")}


def subject(server: Server) -> str:
    return str(server.peers[-1]["subject"][-1][0][1])


def test_host_and_token(server: Server) -> None:
    server.answers.append((200, {"kind": "Status"}))
    cluster = Cluster({"host": server.url + "/", "api_key": "secret"})
    assert cluster.request("GET", "/api/v1/pods", {"labelSelector": "a=b,c"}) == {"kind": "Status"}
    method, path, headers = server.requests[0]
    assert (method, path) == ("GET", "/api/v1/pods?labelSelector=a%3Db%2Cc")
    assert headers["Authorization"] == "Bearer secret"
    assert headers["Accept"] == "application/json"
    assert cluster.server_time is not None


def test_one_connection_for_many_requests(server: Server) -> None:
    cluster = Cluster({"host": server.url, "api_key": "x"})
    for _number in range(5):
        cluster.request("POST", "/x", body={"a": 1})
    assert server.bodies == [b'{"a": 1}'] * 5
    assert cluster._pool.pools.get(next(iter(cluster._pool.pools.keys()))).num_connections == 1


def test_impersonation(server: Server) -> None:
    options = {"host": server.url, "api_key": "x", "impersonate_user": "jane", "impersonate_groups": ["ops", "dev"]}
    Cluster(options).request("GET", "/x")
    headers = server.requests[0][2]
    assert headers["Impersonate-User"] == "jane"
    assert headers.get_all("Impersonate-Group") == ["ops", "dev"]


def test_options_from_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K8S_AUTH_HOST", server.url)
    monkeypatch.setenv("K8S_AUTH_API_KEY", "from-env")
    monkeypatch.setenv("K8S_AUTH_VERIFY_SSL", "no")
    monkeypatch.setenv("K8S_AUTH_IMPERSONATE_USER", "jane")
    monkeypatch.setenv("K8S_AUTH_IMPERSONATE_GROUPS", "a, b")
    cluster = Cluster({"host": None})
    assert cluster.options["validate_certs"] is False
    assert cluster.options["impersonate_groups"] == ["a", "b"]
    cluster.request("GET", "/x")
    assert server.requests[0][2]["Authorization"] == "Bearer from-env"


@needs_openssl
@pytest.mark.parametrize(
    ("user", "cluster"),
    [
        ({}, {}),
        ({"token": "abc"}, {}),
        ({"token": ""}, {"insecure-skip-tls-verify": True}),
        ({"username": "me", "password": "a:secret"}, {"insecure-skip-tls-verify": False}),
        ({"username": "me"}, {}),
        ({"token": "abc", "username": "me", "password": "secret"}, {"tls-server-name": "api.example"}),
        ({"client-certificate": "user.crt", "client-key": "user.key"}, {"certificate-authority": "ca.crt"}),
        ({"client-certificate": "user.crt", "client-key-data": "user.key"}, {"certificate-authority-data": "ca.crt"}),
        ({"client-certificate-data": "user.crt", "client-key-data": "user.key", "token": "abc"}, {}),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_plain_words_mean_what_the_client_takes_them_for(
    pki: pathlib.Path, monkeypatch: pytest.MonkeyPatch, scheme: str, user: dict[str, t.Any], cluster: dict[str, t.Any]
) -> None:
    def filled(entry: dict[str, t.Any]) -> dict[str, t.Any]:
        return {key: inline(pki, value) if key.endswith("-data") else value for key, value in entry.items()}

    (pki / "config").write_text(yaml.safe_dump(kubeconfig(f"{scheme}://127.0.0.1:1/", filled(user), **filled(cluster))))

    def told() -> dict[str, t.Any]:
        found = Cluster({"kubeconfig": str(pki / "config")})
        access = found.configuration
        files = {
            name: pathlib.Path(path).read_bytes() if path else None
            for name, path in vars(access).items()
            if name in ("ssl_ca_cert", "cert_file", "key_file")
        }
        return {
            **files,
            "server": found.server,
            "authorization": found.authorization(),
            "verified": access.verify_ssl,
            "name": access.tls_server_name,
        }

    ours = told()
    monkeypatch.setattr(_connection, "read_plain", lambda *_entries: False)
    assert ours == told()


def test_plain_words_do_without_the_client(server: Server, tmp_path: pathlib.Path) -> None:
    (tmp_path / "config").write_text(yaml.safe_dump(kubeconfig(server.url, {"token": "abc"})))
    program = (
        "import sys; from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster;"
        f"Cluster({{'kubeconfig': {str(tmp_path / 'config')!r}}}).get('/version'); assert 'kubernetes' not in sys.modules"
    )
    root = pathlib.Path(_connection.__file__).parents[5]
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": str(root)})
    assert server.requests[0][2]["Authorization"] == "Bearer abc"


@pytest.mark.parametrize("where", ["user", "cluster"])
def test_a_file_that_is_not_there(tmp_path: pathlib.Path, where: str) -> None:
    user = {"client-certificate": "none.crt", "client-key": "none.key"} if where == "user" else {"token": "abc"}
    cluster = {"certificate-authority": "none.crt"} if where == "cluster" else {}
    (tmp_path / "config").write_text(yaml.safe_dump(kubeconfig("https://127.0.0.1:1", user, **cluster)))
    with pytest.raises(MeshError, match=r"the kubeconfig can't be used: File does not exist: .*none\.crt"):
        Cluster({"kubeconfig": str(tmp_path / "config")})


def test_a_kubeconfig_and_its_contexts(server: Server, tmp_path: pathlib.Path) -> None:
    document = kubeconfig(server.url, {"token": "of-kubeconfig"})
    Cluster({"kubeconfig": document}).request("GET", "/x")
    assert server.requests[0][2]["Authorization"] == "Bearer of-kubeconfig"
    with pytest.raises(ApiError, match=r"no answer from the API server http://127\.0\.0\.1:1"):
        Cluster({"kubeconfig": document, "context": "two"}).request("GET", "/x")
    with pytest.raises(MeshError, match="context"):
        Cluster({"kubeconfig": document, "context": "three"})
    # An option stands above the kubeconfig.
    path = tmp_path / "config"
    path.write_text(json.dumps(document))
    Cluster({"kubeconfig": str(path), "api_key": "of-option"}).request("GET", "/x")
    assert server.requests[1][2]["Authorization"] == "Bearer of-option"


def test_a_token_file_beside_the_kubeconfig(server: Server, tmp_path: pathlib.Path) -> None:
    (tmp_path / "token").write_text("of-file")
    path = tmp_path / "config"
    path.write_text(json.dumps(kubeconfig(server.url, {"tokenFile": "token"})))
    Cluster({"kubeconfig": str(path)}).request("GET", "/x")
    assert server.requests[0][2]["Authorization"] == "Bearer of-file"


def test_no_kubeconfig(tmp_path: pathlib.Path) -> None:
    with pytest.raises(MeshError, match=r"\.kube/config can't be read: No such file"):
        Cluster({})


def test_in_cluster(server: Server, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a Pod: the address from the environment, token and CA from files."""
    from kubernetes.config import incluster_config

    (tmp_path / "token").write_text("of-pod")
    (tmp_path / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\n")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    with pytest.raises(MeshError, match="certificate or key for the API server can't be used"):
        Cluster({})
    # With a host of its own the token still comes from the Pod.
    (tmp_path / "ca.crt").write_bytes(pathlib.Path(ssl.get_default_verify_paths().cafile or _certifi()).read_bytes())
    Cluster({"host": server.url}).request("GET", "/x")
    assert str(server.requests[0][2]["Authorization"]).lower() == "bearer of-pod"


def _certifi() -> str:
    import certifi

    return certifi.where()


@needs_openssl
def test_tls(tls_server: Server, pki: pathlib.Path) -> None:
    """The CA has no key usage, which Python 3.13 would refuse by itself."""
    url = f"https://127.0.0.1:{tls_server.server_port}"
    config = kubeconfig(url, user_of(pki), **{"certificate-authority-data": inline(pki, "ca.crt")})
    Cluster({"kubeconfig": config}).request("GET", "/x")
    assert subject(tls_server) == "user"
    files = {"ca_cert": pki / "ca.crt", "client_cert": pki / "user.crt", "client_key": pki / "user.key"}
    Cluster({"host": url, **{key: str(path) for key, path in files.items()}}).request("GET", "/x")
    assert subject(tls_server) == "user"


@needs_openssl
def test_certificates_are_verified_unless_asked_not_to(tls_server: Server, pki: pathlib.Path) -> None:
    url = f"https://127.0.0.1:{tls_server.server_port}"
    with pytest.raises(ApiError, match="CERTIFICATE_VERIFY_FAILED") as caught:
        Cluster({"host": url, "api_key": "x"}).request("GET", "/x")
    assert "ca_cert" in caught.value.next_step
    assert not tls_server.requests
    Cluster({"host": url, "api_key": "x", "validate_certs": False}).request("GET", "/x")
    Cluster({"kubeconfig": kubeconfig(url, {"token": "x"}, **{"insecure-skip-tls-verify": True})}).request("GET", "/x")
    # Another name than the certificate's is no match; the kubeconfig may say which name to expect.
    by_name = f"https://localhost:{tls_server.server_port}"
    ca = {"certificate-authority": str(pki / "ca.crt")}
    with pytest.raises(ApiError, match=r"(?i)hostname"):
        Cluster({"kubeconfig": kubeconfig(by_name, {"token": "x"}, **ca)}).request("GET", "/x")
    Cluster({"kubeconfig": kubeconfig(by_name, {"token": "x"}, **ca, **{"tls-server-name": "api.example"})}).request(
        "GET", "/x"
    )


@needs_openssl
def test_keys_stay_off_the_disk(
    tls_server: Server, pki: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the kubeconfig and those that a credential plugin returns."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    url = f"https://127.0.0.1:{tls_server.server_port}"
    ca = {"certificate-authority-data": inline(pki, "ca.crt")}
    cluster = Cluster({"kubeconfig": kubeconfig(url, user_of(pki), **ca)})
    assert list(scratch.iterdir()) == []
    plugin = tmp_path / "plugin.py"
    plugin.write_text(
        "import json, sys\n"
        f"read = lambda name: open({str(pki)!r} + '/' + name).read()\n"
        "print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1', 'kind': 'ExecCredential', 'status':\n"
        "  {'clientCertificateData': read('user.crt'), 'clientKeyData': read('user.key')}}))\n"
    )
    run = {"apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable, "args": [str(plugin)]}
    by_plugin = Cluster({"kubeconfig": kubeconfig(url, {"exec": {**run, "interactiveMode": "Never"}}, **ca)})
    assert list(scratch.iterdir()) == []
    for each in (cluster, by_plugin):
        each.request("GET", "/x")
        assert subject(tls_server) == "user"
        # Still to be read by those who need a file, as long as the object lives.
        assert pathlib.Path(each.configuration.key_file).read_bytes() == (pki / "user.key").read_bytes()


def test_a_credential_plugin_is_asked_again_when_its_token_has_expired(server: Server, tmp_path: pathlib.Path) -> None:
    plugin = tmp_path / "plugin.py"
    counter = tmp_path / "counter"
    plugin.write_text(
        "import json, pathlib\n"
        f"counter = pathlib.Path({str(counter)!r})\n"
        "counter.write_text(counter.read_text() + 'x' if counter.exists() else 'x')\n"
        "token = 'token-%d' % len(counter.read_text())\n"
        "print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1', 'kind': 'ExecCredential',\n"
        "  'status': {'token': token, 'expirationTimestamp': '2020-01-01T00:00:00Z'}}))\n"
    )
    run = {"apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable, "args": [str(plugin)]}
    cluster = Cluster({"kubeconfig": kubeconfig(server.url, {"exec": {**run, "interactiveMode": "Never"}})})
    for _number in range(2):
        cluster.request("GET", "/x")
    tokens = [headers["Authorization"] for _method, _path, headers in server.requests]
    assert all(token.startswith("Bearer token-") for token in tokens)
    assert tokens[0] != tokens[1]


def test_a_credential_plugin_that_fails(server: Server) -> None:
    run = {"apiVersion": "client.authentication.k8s.io/v1", "command": "/nonexistent/plugin", "args": []}
    with pytest.raises(MeshError, match="kubeconfig") as caught:
        Cluster({"kubeconfig": kubeconfig(server.url, {"exec": {**run, "interactiveMode": "Never"}})}).request(
            "GET", "/x"
        )
    assert caught.value.next_step


def test_proxy(server: Server) -> None:
    """The server stands in for the proxy: it is asked for another one's address."""
    options = {"host": "http://api.example:8080", "api_key": "x", "proxy": server.url}
    Cluster(options).request("GET", "/x")
    assert server.requests[0][1] == "http://api.example:8080/x"
    with_password = server.url.replace("http://", "http://me:se%40cret@")
    Cluster({**options, "proxy": with_password}).request("GET", "/x")
    assert server.requests[1][2]["Proxy-Authorization"] == "Basic " + base64.b64encode(b"me:se@cret").decode()


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "example.org,127.0.0.0/8", "127.0.0.1:{port}"])
def test_no_proxy(server: Server, no_proxy: str) -> None:
    options = {"host": server.url, "api_key": "x", "proxy": "http://127.0.0.1:1"}
    Cluster({**options, "no_proxy": no_proxy.format(port=server.server_port)}).request("GET", "/x")
    with pytest.raises(ApiError):
        Cluster({**options, "no_proxy": "example.org"}).request("GET", "/x")


def test_proxy_of_kubeconfig_and_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    config = kubeconfig("http://api.example", {"token": "x"}, **{"proxy-url": server.url})
    assert Cluster({"kubeconfig": config}).configuration.proxy == server.url
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:2")
    monkeypatch.setenv("no_proxy", "other.example")
    assert Cluster({"kubeconfig": config}).configuration.proxy == server.url
    plain = Cluster({"kubeconfig": kubeconfig("http://api.example", {"token": "x"})})
    assert plain.configuration.proxy == "http://127.0.0.1:2"
    assert plain.configuration.no_proxy == "other.example"
    assert Cluster({"kubeconfig": config, "proxy": "http://127.0.0.1:3"}).configuration.proxy == "http://127.0.0.1:3"


def test_errors_of_the_api(server: Server) -> None:
    cluster = Cluster({"host": server.url, "api_key": "x"})
    server.answers += [
        (404, {"reason": "NotFound"}),
        (403, {"reason": "Forbidden", "message": "no"}),
        (401, {}),
        (500, b"oops"),
    ]
    assert cluster.get("/api/v1/namespaces/a/pods/b") is None
    with pytest.raises(ApiError, match='may verb "get" on resource "pods" in namespace "a"') as forbidden:
        cluster.get("/api/v1/namespaces/a/pods/b")
    assert (forbidden.value.status, forbidden.value.reason) == (403, "Forbidden")
    with pytest.raises(ApiError, match="credentials that the API server accepts"):
        cluster.get("/x")
    with pytest.raises(ApiError, match="oops"):
        cluster.get("/x")


def test_pages(server: Server) -> None:
    cluster = Cluster({"host": server.url, "api_key": "x"})
    server.answers += [(200, {"items": [{"n": 1}], "metadata": {"continue": "abc"}}), (200, {"items": [{"n": 2}]})]
    assert cluster.list_all("/api/v1/pods", {"labelSelector": "a"}, limit=1) == [{"n": 1}, {"n": 2}]
    assert server.requests[1][1] == "/api/v1/pods?labelSelector=a&limit=1&continue=abc"


def test_pages_that_expire(server: Server) -> None:
    cluster = Cluster({"host": server.url, "api_key": "x"})
    server.answers += [
        (200, {"items": [{"n": 1}], "metadata": {"continue": "abc"}}),
        (410, {"reason": "Expired"}),
        (200, {"items": [{"n": 1}, {"n": 2}]}),
    ]
    assert cluster.list_all("/api/v1/pods", limit=1) == [{"n": 1}, {"n": 2}]
    assert server.requests[2][1] == "/api/v1/pods"


def test_a_kind_that_is_not_there_has_no_objects(server: Server) -> None:
    server.answers.append((404, {"reason": "NotFound"}))
    assert Cluster({"host": server.url, "api_key": "x"}).list_all("/apis/none/v1/things") == []


def test_nothing_secret_in_errors(server: Server) -> None:
    server.answers.append((401, {"message": "Unauthorized"}))
    with pytest.raises(ApiError) as caught:
        Cluster({"host": server.url, "api_key": "very-secret"}).request("GET", "/x")
    assert "very-secret" not in str(caught.value)


def test_no_kubernetes_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_connection, "IMPORT_ERROR", ImportError("no", name="kubernetes"))
    with pytest.raises(MeshError, match="pip install kubernetes"):
        Cluster({})


def test_name_and_password(server: Server) -> None:
    cluster = Cluster({"host": server.url, "username": "jane", "password": "secret"})
    cluster.request("GET", "/x")
    assert server.requests[0][2]["Authorization"] == "Basic amFuZTpzZWNyZXQ="


def test_a_token_goes_before_the_kubeconfigs_name_and_password(server: Server) -> None:
    document = kubeconfig(server.url, {"username": "me", "password": "secret"})
    Cluster({"kubeconfig": document}).request("GET", "/x")
    Cluster({"kubeconfig": document, "api_key": "abc"}).request("GET", "/x")
    assert [sent["Authorization"] for _verb, _path, sent in server.requests] == ["Basic bWU6c2VjcmV0", "Bearer abc"]


def test_headers_for_a_proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K8S_AUTH_PROXY_HEADERS_USER_AGENT", "from-env")
    options = {"host": server.url, "api_key": "x", "proxy_headers": {"proxy_basic_auth": "a:b", "basic_auth": None}}
    Cluster(options).request("GET", "/x")
    headers = server.requests[0][2]
    assert headers["Proxy-Authorization"] == "Basic YTpi"
    assert headers["User-Agent"] == "from-env"


def test_a_busy_api_server_is_waited_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(_connection.time, "sleep", pauses.append)
    cluster = Cluster({"host": server.url, "api_key": "x"})
    server.answers += [(429, {}), (429, {}), (200, {"a": 1})]
    assert cluster.request("GET", "/x") == {"a": 1}
    assert pauses == [1.0, 1.0]
    server.answers += [(429, {"message": "too many requests"})] * 40
    with pytest.raises(ApiError, match="an API server that has time for a request") as caught:
        cluster.request("GET", "/x")
    assert caught.value.status == 429
    assert sum(pauses[2:]) == PATIENCE


def test_admission_policies_are_no_missing_rights(server: Server) -> None:
    server.answers.append((403, {"reason": "Forbidden", "message": "ValidatingAdmissionPolicy 'p' denied request: no"}))
    with pytest.raises(ApiError, match="a request that the cluster's admission policies allow"):
        Cluster({"host": server.url, "api_key": "x"}).get("/x")


def test_the_options_of_kubernetes_core() -> None:
    """Same names, types and aliases; so what people have in module_defaults or variables goes for both."""
    places = [pathlib.Path(path) / "ansible_collections/kubernetes/core" for path in sys.path]
    found = [place for place in places if place.is_dir()]
    if not found:
        pytest.skip("kubernetes.core is not installed here")
    source = (found[0] / "plugins/doc_fragments/k8s_auth_options.py").read_text()
    theirs = yaml.safe_load(source.partition('r"""')[2].partition('"""')[0])["options"]
    ours = _connection.connection_argument_spec()
    assert set(ours) == set(theirs)
    for name, option in theirs.items():
        assert (name, ours[name]["type"]) == (name, option["type"])
        assert (name, ours[name].get("aliases")) == (name, option.get("aliases"))
        for variable in re.findall(r"K8S_AUTH_[A-Z_]+", " ".join(option["description"])):
            assert variable == _connection.ENVIRONMENT[name]
