"""Send tracking requests to a running tracker by HTTP."""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from yarl import URL

from deploy.errors import OperatorError
from deploy.interrupts import run_interruptible
from deploy.operate.access_log import TrackingRequest, count_requests, read_log

_REFRESH_S = 0.25


class SendCounts:
    """The counts of sent requests, by result."""

    def __init__(self) -> None:
        self.sent = 0
        self.acknowledged = 0
        """Requests with a 2xx response: the tracker has stored them."""
        self.failures: Counter[str] = Counter()
        """All other requests, by HTTP status or by the class of the network error."""

    @property
    def exit_code(self) -> int:
        """0 when every request was acknowledged."""
        return 0 if self.acknowledged == self.sent else 1


async def send(
    requests: Iterable[TrackingRequest],
    url: str,
    *,
    counts: SendCounts,
    rate: float | None = None,
    connections: int = 32,
) -> None:
    """Send each request once over `connections` persistent connections, at `rate` a second or as fast as possible.

    Updates `counts` while it runs. To stop early, cancel it.
    """
    queue = enumerate(requests)
    begun = asyncio.get_running_loop().time()
    connector = aiohttp.TCPConnector(limit=connections)
    timeout = aiohttp.ClientTimeout(total=30)

    async def work(session: aiohttp.ClientSession) -> None:
        # The workers share the iterator: each takes the next request when it is free.
        for number, request in queue:
            if rate is not None:
                due_s = begun + number / rate
                await asyncio.sleep(max(0.0, due_s - asyncio.get_running_loop().time()))
            counts.sent += 1
            await _send_one(session, url, request, counts)

    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=jar) as session:
        await asyncio.gather(*(work(session) for _ in range(connections)))


async def _send_one(session: aiohttp.ClientSession, url: str, request: TrackingRequest, counts: SendCounts) -> None:
    headers = {"X-Forwarded-For": request.address, "User-Agent": request.user_agent}
    if request.referrer:
        headers["Referer"] = request.referrer
    # Send the target exactly as logged: yarl must not decode, quote or normalise it.
    target = URL(f"{url.rstrip('/')}{request.target}", encoded=True)
    try:
        async with session.get(target, headers=headers, allow_redirects=False) as response:
            await response.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        counts.failures[type(error).__name__] += 1
        return
    if response.ok:
        counts.acknowledged += 1
    else:
        counts.failures[f"HTTP {response.status}"] += 1


def send_log(log: Path, url: str, *, rate: float | None) -> SendCounts:
    """Send a log to a running tracker with a progress bar. Returns the counts."""
    console = Console()
    total = count_requests(log)
    _refuse_unreachable(url)
    counts = SendCounts()

    async def run() -> None:
        with progress_bars(console) as progress:
            bar = progress.add_task("sent", total=total)
            sending = asyncio.create_task(send(read_log(log), url, counts=counts, rate=rate))
            while not sending.done():
                await asyncio.wait({sending}, timeout=_REFRESH_S)
                progress.update(bar, completed=counts.sent)
            await sending

    begun = time.monotonic()
    run_interruptible(run())
    seconds = time.monotonic() - begun
    console.print(
        f"{counts.sent:,} sent to {url}, {counts.acknowledged:,} acknowledged, {counts.sent / seconds:,.0f} requests/s"
    )
    for reason, count in counts.failures.items():
        console.print(f"{count:,} not acknowledged: {reason}", style="red")
    return counts


def _refuse_unreachable(url: str) -> None:
    """Raise OperatorError unless a server listens at the URL."""
    try:
        parts = urlsplit(url)
        address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    except ValueError:
        address = ("", 0)
    if not url.startswith(("http://", "https://")) or not address[0]:
        raise OperatorError(f'--url: invalid URL "{url}". Use the form http://127.0.0.1:5222.')
    try:
        socket.create_connection(address, timeout=3).close()
    except OSError as error:
        raise OperatorError(
            f"no tracker responds at {url}: {error.strerror or error}\nDoes it run? `demo` starts a system here."
        ) from None


def progress_bars(console: Console) -> Progress:
    """Return the progress bars of a replay."""
    columns = (TextColumn("{task.description:9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)
