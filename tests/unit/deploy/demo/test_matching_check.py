"""The check of a played scene: it reports what is missing and what is wrong."""

from collections import Counter
from collections.abc import Iterable
from typing import cast

import pytest

from deploy.demo import matching_check
from deploy.demo.matching import MatchingDemo
from deploy.demo.matching_check import STOPS_M, MatchingResult, play_once
from deploy.demo.phones import DemoPhones, PhoneMessage
from deploy.demo.sample import Pair, read_sample
from deploy.demo.scene import DemoScene
from deploy.develop.localstack.services import ServiceProcess
from deploy.operate.send import SendCounts
from deploy.operate.status import Status, StatusReader
from services.backbone.counters import Progress
from services.backbone.queue import Ledger

SAMPLE = read_sample()
EXPECTED = SAMPLE.pairs().union(*(SAMPLE.pairs(stop_m) for stop_m in STOPS_M))
EVENTS = len(SAMPLE.objects) + len(STOPS_M) * len(SAMPLE.mobile) + len(EXPECTED)


class ReadyService:
    def is_ready(self) -> bool:
        return True


class FakePhones:
    def __init__(self, messages: dict[str, set[Pair]]) -> None:
        self.messages = tuple(
            PhoneMessage(0.0, getattr(pair, side), f"{pair.search}.{pair.offer}.1", side, "", 1.0)
            for side, pairs in messages.items()
            for pair in pairs
        )
        self.count = len(self.messages)
        self.matches = len({message.match_id for message in self.messages})

    async def register(self, owners: Iterable[str]) -> None:
        assert set(owners) == {found.owner for found in SAMPLE.objects}


class FakeScene:
    """A scene in which every request succeeds."""

    def __init__(self, sent: SendCounts) -> None:
        self.sample = SAMPLE
        self.posted: Counter[str] = Counter()
        self.owners: dict[str, str] = {}
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


async def play(
    searches: set[Pair] = EXPECTED, offers: set[Pair] = EXPECTED, *, counted: int = EVENTS
) -> MatchingResult:
    """Play a scene in which the owners of the searches and those of the offers get messages about these pairs."""
    sent = SendCounts()
    scene = cast("DemoScene", FakeScene(sent))
    phones = cast("DemoPhones", FakePhones({"search": searches, "offer": offers}))
    demo = MatchingDemo((cast("ServiceProcess", ReadyService()),), scene, phones)
    return await play_once(demo, cast("StatusReader", FakeReader(counted)), sent=sent)


@pytest.fixture(autouse=True)
def _short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching_check, "STALL_LIMIT_S", 0.1)


async def test_expected_matches_and_counted_events_are_no_error() -> None:
    result = await play()
    assert (result.errors, result.exit_code) == ((), 0)
    assert (result.matches, result.messages) == (len(EXPECTED), 2 * len(EXPECTED))
    assert (result.events, result.lost) == (EVENTS, 0)


async def test_a_missing_message_is_reported() -> None:
    result = await play(EXPECTED - {Pair("Ada", "bakery-mitte")})
    assert (result.errors, result.exit_code) == (("the search got no message: Ada and bakery-mitte",), 1)


async def test_a_wrong_message_is_reported() -> None:
    wrong = {Pair("Dmitri", "climb-friedrichshain")}
    result = await play(EXPECTED | wrong, EXPECTED | wrong, counted=EVENTS + 1)
    sentences = tuple(
        f"the {side} got a wrong message: Dmitri and climb-friedrichshain" for side in ("search", "offer")
    )
    assert (result.errors, result.exit_code) == (sentences, 1)


async def test_a_lost_event_is_reported() -> None:
    result = await play(counted=EVENTS - 1)
    assert (result.errors, result.exit_code) == (("1 events of offers, searches, locations and matches are lost",), 1)
    assert (result.events, result.lost) == (EVENTS - 1, 1)
