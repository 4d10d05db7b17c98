"""wrk: as many requests as a server can serve. It is written in C, so that even nginx is slower than the load."""

import re
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from deploy.bench.machine import program
from deploy.errors import OperatorError

CONNECTIONS = 32

_COUNT = re.compile(r"^\s*(\d+) requests in ([\d.]+)(ms|s|m)", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec:\s*([\d.]+)", re.MULTILINE)
_ERRORS = re.compile(r"^\s*(Non-2xx or 3xx responses: \d+|Socket errors: .*)$", re.MULTILINE)
_LATENCY = re.compile(r"^\s*(50|99)%\s+([\d.]+)(us|ms|s|m)\s*$", re.MULTILINE)
_UNIT_MS = {"us": 0.001, "ms": 1.0, "s": 1_000.0, "m": 60_000.0}


class Ran(NamedTuple):
    """The counts of wrk."""

    requests: int
    """Complete responses. Requests in flight at the end are not included."""
    rate: float
    """Requests a second."""
    p50_ms: float
    """Latency while all connections are busy. It contains the wait for the other connections."""
    p99_ms: float


def run(url: str, *, seconds: float, connections: int = CONNECTIONS, headers: Sequence[str] = ()) -> Ran:
    """Send requests over persistent connections, each after the response to the previous one.

    `headers` are lines such as `Accept: image/webp`. Raises OperatorError for a status other than 2xx and 3xx and for a
    broken connection.
    """
    options = [f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency"]
    options += [word for header in headers for word in ("-H", header)]
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
