from typing import cast

import pytest
from rich.console import Console

from deploy.demo.matching import MatchingDemo
from deploy.demo.notification_log import FoundMatch, NotificationLog
from deploy.demo.scene import DemoScene
from deploy.develop.localstack.services import ServiceProcess
from deploy.operate.send import SendCounts


class FakeLog:
    """The part of the notification log that is shown."""

    def __init__(self, *matches: FoundMatch) -> None:
        self.matches = matches
        self.count = len(matches)


@pytest.fixture
def scene() -> DemoScene:
    return DemoScene("http://nowhere", "http://nowhere", sent=SendCounts())


def shown(scene: DemoScene, *matches: FoundMatch) -> list[str]:
    console = Console(width=80)
    log = cast("NotificationLog", FakeLog(*matches))
    with console.capture() as capture:
        console.print(MatchingDemo(cast("ServiceProcess", None), scene, log).render())
    return [line.rstrip() for line in capture.get().splitlines()]


def test_a_match_of_the_sample_fits_a_terminal_of_80_columns(scene: DemoScene) -> None:
    scene.posted.update(offers=12, searches=10)
    longest = max((offer.text for offer in scene.sample.offers), key=len)
    title, heads, match = shown(scene, FoundMatch(0.0, "Chiara", "someone", longest, 99_999.0, 12))
    assert title == "12 offers  10 searches  6 of them move  matches: 1"
    assert heads.split() == ["time", "who", "found", "distance", "encounter"]
    assert f"  Chiara  {longest}  " in match
    assert match.endswith("99,999 m         12")


def test_the_newest_matches_are_shown_and_the_newest_is_first(scene: DemoScene) -> None:
    scene.posted.update(offers=1)
    lines = shown(scene, *(FoundMatch(float(n), "Ada", "shop", f"offer {n}", 1.0, 1) for n in range(20)))
    assert [line.split("offer ")[1].split()[0] for line in lines[2:]] == [str(n) for n in range(19, 11, -1)]


def test_the_start_of_storage_is_shown(scene: DemoScene) -> None:
    assert shown(scene) == ["storage starts: offers and searches follow"]
