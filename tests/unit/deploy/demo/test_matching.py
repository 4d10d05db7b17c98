from typing import cast

import pytest
from rich.console import Console

from deploy.demo.matching import MatchingDemo
from deploy.demo.phones import DemoPhones, PhoneMessage
from deploy.demo.scene import DemoScene
from deploy.operate.send import SendCounts


class FakePhones:
    """The part of the phones that is shown."""

    def __init__(self, *messages: PhoneMessage) -> None:
        self.messages = messages
        self.count = len(messages)
        self.matches = len({message.match_id for message in messages})


def message(match_id: str, title: str, *, at_s: float = 0.0, owner: str = "Ada", side: str = "search") -> PhoneMessage:
    return PhoneMessage(at_s, owner, match_id, side, title, 99_999.0)


@pytest.fixture
def scene() -> DemoScene:
    return DemoScene("http://nowhere", "http://nowhere", sent=SendCounts())


def shown(scene: DemoScene, *messages: PhoneMessage) -> list[str]:
    console = Console(width=80)
    phones = cast("DemoPhones", FakePhones(*messages))
    with console.capture() as capture:
        console.print(MatchingDemo((), scene, phones).render())
    return [line.rstrip() for line in capture.get().splitlines()]


def test_a_match_of_the_sample_fits_a_terminal_of_80_columns(scene: DemoScene) -> None:
    scene.posted.update(offers=12, searches=10)
    longest = max((offer.text for offer in scene.sample.offers), key=len)
    both = (
        message("s.o.12", longest, owner=owner, side=side) for owner, side in (("x", "offer"), ("Chiara", "search"))
    )
    title, heads, match = shown(scene, *both)
    assert title == "12 offers  10 searches  6 of them move  matches: 1  messages: 2"
    assert heads.split() == ["time", "who", "found", "distance", "encounter"]
    assert f"  Chiara  {longest}  " in match
    assert match.endswith("99,999 m         12")


def test_the_newest_matches_are_shown_and_the_newest_is_first(scene: DemoScene) -> None:
    scene.posted.update(offers=1)
    lines = shown(scene, *(message(f"s.{n}.1", f"offer {n}", at_s=n) for n in range(20)))
    assert [line.split("offer ")[1].split()[0] for line in lines[2:]] == [str(n) for n in range(19, 11, -1)]


def test_the_start_of_the_services_is_shown(scene: DemoScene) -> None:
    assert shown(scene) == ["storage and notificationserver start: offers and searches follow"]
