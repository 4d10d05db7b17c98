"""promtool runs each scenario: exactly its alerts fire."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import catalog

ROOT = Path(__file__).parents[4]
MONITORING = ROOT / "deploy" / "monitoring"
SCENARIOS: dict[str, Any] = yaml.safe_load((MONITORING / "tests" / "scenarios.yml").read_text())
BEFORE, BROKEN = "1m55s", "3m"

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian's package prometheus)")


def alerts() -> set[str]:
    groups = yaml.safe_load((MONITORING / "rules" / "alerts.yml").read_text())["groups"]
    return {rule["alert"] for group in groups for rule in group["rules"]}


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, timeout=60)


def up_elsewhere() -> dict[str, str]:
    """Return that each watched container is up which the scenarios do not mention, such as that of a new service."""
    mentioned = "\n".join(SCENARIOS["well"])
    others = [found.name for found in catalog.load().watched if f'up{{job="{found.name}"' not in mentioned]
    return {f'up{{job="{name}", pod="{name}-0", instance="{name}:1"}}': "1x119" for name in others}


def as_unit_test(scenario: dict[str, Any]) -> dict[str, Any]:
    unknown = scenario["changes"].keys() - SCENARIOS["well"].keys()
    assert not unknown, f"{unknown} changes nothing: it is not among what is there while all is well"
    series = up_elsewhere() | SCENARIOS["well"] | scenario["changes"]

    def firing(at: str, names: list[str]) -> dict[str, Any]:
        samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in names]
        return {
            "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
            "eval_time": at,
            "exp_samples": samples,
        }

    return {
        "name": scenario["name"],
        "interval": "5s",
        "input_series": [{"series": name, "values": str(values)} for name, values in series.items()],
        "promql_expr_test": [firing(BEFORE, []), firing(scenario.get("at", BROKEN), scenario["fires"])],
    }


@pytest.mark.parametrize("scenario", SCENARIOS["scenarios"], ids=lambda scenario: scenario["name"])
def test_exactly_the_alerts_of_a_scenario_fire(scenario: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "test.yml"
    rules = [str(path) for path in sorted((MONITORING / "rules").glob("*.yml"))]
    file.write_text(
        yaml.safe_dump({"rule_files": rules, "evaluation_interval": "5s", "tests": [as_unit_test(scenario)]})
    )
    response = promtool("test", "rules", str(file))
    assert response.returncode == 0, response.stdout + response.stderr


def test_every_alert_has_a_scenario_in_which_it_fires_alone() -> None:
    alone = {scenario["fires"][0] for scenario in SCENARIOS["scenarios"] if len(scenario["fires"]) == 1}
    assert alone == alerts()


def test_alert_fires_within_a_minute_unless_it_waits_on_purpose() -> None:
    late = {alert for scenario in SCENARIOS["scenarios"] if "at" in scenario for alert in scenario["fires"]}
    assert late == {"InstanceDown"}


def test_the_rules_and_both_configurations_are_valid(tmp_path: Path) -> None:
    response = promtool("check", "config", str(MONITORING / "prometheus.yml"))
    assert response.returncode == 0, response.stdout + response.stderr
    # Debian's promtool is built without Kubernetes. It checks everything except the discovery of pods.
    config = yaml.safe_load((MONITORING / "prometheus-kubernetes.yml").read_text())
    config["rule_files"] = [str(MONITORING / "rules" / "*.yml")]
    for job in config["scrape_configs"]:
        assert [found["role"] for found in job.pop("kubernetes_sd_configs")] == ["pod"]
        job["static_configs"] = [{"targets": ["pod:9464"]}]
    (tmp_path / "kubernetes.yml").write_text(yaml.safe_dump(config))
    response = promtool("check", "config", str(tmp_path / "kubernetes.yml"))
    assert response.returncode == 0, response.stdout + response.stderr
