"""Tracking requests for trying the system: read from an access log, or made by synthetic visitors, and sent by HTTP."""

import asyncio
import gzip
import itertools
import random
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from deploy.errors import OperatorError


class TrackingRequest(NamedTuple):
    """One GET that a browser or an app would send."""

    target: str
    """Path and query, as they go on the wire."""
    address: str
    """The visitor's address, sent as X-Forwarded-For."""
    user_agent: str = ""
    referrer: str = ""


# Replaying an access log ------------------------------------------------------------------------------------

_QUOTED = r'"((?:[^"\\]|\\.)*)(?:"|$)'  # servers escape quotes; a line cut short lacks the closing one
_COMBINED = re.compile(rf"^(\S+) \S+ \S+ \[[^\]]*\] {_QUOTED} \S+ \S+(?: {_QUOTED})?(?: {_QUOTED})?")
_REQUEST_LINE = re.compile(r"^[A-Z]+ (\S.*?)(?: HTTP/[\d.]+)?$")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.)")


class LogFormatError(OperatorError):
    """A file is no access log in Combined Log Format, plain or gzip."""


def read_log(path: Path) -> Iterator[TrackingRequest]:
    """Read a Combined Log Format file, plain or gzip, a request a line.

    Raises LogFormatError naming the line that can't be read; OSError when the file can't.
    """
    with path.open("rb") as raw:
        gzipped = raw.read(2) == b"\x1f\x8b"
    number = 0
    with gzip.open(path, "rb") if gzipped else path.open("rb") as lines:
        try:
            for number, line in enumerate(lines, start=1):  # noqa: B007 - where it was when something is wrong
                if line.strip():
                    yield parse_line(line.decode("utf-8", "surrogateescape").rstrip("\r\n"))
        except LogFormatError as error:
            raise LogFormatError(f"{path.name}, line {number}: {error}") from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise LogFormatError(f"{path.name}, after line {number}: the gzip file is cut short or damaged") from error


def count_requests(path: Path) -> int:
    """Read a whole log and count its requests; so a malformed one is refused before anything is sent.

    Raises LogFormatError, also for one without any, and OSError.
    """
    total = sum(1 for _ in read_log(path))
    if total == 0:
        raise LogFormatError(f"{path.name} holds no request")
    return total


def parse_rate(text: str) -> float | None:
    """Read a number of requests a second; None, no limit, for an empty text. Raises OperatorError."""
    if not text:
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise OperatorError(f"--rate {text}: it is a number of requests a second, more than 0")
    return rate


def parse_line(line: str) -> TrackingRequest:
    """Turn one line of Combined Log Format into the request it stands for, sent again as a GET."""
    fields = _COMBINED.match(line)
    if fields is None:
        raise LogFormatError(f"not in Combined Log Format: {line[:80]!r}")
    address, request, referrer, user_agent = (_unescape(text or "") for text in fields.groups())
    request_line = _REQUEST_LINE.match(request)
    return TrackingRequest(
        target=_wire_target(request_line[1] if request_line else "/"),
        address=address,
        user_agent=_header_text(user_agent),
        referrer=_header_text(referrer),
    )


def _unescape(text: str) -> str:
    return _ESCAPE.sub(_escaped_byte, text)


def _escaped_byte(match: re.Match[str]) -> str:
    code = match[1]
    # \xhh is a byte, not a character: it may be a part of one, and becomes whole when the text is encoded again.
    return bytes.fromhex(code[1:]).decode("utf-8", "surrogateescape") if len(code) > 1 else code


def _header_text(text: str) -> str:
    """Make a logged field sendable as a header: `-` stands for nothing, and a header holds no control characters."""
    if text == "-":
        return ""
    readable = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(character for character in readable if character.isprintable())


def _wire_target(target: str) -> str:
    """Make a logged target sendable: origin form, and only bytes that may stand in a request line."""
    if not target.startswith("/"):
        # What comes before the path of an absolute target named a host; anything else is taken for a path.
        target = "/" + re.sub(r"^[A-Za-z][\w+.-]*://[^/?]*/?", "", target)
    return quote(target.encode("utf-8", "surrogateescape"), safe="".join(map(chr, range(0x21, 0x7F))))


# Synthetic visitors -----------------------------------------------------------------------------------------------

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
# One address of a large network in each of several countries; nothing is ever sent to them.
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
    """Make an endless stream of plausible requests; the same seed makes the same stream."""
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
            referrer="https://www.example.org/" if dice.random() < 0.3 else "",  # noqa: PLR2004 - about a third
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


# Sending ----------------------------------------------------------------------------------------------------------


class Tally:
    """What came of the requests sent so far."""

    def __init__(self) -> None:
        self.sent = 0
        self.answered = 0
        """Answered 2xx: stored, as the tracker promises."""
        self.failures: Counter[str] = Counter()
        """Everything else, by reason: the status, or the name of the network fault."""

    @property
    def exit_code(self) -> int:
        """0 when everything sent was accepted."""
        return 0 if self.answered == self.sent else 1


async def send(
    requests: Iterable[TrackingRequest],
    url: str,
    *,
    tally: Tally,
    rate: float | None = None,
    connections: int = 32,
) -> None:
    """Send each request once, over `connections` kept open, at `rate` a second or as fast as answers come.

    Counts into `tally` while it goes. Cancel it to end
    early.
    """
    queue = enumerate(requests)
    begun = asyncio.get_running_loop().time()
    connector = aiohttp.TCPConnector(limit=connections)
    timeout = aiohttp.ClientTimeout(total=30)

    async def work(session: aiohttp.ClientSession) -> None:
        # The iterator is shared: each worker takes the next request when it is free.
        for number, request in queue:
            if rate is not None:
                due_s = begun + number / rate
                await asyncio.sleep(max(0.0, due_s - asyncio.get_running_loop().time()))
            tally.sent += 1
            await _send_one(session, url, request, tally)

    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=jar) as session:
        await asyncio.gather(*(work(session) for _ in range(connections)))


async def _send_one(session: aiohttp.ClientSession, url: str, request: TrackingRequest, tally: Tally) -> None:
    headers = {"X-Forwarded-For": request.address, "User-Agent": request.user_agent}
    if request.referrer:
        headers["Referer"] = request.referrer
    # The target goes out exactly as it was logged: nothing is decoded, quoted or normalised on the way.
    target = URL(f"{url.rstrip('/')}{request.target}", encoded=True)
    try:
        async with session.get(target, headers=headers, allow_redirects=False) as response:
            await response.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        tally.failures[type(error).__name__] += 1
        return
    if response.ok:
        tally.answered += 1
    else:
        tally.failures[f"HTTP {response.status}"] += 1
