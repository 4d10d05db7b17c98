"""wrk: as many requests as a server answers. It is C, so that even nginx is the slower side."""

import re
import subprocess
from typing import NamedTuple

from deploy.bench.machine import program
from deploy.errors import OperatorError

CONNECTIONS = 32

_COUNT = re.compile(r"^\s*(\d+) requests in ([\d.]+)(ms|s|m)", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec:\s*([\d.]+)", re.MULTILINE)
_FAULTS = re.compile(r"^\s*(Non-2xx or 3xx responses: \d+|Socket errors: .*)$", re.MULTILINE)


class Ran(NamedTuple):
    """What wrk saw."""

    requests: int
    """Answered in full. Those in flight when the time was over are not in it."""
    rate: float
    """Requests a second."""


def run(url: str, *, seconds: float, connections: int = CONNECTIONS) -> Ran:
    """Send requests over kept-alive connections, the next when the one before is answered.

    Raises OperatorError when anything but 2xx came, or a connection broke.
    """
    command = [program("wrk", "wrk"), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 30)
    count, rate = _COUNT.search(done.stdout), _RATE.search(done.stdout)
    faults = _FAULTS.findall(done.stdout)
    if done.returncode or count is None or rate is None or faults:
        raise OperatorError(
            f"wrk could not load {url}: {'; '.join(faults) or done.stderr.strip() or done.stdout.strip()}"
        )
    return Ran(int(count[1]), float(rate[1]))
