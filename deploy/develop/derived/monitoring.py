"""What Prometheus has to know of the catalog: the containers to scrape in compose, and those that must be there."""

from deploy.catalog import INTERNAL_PORT, Catalog, Container

_PROMETHEUS_HEAD = """\
# Prometheus for docker compose: one job for each container of a service. Compose's DNS returns one address for each
# replica. Kubernetes: prometheus-kubernetes.yml.
#
# job: the container's name in deploy/catalog.toml. pod: the pod that it shares in Kubernetes, so that the rules know
# which tracker and which kafkastore belong to one Redis. In compose it is the same for all replicas.
#
# `python3 tasks.py derived.write` writes this file from deploy/catalog.toml.

global:
  scrape_interval: 5s       # an alert must fire within a minute of its cause
  scrape_timeout: 4s        # a scrape runs the readiness checks, which take at most 2.5 s
  evaluation_interval: 5s

rule_files:
  - rules/*.yml

scrape_configs:
"""
_EXPECTED_HEAD = """\
# push:expected is 1 for each container that must be there. Alerts join it by `job`, so that they name no service:
#   kind    server or worker
#   stage   the part of the event's path that the container does: receive, produce or count
#   public  "true" where visitors reach the container without a password
# `python3 tasks.py derived.write` writes this file from deploy/catalog.toml.
groups:
  - name: push-expected
    interval: 5s
    rules:
"""


def prometheus_text(listed: Catalog) -> str:
    """Return the configuration of Prometheus in compose."""
    jobs = (
        f"  - job_name: {found.name}\n"
        f"    dns_sd_configs: [{{names: [{found.name}], type: A, port: {INTERNAL_PORT}, refresh_interval: 5s}}]\n"
        f"    relabel_configs: [{{target_label: pod, replacement: {listed.pod_of(found.name)}}}]\n"
        for found in listed.watched
    )
    return _PROMETHEUS_HEAD + "".join(jobs)


def expected_text(listed: Catalog) -> str:
    """Return the recording rules of push:expected."""
    rule = "      - {{record: push:expected, expr: vector(1), labels: {{{labels}}}}}\n"
    return _EXPECTED_HEAD + "".join(rule.format(labels=_labels(found)) for found in listed.watched)


def _labels(container: Container) -> str:
    labels = {"job": container.name, "kind": container.kind}
    if container.stage:
        labels["stage"] = container.stage
    if container.host and not container.admin:
        labels["public"] = '"true"'
    return ", ".join(f"{name}: {value}" for name, value in labels.items())
