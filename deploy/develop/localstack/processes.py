"""Start, await and stop one process of the local stack. The process never outlives its parent."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from deploy.errors import OperatorError

_LAUNCHER = Path(__file__).with_name("die_with_parent.py")
_POLL_S = 0.02


class ProcessFailed(OperatorError):
    """A process ended or did not become ready. The message ends with the tail and the path of its log."""


class LocalProcess:
    """A child in its own session, with its output in a log file.

    Ctrl-C on the terminal reaches only the parent, which then stops its children in order. When the parent is killed,
    the kernel kills the child.
    """

    def __init__(self, name: str, command: Sequence[str], *, log: Path, env: Mapping[str, str], cwd: Path) -> None:
        self.name = name
        self.command = tuple(command)
        self.log = log
        self.env = dict(env)
        self.cwd = cwd
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the current or last run."""
        if self._child is None:
            raise RuntimeError(f"{self.name} was never started.")
        return self._child.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._child is not None and self._child.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The exit code of the last run (negative: the signal). None while it runs or before its first start."""
        return None if self._child is None else self._child.poll()

    def start(self) -> None:
        """Start the process and return at once. Its output is appended to the log."""
        if self.is_alive:
            raise RuntimeError(f"{self.name} already runs.")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._child = _on_spawner_thread(self._spawn)

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.env,
                cwd=self.cwd,
                start_new_session=True,
            )

    def wait_until(self, is_ready: Callable[[], bool], *, timeout_s: float) -> None:
        """Wait for the condition. Raises ProcessFailed when the process ends first or at the timeout."""
        until = time.monotonic() + timeout_s
        while not is_ready():
            if not self.is_alive:
                raise ProcessFailed(f"{self.name} ended with exit code {self.exit_code}.\n{self.log_tail()}")
            if time.monotonic() > until:
                raise ProcessFailed(f"{self.name} was not ready within {timeout_s:.0f} s.\n{self.log_tail()}")
            time.sleep(_POLL_S)

    def wait(self, *, timeout_s: float) -> int:
        """Wait until the process ends by itself and return its exit code. Raises ProcessFailed at the timeout."""
        if self._child is None:
            raise RuntimeError(f"{self.name} was never started.")
        try:
            return self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ProcessFailed(f"{self.name} still runs after {timeout_s:.0f} s.\n{self.log_tail()}") from None

    def terminate(self) -> None:
        """Send SIGTERM and return at once."""
        self._signal(signal.SIGTERM)

    def stop(self, *, grace_s: float = 10) -> None:
        """Send SIGTERM, wait, and kill the process if it still runs. Returns when it is gone."""
        if self._child is None:
            return
        self.terminate()
        try:
            self._child.wait(grace_s)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill the process and its children. Returns when they are gone."""
        self._signal(signal.SIGKILL)
        if self._child is not None:
            self._child.wait()

    def send_signal(self, number: signal.Signals) -> None:
        """Send one signal. After SIGSTOP, return when all threads are stopped."""
        self._signal(number)
        if number == signal.SIGSTOP:
            self.wait_until(self._is_stopped, timeout_s=5)

    def _is_stopped(self) -> bool:
        # The kernel stops each thread when it is scheduled next. Until then it could serve one more request.
        states = []
        for thread in Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):  # the thread has just ended
                states.append((thread / "stat").read_text().rpartition(") ")[2][0])
        return set(states) == {"T"}

    def _signal(self, number: signal.Signals) -> None:
        # The child leads its process group, so its pid is the id of the group. After the group has ended, killpg raises
        # ProcessLookupError.
        if self._child is None:
            return
        try:
            os.killpg(self._child.pid, number)
        except (ProcessLookupError, PermissionError):
            return

    def log_tail(self, lines: int = 20) -> str:
        """Return the end and the path of the log, for an error message."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            text = ""
        tail = "\n".join("    " + line for line in text.splitlines()[-lines:])
        return f"{tail or '    (the log is empty)'}\n    whole log: {self.log}"


# For PR_SET_PDEATHSIG, the parent is the thread that started the child, not the process. When a thread of a pool ends,
# the kernel would kill its children. So one thread that never ends before the process starts all children.
_requests: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
_spawner_lock = threading.Lock()
_spawner: list[threading.Thread] = []


def _on_spawner_thread(spawn: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    with _spawner_lock:
        if not _spawner:
            thread = threading.Thread(target=_serve_spawner, name="localstack-spawner", daemon=True)
            thread.start()
            _spawner.append(thread)
    result: Future[subprocess.Popen[bytes]] = Future()
    _requests.put(partial(_fulfil, result, spawn))
    return result.result()


def _serve_spawner() -> None:
    while True:
        _requests.get()()


def _fulfil(result: "Future[subprocess.Popen[bytes]]", spawn: Callable[[], subprocess.Popen[bytes]]) -> None:
    try:
        result.set_result(spawn())
    except OSError as error:
        result.set_exception(error)
