"""Larger volumes: Kubernetes can't change a StatefulSet's volume templates, so the StatefulSet is replaced."""

import re
from typing import Any

from deploy.cluster.api import Api, Manifest, namespace_of, title
from deploy.errors import OperatorError

_UNITS = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def grown(before: Manifest, wanted: Manifest) -> dict[str, str]:
    """Return the new size of each volume of a StatefulSet that must grow, by the name of its template.

    Raises OperatorError when a volume would shrink, which is impossible.
    """
    sizes = {}
    old = _sizes(before)
    for name, size in _sizes(wanted).items():
        if name not in old or _bytes(size) == _bytes(old[name]):
            continue
        if _bytes(size) < _bytes(old[name]):
            raise OperatorError(f"{title(wanted)}: volume {name} has {old[name]} and can't shrink to {size}")
        sizes[name] = size
    return sizes


def grow(api: Api, wanted: Manifest, sizes: dict[str, str]) -> list[str]:
    """Grow the volumes and replace the StatefulSet around its running pods. Returns the claims.

    The claims come first: a storage class without expansion rejects them before anything else is changed.
    """
    namespace, name = namespace_of(wanted), wanted["metadata"]["name"]
    claims = [
        (claim, size)
        for volume, size in sizes.items()
        for claim in api.list("v1", "PersistentVolumeClaim", namespace)
        if re.fullmatch(rf"{re.escape(volume)}-{re.escape(name)}-\d+", claim["metadata"]["name"])
    ]
    for claim, size in claims:
        api.apply(_claim(claim, size))
    api.replace(wanted, orphan=True)
    return [f"{claim['metadata']['name']} to {size}" for claim, size in claims]


def _claim(claim: Manifest, size: str) -> dict[str, Any]:
    metadata = {"name": claim["metadata"]["name"], "namespace": claim["metadata"]["namespace"]}
    spec = {"resources": {"requests": {"storage": size}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def _sizes(stateful_set: Manifest) -> dict[str, str]:
    return {
        claim["metadata"]["name"]: str(claim["spec"]["resources"]["requests"]["storage"])
        for claim in stateful_set["spec"].get("volumeClaimTemplates", ())
    }


def _bytes(size: str) -> int:
    found = re.fullmatch(r"(\d+)([KMGT]i)?", size)
    if found is None:
        raise OperatorError(f'invalid size of a volume "{size}". Use a size like 40Gi.')
    return int(found[1]) * _UNITS[found[2] or ""]
