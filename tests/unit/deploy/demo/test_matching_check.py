"""The check of a played scene: it reports what is missing and what is wrong."""

from collections import Counter
from typing import cast

import pytest

from deploy.demo import matching_check
from deploy.demo.matching import MatchingDemo
from deploy.demo.matching_check import STOPS_M, MatchingResult, play_once
from deploy.demo.notification_log import FoundMatch, NotificationLog
from deploy.demo.sample import Pair, read_sample
from deploy.demo.scene import DemoScene
from deploy.develop.localstack.services import ServiceProcess
from deploy.operate.send import SendCounts
from deploy.operate.status import Status, StatusReader
from services.backbone.counters import Progress
from services.backbone.queue import Ledger

SAMPLE = read_sample()
EXPECTED = SAMPLE.pairs().union(*(SAMPLE.pairs(stop_m) for stop_m in STOPS_M))
EVENTS = len(SAMPLE.objects) + len(STOPS_M) * len(SAMPLE.mobile)


class ReadyService:
    def is_ready(self) -> bool:
        return True


class FakeLog:
    def __init__(self, pairs: set[Pair]) -> None:
        self.matches = tuple(FoundMatch(0.0, pair.search, pair.offer, "", 1.0, 1) for pair in pairs)
        self.count = len(pairs)


class FakeScene:
    """A scene in which every request succeeds."""

    def __init__(self, sent: SendCounts) -> None:
        self.sample = SAMPLE
        self.posted: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self._sent = sent

    async def post(self) -> None:
        self.posted.update(offers=len(SAMPLE.offers), searches=len(SAMPLE.searches))

    async def move(self, _travelled_m: float) -> None:
        self._sent.sent += len(SAMPLE.mobile)
        self._sent.acknowledged += len(SAMPLE.mobile)


class FakeReader:
    """Reads 300 counted events, then those of the scene as well."""

    def __init__(self, counted: int) -> None:
        self._counts = [300, 300 + counted]

    async def read(self) -> Status:
        counted = self._counts.pop(0) if len(self._counts) > 1 else self._counts[0]
        progress = Progress(events=counted, duplicates=0, last_received_ms=0)
        return Status(Ledger(counted, counted, 0, 0), counted, {"event_counter": progress}, {"event_counter": 0})


async def play(pairs: set[Pair], *, counted: int = EVENTS) -> MatchingResult:
    sent = SendCounts()
    scene = cast("DemoScene", FakeScene(sent))
    demo = MatchingDemo(cast("ServiceProcess", ReadyService()), scene, cast("NotificationLog", FakeLog(pairs)))
    return await play_once(demo, cast("StatusReader", FakeReader(counted)), sent=sent)


@pytest.fixture(autouse=True)
def _short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching_check, "STALL_LIMIT_S", 0.1)


async def test_expected_matches_and_counted_events_are_no_error() -> None:
    result = await play(EXPECTED)
    assert (result.errors, result.exit_code) == ((), 0)
    assert (result.matches, result.events, result.lost) == (len(EXPECTED), EVENTS, 0)


async def test_a_missing_match_is_reported() -> None:
    result = await play(EXPECTED - {Pair("Ada", "bakery-mitte")})
    assert (result.errors, result.exit_code) == (("no match was reported: Ada and bakery-mitte",), 1)


async def test_a_wrong_match_is_reported() -> None:
    result = await play(EXPECTED | {Pair("Dmitri", "climb-friedrichshain")})
    assert (result.errors, result.exit_code) == (("a wrong match was reported: Dmitri and climb-friedrichshain",), 1)


async def test_a_lost_event_is_reported() -> None:
    result = await play(EXPECTED, counted=EVENTS - 1)
    assert (result.errors, result.exit_code) == (("1 events of offers, searches and locations are lost",), 1)
    assert (result.events, result.lost) == (EVENTS - 1, 1)
