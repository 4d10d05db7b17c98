"""`cloud.generate`: an overlay for your own cluster. `stackpoint.generate.yaml` is its former name."""

from typing import Any, cast

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import Task, task

from deploy.tasks import path, report_errors

_HELP = {
    "city-databases": "read locations from a city database on the claim city-databases, which you create and fill",
    "cluster": "required: a name for the cluster; the overlay is kubernetes/overlays/<name>",
    "domain": "required: the domain of the public hosts (trk.<domain> ...)",
    "email": "contact address for the certificate authority (default: hostmaster@<domain>)",
    "entry": "gateway (Gateway API, the default) or ingress",
    "gateway-class": "required with --entry gateway: the gateway class of the cluster",
    "namespace": "the namespace of the installation (default: push)",
    "nfs": "address of the NFS server of imageserver (overlays/nfs); without it the storage class must share volumes",
    "observability": "include Prometheus and Grafana",
    "output": "the directory to write to (default: kubernetes/overlays/<cluster>)",
    "pull-policy": "IfNotPresent (the default), Always or Never",
    "registry": "prefix of push/<service> in the image names, for example registry.example.com/team",
    "tag": "version of the images (default: the version of this clone)",
    "trackers": "MIN:MAX number of trackers (default 2:10)",
    "trusted-proxies": "networks (CIDR, comma-separated) of the load balancers in front of the trackers",
    "volumes": "sizes, for example kafka/data=100Gi,tracker/spool=8Gi; others keep the size of the base",
}


def _generate(
    _context: Context,
    domain: str = "",
    cluster: str = "",
    namespace: str = "push",
    registry: str = "",
    tag: str = "",
    pull_policy: str = "IfNotPresent",
    entry: str = "gateway",
    gateway_class: str = "",
    email: str = "",
    trackers: str = "2:10",
    volumes: str = "",
    trusted_proxies: str = "",
    output: str = "",
    observability: bool = False,
    city_databases: bool = False,
    nfs: str = "",
) -> None:
    """Write an overlay for a cluster: hosts, TLS, registry, replicas and volumes. Equal flags write equal files."""
    with report_errors():
        from deploy.cli import version
        from deploy.cluster.generate import generate_and_report
        from deploy.cluster.settings import Cluster, parse_trackers, parse_volumes

        wanted = Cluster(
            name=cluster,
            domain=domain,
            namespace=namespace,
            registry=registry,
            version=tag or version(),
            pull_policy=cast("Any", pull_policy),
            entry=cast("Any", entry),
            gateway_class=gateway_class,
            email=email,
            trackers=parse_trackers(trackers),
            volumes=parse_volumes(volumes),
            trusted_proxies=trusted_proxies,
            observability=observability,
            city_databases=city_databases,
            nfs=nfs,
        )
        generate_and_report(wanted, path(output) if output else None)


generate: Task[Any] = task(name="generate", help=_HELP)(_generate)
generate_as_before: Task[Any] = task(name="yaml", help=_HELP)(_generate)

collection = Collection("cloud", generate)
former_name = Collection("stackpoint")
former_name.add_collection(Collection("generate", generate_as_before))
