"""The canaries in flight: which stages each has reached, and which are late. Pure: times come in as arguments."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

Stage = Literal["answered", "topic", "counted"]
STAGES: Final[tuple[Stage, ...]] = ("answered", "topic", "counted")
"""The tracker answered 2xx; a reader of the topic got it; the counter's position is past it."""

_DEVICES: Final = 64
"""Several times the partitions of the topic: so many devices take turns, and with them the partitions."""


class Arrival(NamedTuple):
    """A canary has reached a stage."""

    id: str
    stage: Stage
    seconds: float
    """Since it was sent."""


class Late(NamedTuple):
    """A canary has not come through in time."""

    id: str
    stage: Stage
    """The first stage that it did not reach."""
    detail: str
    """What the tracker said instead of 2xx; empty when it said nothing, or 2xx."""


@dataclass
class _Flight:
    sent_s: float
    reached: set[Stage] = field(default_factory=set)
    place: tuple[int, int] | None = None
    detail: str = ""


class Flights:
    """The canaries on their way, by id. None stays longer than `late_s`, so their number is bounded."""

    def __init__(self, *, late_s: float) -> None:
        self._late_s = late_s
        self._flights: dict[str, _Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, canary: str) -> bool:
        return canary in self._flights

    @property
    def uncounted(self) -> bool:
        """Whether one is in the topic of which it is not known yet that it was counted."""
        return any(flight.place is not None and "counted" not in flight.reached for flight in self._flights.values())

    def sent(self, canary: str, *, now_s: float) -> None:
        """Enter one that is about to be sent."""
        self._flights[canary] = _Flight(now_s)

    def responded(self, canary: str, *, now_s: float) -> list[Arrival]:
        """Say that the tracker answered 2xx."""
        return self._reach(canary, "answered", now_s)

    def no_response(self, canary: str, detail: str) -> None:
        """Say what came instead of a 2xx. The event may be stored all the same, so it is looked for on."""
        if canary in self._flights:
            self._flights[canary].detail = detail

    def found(self, canary: str, *, partition: int, offset: int, now_s: float) -> list[Arrival]:
        """Say where in the topic it is. A copy changes nothing: the first one is the one that counts."""
        flight = self._flights.get(canary)
        if flight is None or flight.place is not None:
            return []
        flight.place = (partition, offset)
        return self._reach(canary, "topic", now_s)

    def counted(self, positions: Mapping[int, int], *, now_s: float) -> list[Arrival]:
        """Say how far the counter has come: it has counted all that lies before its position of a partition."""
        passed = [
            canary
            for canary, flight in self._flights.items()
            if flight.place is not None and positions.get(flight.place[0], 0) > flight.place[1]
        ]
        return [arrival for canary in passed for arrival in self._reach(canary, "counted", now_s)]

    def take_late(self, *, now_s: float) -> list[Late]:
        """Return those that are late, and forget them."""
        late = [(canary, flight) for canary, flight in self._flights.items() if now_s - flight.sent_s >= self._late_s]
        for canary, _ in late:
            del self._flights[canary]
        return [
            Late(canary, next(stage for stage in STAGES if stage not in flight.reached), flight.detail)
            for canary, flight in late
        ]

    def _reach(self, canary: str, stage: Stage, now_s: float) -> list[Arrival]:
        flight = self._flights.get(canary)
        if flight is None or stage in flight.reached:
            return []
        flight.reached.add(stage)
        if len(flight.reached) == len(STAGES):
            del self._flights[canary]
        return [Arrival(canary, stage, now_s - flight.sent_s)]


def device_of(number: int) -> str:
    """Return the device that the `number`-th canary says it is: it decides on the partition."""
    return f"canary-{number % _DEVICES}"
