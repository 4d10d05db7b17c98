"""Write the derived files from the Settings classes and deploy/catalog.toml. The derived files are in git.

The Settings class of a service declares and explains each variable. The catalog declares each container. This package
writes all other lists of variables and containers. So a developer who adds a service does not edit these lists. The
task `check` reports each derived file that is out of date.
"""

from collections.abc import Mapping
from pathlib import Path

from deploy import catalog
from deploy.develop.derived import compose, env_template, kubernetes, monitoring
from deploy.paths import ROOT


def derived_texts() -> Mapping[Path, str]:
    """Return the text of every derived file by its path below the root of the clone."""
    listed = catalog.load()
    return {
        Path(".env.template"): env_template.text(listed),
        Path("docker-compose/services.yml"): compose.services_text(listed),
        Path("deploy/monitoring/prometheus.yml"): monitoring.prometheus_text(listed),
        Path("deploy/monitoring/rules/expected.yml"): monitoring.expected_text(listed),
        Path("docker-compose/containers.yml"): compose.containers_text(listed),
        Path("docker-compose/flower_queues.py"): compose.flower_text(listed),
        Path("kubernetes/base/kustomization.yaml"): kubernetes.base_text(listed),
        Path("kubernetes/components/release/kustomization.yaml"): kubernetes.release_text(listed),
        Path("kubernetes/components/gateway/routes.yaml"): kubernetes.gateway_text(listed),
        Path("kubernetes/components/ingress/routes.yaml"): kubernetes.ingress_text(listed),
        Path("kubernetes/components/network-policies/edges.yaml"): kubernetes.policies_text(listed),
        Path("kubernetes/components/keda/consumers.yaml"): kubernetes.keda_text(listed),
    }


def write() -> None:
    """Write the files that are out of date, and print their paths."""
    outdated = _outdated(ROOT)
    for path in outdated:
        (ROOT / path).parent.mkdir(exist_ok=True)
        (ROOT / path).write_text(derived_texts()[path], encoding="utf-8")
        print(f"wrote {path}")
    if not outdated:
        print("all derived files are up to date")


def errors() -> list[str]:
    """Return one line for each file that is out of date."""
    return [f"{path} is out of date. Run `python3 tasks.py derived.write`." for path in _outdated(ROOT)]


def _outdated(root: Path) -> list[Path]:
    return [
        path
        for path, text in derived_texts().items()
        if not (root / path).exists() or (root / path).read_text(encoding="utf-8") != text
    ]
