"""Each container that goes away fires its own alert within a minute, no other one, and none once it is back.

The compose stack, with visitors and the canary, under the eyes of a Prometheus with the files that ship.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.alerts import ALERT_OF, Subscriber, fires_alone
from tests.system.platform import CATALOG, Platform

pytestmark = [pytest.mark.system, pytest.mark.timeout(700)]

LEAVES_AND_RETURNS = {
    "tracker-redis": ("stop", "start"),
    "counters-redis": ("pause", "unpause"),
    "kafka": ("kill", "start"),
    "kafkastore": ("stop", "start"),
}
"""The engine's words for how each goes away: it ends in order, hangs or dies, and no restart policy heals it."""
BACK_WITHIN_S = 90
BROKEN_S = 40
"""Until alerts that wait half a minute show too; the whole of it stays under five minutes."""


class Prometheus(Subscriber):
    """The container of that name, which publishes no port: asked from inside."""

    def __init__(self, platform: Platform) -> None:
        # By its name and not by its profile, which Grafana has too: there is no stand-in for that.
        platform.compose("up", "--detach", "--no-build", "--no-deps", "prometheus")
        self._platform = platform
        self._id = platform.containers()["prometheus"]["Id"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        promtool = ("promtool", "query", "--format=json", "instant", "http://127.0.0.1:9090")
        samples: list[dict[str, Any]] = json.loads(self._platform.docker("exec", self._id, *promtool, expression))
        return samples


@pytest.fixture(scope="module")
def prometheus(platform: Platform) -> Iterator[Prometheus]:
    """Watches a platform that has just come up; nothing of it is left."""
    # Without a city database, another alert says so all the time.
    folder = platform.tree / "geoip"
    platform.task("geoip.fetch", "--source", "bundled", "--folder", str(folder))
    [database] = folder.glob("*.mmdb")
    platform.task(
        "docker.compose.spin-up", "--build", "--profile", "load",
        timeout_s=600, VISITORS_RATE="5", GEOIP_DIRECTORY=str(folder), GEOIP_DATABASE=str(database),
        # On a machine that has other work, a push may take longer than visitors are made to wait for it.
        TRACKER_SPOOL_AFTER_S="1",
    )  # fmt: skip
    watching = Prometheus(platform)
    _until_all_are_seen(watching)
    yield watching
    platform.spin_down("--yes")


def _until_all_are_seen(watching: Prometheus) -> None:
    last: object = None
    for _ in range(60):
        with contextlib.suppress(AssertionError):  # it does not answer yet
            last = {sample["metric"]["job"] for sample in watching.query("up == 1")}
            if last == set(CATALOG["prometheus"]["reaches"]):
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


# One right after the other: what the last one left behind is held back for two minutes, and must not disturb the next.
@pytest.mark.parametrize("name", ALERT_OF)
def test_what_is_away_fires_its_own_alert_and_no_other(platform: Platform, prometheus: Prometheus, name: str) -> None:
    fires_alone(prometheus, name, away(platform, name), broken_s=BROKEN_S)
