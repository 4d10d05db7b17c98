"""Classify a user agent: person or bot, and the kind of device.

The user-agent library knows browsers, systems and the large crawlers by name. The rules here derive the device from
these facts, and find the programs that the library does not know: feed readers, HTTP libraries, small crawlers. A
program that sends requests without a person is a bot, even if its user agent looks like a browser.
"""

import re
from typing import Final, NamedTuple

from services.backbone.events import Device

_LONGEST_NAME: Final = 64

# Words in the names of programs. "Cubot" is a manufacturer of phones.
_BOT_WORD: Final = re.compile(
    r"""(?<!cu)bots?(?![a-z]) | robot | spider | crawl | slurp | scrap(?:er|y)\b | archiver | aggregator | validator
      | fetch | feed | \brss | \b\d+\ (?:subscribers|readers)\b
      | headless | phantomjs | ^lwp | libwww-perl | \bwget\b | \bcurl\b | python | ^ruby\b | ^java/ | \bphp/
      | http_?request | http-?client(?!/android) | ^axios | kube-probe | ^indy | \bindy\ library""",
    re.IGNORECASE | re.VERBOSE,
)
# A contact address. Browsers do not send one. Crawlers usually write it with a plus.
_CRAWLER_CONTACT: Final = re.compile(r"\+\s?https?:|\+\s?[\w.-]+@", re.IGNORECASE)
_CONTACT: Final = re.compile(r"https?://|www\.|\w@\w", re.IGNORECASE)
_CONTACT_TEXT: Final = re.compile(r"\+?\s?(?:https?://|www\.)[^\s;,)]*|\+?[\w.-]+@[\w.-]+", re.IGNORECASE)
_CONTACT_HOST: Final = re.compile(r"(?:https?://(?:www\.)?|www\.|@)([\w.-]+\w)", re.IGNORECASE)

_NAMED_WORD: Final = re.compile(
    r"(?<![\w.-])([\w.-]*(?:bot|spider|crawl|slurp|archiver|fetch|feed(?!-id)|rss|proxy|web preview)[\w-]*)",
    re.IGNORECASE,
)
_NAMED_IN_COMMENT: Final = re.compile(r"compatible;(?!\s*msie)\s*([^;/()+,]{2,})", re.IGNORECASE)
_FIRST_PRODUCT: Final = re.compile(r"[^/;(+]+")
_TRAILING_VERSION: Final = re.compile(r"[\s_-]+v?\d[\d._]*$")
# Names from the library that do not identify a bot: browsers that it imitates, or parts of its URL.
_DISGUISES: Final = frozenset(
    [
        "chrome",
        "chromium",
        "firefox",
        "safari",
        "mobile safari",
        "ie",
        "edge",
        "opera",
        "mozilla",
        "other",
        "robot",
        "android",
    ]
)

_TV: Final = re.compile(
    r"""smart-?_?tv | hbbtv | google\s?tv | apple\s?tv | android\s?tv | netcast | \bweb0s\b | \bcrkey\b | \broku\b
      | \bbravia\b | \bviera\b | philipstv | nettv | \btv\ safari\b | (?-i:\bAFT[A-Z]{1,5}\b)""",
    re.IGNORECASE | re.VERBOSE,
)
# On Android, a browser without "Mobile" runs on a tablet. Other programs do not follow this convention.
_ANDROID_PHONE: Final = re.compile(r"\bmobile\b|opera mini|^(?!mozilla)", re.IGNORECASE)
_TABLET_NAME: Final = re.compile(
    r"\btab(?:let)?\b|\bi?pad\b|kindle|\bSM-[TPX]\d|\bGT-P\d|nexus (?:7|9|10)", re.IGNORECASE
)
_DESKTOP_PLATFORMS: Final = frozenset(
    [
        "Windows",
        "Mac OS X",
        "Linux",
        "Ubuntu",
        "Debian",
        "Fedora",
        "Red Hat",
        "SUSE",
        "Mandriva",
        "Gentoo",
        "Chrome OS",
        "FreeBSD",
        "OpenBSD",
        "NetBSD",
        "Solaris",
    ]
)


class Agent(NamedTuple):
    """The fields that the user-agent library returns; empty text for an unknown field."""

    browser: str = ""
    browser_version: str = ""
    platform: str = ""
    platform_version: str = ""
    device_name: str = ""
    is_bot: bool = False
    is_tablet: bool = False
    is_phone: bool = False
    is_desktop: bool = False


def describe_device(text: str, agent: Agent) -> Device:
    """Return the device with the user agent `text`.

    A bot has only a name, because its browser and platform are not real.
    """
    if _is_bot(text, agent):
        return Device("bot", bot_name=_bot_name(text, agent))
    return Device(
        _kind(text, agent),
        device_name=agent.device_name,
        platform=agent.platform,
        platform_version=agent.platform_version,
        browser=agent.browser,
        browser_version=agent.browser_version,
    )


def _is_bot(text: str, agent: Agent) -> bool:
    if agent.is_bot or _BOT_WORD.search(text) or _CRAWLER_CONTACT.search(text):
        return True
    # Some browsers contain their vendor's address, but they also contain their platform.
    pretends = text.startswith(("Mozilla/", "Opera/")) and bool(agent.platform)
    return not pretends and bool(_CONTACT.search(text))


def _bot_name(text: str, agent: Agent) -> str:
    name = agent.browser
    if not name or "/" in name or name.casefold() in _DISGUISES:
        name = _own_name(text) or name or "bot"
    return name.strip()[:_LONGEST_NAME]


def _own_name(text: str) -> str:
    """Return the name or the owner of a program that the library does not know."""
    own = _CONTACT_TEXT.sub(" ", text)
    if not text.startswith(("Mozilla/", "Opera/")):
        product = _FIRST_PRODUCT.match(own)
        name = _TRAILING_VERSION.sub("", product[0].strip()[:_LONGEST_NAME]) if product else ""
        if name:
            return name
    for pattern in (_NAMED_WORD, _NAMED_IN_COMMENT):
        found = pattern.search(own)
        if found and found[1].strip():
            return _TRAILING_VERSION.sub("", found[1].strip()[:_LONGEST_NAME])
    host = _CONTACT_HOST.search(text)
    return host[1] if host else ""


def _kind(text: str, agent: Agent) -> str:
    if _TV.search(text):
        return "tv"
    if agent.platform == "Android":
        tablet = _TABLET_NAME.search(agent.device_name) or not _ANDROID_PHONE.search(text)
        return "tablet" if tablet else "phone"
    if agent.is_tablet:
        return "tablet"
    if agent.is_phone:
        return "phone"
    if agent.is_desktop or agent.platform in _DESKTOP_PLATFORMS:
        return "desktop"
    return "other"
