import pytest

from services.backbone.events import Device
from services.kafkastore.core.devices import Agent, describe_device

CHROME_ON_WINDOWS = Agent("Chrome", "120.0.0", "Windows", "10", is_desktop=True)


def test_browser_of_a_person_gets_its_device_kind() -> None:
    text = "Mozilla/5.0 (Windows NT 10.0) Chrome/120.0.0.0 Safari/537.36"
    assert describe_device(text, CHROME_ON_WINDOWS) == Device(
        "desktop", platform="Windows", platform_version="10", browser="Chrome", browser_version="120.0.0"
    )


def test_bot_has_only_its_name() -> None:
    agent = Agent("Googlebot", "2.1", "iOS", "6.0", "Spider", is_bot=True, is_phone=True)
    assert describe_device("Mozilla/5.0 (iPhone) Googlebot/2.1", agent) == Device("bot", bot_name="Googlebot")


@pytest.mark.parametrize(
    ("text", "agent", "name"),
    [
        ("Feedfetcher-Google; (+http://www.google.com/feedfetcher.html)", Agent(), "Feedfetcher-Google"),
        ("UniversalFeedParser/4.2-pre +http://feedparser.org/", Agent(), "UniversalFeedParser"),
        ("Digg Feed Fetcher 1.0 (Mozilla/5.0 (Macintosh))", Agent("Safari", is_desktop=True), "Digg Feed Fetcher"),
        ("Mozilla/5.0 (compatible; Ezooms/1.0; help@moz.com)", Agent(), "Ezooms"),
        ("Mozilla/5.0 (Windows; U) Firefox/1.5.0.11; 360Spider", Agent("Firefox", platform="Windows"), "360Spider"),
        (
            "Mozilla/4.0 (compatible; MSIE 6.0; http://www.changedetection.com/bot.html )",
            Agent("com/bot", is_bot=True),
            "changedetection.com",
        ),
        ("binlar_2.6.3 test@mgmt.mic", Agent(), "binlar"),
        ("Ruby", Agent(), "Ruby"),
        ("kube-probe/1.27", Agent(), "kube-probe"),
        ("(+http://x.example/)", Agent(), "x.example"),
        ("+http://", Agent(), "bot"),
        ("a" * 500 + "bot", Agent(), "a" * 64),
    ],
)
def test_programs_that_the_library_does_not_know_are_bots_with_a_name(text: str, agent: Agent, name: str) -> None:
    assert describe_device(text, agent) == Device("bot", bot_name=name)


@pytest.mark.parametrize(
    ("text", "agent"),
    [
        ("Mozilla/5.0 (Linux; Android 9; CUBOT X18) Mobile Safari/537.36", Agent("Chrome Mobile", platform="Android")),
        ("Mozilla/4.0 (compatible; MSIE 6.0; http://www.seller.example)", Agent("IE", platform="Windows")),
        ("okhttp/4.9.0", Agent("okhttp", "4.9.0")),
        ("Lynx/2.8.7rel.2 libwww-FM/2.14", Agent("Lynx")),
        ("Mozilla/5.0", Agent()),
    ],
)
def test_browsers_of_people_are_not_bots(text: str, agent: Agent) -> None:
    assert describe_device(text, agent).device != "bot"


@pytest.mark.parametrize(
    ("text", "agent", "kind"),
    [
        ("Mozilla/5.0 (SMART-TV; Linux; Tizen 5.0) TV Safari/537.36", Agent(platform="Tizen"), "tv"),
        ("Mozilla/5.0 (Linux; Android 9; AFTMM) Mobile Safari", Agent(platform="Android", is_phone=True), "tv"),
        ("Mozilla/5.0 (Linux; Android 9; BRAVIA 4K)", Agent(platform="Android", is_tablet=True), "tv"),
        ("Mozilla/5.0 (Linux; Android 9; SM-G960F) Mobile Safari", Agent(platform="Android", is_phone=True), "phone"),
        ("Mozilla/5.0 (Linux; Android 9; XY) Safari", Agent(platform="Android", is_tablet=True), "tablet"),
        ("Dalvik/2.1.0 (Linux; U; Android 9; SM-G960F)", Agent(platform="Android", is_tablet=True), "phone"),
        ("Dalvik/2.1.0 (Android 9; SM-T500)", Agent(platform="Android", device_name="Samsung SM-T500"), "tablet"),
        ("Mozilla/5.0 (iPad) Mobile", Agent(platform="iOS", is_tablet=True, is_phone=True), "tablet"),
        ("Mozilla/5.0 (iPhone) Mobile", Agent(platform="iOS", is_phone=True), "phone"),
        ("Mozilla/5.0 (X11; FreeBSD amd64)", Agent(platform="FreeBSD"), "desktop"),
        ("Mozilla/4.0 (compatible; MSIE 5.0; Windows 98)", Agent(platform="Windows"), "desktop"),
        ("Mozilla/5.0 (PlayStation 4)", Agent(device_name="PlayStation 4"), "other"),
    ],
)
def test_kind_of_device_follows_the_user_agent(text: str, agent: Agent, kind: str) -> None:
    assert describe_device(text, agent).device == kind
