"""Rolling restarts: restart one process after the other behind a proxy that forwards all requests."""

import asyncio
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple, Self

from deploy.chaos.load import ChaosLoad, LoadCounts, LoadRequest
from deploy.develop.localstack.ports import LOOPBACK, free_port, is_listening
from deploy.develop.localstack.processes import LocalProcess
from deploy.develop.localstack.services import ServiceProcess
from deploy.errors import OperatorError

_START_S = 10
_STOP_S = 10
"""Grace period after SIGTERM, a common default of container platforms."""

# nginx sends a request to the next tracker when its connection breaks. By its own rule it repeats only idempotent
# requests. A repeated request has the same event id, so it is counted once.
_CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream trackers {{
{servers}
        keepalive 32;
    }}
    server {{
        listen {address};
        location / {{
            proxy_pass http://trackers;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_next_upstream error timeout http_503{non_idempotent};
        }}
    }}
}}
"""


class Proxy:
    """nginx before several trackers, with persistent connections to each. Use it as a context manager."""

    def __init__(self, ports: Sequence[int], *, folder: Path, resend_posts: bool = True) -> None:
        """Send failed requests to another tracker, with `resend_posts` also POSTs."""
        binary = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if binary is None:
            raise OperatorError("nginx is not installed: apt-get install nginx")
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        # By default nginx avoids a server for ten seconds after one failure. Without a server left it responds 502.
        servers = "\n".join(f"        server {LOOPBACK}:{port} max_fails=0;" for port in ports)
        text = _CONFIGURATION.format(
            folder=folder,
            servers=servers,
            address=f"{LOOPBACK}:{self.port}",
            non_idempotent=" non_idempotent" if resend_posts else "",
        )
        configuration = folder / "nginx.conf"
        configuration.write_text(text)
        command = [binary, "-c", str(configuration), "-e", str(folder / "error.log")]
        self.process = LocalProcess("nginx", command, log=folder / "nginx.log", env=os.environ, cwd=folder)

    def __enter__(self) -> Self:
        """Start nginx. Returns when it listens."""
        self.process.start()
        self.process.wait_until(lambda: is_listening(self.port), timeout_s=_START_S)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop nginx."""
        self.process.stop()


class Rolled(NamedTuple):
    """The result of rolling restarts."""

    counts: LoadCounts
    exit_codes: list[int]
    longest_stop_s: float
    seconds: float


async def roll(
    services: Sequence[ServiceProcess], proxy: Proxy, source: Iterator[LoadRequest], *, restarts: int, rate: float
) -> Rolled:
    """Restart the services in turn, `restarts` times in total, while clients send `source` through the proxy.

    Each service is stopped by SIGTERM and ready again before the next one is restarted. Raises ProcessFailed when a
    service takes too long.
    """
    load = ChaosLoad([proxy.port], source, rate=rate, attempts=1)
    codes: list[int] = []
    stops_s: list[float] = []
    begun = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(load.run())
        try:
            for service in islice(cycle(services), restarts):
                stop_begun = time.monotonic()
                service.process.terminate()
                codes.append(await asyncio.to_thread(service.process.wait, timeout_s=_STOP_S))
                stops_s.append(time.monotonic() - stop_begun)
                service.start()
                await asyncio.to_thread(service.wait_until_ready)
        finally:
            load.end()
    return Rolled(load.counts, codes, max(stops_s, default=0.0), time.monotonic() - begun)
