"""A kafkastore that kills itself (SIGKILL) at a point of its work: `python killed_kafkastore.py <point> <n>`.

The process is killed when it reaches the point for the n-th time, so no `finally` runs. The code of the service is
unchanged. This module wraps its methods in this process only.
"""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

from deploy.develop.localstack.processes import LocalProcess
from deploy.develop.localstack.services import ServiceProcess
from services.backbone import names
from services.backbone.kafka import EventProducer, Record
from services.backbone.queue import Claim, EventQueue
from services.kafkastore.worker.drain import Drain

Point = Literal["after_claim", "after_enrich", "part_of_send", "whole_send", "before_confirm"]
POINTS: Final[tuple[Point, ...]] = ("after_claim", "after_enrich", "part_of_send", "whole_send", "before_confirm")

_ROOT = Path(__file__).parents[2]


class KilledKafkastore(ServiceProcess):
    """A kafkastore process that is killed when it reaches `point` for the `passing`-th time."""

    def __init__(self, point: Point, passing: int, *, label: str, logs: Path, env: Mapping[str, str]) -> None:
        super().__init__("kafkastore", label=label, logs=logs, env=env)
        command = [sys.executable, __file__, point, str(passing)]
        self.process = LocalProcess(label, command, log=logs / f"{label}.log", env=self.env, cwd=_ROOT)


class _Countdown:
    def __init__(self, passing: int) -> None:
        self._left = passing

    def reached(self) -> bool:
        self._left -= 1
        return self._left == 0


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("killed")


def _arm_claim(countdown: _Countdown) -> None:
    claim = EventQueue.claim

    async def armed(self: EventQueue, **options: Any) -> Claim | None:
        claimed = await claim(self, **options)
        if claimed is not None and countdown.reached():
            _die()
        return claimed

    EventQueue.claim = armed  # type: ignore[method-assign]


def _arm_enrich(countdown: _Countdown) -> None:
    prepare = Drain._prepare

    async def armed(self: Drain, *arguments: Any) -> Any:
        prepared = await prepare(self, *arguments)
        if countdown.reached():
            _die()
        return prepared

    Drain._prepare = armed  # type: ignore[assignment, method-assign]


def _arm_send(countdown: _Countdown, *, whole: bool) -> None:
    produce = EventProducer.produce

    async def armed(self: EventProducer, topic: str, records: Sequence[Record]) -> list[int]:
        last = topic == names.EVENTS_TOPIC and countdown.reached()
        if last and not whole:
            records = records[: max(1, len(records) // 2)]
        too_large = await produce(self, topic, records)
        if last:
            _die()
        return too_large

    EventProducer.produce = armed  # type: ignore[method-assign]


def _arm_confirm(countdown: _Countdown) -> None:
    confirm = EventQueue.confirm

    async def armed(self: EventQueue, claim: Claim, **results: Any) -> bool:
        if countdown.reached():
            _die()
        return await confirm(self, claim, **results)

    EventQueue.confirm = armed  # type: ignore[method-assign]


def _arm(point: str, passing: int) -> None:
    countdown = _Countdown(passing)
    if point == "after_claim":
        _arm_claim(countdown)
    elif point == "after_enrich":
        _arm_enrich(countdown)
    elif point in ("part_of_send", "whole_send"):
        _arm_send(countdown, whole=point == "whole_send")
    elif point == "before_confirm":
        _arm_confirm(countdown)
    else:
        raise SystemExit(f"no such point: {point}; there are {', '.join(POINTS)}")


if __name__ == "__main__":
    from services.kafkastore.__main__ import main

    _arm(sys.argv[1], int(sys.argv[2]))
    main([])
