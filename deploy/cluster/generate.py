"""Generate an overlay for one cluster: one file for each difference from the base. Equal flags write equal files.

It uses `kubernetes/base` and its components unchanged. It contains no secret and can be committed.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from deploy import catalog
from deploy.cluster import overlay
from deploy.cluster.api import Manifest
from deploy.cluster.settings import Cluster
from deploy.errors import OperatorError
from deploy.paths import ROOT

KUBERNETES = ROOT / "kubernetes"
_WRITTEN_BY = "# Written by `python3 tasks.py cloud.generate`, which overwrites it: change its flags, not this file.\n"


def hosts(known: catalog.Catalog, domain: str) -> dict[str, list[str]]:
    """Return the public names of each container that has any. The bare domain is the website's."""
    return {
        name: [f"{host}.{domain}" for host in found.host] + ([domain] if "www" in found.host else [])
        for name, found in known.containers.items()
        if found.host
    }


def generate(cluster: Cluster, directory: Path, known: catalog.Catalog | None = None) -> list[Path]:
    """Write the overlay into its own directory and return the files. Raises OperatorError."""
    kustomization = directory / "kustomization.yaml"
    files = _files(cluster, directory, known or catalog.load())
    if directory.exists() and any(directory.iterdir()):
        if not kustomization.exists() or not kustomization.read_text(encoding="utf-8").startswith(_WRITTEN_BY):
            raise OperatorError(f"{directory} is not empty and was not written by cloud.generate")
        for old in directory.glob("*.yaml"):
            if old.read_text(encoding="utf-8").startswith(_WRITTEN_BY):
                old.unlink()
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, documents in files.items():
        path = directory / name
        text = yaml.safe_dump_all(documents, sort_keys=False, default_flow_style=False, width=120)
        path.write_text(_WRITTEN_BY + text, encoding="utf-8")
        written.append(path)
    return written


def _files(cluster: Cluster, directory: Path, known: catalog.Catalog) -> dict[str, list[Any]]:
    """Return every file of the overlay, in the order in which its kinds are applied."""
    parts = _parts(cluster)
    _require_known_volumes(cluster, parts)
    metadata = {"name": cluster.namespace, "labels": _namespace_labels()}
    new = {
        "namespace.yaml": [{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}],
        # kubernetes.secrets.load writes the values: applying this overlay neither needs nor deletes them.
        "secret.yaml": [_secret(name) for name in sorted(overlay.secret_keys(parts))],
    }
    entry = _gateway(cluster, known) if cluster.entry == "gateway" else _ingress(cluster, known)
    changed = {
        "configmap.yaml": [
            _patch("v1", "ConfigMap", "push-settings", data={"TRUSTED_PROXIES": cluster.trusted_proxies})
        ],
        "statefulset.yaml": list(_workloads(cluster, parts, "StatefulSet")),
        "deployment.yaml": list(_workloads(cluster, parts, "Deployment")),
        "job.yaml": list(_workloads(cluster, parts, "Job")),
        "horizontalpodautoscaler.yaml": [
            _patch(
                "autoscaling/v2",
                "HorizontalPodAutoscaler",
                "tracker",
                spec={"minReplicas": cluster.trackers[0], "maxReplicas": cluster.trackers[1]},
            )
        ],
        **entry,
    }
    if cluster.nfs:
        spec = {"nfs": {"server": cluster.nfs}}
        changed["persistentvolume.yaml"] = [_patch("v1", "PersistentVolume", "push-images", spec=spec)]
    kustomization = _kustomization(cluster, directory, known, new=list(new), changed=list(changed))
    return {"kustomization.yaml": [kustomization], **new, **changed}


def _kustomization(
    cluster: Cluster, directory: Path, known: catalog.Catalog, *, new: Sequence[str], changed: Sequence[str]
) -> dict[str, Any]:
    prefix = f"{cluster.registry}/" if cluster.registry else ""
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": cluster.namespace,
        "labels": [{"pairs": {"app.kubernetes.io/version": cluster.version}}],
        "resources": [*new, _relative(KUBERNETES / "base", directory)],
        "components": _components(cluster, directory),
        "images": [
            {"name": f"push/{service}", "newName": f"{prefix}push/{service}", "newTag": cluster.version}
            for service in sorted(known.services)
        ],
        "patches": [
            *({"path": name} for name in changed),
            *_scaler_patches(cluster, known),
            *_volume_patches(cluster),
        ],
    }


def _scaler_patches(cluster: Cluster, known: catalog.Catalog) -> list[dict[str, Any]]:
    """Return the addresses in this namespace. KEDA asks from another namespace, so it needs the full names."""
    by_lag = "|".join(found.name for found in known.containers.values() if found.scales_by_lag)
    by_queues = "|".join(found.name for found in known.containers.values() if found.scales_by_queues)
    redis = urlsplit(known.addresses["ACTIONS_REDIS_URL"])
    kafka = [("/spec/triggers/0/metadata/bootstrapServers", f"kafka.{cluster.namespace}.svc:9092")]
    queues = [
        (f"/spec/triggers/{number}/metadata/address", f"{redis.hostname}.{cluster.namespace}.svc:{redis.port}")
        for number in range(len(known.handlers))
    ]
    return [
        {
            "target": {"kind": "ScaledObject", "name": names},
            "patch": "".join(f"- op: replace\n  path: {path}\n  value: {value}\n" for path, value in changes),
        }
        for names, changes in ((by_lag, kafka), (by_queues, queues))
    ]


def _volume_patches(cluster: Cluster) -> list[dict[str, Any]]:
    """Name the volume by its namespace: a PersistentVolume has none, and two installations need two."""
    if not cluster.nfs:
        return []
    renamed = f"- op: replace\n  path: /metadata/name\n  value: {cluster.namespace}-images\n"
    return [{"target": {"kind": "PersistentVolume"}, "patch": renamed, "options": {"allowNameChange": True}}]


def _components(cluster: Cluster, directory: Path) -> list[str]:
    names = ["network-policies", cluster.entry, "keda"]
    names += [*(["observability"] * cluster.observability), *(["city-databases"] * cluster.city_databases)]
    names += ["nfs"] * bool(cluster.nfs)
    return [_relative(KUBERNETES / "components" / name, directory) for name in names]


def _parts(cluster: Cluster) -> list[Manifest]:
    """Build the base and components of the overlay, without its changes."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder).resolve()
        kustomization = {
            "resources": [_relative(KUBERNETES / "base", directory)],
            "components": _components(cluster, directory),
        }
        (directory / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
        return overlay.build(directory)


def _workloads(cluster: Cluster, parts: Sequence[Manifest], kind: str) -> Iterator[dict[str, Any]]:
    """Return patches for the workloads of a kind: pull policy, replicas without an autoscaler, volume sizes."""
    for workload in parts:
        if workload["kind"] != kind:
            continue
        name, template = workload["metadata"]["name"], workload["spec"]["template"]["spec"]
        pod = {
            part: [{"name": found["name"], "imagePullPolicy": cluster.pull_policy} for found in template[part]]
            for part in ("initContainers", "containers")
            if template.get(part)
        }
        spec: dict[str, Any] = {"template": {"spec": pod}}
        if "replicas" in workload["spec"]:
            spec = {"replicas": workload["spec"]["replicas"], **spec}
        if "volumeClaimTemplates" in workload["spec"]:
            # A list without merge keys: the patch contains all of it.
            spec["volumeClaimTemplates"] = [
                _sized(claim, cluster.volumes.get(f"{name}/{claim['metadata']['name']}", ""))
                for claim in workload["spec"]["volumeClaimTemplates"]
            ]
        yield _patch(workload["apiVersion"], kind, name, spec=spec)


def _sized(claim: Manifest, size: str) -> Manifest:
    storage = size or claim["spec"]["resources"]["requests"]["storage"]
    return {**claim, "spec": {**claim["spec"], "resources": {"requests": {"storage": storage}}}}


def _require_known_volumes(cluster: Cluster, parts: Sequence[Manifest]) -> None:
    known = {
        f"{workload['metadata']['name']}/{claim['metadata']['name']}"
        for workload in parts
        for claim in workload.get("spec", {}).get("volumeClaimTemplates", ())
    }
    if unknown := sorted(set(cluster.volumes) - known):
        raise OperatorError(f"--volumes {', '.join(unknown)}: unknown volume. Use one of {', '.join(sorted(known))}.")


def _gateway(cluster: Cluster, known: catalog.Catalog) -> dict[str, list[Any]]:
    version = "gateway.networking.k8s.io/v1"
    routes = [
        _patch(version, "HTTPRoute", name, spec={"hostnames": names})
        for name, names in hosts(known, cluster.domain).items()
    ]
    gateway = _patch(version, "Gateway", "push", spec={"gatewayClassName": cluster.gateway_class})
    return {**_certificate(cluster, known), "gateway.yaml": [gateway], "httproute.yaml": routes}


def _ingress(cluster: Cluster, known: catalog.Catalog) -> dict[str, list[Any]]:
    ingresses = []
    for name, names in hosts(known, cluster.domain).items():
        backend = {"service": {"name": name, "port": {"name": "http"}}}
        paths = {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}
        rules = [{"host": host, "http": paths} for host in names]
        spec = {"tls": [{"secretName": "push-tls", "hosts": names}], "rules": rules}
        ingresses.append(_patch("networking.k8s.io/v1", "Ingress", name, spec=spec))
    return {**_certificate(cluster, known), "ingress.yaml": ingresses}


def _certificate(cluster: Cluster, known: catalog.Catalog) -> dict[str, list[Any]]:
    version = "cert-manager.io/v1"
    names = [name for each in hosts(known, cluster.domain).values() for name in each]
    email = cluster.email or f"hostmaster@{cluster.domain}"
    return {
        "issuer.yaml": [_patch(version, "Issuer", "push", spec={"acme": {"email": email}})],
        "certificate.yaml": [_patch(version, "Certificate", "push", spec={"dnsNames": names})],
    }


def _patch(api_version: str, kind: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **fields}


def _secret(name: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "push"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels}, "type": "Opaque"}


def _namespace_labels() -> dict[str, str]:
    modes = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
    return {"app.kubernetes.io/part-of": "push", **modes}


def _relative(target: Path, directory: Path) -> str:
    return Path(os.path.relpath(target.resolve(), directory.resolve())).as_posix()


def generate_and_report(cluster: Cluster, directory: Path | None) -> None:
    """Generate the overlay, and print its files and the next commands."""
    place = directory or overlay.OVERLAYS / cluster.name
    for written in generate(cluster, place):
        print(f"wrote     {written.name}")
    name = cluster.name if directory is None else str(place)
    shown = place.relative_to(ROOT) if place.is_relative_to(ROOT) else place
    print(f"in {shown}, which contains no secret and can be committed. Next:")
    for task in ("namespace.create", "secrets.load", "spin.up"):
        print(f"  python3 tasks.py kubernetes.{task} --overlay {name}")
    print(f"or, with the secrets loaded: kubectl apply --server-side --force-conflicts -k {shown}")
