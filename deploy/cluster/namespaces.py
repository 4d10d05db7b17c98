"""The namespace of an installation: created with its Pod Security labels, deleted with everything in it."""

import time
from collections.abc import Callable, Sequence

from deploy.cluster import overlay
from deploy.cluster.api import Api, Manifest, reference
from deploy.cluster.spin import Tell
from deploy.errors import OperatorError

_TIMEOUT_S = 300.0


def create(api: Api, manifests: Sequence[Manifest], tell: Tell) -> None:
    """Create the namespace of an overlay, as the overlay describes it."""
    name = overlay.namespace(manifests)
    described = [found for found in manifests if found["kind"] == "Namespace"]
    there = api.get(reference("v1", "Namespace", name)) is not None
    api.apply(described[0] if described else reference("v1", "Namespace", name))
    tell(f"Namespace {name} {'exists' if there else 'created'}")


def delete(
    api: Api,
    name: str,
    tell: Tell,
    *,
    ask: Callable[[str], str] | None,
) -> None:
    """Delete a namespace with everything in it, volumes and secrets too, and wait until it is gone.

    `ask` is called with a question and returns the reply, which must be the name. None: do not ask.
    """
    namespace = reference("v1", "Namespace", name)
    if api.get(namespace) is None:
        tell(f"namespace {name} does not exist")
        return
    if (
        ask is not None
        and ask(f"Delete namespace {name} of {api.context}, with all data in it? Its name: ").strip() != name
    ):
        raise OperatorError("cancelled: nothing was deleted")
    api.delete(namespace)
    deadline_s = time.monotonic() + _TIMEOUT_S
    while api.get(namespace) is not None:
        if time.monotonic() > deadline_s:
            raise OperatorError(
                f"namespace {name} still exists after {_TIMEOUT_S:.0f} s: a finalizer in it may block its deletion"
            )
        time.sleep(0.2)
    tell(f"deleted   Namespace {name}")
