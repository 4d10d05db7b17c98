"""Secrets: copied from `.env` into the cluster by name. No value is printed, logged or passed as an argument."""

import base64
from collections.abc import Sequence
from pathlib import Path

from deploy.cluster import overlay
from deploy.cluster.api import Api, ApiRejection, Manifest, reference
from deploy.cluster.spin import Report
from deploy.develop.dotenv import SECRET_MARK, read_dotenv
from deploy.errors import OperatorError

# A separate field manager, so that applying an overlay never removes keys of a Secret.
_MANAGER = "push-secrets"
_LABELS = {"app.kubernetes.io/part-of": "push", "app.kubernetes.io/component": "secret"}


def load(api: Api, manifests: Sequence[Manifest], dotenv: Path, report: Report) -> None:
    """Write the Secrets of an overlay's containers. They contain only the variables of `.env` that the containers use.

    Optional ones are left out if they are empty. Raises OperatorError when another one is missing, before anything is
    written.
    """
    wanted = overlay.secret_keys(manifests)
    if not wanted:
        raise OperatorError("no container of this overlay uses a secret")
    if not dotenv.exists():
        raise OperatorError(f"{dotenv} does not exist: `python3 tasks.py dotenv.generate` writes it")
    values = read_dotenv(dotenv)
    keys = sorted({key for named in wanted.values() for key in named})
    missing = [key for key in keys if values.get(key, "") in ("", SECRET_MARK)]
    if missing:
        raise OperatorError(
            f"{dotenv.name} has no {', '.join(missing)}: `python3 tasks.py dotenv.generate` adds missing variables"
        )
    for name, named in sorted(overlay.secret_keys(manifests, optional=True).items()):
        given = [key for key in sorted(named) if values.get(key, "") not in ("", SECRET_MARK)]
        data = {key: base64.b64encode(values[key].encode()).decode() for key in given}
        try:
            api.apply(_secret(name, overlay.namespace(manifests)) | {"data": data}, manager=_MANAGER)
        except ApiRejection as rejection:
            # The server's message may contain the Secret.
            raise OperatorError(_rejection_text(name, rejection)) from None
        report(f"Secret {name}: {', '.join(data)}")


def show(api: Api, namespace: str, report: Report) -> None:
    """Report the Secrets of Push and the names of their keys."""
    found = api.list("v1", "Secret", namespace, labels="app.kubernetes.io/part-of=push")
    if not found:
        report(f"namespace {namespace} has no secrets of Push: `python3 tasks.py kubernetes.secrets.load` writes them")
    for secret in found:
        report(f"Secret {secret['metadata']['name']}: {', '.join(sorted(secret.get('data', {}))) or 'empty'}")


def delete(api: Api, namespace: str, report: Report) -> None:
    """Delete the Secrets of Push. Running pods keep their values."""
    found = api.list("v1", "Secret", namespace, labels="app.kubernetes.io/part-of=push")
    for secret in found:
        api.delete(reference("v1", "Secret", secret["metadata"]["name"], namespace))
        report(f"deleted   Secret {secret['metadata']['name']}")
    if not found:
        report(f"namespace {namespace} has no secrets of Push")


def _secret(name: str, namespace: str) -> dict[str, object]:
    metadata = {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/name": name, **_LABELS}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque"}


def _rejection_text(name: str, rejection: ApiRejection) -> str:
    not_found, forbidden = 404, 403
    why = {
        not_found: "the namespace does not exist: `python3 tasks.py kubernetes.namespace.create` creates it",
        forbidden: "forbidden",
    }
    return f"can't write Secret {name}: {why.get(rejection.status, f'the API server rejected it ({rejection.reason})')}"
