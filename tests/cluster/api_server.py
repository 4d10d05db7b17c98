"""A small Kubernetes API server for the tests, on loopback. It has the parts that our tasks and kubectl use."""

import base64
import copy
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.cluster.state import Key, Object, Refusal, State

TOKEN = "of-the-operator"
_SHORT = {"PersistentVolumeClaim": ["pvc"]}
_VERBS = ["create", "delete", "get", "list", "patch", "watch"]


class ApiServer:
    """A server that runs until its exit; `state` is the cluster behind it."""

    def __init__(self, state: State, certificate: Path) -> None:
        """Serve with the certificate and its key from one file. Kubeconfigs trust only this certificate."""
        self.state = state
        public, _, _ = certificate.read_bytes().partition(b"-----BEGIN PRIVATE")
        self._authority = base64.b64encode(public).decode()
        self.forbidden: set[str] = set()
        """Plurals that the client must not access."""
        self.lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._http.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        # The TLS handshake runs in the thread of the connection, so a client that never starts it blocks no other.
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._http.server_port}"

    @contextmanager
    def running(self) -> Iterator["ApiServer"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()
            self._thread.join()

    def write_kubeconfig(self, path: Path) -> Path:
        described = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [
                {"name": "test", "cluster": {"server": self.url, "certificate-authority-data": self._authority}}
            ],
            "users": [{"name": "test", "user": {"token": TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }
        path.write_text(yaml.safe_dump(described))
        return path


def make_certificate(folder: Path) -> Path:
    """Create a self-signed certificate for loopback, with its key in the same file."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *made, *files], check=True, capture_output=True, timeout=30)
    certificate.write_bytes(certificate.read_bytes() + key.read_bytes())
    return certificate


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, server: ApiServer, *arguments: Any) -> None:
        self.api = server
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self._respond(self._get)

    def do_PATCH(self) -> None:
        self._respond(self._patch)

    def do_DELETE(self) -> None:
        self._respond(self._delete)

    def log_message(self, *_: object) -> None:
        """Log nothing: the tests read the cluster, not its log."""

    def _respond(self, act: Any) -> None:
        split = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(split.query).items()}
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._send(401, {"kind": "Status", "message": "Unauthorized", "reason": "Unauthorized", "code": 401})
            return
        if query.get("watch") in ("1", "true"):
            self._watch(split.path, query)
            return
        try:
            with self.api.lock:
                status, response = 200, act(split.path, query, body)
                content = response if isinstance(response, bytes) else json.dumps(response).encode()
        except Refusal as refusal:
            reported = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": str(refusal)}
            self._send(refusal.status, {**reported, "reason": refusal.reason, "code": refusal.status})
        else:
            self._send(status, content)

    def _send(self, status: int, response: Object | bytes) -> None:
        content = response if isinstance(response, bytes) else json.dumps(response).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _watch(self, path: str, query: dict[str, str]) -> None:
        """Stream changes from now on, one JSON object a line, until the client disconnects or the time is over."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        seen: dict[str, Object] = {}
        begun = False
        begun_s = time.monotonic()
        while time.monotonic() - begun_s < min(20.0, float(query.get("timeoutSeconds", "20"))):
            with self.api.lock:
                response = self._get(path, query, b"")
                assert isinstance(response, dict)
                now: dict[str, Object] = {found["metadata"]["uid"]: found for found in response["items"]}
                events = [{"type": "DELETED", "object": seen[gone]} for gone in seen.keys() - now.keys()]
                for uid, found in now.items():
                    if uid not in seen:
                        events.append({"type": "ADDED", "object": found})
                    elif seen[uid]["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
                        events.append({"type": "MODIFIED", "object": found})
                if not begun and query.get("sendInitialEvents") == "true":
                    events.append({"type": "BOOKMARK", "object": _bookmark(response)})
                seen, begun = copy.deepcopy(now), True
            try:
                self.wfile.write("".join(json.dumps(event) + "\n" for event in events).encode())
                self.wfile.flush()
            except OSError:
                return
            time.sleep(0.05)

    def _get(self, path: str, query: dict[str, str], _body: bytes) -> Object | bytes:
        state = self.api.state
        parts = path.strip("/").split("/")
        if path in ("/version", "/api", "/apis") or parts[0] == "openapi":
            return _described(state, path)
        version, rest = _version(parts)
        if not rest:
            return _resources(state, version)
        if rest[-1] == "log":
            return self._log(Key("v1", "pods", rest[1], rest[3]), query)
        return self._read(version, rest, query)

    def _read(self, version: str, rest: list[str], query: dict[str, str]) -> Object:
        state = self.api.state
        namespace, plural, name = _location(rest)
        kind = state.kind_of(version, plural)
        self._permit(plural)
        if name:
            return state.get(Key(version, plural, namespace, name))
        if plural == "pods" and version != "v1":
            return {"kind": "List", "apiVersion": version, "items": _usage(state, namespace)}
        items = state.list(version, plural, namespace, query.get("labelSelector", ""))
        if wanted := query.get("fieldSelector", "").removeprefix("metadata.name="):
            items = [found for found in items if found["metadata"]["name"] == wanted]
        return {"kind": f"{kind}List", "apiVersion": version, "metadata": {"resourceVersion": "1"}, "items": items}

    def _patch(self, path: str, query: dict[str, str], body: bytes) -> Object:
        version, rest = _version(path.strip("/").split("/"))
        namespace, plural, name = _location(rest)
        self.api.state.kind_of(version, plural)
        self._permit(plural)
        if self.headers["Content-Type"] == "application/strategic-merge-patch+json":
            return self.api.state.patch(Key(version, plural, namespace, name), json.loads(body))
        if self.headers["Content-Type"] != "application/apply-patch+yaml":
            raise Refusal(415, "UnsupportedMediaType", "this kind of patch is not served here")
        if not query.get("fieldManager"):
            raise Refusal(400, "BadRequest", "fieldManager is required for apply patch")
        key = Key(version, plural, namespace, name)
        return self.api.state.apply(key, yaml.safe_load(body), query["fieldManager"], dry_run="dryRun" in query)

    def _delete(self, path: str, query: dict[str, str], _body: bytes) -> Object:
        version, rest = _version(path.strip("/").split("/"))
        namespace, plural, name = _location(rest)
        self._permit(plural)
        orphan = query.get("propagationPolicy") == "Orphan"
        uid = self.api.state.delete(Key(version, plural, namespace, name), orphan=orphan)
        details = {"name": name, "kind": plural, "uid": uid}
        return {"kind": "Status", "apiVersion": "v1", "status": "Success", "details": details}

    def _log(self, pod: Key, query: dict[str, str]) -> bytes:
        self.api.state.get(pod)
        lines = [f'{{"event":"line {n} of {query["container"]}"}}' for n in range(100)]
        return "\n".join(lines[-int(query.get("tailLines", "100")) :]).encode()

    def _permit(self, plural: str) -> None:
        if plural in self.api.forbidden:
            raise Refusal(403, "Forbidden", f'User "test" cannot touch resource "{plural}"')


def _bookmark(response: Object) -> Object:
    """Return the bookmark that ends the initial events of a watch."""
    metadata = {"resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"}}
    return {"apiVersion": response["apiVersion"], "kind": response["kind"].removesuffix("List"), "metadata": metadata}


def _version(parts: list[str]) -> tuple[str, list[str]]:
    return (parts[1], parts[2:]) if parts[0] == "api" else ("/".join(parts[1:3]), parts[3:])


def _location(rest: list[str]) -> tuple[str, str, str]:
    """Return namespace, plural and name of the object at a path."""
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    return namespace, rest[0], rest[1] if len(rest) > 1 else ""


def _described(state: State, path: str) -> Object:
    if path == "/version":
        major, minor = state.version.split(".")
        return {"major": major, "minor": minor, "gitVersion": f"v{state.version}.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    return _groups(state) if path == "/apis" else _openapi(state, path.removeprefix("/openapi/v3").strip("/"))


def _groups(state: State) -> Object:
    groups = []
    for version in state.kinds:
        if "/" in version:
            named = {"groupVersion": version, "version": version.split("/")[1]}
            groups.append({"name": version.split("/")[0], "versions": [named], "preferredVersion": named})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def _resources(state: State, version: str) -> Object:
    if version not in state.kinds:
        raise Refusal(404, "NotFound", "the server could not find the requested resource")
    resources = [
        {
            "name": plural,
            "singularName": kind.lower(),
            "namespaced": namespaced,
            "kind": kind,
            "verbs": _VERBS,
            "shortNames": _SHORT.get(kind, []),
        }
        for kind, (plural, namespaced) in state.kinds[version].items()
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


def _openapi(state: State, group_version: str) -> Object:
    """Return a schema with `fieldValidation` and `dryRun` for each kind: kubectl leaves validation to the server."""
    paths = {("apis/" if "/" in version else "api/") + version: version for version in state.kinds}
    if not group_version:
        return {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}"} for path in paths}}
    version = paths[group_version]
    group, _, number = version.rpartition("/")
    described = {}
    for kind, (plural, namespaced) in state.kinds[version].items():
        within = "/namespaces/{namespace}" if namespaced else ""
        patch = {
            "parameters": [{"name": name, "in": "query"} for name in ("fieldManager", "fieldValidation", "dryRun")],
            "x-kubernetes-group-version-kind": {"group": group, "version": number, "kind": kind},
        }
        described[f"/{group_version}{within}/{plural}/{{name}}"] = {"patch": patch}
    return {"openapi": "3.0.0", "info": {"title": "test", "version": "1"}, "paths": described}


def _usage(state: State, namespace: str) -> list[Object]:
    return [
        {
            "metadata": {"name": pod["metadata"]["name"], "namespace": namespace},
            "containers": [
                {"name": found["name"], "usage": {"cpu": "12m", "memory": "64Mi"}}
                for found in pod["spec"]["containers"]
            ],
        }
        for pod in state.list("v1", "pods", namespace, "")
    ]
