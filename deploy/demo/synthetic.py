"""Requests of synthetic visitors: plausible, endless, and repeatable with the same seed."""

import itertools
import random
from collections.abc import Iterator
from urllib.parse import urlencode

from deploy.operate.access_log import TrackingRequest

_USER_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) AppleWebKit/605.1 (KHTML, like Gecko) Version/18.5 Safari/605.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1 Version/18.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Mobile Safari/537.36",
    "Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) AppleWebKit/605.1 Version/18.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
)
# One address of a large network in each of several countries. The demo sends nothing to them.
_ADDRESSES = (
    "79.192.0.17",  # Germany
    "84.112.0.9",  # Austria
    "81.62.0.33",  # Switzerland
    "90.0.0.21",  # France
    "79.0.0.40",  # Italy
    "88.0.0.12",  # Spain
    "86.128.0.77",  # United Kingdom
    "78.64.0.5",  # Sweden
    "83.0.0.61",  # Poland
    "73.0.0.18",  # United States
    "126.0.0.90",  # Japan
    "2a00:1450:4001:800::1",
)
_SEARCHES = (
    "flea market",
    "cinema",
    "second-hand bicycle",
    "jazz concert",
    "vegan lunch",
    "record store",
    "bouldering",
)
_CENTRE = (52.52, 13.405)  # Berlin


def synthetic_visitors(seed: int = 1) -> Iterator[TrackingRequest]:
    """Yield plausible requests without end. Equal seeds yield equal requests."""
    dice = random.Random(seed)  # noqa: S311 - a demonstration, not a secret
    for number in itertools.count():
        visitor = dice.randrange(500)
        name, parameters = _synthetic_event(dice)
        parameters["di"] = f"device-{visitor:03d}"
        suffix = dice.choice(("", "", ".gif"))
        yield TrackingRequest(
            target=f"/t/{name}{suffix}?{urlencode({**parameters, 'n': number})}",
            address=_ADDRESSES[visitor % len(_ADDRESSES)],
            user_agent=_USER_AGENTS[visitor % len(_USER_AGENTS)],
            referrer="https://www.example.org/" if dice.random() < 0.3 else "",  # noqa: PLR2004 - a share
        )


def _synthetic_event(dice: random.Random) -> tuple[str, dict[str, str]]:
    latitude, longitude = (f"{middle + dice.uniform(-0.1, 0.1):.5f}" for middle in _CENTRE)
    kind = dice.choices(("view", "geo", "preview", "search", "click"), weights=(50, 20, 12, 10, 8))[0]
    match kind:
        case "geo":
            return "geo", {"lt": latitude, "lg": longitude, "a": str(dice.randrange(5, 80))}
        case "preview":
            return "offr", {"action": "preview", "text": dice.choice(_SEARCHES)}
        case "search":
            return "srch", {"action": "search", "kw": dice.choice(_SEARCHES), "lat": latitude, "lng": longitude}
        case _:
            return kind, {"page": f"/offers/{dice.randrange(200)}"}
