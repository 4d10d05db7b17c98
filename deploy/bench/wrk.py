"""wrk: as many requests as a server can serve. It is written in C, so that even nginx is slower than the load."""

import json
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from deploy.bench.machine import program
from deploy.errors import OperatorError

CONNECTIONS = 32

_COUNT = re.compile(r"^\s*(\d+) requests in ([\d.]+)(ms|s|m)", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec:\s*([\d.]+)", re.MULTILINE)
_ERRORS = re.compile(r"^\s*(Non-2xx or 3xx responses: \d+|Socket errors: .*)$", re.MULTILINE)
_LATENCY = re.compile(r"^\s*(50|99)%\s+([\d.]+)(us|ms|s|m)\s*$", re.MULTILINE)
_UNIT_MS = {"us": 0.001, "ms": 1.0, "s": 1_000.0, "m": 60_000.0}


class WrkRequest(NamedTuple):
    """One of the requests that wrk sends in rotation."""

    path: str
    headers: Mapping[str, str] = {}


class Ran(NamedTuple):
    """The counts of wrk."""

    requests: int
    """Complete responses. Requests in flight at the end are not included."""
    rate: float
    """Requests a second."""
    p50_ms: float
    """Latency while all connections are busy. It contains the wait for the other connections."""
    p99_ms: float


def run(
    url: str, *, seconds: float, connections: int = CONNECTIONS, requests: Sequence[WrkRequest] = (WrkRequest(""),)
) -> Ran:
    """Send requests over persistent connections, each after the response to the previous one.

    `requests` have paths below the URL. Raises OperatorError for a status other than 2xx and 3xx and for a broken
    connection.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(rotation(url, requests))
        script.flush()
        options = [f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", "-s", script.name]
        command = [program("wrk", "wrk"), "-t1", *options, url]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 30)
    count, rate = _COUNT.search(done.stdout), _RATE.search(done.stdout)
    errors = _ERRORS.findall(done.stdout)
    latencies = {part: float(value) * _UNIT_MS[unit] for part, value, unit in _LATENCY.findall(done.stdout)}
    if done.returncode or count is None or rate is None or errors or len(latencies) != 2:  # noqa: PLR2004 - p50, p99
        raise OperatorError(
            f"wrk could not load {url}: {'; '.join(errors) or done.stderr.strip() or done.stdout.strip()}"
        )
    return Ran(int(count[1]), float(rate[1]), latencies["50"], latencies["99"])


def rotation(url: str, requests: Sequence[WrkRequest]) -> str:
    """Return a script for wrk that sends the requests in rotation. They are encoded once, before the load."""
    base = urlsplit(url).path
    words = []
    for each in requests:
        headers = ", ".join(f"[{_quoted(name)}] = {_quoted(value)}" for name, value in each.headers.items())
        words.append(f'  wrk.format("GET", {_quoted(base + each.path)}, {{{headers}}})')
    encoded = ",\n".join(words)
    return (
        f"local encoded, last = nil, 0\nfunction init()\nencoded = {{\n{encoded}\n}}\nend\n"
        "function request()\nlast = last % #encoded + 1\nreturn encoded[last]\nend\n"
    )


def _quoted(text: str) -> str:
    # JSON of printable ASCII without a slash escape is a string of Lua too.
    if not (text.isascii() and text.isprintable()):
        raise ValueError(f"wrk cannot send {text!r}")
    return json.dumps(text)
