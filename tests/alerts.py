"""What is asked of any Prometheus with the rules that ship: one fault fires its own alert within a minute, no other."""

import contextlib
import time
from abc import ABC, abstractmethod
from typing import Any

ALERT_OF = {
    "tracker-redis": "QueueRedisAway",
    "counters-redis": "CountersRedisAway",
    "kafka": "KafkaAway",
    "kafkastore": "ServiceDown",
}
"""The alert that fires when this container of the catalog is away."""

FIRES_WITHIN_S = 60
CLEARS_WITHIN_S = 60
QUIET_S = 5


class Subscriber(ABC):
    """A Prometheus that watches a system."""

    @abstractmethod
    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an instant query, each with its labels in `metric`."""

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire now."""
        return {sample["metric"]["alertname"] for sample in self.query('ALERTS{alertstate="firing"}')}

    def causes(self) -> dict[str, str]:
        """Return what the rules take for broken, for a failure's message."""
        return {sample["metric"]["cause"]: sample["value"][1] for sample in self.query("push:cause:active")}

    def wait_for(self, expected: set[str], *, limit_s: float, only: set[str]) -> float:
        """Wait until exactly the `expected` alerts fire; return the seconds. One that is not in `only` is a failure."""
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
        """Exactly these alerts fire, each time they are looked at, until that moment of the monotonic clock."""
        while True:
            firing = self.firing()
            assert firing == expected, f"{sorted(firing)} fires, {sorted(expected)} should: {self.causes()}"
            if time.monotonic() >= until_s:
                return
            time.sleep(1)


def fires_alone(
    subscriber: Subscriber, dependency: str, away: contextlib.AbstractContextManager[object], *, broken_s: float
) -> None:
    """Break for so long, mend, wait until nothing fires; its alert fires in time, and no other one at any time.

    `away` breaks the dependency when it is entered, and returns from its exit when the dependency is back.
    """
    alert = ALERT_OF[dependency]
    subscriber.stays(set(), until_s=time.monotonic())
    begun_s = time.monotonic()
    with away:
        broken_after_s = time.monotonic() - begun_s
        subscriber.wait_for({alert}, limit_s=FIRES_WITHIN_S - broken_after_s, only={alert})
        fired_s = time.monotonic() - begun_s
        # What follows from it (late canaries, queues that grow, consumers that stand still) shows by then.
        subscriber.stays({alert}, until_s=begun_s + broken_s)
        mended_s = time.monotonic()
    back_s = time.monotonic() - mended_s
    cleared_s = subscriber.wait_for(set(), limit_s=CLEARS_WITHIN_S, only={alert})
    subscriber.stays(set(), until_s=time.monotonic() + QUIET_S)
    print(  # noqa: T201 - the figures are what these tests are run for
        f"{dependency}: {alert} after {fired_s:.0f} s, back in {back_s:.0f} s, clears {cleared_s:.0f} s later"
    )
