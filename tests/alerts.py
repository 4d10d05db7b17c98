"""Checks against a Prometheus with the shipped rules: one fault fires its alert within a minute, and no other alert."""

import contextlib
import time
from abc import ABC, abstractmethod
from typing import Any

ALERT_OF = {
    "tracker-redis": "QueueRedisAway",
    "counters-redis": "CountersRedisAway",
    "kafka": "KafkaAway",
    "kafkastore": "ServiceDown",
    "mongo": "MongoAway",
}
"""The alert of each container of the catalog, which fires when the container is down."""

OF_THE_MACHINE = {"VolumeFilling"}
"""Alerts about the disk that the tests run on, which may be almost full. Their rules are tested by scenarios.yml."""

FIRES_WITHIN_S = 60
CLEARS_WITHIN_S = 60
QUIET_S = 5


class AlertSource(ABC):
    """A Prometheus that scrapes a system."""

    @abstractmethod
    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an instant query, each with its labels in `metric`."""

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire now, but those about the disk of this machine."""
        found = {sample["metric"]["alertname"] for sample in self.query('ALERTS{alertstate="firing"}')}
        return found - OF_THE_MACHINE

    def causes(self) -> dict[str, str]:
        """Return the active causes by the rules, for the message of a failed test."""
        return {sample["metric"]["cause"]: sample["value"][1] for sample in self.query("push:cause:active")}

    def wait_for(self, expected: set[str], *, limit_s: float, only: set[str]) -> float:
        """Wait until exactly the `expected` alerts fire; return the seconds. Fail when an alert outside `only`
        fires."""
        begun_s = time.monotonic()
        while True:
            firing = self.firing()
            waited_s = time.monotonic() - begun_s
            assert firing <= only, f"after {waited_s:.0f} s {sorted(firing - only)} fires as well"
            if firing == expected:
                return waited_s
            assert waited_s < limit_s, f"{sorted(expected ^ firing)} after {waited_s:.0f} s: {self.causes()}"
            time.sleep(0.5)

    def stays(self, expected: set[str], *, until_s: float) -> None:
        """Check the alerts until that monotonic time. Fail when other alerts than the `expected` ones fire."""
        while True:
            firing = self.firing()
            assert firing == expected, f"{sorted(firing)} fires, {sorted(expected)} should: {self.causes()}"
            if time.monotonic() >= until_s:
                return
            time.sleep(1)


def fires_alone(
    source: AlertSource, dependency: str, away: contextlib.AbstractContextManager[object], *, broken_s: float
) -> None:
    """Break the dependency for `broken_s`, repair it, and wait until no alert fires. Fail when another alert fires.

    `away` breaks the dependency at its entry. Its exit returns when the dependency is back.
    """
    alert = ALERT_OF[dependency]
    source.stays(set(), until_s=time.monotonic())
    begun_s = time.monotonic()
    with away:
        broken_after_s = time.monotonic() - begun_s
        source.wait_for({alert}, limit_s=FIRES_WITHIN_S - broken_after_s, only={alert})
        fired_s = time.monotonic() - begun_s
        # By then the consequences (late canaries, growing queues, stopped consumers) would fire their alerts.
        source.stays({alert}, until_s=begun_s + broken_s)
        mended_s = time.monotonic()
    back_s = time.monotonic() - mended_s
    cleared_s = source.wait_for(set(), limit_s=CLEARS_WITHIN_S, only={alert})
    source.stays(set(), until_s=time.monotonic() + QUIET_S)
    print(  # noqa: T201 - these tests are run for the times
        f"{dependency}: {alert} after {fired_s:.0f} s, back in {back_s:.0f} s, clears {cleared_s:.0f} s later"
    )
