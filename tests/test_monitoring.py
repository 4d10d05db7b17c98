"""The monitoring files match the services: exported metrics, existing containers, and a runbook for each alert."""

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector

from deploy import catalog
from services.backbone.metrics import HealthMetrics
from services.backbone.schedule.metrics import ScheduleMetrics

ROOT = Path(__file__).parents[1]
MONITORING = ROOT / "deploy" / "monitoring"
RUNBOOKS = (ROOT / "deploy" / "runbooks.md").read_text()
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "dashboards" / "pipeline.json").read_text())
# Workers and servers: they run all the time and have an internal port. Jobs end, and stores are not our code.
WATCHED = [c for c in catalog.load().containers.values() if c.service and c.kind in ("server", "worker")]
# The services that export metrics of their own.
DECLARING = sorted(
    path.parent.name for path in (ROOT / "services").glob("*/metrics.py") if path.parent.name != "backbone"
)
# Series that Prometheus itself adds.
OWN = {"up", "ALERTS"}
SEVERITIES = {"page", "warning"}


def rules(file: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "rules" / file).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = rules("alerts.yml")
RECORDED = {rule["record"] for file in ("expected.yml", "recording.yml") for rule in rules(file)}


def exported() -> set[str]:
    """Return each sample name that a service exports."""
    declared = [HealthMetrics, ScheduleMetrics, *(kind for name in DECLARING for kind in metrics_of(name))]
    names: set[str] = set()
    for kind in declared:
        registry = CollectorRegistry()
        kind(registry)
        names |= _samples(registry)
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return names | _samples(registry)


def metrics_of(service: str) -> list[type]:
    """Return the classes that declare the metrics of a service."""
    module = importlib.import_module(f"services.{service}.metrics")
    return [
        kind for name, kind in vars(module).items() if name.endswith("Metrics") and kind.__module__ == module.__name__
    ]


def _samples(registry: CollectorRegistry) -> set[str]:
    # A metric with labels has no samples before its first use, so its type determines their names.
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    return {family.name + suffix for family in registry.collect() for suffix in suffixes[family.type]}


def names_in(expression: str) -> set[str]:
    """Return each metric and recorded series that an expression reads."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\b(by|on|without)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]", "", bare)
    words = set(re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", bare))
    return {word for word in words if word in OWN or word.startswith(("push", "process_"))}


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each panel with the title of its row."""
    row = ""
    for panel in DASHBOARD["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
        else:
            yield row, panel


def queries() -> Iterator[tuple[str, str]]:
    """Yield each query of the rules and the dashboard, with its location."""
    for rule in (*rules("recording.yml"), *ALERTS):
        yield rule.get("alert") or rule["record"], rule["expr"]
    for row, panel in panels():
        for target in panel["targets"]:
            yield f"{row}: {panel['title']}", target["expr"]


def anchors() -> set[str]:
    return {title.lower() for title in re.findall(r"^### (\w+)$", RUNBOOKS, re.MULTILINE)}


def test_queries_read_exported_or_recorded_series() -> None:
    known = exported() | RECORDED | OWN
    for place, expression in queries():
        assert names_in(expression), f"{place} reads nothing"
        assert names_in(expression) <= known, f"{place} reads {names_in(expression) - known}"


def test_metrics_in_the_runbooks_are_exported() -> None:
    named = set(re.findall(r"`(push_[a-z0-9_]+)", RUNBOOKS))
    assert named
    assert named <= exported()


def test_log_events_in_the_runbooks_exist() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "services").rglob("*.py"))
    known = set(re.findall(r'"([a-z]+(?:_[a-z]+)+)"', sources))
    named = {name for name in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", RUNBOOKS) if not name.startswith("push_")}
    assert named
    assert named <= known, named - known


def test_settings_in_the_runbooks_exist() -> None:
    template = (ROOT / ".env.template").read_text()
    for name in re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)`", RUNBOOKS):
        assert f"\n{name}=" in template, name


def test_panels_in_the_runbooks_are_on_the_dashboard() -> None:
    titles = {panel["title"] for _, panel in panels()} | {DASHBOARD["title"]}
    for named in re.findall(r'"([A-Z][^"]+?)"', RUNBOOKS.replace('"Push: the pipeline"', "")):
        assert any(title.startswith(named) for title in titles), named


def test_alerts_have_a_severity_a_description_and_a_runbook() -> None:
    assert len(ALERTS) == len({alert["alert"] for alert in ALERTS}) >= 10
    for alert in ALERTS:
        annotations = alert["annotations"]
        assert alert["labels"]["severity"] in SEVERITIES, alert["alert"]
        assert annotations["summary"], alert["alert"]
        assert annotations["description"].endswith("."), alert["alert"]
        assert annotations["runbook_url"] == f"deploy/runbooks.md#{alert['alert'].lower()}"


def test_runbooks_match_the_alerts() -> None:
    assert anchors() == {alert["alert"].lower() for alert in ALERTS}


@pytest.mark.parametrize("alert", [alert["alert"] for alert in ALERTS])
def test_runbooks_have_the_same_four_parts(alert: str) -> None:
    section = re.split(r"^#+ ", RUNBOOKS.partition(f"### {alert}\n")[2], flags=re.MULTILINE)[0]
    for what in ("**Means**", "**Visitors see**", "**Look at**", "**Do**"):
        assert f"- {what} " in section, what


def test_alerts_fire_within_a_minute_of_their_cause() -> None:
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["global"]
    seen_s = sum(int(config[interval].removesuffix("s")) for interval in ("scrape_interval", "evaluation_interval"))
    for alert in ALERTS:
        if alert["alert"] == "InstanceDown":  # this alert waits for the longest time that a pod takes to end
            continue
        assert seen_s + int(alert["for"].removesuffix("s")) < 60, alert["alert"]


def test_prometheus_scrapes_each_container_of_a_service() -> None:
    jobs = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["scrape_configs"]
    assert [job["job_name"] for job in jobs] == [container.name for container in WATCHED]
    for job in jobs:
        [found] = job["dns_sd_configs"]
        assert found["names"] == [job["job_name"]]
        assert found["port"] == catalog.INTERNAL_PORT
        assert job["relabel_configs"] == [
            {"target_label": "pod", "replacement": catalog.load().pod_of(job["job_name"])}
        ]
    assert set(catalog.load().containers["prometheus"].reaches) == {container.name for container in WATCHED}


def test_alert_fires_for_each_container_of_a_service_when_it_is_down() -> None:
    expected = [rule["labels"]["job"] for rule in rules("expected.yml") if rule["record"] == "push:expected"]
    assert expected == [container.name for container in WATCHED]
    [down] = [alert["expr"] for alert in ALERTS if alert["alert"] == "ServiceDown"]
    assert "push:expected" in down


def test_rules_and_dashboard_name_no_service() -> None:
    names = {name for c in WATCHED for name in (c.name, c.service, *c.arguments)}
    for place, expression in queries():
        values = {part for value in re.findall(r'"([^"]*)"', expression) for part in value.split("|")}
        assert not values & names, place


def test_dashboard_has_a_row_for_each_service_with_metrics() -> None:
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    services = dict.fromkeys(container.service for container in WATCHED)
    assert rows == ["Pipeline", *(service for service in services if service in DECLARING)]
    assert {row for row, _ in panels()} == set(rows), "a row without a panel"


def test_dashboard_shows_each_of_our_metrics() -> None:
    shown: set[str] = set()
    for _, expression in queries():
        shown |= names_in(expression)
    ours = {name for name in exported() if name.startswith("push_")}
    missing = {re.sub(r"_(sum|count|bucket)$", "", name) for name in ours} - {
        re.sub(r"_(sum|count|bucket)$", "", name) for name in shown
    }
    assert not missing


def test_dashboard_depends_on_no_installation() -> None:
    text = json.dumps(DASHBOARD)
    assert DASHBOARD["uid"] == "push-pipeline"
    assert "://" not in text, "the dashboard contains a host name"
    datasource = yaml.safe_load((MONITORING / "grafana" / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert {found["uid"] for found in datasource} == set(re.findall(r'"type": "prometheus", "uid": "([^"]+)"', text))
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_panels_do_not_overlap_and_have_units() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
        if panel["type"] in ("timeseries", "stat"):
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_config_maps_contain_each_file() -> None:
    kustomization = yaml.safe_load((MONITORING / "kustomization.yaml").read_text())
    held = {file.partition("=")[2] or file for made in kustomization["configMapGenerator"] for file in made["files"]}
    # Kubernetes needs neither compose's configuration nor the tests of the rules.
    files = {str(path.relative_to(MONITORING)) for path in MONITORING.rglob("*.*") if path.is_file()}
    assert held == files - {"kustomization.yaml", "prometheus.yml", "tests/scenarios.yml"}
