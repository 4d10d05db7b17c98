"""A real Prometheus with the shipped rules and the ports of the processes of a local stack."""

import json
import os
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.ports import LOOPBACK, free_port
from deploy.develop.localstack.processes import LocalProcess
from tests.alerts import AlertSource

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"


def jobs_of(stack: LocalStack) -> dict[str, str]:
    """Return host:port of each process by its label, which is the name of its container in the catalog."""
    return {service.label: service.internal_url.removeprefix("http://") for service in stack.services}


def config_for(targets: Mapping[str, str]) -> dict[str, Any]:
    """Return compose's configuration with these addresses instead of container names."""
    config: dict[str, Any] = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    config["rule_files"] = [str(MONITORING / "rules" / "*.yml")]
    for job in config["scrape_configs"]:
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    return config


class Prometheus(AlertSource):
    """A Prometheus on loopback."""

    def __init__(self, config: Mapping[str, Any], folder: Path) -> None:
        binary = shutil.which("prometheus")
        assert binary is not None, "needs the prometheus binary (Debian's package of that name)"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "prometheus.yml").write_text(yaml.safe_dump(dict(config)))
        port = free_port()
        self.url = f"http://{LOOPBACK}:{port}"
        command = [
            binary,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={LOOPBACK}:{port}",
            "--log.level=warn",
        ]
        log = folder / "prometheus.log"
        self.process = LocalProcess("prometheus", command, log=log, env=os.environ, cwd=folder)

    def start(self) -> None:
        """Start it and return when it accepts queries."""
        self.process.start()
        self.process.wait_until(self._is_ready, timeout_s=30)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2):  # noqa: S310 - http, on loopback
                return True
        except OSError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        response = self._get("query", query=expression)
        found = response["result"]
        assert isinstance(found, list), f"{expression}: {response['resultType']}"
        return found

    def recording_rules(self) -> dict[str, str]:
        """Return the state of each recording rule by its name: ok, or its error."""
        groups = self._get("rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return {rule["name"]: rule.get("lastError") or rule["health"] for rule in rules if rule["type"] == "recording"}

    def _get(self, endpoint: str, **parameters: str) -> dict[str, Any]:
        url = f"{self.url}/api/v1/{endpoint}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - http, on loopback
                data: dict[str, Any] = json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None
        return data
