"""Each container that stops fires its own alert within a minute, and no other. None fires after its return.

The compose stack, with visitors and the canary, and a Prometheus with the shipped files.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.alerts import ALERT_OF, AlertSource, fires_alone
from tests.system.platform import WATCHED, Platform

pytestmark = [pytest.mark.system, pytest.mark.timeout(700)]

LEAVES_AND_RETURNS = {
    "tracker-redis": ("stop", "start"),
    "counters-redis": ("pause", "unpause"),
    "kafka": ("kill", "start"),
    "kafkastore": ("stop", "start"),
    "mongo": ("kill", "start"),
}
"""How each container fails: it stops, hangs or is killed, and no restart policy repairs it."""
BACK_WITHIN_S = 90
BROKEN_S = 40
"""Long enough for alerts with `for: 30s`; the whole test stays under five minutes."""


class Prometheus(AlertSource):
    """The container of that name. It publishes no port, so queries run inside it."""

    def __init__(self, platform: Platform) -> None:
        # Start it by its name, because its profile also contains Grafana, which has no stand-in.
        platform.compose("up", "--detach", "--no-build", "--no-deps", "prometheus")
        self._platform = platform
        self._id = platform.containers()["prometheus"]["Id"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        promtool = ("promtool", "query", "--format=json", "instant", "http://127.0.0.1:9090")
        samples: list[dict[str, Any]] = json.loads(self._platform.docker("exec", self._id, *promtool, expression))
        return samples


@pytest.fixture(scope="module")
def prometheus(platform: Platform) -> Iterator[Prometheus]:
    """Yield a Prometheus that scrapes a platform that has just started; remove it at the end."""
    # Without a city database another alert would fire all the time.
    folder = platform.tree / "geoip"
    platform.task("geoip.fetch", "--source", "bundled", "--folder", str(folder))
    [database] = folder.glob("*.mmdb")
    platform.task(
        "docker.compose.spin-up", "--build", "--profile", "load",
        timeout_s=600, VISITORS_RATE="5", GEOIP_DIRECTORY=str(folder), GEOIP_DATABASE=str(database),
        # On a busy machine a push can take longer than the default of this limit.
        TRACKER_SPOOL_AFTER_S="1",
    )  # fmt: skip
    watching = Prometheus(platform)
    _until_all_are_seen(watching)
    yield watching
    platform.spin_down("--yes")


def _until_all_are_seen(watching: Prometheus) -> None:
    last: object = None
    for _ in range(60):
        with contextlib.suppress(AssertionError):  # it does not respond yet
            last = {sample["metric"]["job"] for sample in watching.query("up == 1")}
            if last == WATCHED:
                return
        time.sleep(1)
    raise AssertionError(f"not every target is up within a minute: {last}")


@contextlib.contextmanager
def away(platform: Platform, name: str) -> Iterator[None]:
    leaves, returns = LEAVES_AND_RETURNS[name]
    container = platform.containers()[name]["Id"]
    platform.docker(leaves, container)
    try:
        yield
    finally:
        platform.docker(returns, container)
        begun_s = time.monotonic()
        while platform.containers()[name]["State"]["Health"]["Status"] != "healthy":
            assert time.monotonic() - begun_s < BACK_WITHIN_S, f"{name} is not healthy again"
            time.sleep(0.5)


# One after the other: the rules suppress the consequences of a fault for two minutes, which must not disturb the next.
@pytest.mark.parametrize("name", ALERT_OF)
def test_alert_fires_alone_when_a_container_is_down(platform: Platform, prometheus: Prometheus, name: str) -> None:
    fires_alone(prometheus, name, away(platform, name), broken_s=BROKEN_S)
