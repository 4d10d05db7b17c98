"""The canaries in flight: the stages that each has reached, and its lateness. Pure: times are arguments."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

CanaryStage = Literal["answered", "topic", "counted"]
STAGES: Final[tuple[CanaryStage, ...]] = ("answered", "topic", "counted")
"""The tracker responded 2xx; a reader of the topic got the event; the counter's position is past the event."""

_DEVICES: Final = 64
"""Several times the number of partitions, so that the canaries reach each partition within a few minutes."""


class Arrival(NamedTuple):
    """A canary has reached a stage."""

    id: str
    stage: CanaryStage
    seconds: float
    """The time since the canary was sent."""


class Late(NamedTuple):
    """A canary was not counted in time."""

    id: str
    stage: CanaryStage
    """The first stage that it did not reach."""
    detail: str
    """The tracker's error; empty after a 2xx, and while there is no response."""


@dataclass
class _Canary:
    sent_s: float
    reached: set[CanaryStage] = field(default_factory=set)
    position: tuple[int, int] | None = None
    """Partition and offset of its record."""
    detail: str = ""


class InFlight:
    """The canaries in flight, by id. Each is removed after `late_s` at the latest, so their number is bounded."""

    def __init__(self, *, late_s: float) -> None:
        self._late_s = late_s
        self._canaries: dict[str, _Canary] = {}

    def __len__(self) -> int:
        return len(self._canaries)

    def __contains__(self, id_: str) -> bool:
        return id_ in self._canaries

    @property
    def uncounted(self) -> bool:
        """Whether a canary is in the topic and was not counted yet."""
        canaries = self._canaries.values()
        return any(canary.position is not None and "counted" not in canary.reached for canary in canaries)

    def add(self, id_: str, *, now_s: float) -> None:
        """Add a canary just before it is sent."""
        self._canaries[id_] = _Canary(now_s)

    def accepted(self, id_: str, *, now_s: float) -> list[Arrival]:
        """Note that the tracker responded 2xx."""
        return self._reach(id_, "answered", now_s)

    def not_accepted(self, id_: str, detail: str) -> None:
        """Note the tracker's error. The canary stays in flight, because its event may be stored nevertheless."""
        if id_ in self._canaries:
            self._canaries[id_].detail = detail

    def found(self, id_: str, *, partition: int, offset: int, now_s: float) -> list[Arrival]:
        """Note the position of a canary in the topic. Later duplicates are ignored: the counter counts the first."""
        canary = self._canaries.get(id_)
        if canary is None or canary.position is not None:
            return []
        canary.position = (partition, offset)
        return self._reach(id_, "topic", now_s)

    def counted(self, positions: Mapping[int, int], *, now_s: float) -> list[Arrival]:
        """Note the counter's positions. The counter has counted all records before its position of a partition."""
        passed = [
            id_
            for id_, canary in self._canaries.items()
            if canary.position is not None and positions.get(canary.position[0], 0) > canary.position[1]
        ]
        return [arrival for id_ in passed for arrival in self._reach(id_, "counted", now_s)]

    def take_late(self, *, now_s: float) -> list[Late]:
        """Remove and return the late canaries."""
        late = [(id_, canary) for id_, canary in self._canaries.items() if now_s - canary.sent_s >= self._late_s]
        for id_, _ in late:
            del self._canaries[id_]
        return [
            Late(id_, next(stage for stage in STAGES if stage not in canary.reached), canary.detail)
            for id_, canary in late
        ]

    def _reach(self, id_: str, stage: CanaryStage, now_s: float) -> list[Arrival]:
        canary = self._canaries.get(id_)
        if canary is None or stage in canary.reached:
            return []
        canary.reached.add(stage)
        if len(canary.reached) == len(STAGES):
            del self._canaries[id_]
        return [Arrival(id_, stage, now_s - canary.sent_s)]


def device_of(number: int) -> str:
    """Return the device id of the `number`-th canary. The device id decides the partition."""
    return f"canary-{number % _DEVICES}"
