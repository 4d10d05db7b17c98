"""Api: a Kubernetes API server, by the operator's own kubeconfig. What it refuses is told in a sentence."""

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import yaml
from kubernetes import config
from kubernetes.client import ApiClient, ApiException
from kubernetes.client import Configuration as ClientConfiguration
from urllib3.exceptions import HTTPError

from deploy.errors import OperatorError

Manifest = Mapping[str, Any]
FIELD_MANAGER = "push"
_CONNECT_S = 5.0
_GONE_S = 60.0
_ANSWER_S = 30.0  # the API server itself gives up on a webhook after as long

_NOT_FOUND = 404


class Refused(OperatorError):  # noqa: N818 - what happened, in a word
    """The API server said no. `reason` is its own word for why, for code to decide by."""

    def __init__(self, message: str, *, status: int, reason: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class _Question(NamedTuple):
    """What is asked of the server."""

    method: str
    path: str
    what: Manifest
    """The object that it is about."""
    query: Mapping[str, str] = MappingProxyType({})
    body: str | None = None
    content_type: str = "application/json"


@dataclass(frozen=True)
class Kind:
    """Where the objects of one kind are."""

    path: str
    """/api/v1 or /apis/<group>/<version>."""
    plural: str
    namespaced: bool

    def url(self, name: str, namespace: str) -> str:
        """Return the path of one object, or with no name of all of them."""
        within = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{self.path}{within}/{self.plural}" + (f"/{name}" if name else "")


class Api:
    """An API server; a context manager that closes its connections.

    Every method raises OperatorError with one sentence when it can't do what was asked.
    """

    def __init__(self, client: ApiClient, *, context: str) -> None:
        self._client = client
        self.context = context
        """What the kubeconfig calls it."""
        self._kinds: dict[tuple[str, str], Kind] = {}

    def __enter__(self) -> Self:
        """Return the server; it is connected to at the first question."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self._client.rest_client.close()

    def apply(self, manifest: Manifest, *, manager: str = FIELD_MANAGER) -> dict[str, Any]:
        """Bring an object to what the manifest says, by server-side apply; return it as it is then.

        Fields that the manifest does not name stay as they are. Unknown fields are refused, not dropped.
        """
        query = {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}
        url = self._kind(manifest).url(manifest["metadata"]["name"], namespace_of(manifest))
        body = json.dumps(manifest)
        return self._request(_Question("PATCH", url, manifest, query, body, "application/apply-patch+yaml"))

    def get(self, manifest: Manifest) -> dict[str, Any] | None:
        """Return the object that a manifest names, or None when there is none."""
        url = self._kind(manifest).url(manifest["metadata"]["name"], namespace_of(manifest))
        try:
            return self._request(_Question("GET", url, manifest))
        except Refused as refused:
            if refused.status == _NOT_FOUND:
                return None
            raise

    def delete(self, manifest: Manifest, *, orphan: bool = False) -> bool:
        """Delete an object, and what it owns behind it unless that is to be an orphan; False when there is none."""
        url = self._kind(manifest).url(manifest["metadata"]["name"], namespace_of(manifest))
        try:
            self._request(
                _Question("DELETE", url, manifest, {"propagationPolicy": "Orphan" if orphan else "Background"})
            )
        except Refused as refused:
            if refused.status == _NOT_FOUND:
                return False
            raise
        return True

    def replace(self, manifest: Manifest, *, orphan: bool = False) -> None:
        """Delete an object, wait until it is gone, and make it anew: what can't be changed changes so."""
        self.delete(manifest, orphan=orphan)
        deadline_s = time.monotonic() + _GONE_S
        while self.get(manifest) is not None:
            if time.monotonic() > deadline_s:
                raise OperatorError(f"{title(manifest)} was deleted {_GONE_S:.0f} s ago and is still there")
            time.sleep(0.1)
        self.apply(manifest)

    def list(self, api_version: str, kind: str, namespace: str, *, labels: str = "") -> list[dict[str, Any]]:
        """List the objects of a kind in a namespace, those with these labels alone."""
        wanted = reference(api_version, kind, "")
        url = self._kind(wanted).url("", namespace)
        answer = self._request(_Question("GET", url, wanted, {"labelSelector": labels} if labels else {}))
        items: list[dict[str, Any]] = answer["items"]
        return items

    def serves(self, api_version: str, kind: str) -> bool:
        """Whether the cluster knows a kind: those of operators are there only once they are installed."""
        try:
            self.require(reference(api_version, kind, ""))
        except UnknownKind:
            return False
        return True

    def require(self, manifest: Manifest) -> None:
        """Raise UnknownKind, which says what brings it, unless the cluster knows the kind of a manifest."""
        self._kind(manifest)

    def log(self, pod: str, namespace: str, *, container: str, tail: int) -> str:
        """Return the last lines that a container wrote."""
        url = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        query = {"container": container, "tailLines": str(tail)}
        question = _Question("GET", url, reference("v1", "Pod", pod, namespace), query)
        return self._raw(question).decode("utf-8", "replace")

    def _kind(self, manifest: Manifest) -> Kind:
        """Ask the server where objects of this kind are, once a group."""
        version, kind = manifest["apiVersion"], manifest["kind"]
        if (version, kind) not in self._kinds:
            path = f"/apis/{version}" if "/" in version else f"/api/{version}"
            try:
                answer = self._request(_Question("GET", path, manifest))
            except Refused as refused:
                if refused.status != _NOT_FOUND:
                    raise
                answer = {"resources": []}
            for found in answer["resources"]:
                if "/" not in found["name"]:
                    self._kinds[version, found["kind"]] = Kind(path, found["name"], found["namespaced"])
        if (version, kind) not in self._kinds:
            raise UnknownKind(f"the cluster knows no {kind} of {version}: {_WHO_BRINGS.get(version, 'is it too old?')}")
        return self._kinds[version, kind]

    def _request(self, question: _Question) -> dict[str, Any]:
        content = self._raw(question)
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise OperatorError(f"{self._host()} answered what no API server does: is the address right?")
        return answer

    def _raw(self, question: _Question) -> bytes:
        try:
            serialized = self._client.param_serialize(
                question.method,
                question.path,
                query_params=list(question.query.items()),
                header_params={"Accept": "application/json", "Content-Type": question.content_type},
                body=question.body,
                auth_settings=["BearerToken"],
            )
            response = self._client.call_api(*serialized, _request_timeout=(_CONNECT_S, _ANSWER_S))
            content: bytes = response.read()  # type: ignore[no-untyped-call]
        except (HTTPError, ApiException, OSError) as error:
            raise OperatorError(f"{self._host()} does not answer ({_plain(error)}): does the cluster run?") from error
        if response.status >= 400:  # noqa: PLR2004 - where HTTP's refusals begin
            raise _refusal(question, response.status, content)
        return content

    def _host(self) -> str:
        return f"the API server at {urlsplit(self._client.configuration.host).netloc} (context {self.context})"


class UnknownKind(OperatorError):  # noqa: N818 - what is wrong, in two words
    """The cluster has no such kind of object."""


_WHO_BRINGS = {
    "gateway.networking.k8s.io/v1": "install the Gateway API first",
    "keda.sh/v1alpha1": "install KEDA first",
    "cert-manager.io/v1": "install cert-manager first",
}


def connect(context: str = "", environ: Mapping[str, str] = os.environ) -> Api:
    """Connect as kubectl would: by KUBECONFIG or ~/.kube/config, and its current context unless another is named."""
    paths = environ.get("KUBECONFIG", "") or str(Path.home() / ".kube" / "config")
    if not any(Path(path).exists() for path in paths.split(os.pathsep)):
        raise OperatorError(
            f"no kubeconfig at {paths}: start a cluster (python3 tasks.py minikube.start), or set KUBECONFIG"
        )
    client_configuration = ClientConfiguration()
    try:
        contexts, current = config.list_kube_config_contexts(paths)  # type: ignore[no-untyped-call]
        config.load_kube_config(  # type: ignore[no-untyped-call]
            paths, context=context or None, client_configuration=client_configuration
        )
    except (config.ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, KeyError) as error:
        raise OperatorError(f"the kubeconfig at {paths} can't be used: {_plain(error)}") from error
    client_configuration.retries = False
    name = context or (current or {}).get("name") or (contexts[0]["name"] if contexts else "?")
    return Api(ApiClient(client_configuration), context=name)


def reference(api_version: str, kind: str, name: str, namespace: str = "") -> Manifest:
    """Name an object without saying anything of it."""
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def namespace_of(manifest: Manifest) -> str:
    """Return the namespace that a manifest names; empty when it names none."""
    return str(manifest["metadata"].get("namespace", ""))


def title(manifest: Manifest) -> str:
    """Name an object for people: `Deployment kafidx`."""
    return f"{manifest['kind']} {manifest['metadata']['name']}".strip()


def _refusal(question: _Question, status: int, content: bytes) -> Refused:
    told: dict[str, Any] = {}
    with suppress(ValueError):
        told = json.loads(content)
    message = " ".join(str(told.get("message") or content.decode("utf-8", "replace")).split())
    act = {"GET": "read", "PATCH": "apply", "DELETE": "delete"}.get(question.method, "use")
    subject = f"{act} {title(question.what)}"
    forbidden, unauthorized = 403, 401
    if status == unauthorized:
        text = f"can't {subject}: the cluster does not know these credentials: log in again"
    elif status == forbidden and "exceeded quota" not in message:
        text = f"can't {subject}: forbidden: {message}"
    else:
        text = f"can't {subject}: {message}"
    return Refused(text, status=status, reason=str(told.get("reason", "")))


def _plain(error: BaseException) -> str:
    """Say what a library's error says, on one line."""
    text = str(getattr(error, "reason", "") or error)
    return " ".join(text.split())[:300] or type(error).__name__
