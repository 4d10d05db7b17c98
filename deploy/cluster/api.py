"""The Kubernetes API server that the operator's kubeconfig names. Each failure is one OperatorError of one sentence."""

import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import yaml
from kubernetes import config
from kubernetes.client import ApiClient, ApiException
from kubernetes.client import Configuration as ClientConfiguration
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import NotFoundError, ResourceNotFoundError
from urllib3.exceptions import HTTPError

from deploy.errors import OperatorError

Manifest = Mapping[str, Any]
FIELD_MANAGER = "push"
_CONNECT_S = 5.0
_RESPONSE_S = 30.0  # the API server itself waits as long for an admission webhook
_DELETED_S = 60.0


class ApiRejection(OperatorError):
    """The API server rejected a request.

    `status` is the HTTP status, `reason` is the reason in the Kubernetes Status object.
    """

    def __init__(self, message: str, *, status: int, reason: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class UnknownKind(OperatorError):
    """The cluster does not know this kind of object."""


_INSTALLED_WITH = {
    "gateway.networking.k8s.io/v1": "install the Gateway API first",
    "keda.sh/v1alpha1": "install KEDA first",
    "cert-manager.io/v1": "install cert-manager first",
}


class Api:
    """An API server. A context manager that closes its connections.

    Every method raises OperatorError when it fails: ApiRejection, UnknownKind, or OperatorError itself when the server
    does not respond.
    """

    def __init__(self, client: ApiClient, *, context: str) -> None:
        self._client = client
        self.context = context
        """The name of the context in the kubeconfig."""
        # By default DynamicClient caches its discovery in a file in /tmp, which any user can write.
        self._discovered = tempfile.TemporaryDirectory(prefix="push-discovery-")
        self._dynamic: DynamicClient | None = None
        self._resources: dict[tuple[str, str], Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.rest_client.close()
        self._discovered.cleanup()

    def apply(self, manifest: Manifest, *, manager: str = FIELD_MANAGER) -> dict[str, Any]:
        """Apply a manifest on the server and return the resulting object.

        Fields that the manifest does not name are kept. The server rejects unknown fields.
        """
        resource, strict = self._resource(manifest), [("fieldValidation", "Strict")]
        with self._reported("apply", manifest):
            applied: dict[str, Any] = resource.server_side_apply(
                body=dict(manifest),
                namespace=namespace_of(manifest) or None,
                field_manager=manager,
                force_conflicts=True,
                query_params=strict,
            ).to_dict()
            return applied

    def get(self, manifest: Manifest) -> dict[str, Any] | None:
        """Return the object that a manifest names, or None when it does not exist."""
        resource = self._resource(manifest)
        with self._reported("read", manifest):
            try:
                found: dict[str, Any] = resource.get(**_address(manifest)).to_dict()
            except NotFoundError:
                return None
            return found

    def delete(self, manifest: Manifest, *, orphan: bool = False) -> bool:
        """Delete an object and, unless `orphan`, the objects that it owns. Return False when it does not exist."""
        resource, policy = self._resource(manifest), "Orphan" if orphan else "Background"
        with self._reported("delete", manifest):
            try:
                resource.delete(**_address(manifest), propagation_policy=policy)
            except NotFoundError:
                return False
            return True

    def replace(self, manifest: Manifest, *, orphan: bool = False) -> None:
        """Delete an object, wait until it is gone, and create it again: for fields that can't be changed."""
        self.delete(manifest, orphan=orphan)
        deadline_s = time.monotonic() + _DELETED_S
        while self.get(manifest) is not None:
            if time.monotonic() > deadline_s:
                raise OperatorError(f"{title(manifest)} was deleted {_DELETED_S:.0f} s ago and still exists")
            time.sleep(0.1)
        self.apply(manifest)

    def list(self, api_version: str, kind: str, namespace: str, *, labels: str = "") -> list[dict[str, Any]]:
        """List the objects of a kind in a namespace, optionally only those with these labels."""
        wanted = reference(api_version, kind, "")
        resource = self._resource(wanted)
        with self._reported("read", wanted):
            items: list[dict[str, Any]] = resource.get(
                namespace=namespace or None, label_selector=labels or None
            ).to_dict()["items"]
            return items

    def serves(self, api_version: str, kind: str) -> bool:
        """Return whether the cluster knows a kind. An operator's kinds exist only after its installation."""
        try:
            self.require(reference(api_version, kind, ""))
        except UnknownKind:
            return False
        return True

    def require(self, manifest: Manifest) -> None:
        """Raise UnknownKind, which names what to install, unless the cluster knows the kind of a manifest."""
        self._resource(manifest)

    def log(self, pod: str, namespace: str, *, container: str, tail: int) -> str:
        """Return the last `tail` lines of a container's log."""
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        query = [("container", container), ("tailLines", str(tail))]
        manifest = reference("v1", "Pod", pod, namespace)
        with self._reported("read", manifest):
            # Do not parse the log: a log of one JSON line would become an object.
            log: bytes = self._connected().request("get", path, query_params=query, serialize=False).data
            return log.decode("utf-8", "replace")

    def _resource(self, manifest: Manifest) -> Any:
        """Return the client of a kind.

        DynamicClient does not cache an unknown kind, and repeats the whole discovery for it.
        """
        version, kind = manifest["apiVersion"], manifest["kind"]
        if (version, kind) not in self._resources:
            with self._reported("read", manifest):
                try:
                    # Pass the prefix. Without it, the client searches core kinds in every group of the cluster.
                    prefix = "apis" if "/" in version else "api"
                    found = self._connected().resources.get(prefix=prefix, api_version=version, kind=kind)
                except ResourceNotFoundError:
                    found = None
            self._resources[version, kind] = found
        resource = self._resources[version, kind]
        if resource is None:
            hint = _INSTALLED_WITH.get(version, "is it too old?")
            raise UnknownKind(f"the cluster knows no {kind} of {version}: {hint}")
        return resource

    def _connected(self) -> DynamicClient:
        """Return the dynamic client. The first call asks the server for its version and its API groups."""
        if self._dynamic is None:
            cache = Path(self._discovered.name) / "resources.json"
            try:
                self._dynamic = DynamicClient(self._client, cache_file=str(cache))  # type: ignore[no-untyped-call]
            except (ValueError, AttributeError, TypeError, KeyError) as error:
                raise OperatorError(f"{self._host()} is not a Kubernetes API server: check its address") from error
        return self._dynamic

    @contextmanager
    def _reported(self, action: str, manifest: Manifest) -> Iterator[None]:
        """Turn an exception of the client into an OperatorError that names the action and the object."""
        try:
            yield
        except (ApiException, HTTPError, OSError) as error:
            if isinstance(error, ApiException) and error.status:
                raise _rejection(f"can't {action} {title(manifest)}", error) from error
            raise OperatorError(
                f"{self._host()} does not respond ({_one_line(error)}): does the cluster run?"
            ) from error

    def _host(self) -> str:
        return f"the API server at {urlsplit(self._client.configuration.host).netloc} (context {self.context})"


class _LimitedClient(ApiClient):
    """An ApiClient with a time limit on every request. DynamicClient sets none for its discovery."""

    def call_api(self, *arguments: Any, **options: Any) -> Any:
        options["_request_timeout"] = (_CONNECT_S, _RESPONSE_S)
        return super().call_api(*arguments, **options)


def connect(context: str = "", environ: Mapping[str, str] = os.environ) -> Api:
    """Connect as kubectl does: by KUBECONFIG or ~/.kube/config, and its current context unless `context` is given."""
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
        raise OperatorError(f"the kubeconfig at {paths} can't be used: {_one_line(error)}") from error
    client_configuration.retries = False
    name = context or (current or {}).get("name") or (contexts[0]["name"] if contexts else "?")
    return Api(_LimitedClient(client_configuration), context=name)


def reference(api_version: str, kind: str, name: str, namespace: str = "") -> Manifest:
    """Return a manifest that only identifies an object."""
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def namespace_of(manifest: Manifest) -> str:
    """Return the namespace of a manifest, or an empty string."""
    return str(manifest["metadata"].get("namespace", ""))


def title(manifest: Manifest) -> str:
    """Return an object's kind and name: `Deployment kafidx`."""
    return f"{manifest['kind']} {manifest['metadata']['name']}".strip()


def _address(manifest: Manifest) -> dict[str, str | None]:
    return {"name": manifest["metadata"]["name"], "namespace": namespace_of(manifest) or None}


def _rejection(attempt: str, error: ApiException) -> ApiRejection:
    body = error.body.decode("utf-8", "replace") if isinstance(error.body, bytes) else str(error.body or "")
    status: dict[str, Any] = {}
    with suppress(ValueError):
        status = json.loads(body)
    message = " ".join(str(status.get("message") or body).split())
    forbidden, unauthorized = 403, 401
    if error.status == unauthorized:
        message = "the cluster does not know these credentials: log in again"
    elif error.status == forbidden and "exceeded quota" not in message:
        message = f"forbidden: {message}"
    return ApiRejection(f"{attempt}: {message}", status=int(error.status), reason=str(status.get("reason", "")))


def _one_line(error: BaseException) -> str:
    """Return the message of a library's exception on one line."""
    text = str(getattr(error, "reason", "") or error)
    return " ".join(text.split())[:300] or type(error).__name__
