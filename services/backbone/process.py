"""How every process starts, listens and stops: signals, ordered shutdown, exit codes."""

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.backbone.logs import configure_logging, get_logger
from services.backbone.settings import EnvSettings, LogSettings, SettingsError

log = get_logger(__name__)

EXIT_BAD_SETTINGS = 78  # EX_CONFIG of sysexits.h: a restart does not help

# Without a limit, cgroup version 1 contains the largest multiple of the page size.
_NO_MEMORY_LIMIT = 1 << 62

_Settings = TypeVar("_Settings", bound=EnvSettings)


def load_settings(settings: type[_Settings], environ: Mapping[str, str]) -> _Settings:
    """Read the settings. Print all errors at once and exit with EX_CONFIG if they are invalid."""
    try:
        return settings.from_env(environ)
    except SettingsError as error:
        fail(str(error), EXIT_BAD_SETTINGS)


def fail(message: str, code: int) -> NoReturn:
    """Print the reason and exit."""
    sys.stderr.write(f"{message}\n")
    sys.exit(code)


def run_until_stopped(main: Callable[[asyncio.Event], Awaitable[None]], settings: LogSettings, *, service: str) -> None:
    """Run `main` until it returns. SIGTERM and SIGINT set its event.

    `main` closes its resources and returns. The exit code is then 0. A second signal ends the process at once with
    130. An exception is logged and ends the process with 1, to be restarted.
    """
    configure_logging(service=service, level=settings.log_level, output=settings.log_format)
    _reduce_garbage_collection()

    async def supervise() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_signal(number: signal.Signals) -> None:
            if stop.is_set():
                sys.exit(130)
            log.info("stopping", signal=number.name)
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal, number)
        await main(stop)

    try:
        uvloop.run(supervise())
    except PortTaken as error:
        fail(str(error), 1)
    except Exception:
        log.exception("stopped_by_error")
        sys.exit(1)
    log.info("stopped")


async def run_task(
    work: Coroutine[Any, Any, None],
    stop: asyncio.Event,
    *,
    timeout_s: float | None = None,
    before_cancel: Callable[[], None] | None = None,
) -> bool:
    """Run `work` until it returns, `stop` is set or `timeout_s` has passed. Return whether it returned.

    Work that has not returned is cancelled, and this function waits until it has ended. `before_cancel` is called
    before that, also when the work has returned. It sets flags that end loops, because asyncio and aiokafka can swallow
    a cancellation. An exception of `work` is raised.
    """
    task = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopping}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if before_cancel is not None:
            before_cancel()
        stopping.cancel()
        task.cancel()
    await asyncio.wait({task})
    if task.cancelled():
        return False
    task.result()  # raises the exception of `work`
    return True


def _reduce_garbage_collection() -> None:
    """Run cyclic garbage collection rarely: its scans took a tenth of the CPU time of a busy service.

    Imported objects are never scanned again, because they stay forever. Reference cycles are rare in our code.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


class MemoryLimit(NamedTuple):
    """The memory limit of this process, and the file that contains it."""

    size: int
    file: Path


def memory_limit(*, proc: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> MemoryLimit | None:
    """Return the lowest memory limit of this process's cgroup (version 1 or 2) and its parents; None without a limit.

    A container usually sees its own cgroup as the root of `mount`, while `proc` can contain the path on the host. So
    this function reads the limit of each directory on the path and returns the lowest one.
    """
    try:
        memberships = [line.split(":", 2) for line in proc.read_text().splitlines()]
    except OSError:
        return None
    limits: list[MemoryLimit] = []
    for _, controllers, path in memberships:
        if not controllers:
            root, name = mount, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = mount / "memory", "memory.limit_in_bytes"
        else:
            continue
        own = root / path.lstrip("/")
        for directory in (own, *own.parents):
            if directory.is_relative_to(root):
                limits += _read_limit(directory / name)
    return min(limits, default=None)


def _read_limit(file: Path) -> list[MemoryLimit]:
    try:
        size = int(file.read_text())
    except (OSError, ValueError):  # version 2 contains `max` without a limit
        return []
    return [MemoryLimit(size, file)] if size < _NO_MEMORY_LIMIT else []


class PortTaken(OSError):
    """Another process listens on the port."""


@contextlib.asynccontextmanager
async def http_server(  # noqa: PLR0913 - the options of a server
    app: Callable[..., Awaitable[None]],
    *,
    host: str,
    port: int,
    drain_s: float = 5.0,
    protocol: Callable[..., asyncio.Protocol] | None = None,
    websocket_protocol: type[asyncio.Protocol] | None = None,
) -> AsyncIterator[None]:
    """Serve `app` while the block runs. Afterwards stop accepting, and finish running requests within `drain_s`.

    `protocol` creates the uvicorn protocol of each connection, for a server with its own protocol; `websocket_protocol`
    creates that of each websocket. Raises PortTaken before it serves a request.
    """
    listener = _bind(host, port)
    config = uvicorn.Config(
        app,
        http=protocol or HeadsOnlyProtocol,  # type: ignore[arg-type]  # uvicorn only calls it, so any factory works
        ws=websocket_protocol or "auto",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        lifespan="off",
        # Websockets: received messages are small, and compression costs more than the network. Each service has a limit
        # for slow readers, so the time limit of a ping must not close a connection earlier.
        ws_max_size=65_536,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        proxy_headers=False,  # each service has its own list of trusted proxies
        timeout_graceful_shutdown=max(1, round(drain_s)),
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    serving.add_done_callback(lambda _: server.listening.set())
    try:
        await server.listening.wait()
        yield
    finally:
        server.should_exit = True
        await serving
        listener.close()


class HeadsOnlyProtocol(HttpToolsProtocol):
    """The protocol of uvicorn, but it ignores trailers: uvicorn adds fields after a chunked body to the headers.

    Proxies check and remove headers, but not trailers, so a client could set X-Forwarded-For in a trailer.
    """

    _in_head = True

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()


class _Server(uvicorn.Server):
    """A uvicorn server with an event for listening. run_until_stopped handles the signals."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]  # noqa: ANN202 - uvicorn's own signature
        yield


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only if the protocol is named. Without it each response waits 40 ms for an
    # acknowledgement, since uvicorn writes head and body separately. uvloop sets it always.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortTaken(f"can't listen on {host}:{port}: {error.strerror}") from error
    listener.setblocking(False)  # noqa: FBT003 - the standard library's own signature
    return listener
