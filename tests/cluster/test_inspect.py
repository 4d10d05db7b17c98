"""kubernetes.ps, .logs and .resources."""

from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from deploy.cluster import api, inspect, namespaces, secrets, spin
from deploy.cluster.api import Api, Manifest
from deploy.cluster.spin import Patience
from deploy.errors import OperatorError
from tests.cluster.api_server import ApiServer


@pytest.fixture
def running(client: Api, local: list[Manifest], dotenv: Path, impatient: Patience) -> Api:
    namespaces.create(client, local, print)
    secrets.load(client, local, dotenv, print)
    spin.up(client, local, print, impatient)
    return client


def lines(table: Table) -> list[str]:
    console = Console(width=160)
    with console.capture() as captured:
        console.print(table)
    return captured.get().splitlines()


def test_pods_are_listed_with_ready_containers(running: Api) -> None:
    tracker = next(line for line in lines(inspect.pods(running, "push")) if line.startswith("tracker-0"))
    assert tracker.split()[:4] == ["tracker-0", "3/3", "Running", "0"]


def test_error_of_a_pod_is_listed(running: Api, cluster: ApiServer) -> None:
    cluster.state.crashing.add("kafidx")
    told = " ".join(lines(inspect.pods(running, "push")))
    assert "it ends repeatedly" in told


def test_logs_shows_the_last_lines_of_every_pod(running: Api) -> None:
    told = list(inspect.logs(running, "push", container="kafkastore", tail=2))
    assert told == [f'tracker-0  {{"event":"line {n} of kafkastore"}}' for n in (98, 99)]


def test_unknown_container_is_rejected_with_the_running_ones(running: Api) -> None:
    with pytest.raises(OperatorError, match=r"no container 'trakcer' runs in push. Running: .*tracker, tracker-redis"):
        list(inspect.logs(running, "push", container="trakcer", tail=2))


def test_resources_shows_requests_limits_and_usage_where_metrics_server_runs(
    running: Api, cluster: ApiServer, kubeconfig: Path
) -> None:
    def kafka(client: Api) -> list[str]:
        return next(line for line in lines(inspect.resources(client, "push")) if line.startswith("kafka-0")).split()

    assert kafka(running) == ["kafka-0", "kafka", "100m", "12m", "768Mi", "1Gi", "64Mi"]
    cluster.state.operators = False  # and with them metrics-server
    with api.connect(environ={"KUBECONFIG": str(kubeconfig)}) as without_metrics:
        assert kafka(without_metrics) == ["kafka-0", "kafka", "100m", "-", "768Mi", "1Gi", "-"]
