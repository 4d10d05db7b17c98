import asyncio
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.develop.localstack.ports import LOOPBACK, free_port
from services.backbone.process import (
    EXIT_BAD_SETTINGS,
    MemoryLimit,
    PortTaken,
    http_server,
    load_settings,
    memory_limit,
    run_task,
)
from services.backbone.settings import KafkaSettings

ROOT = Path(__file__).parents[3]

PROGRAM = """
import asyncio, sys
from services.backbone.process import run_until_stopped
from services.backbone.settings import ProcessSettings

async def main(stop):
    print("running", flush=True)
    {body}

run_until_stopped(main, ProcessSettings.from_env({{"LOG_FORMAT": "json"}}), service="example")
"""


def start(body: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(body=body)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    return process


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=20)
    return process.returncode, errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_in_order_and_exits_with_0(number: signal.Signals) -> None:
    process = start("await stop.wait(); await asyncio.sleep(0.1)")
    process.send_signal(number)
    code, log = end(process)
    assert code == 0
    assert '"event": "stopped"' in log
    assert number.name in log


def test_second_signal_ends_at_once() -> None:
    process = start("await asyncio.sleep(60)")
    assert process.stderr is not None
    process.terminate()
    # Wait until the process reports the first signal. Otherwise the kernel could merge two equal signals.
    assert any('"event": "stopping"' in line for line in iter(process.stderr.readline, ""))
    process.terminate()
    assert end(process)[0] == 130


def test_error_is_logged_and_exits_with_1() -> None:
    code, log = end(start("raise RuntimeError('out of paper')"))
    assert code == 1
    assert "stopped_by_error" in log
    assert "out of paper" in log


def test_main_that_returns_ends_with_0() -> None:
    assert end(start("return"))[0] == 0


def test_invalid_settings_exit_with_ex_config(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        load_settings(KafkaSettings, {"MAX_EVENT_BYTES": "3", "KAFKA_IDEMPOTENCE": "perhaps"})
    assert ended.value.code == EXIT_BAD_SETTINGS
    printed = capsys.readouterr().err
    assert "MAX_EVENT_BYTES" in printed
    assert "KAFKA_IDEMPOTENCE" in printed


async def test_requests_in_flight_are_finished_when_the_server_stops() -> None:
    received, stop, finish = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def app(_scope: object, _receive: object, send: object) -> None:
        received.set()
        await finish.wait()
        assert callable(send)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"done"})

    async def serve() -> None:
        async with http_server(app, host=LOOPBACK, port=port):
            listening.set()
            await stop.wait()

    port, listening = free_port(), asyncio.Event()
    serving = asyncio.create_task(serve())
    async with asyncio.timeout(20):
        await listening.wait()
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await received.wait()
        stop.set()
        await _refused(port)
        assert not serving.done()
        finish.set()
        assert (await reader.read()).endswith(b"done")
        await serving
    writer.close()
    await writer.wait_closed()


async def _refused(port: int) -> None:
    """Return when no process listens any more."""
    while True:
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, port)
        except OSError:
            return
        writer.close()
        await asyncio.sleep(0.01)


async def _no_app(_scope: object, _receive: object, _send: object) -> None:
    raise AssertionError("no request is expected")


async def test_responses_are_sent_without_a_delay() -> None:
    delayed: list[int] = []

    class Watched(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            delayed.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    port = free_port()
    async with http_server(_no_app, host=LOOPBACK, port=port, protocol=lambda **_: Watched(), drain_s=1.0):
        _, writer = await asyncio.open_connection(LOOPBACK, port)
        async with asyncio.timeout(5):
            while not delayed:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.01)
        writer.close()
        await writer.wait_closed()
    assert all(delayed)


async def test_taken_port_is_in_the_error() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=str(port)):
            async with http_server(_no_app, host="127.0.0.1", port=port):
                pass


def cgroup(folder: Path, memberships: str, **files: str) -> MemoryLimit | None:
    """Write a tree of cgroup files, with `__` for `/` in their names, and return the limit in it."""
    (folder / "cgroup").write_text(memberships)
    for name, text in files.items():
        file = folder / "mount" / name.replace("__", "/").replace("memory_", "memory.")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return memory_limit(proc=folder / "cgroup", mount=folder / "mount")


@pytest.mark.parametrize(
    ("memberships", "files", "size"),
    [
        ("0::/\n", {"memory_max": "536870912\n"}, 536_870_912),
        ("0::/a/b\n", {"a__b__memory_max": "max\n", "a__memory_max": "1000000\n"}, 1_000_000),
        ("0::/a\n", {"a__memory_max": "2000\n", "memory_max": "1000\n"}, 1000),
        ("0::/seen/by/the/host\n", {"memory_max": "1000\n"}, 1000),
        ("0::/\n", {"memory_max": "max\n"}, None),
        ("0::/\n", {}, None),
        ("5:cpu:/\n4:memory:/a\n0::/\n", {"memory__a__memory_limit_in_bytes": "1000\n"}, 1000),
        ("4:memory:/seen/by/the/host\n", {"memory__memory_limit_in_bytes": "1000\n"}, 1000),
        ("4:memory:/\n", {"memory__memory_limit_in_bytes": "9223372036854771712\n"}, None),
        ("5:cpu:/\n", {"memory__memory_limit_in_bytes": "1000\n"}, None),
    ],
)
def test_memory_limit_is_the_lowest_of_the_cgroups_above_the_process(
    tmp_path: Path, memberships: str, files: dict[str, str], size: int | None
) -> None:
    found = cgroup(tmp_path, memberships, **files)
    assert (found.size if found else None) == size


def test_memory_limit_is_unknown_without_cgroups(tmp_path: Path) -> None:
    assert memory_limit(proc=tmp_path / "missing", mount=tmp_path) is None


class Work:
    """Work that records how it ended."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.ended = asyncio.Event()
        self.order: list[str] = []

    async def run(self) -> None:
        self.began.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
            self.order.append("ended")
            self.ended.set()
            raise

    def begin_stop(self) -> None:
        self.order.append("flag")


async def test_task_is_cancelled_and_awaited_when_stop_is_set() -> None:
    work, stop = Work(), asyncio.Event()
    running = asyncio.create_task(run_task(work.run(), stop, before_cancel=work.begin_stop))
    await work.began.wait()
    stop.set()
    assert await running is False
    assert work.order == ["flag", "ended"]


async def test_task_is_cancelled_after_its_time_limit() -> None:
    work = Work()
    assert await run_task(work.run(), asyncio.Event(), timeout_s=0.05) is False
    assert work.order == ["ended"]


async def test_task_that_returns_sets_the_flags_as_well() -> None:
    work = Work()
    assert await run_task(asyncio.sleep(0), asyncio.Event(), before_cancel=work.begin_stop) is True
    assert work.order == ["flag"]


async def test_error_of_the_task_is_raised_also_when_it_arises_at_the_stop() -> None:
    async def fails_when_cancelled() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError("late")

    with pytest.raises(ValueError, match="late"):
        await run_task(fails_when_cancelled(), asyncio.Event(), timeout_s=0.05)


async def test_task_is_cancelled_when_its_caller_is_cancelled() -> None:
    work = Work()
    running = asyncio.create_task(run_task(work.run(), asyncio.Event()))
    await work.began.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.wait_for(work.ended.wait(), 5)
