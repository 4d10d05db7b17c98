"""Synthetic visitors in a container: `python -m deploy.demo.visitors` sends the demo's requests until it is stopped."""

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from deploy.demo.synthetic import synthetic_visitors
from deploy.errors import OperatorError
from deploy.numbers import positive_number
from deploy.operate.send import SendCounts, send

_DEFAULT_RATE = "50"
_REPORT_S = 10.0
_ALIVE = Path(tempfile.gettempdir()) / "visitors"  # the container's health check reads its age


async def visit(url: str, rate: float | None) -> None:
    """Send until SIGTERM or SIGINT. Log the counts as a JSON line every ten seconds."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    counts = SendCounts()
    # The seed is the time: each start sends different requests.
    sending = asyncio.create_task(send(synthetic_visitors(seed=time.time_ns()), url, counts=counts, rate=rate))
    stopping = asyncio.create_task(stop.wait())
    try:
        while not stop.is_set() and not sending.done():
            _ALIVE.touch()
            await asyncio.wait({sending, stopping}, timeout=_REPORT_S, return_when=asyncio.FIRST_COMPLETED)
            _report(counts)
    finally:
        for task in (sending, stopping):
            task.cancel()
        await asyncio.wait({sending, stopping})
    if not stop.is_set():
        sending.result()  # it never returns by itself: this raises the exception that ended it


def _report(counts: SendCounts) -> None:
    line = {
        "event": "visited",
        "sent": counts.sent,
        "acknowledged": counts.acknowledged,
        "failures": dict(counts.failures),
    }
    print(json.dumps(line), file=sys.stderr, flush=True)


def main() -> None:
    """Read the environment and send until stopped."""
    environ = {name: value for name, value in os.environ.items() if value}
    try:
        rate = positive_number("VISITORS_RATE", environ.get("VISITORS_RATE", _DEFAULT_RATE))
        url = environ["VISITORS_TRACKER_URL"]
    except (OperatorError, KeyError) as error:
        print(f"set VISITORS_RATE and VISITORS_TRACKER_URL: {error}", file=sys.stderr)
        sys.exit(78)
    asyncio.run(visit(url, rate))


if __name__ == "__main__":
    main()
