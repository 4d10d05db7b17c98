"""The load in its own process, so that it takes no CPU time from the measuring one: `python -m deploy.bench.load`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple, Self

from deploy.bench.client import Client
from deploy.errors import OperatorError
from deploy.operate.access_log import TrackingRequest, read_log
from deploy.paths import ROOT

_CONNECTIONS = 64


class Loaded(NamedTuple):
    """The result of the load."""

    acknowledged: int
    refused: int
    late_s: float
    """The longest delay between due time and sending."""
    seconds: float


class BenchLoad:
    """Requests at a fixed rate from a separate process."""

    def __init__(self, port: int, log: Path, *, rate: float, seconds: float) -> None:
        """Start to send the lines of an access log, repeated."""
        words = [str(port), str(log), str(rate), str(seconds)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "deploy.bench.load", *words],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the process if it still runs."""
        self._process.kill()
        self._process.communicate()

    @property
    def is_running(self) -> bool:
        """Whether requests are being sent or responses are outstanding."""
        return self._process.poll() is None

    def result(self) -> Loaded:
        """Wait for the end. Raises OperatorError when the load failed."""
        output_, complaint = self._process.communicate()
        if self._process.returncode:
            raise OperatorError(f"the load failed: {complaint.strip().splitlines()[-1]}")
        return Loaded(**json.loads(output_))


def request_bytes(request: TrackingRequest) -> bytes:
    """Return a request as a proxy in front of the tracker sends it."""
    lines = [f"GET {request.target} HTTP/1.1", "Host: trk.example.org", f"X-Forwarded-For: {request.address}"]
    lines += [f"User-Agent: {request.user_agent}"] if request.user_agent else []
    lines += [f"Referer: {request.referrer}"] if request.referrer else []
    return "\r\n".join([*lines, "", ""]).encode()


def _main(port: str, log: str, rate: str, seconds: str) -> None:
    requests = [request_bytes(request) for request in read_log(Path(log))]
    with Client(int(port), connections=_CONNECTIONS) as client:
        responses = client.at_fixed_rate(requests, rate=float(rate), seconds=float(seconds))
    loaded = Loaded(responses.acknowledged, responses.refused, responses.late_s, responses.seconds)
    sys.stdout.write(json.dumps(loaded._asdict()))


if __name__ == "__main__":
    _main(*sys.argv[1:5])
