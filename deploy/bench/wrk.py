"""wrk: as many requests as a server can serve. It is written in C, so that even nginx is slower than the load."""

import re
import subprocess
from typing import NamedTuple

from deploy.bench.machine import program
from deploy.errors import OperatorError

CONNECTIONS = 32

_COUNT = re.compile(r"^\s*(\d+) requests in ([\d.]+)(ms|s|m)", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec:\s*([\d.]+)", re.MULTILINE)
_ERRORS = re.compile(r"^\s*(Non-2xx or 3xx responses: \d+|Socket errors: .*)$", re.MULTILINE)


class Ran(NamedTuple):
    """The counts of wrk."""

    requests: int
    """Complete responses. Requests in flight at the end are not included."""
    rate: float
    """Requests a second."""


def run(url: str, *, seconds: float, connections: int = CONNECTIONS) -> Ran:
    """Send requests over persistent connections, each after the response to the previous one.

    Raises OperatorError for a status other than 2xx and for a broken connection.
    """
    command = [program("wrk", "wrk"), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 30)
    count, rate = _COUNT.search(done.stdout), _RATE.search(done.stdout)
    errors = _ERRORS.findall(done.stdout)
    if done.returncode or count is None or rate is None or errors:
        raise OperatorError(
            f"wrk could not load {url}: {'; '.join(errors) or done.stderr.strip() or done.stdout.strip()}"
        )
    return Ran(int(count[1]), float(rate[1]))
