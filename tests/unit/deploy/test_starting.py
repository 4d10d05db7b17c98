"""The first second of a command: SIGINT at known points of the start, and packages that are missing."""

import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# Modules in the order in which `status` imports them: the bootstrap, the start of the second interpreter (again
# `site`), the command line, and what the task itself imports.
POINTS = [
    "deploy.develop.bootstrap",
    "site",
    "deploy.starting",
    "invoke.exceptions",
    "invoke",
    "deploy.tasks",
    "redis",
    "aiokafka",
]


@pytest.fixture
def silent_port() -> Iterator[socket.socket]:
    """A server that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        yield server


def start_status(port: int, **environ: str) -> subprocess.Popen[str]:
    url = f"redis://127.0.0.1:{port}/0"
    own = {"REDIS_URL": url, "COUNTERS_REDIS_URL": url, "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}"}
    return subprocess.Popen(
        [sys.executable, "tasks.py", "status"],
        cwd=ROOT, env=os.environ | own | environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def exit_code_in_a_shell(returncode: int) -> int:
    return 128 - returncode if returncode < 0 else returncode


@pytest.mark.parametrize("point", POINTS)
def test_interrupt_exits_130_without_a_traceback_when_it_comes_after_an_import(
    point: str, silent_port: socket.socket
) -> None:
    process = start_status(silent_port.getsockname()[1], PYTHONPROFILEIMPORTTIME="1")
    assert process.stderr is not None
    # The first `site` belongs to the first interpreter, before any of our code runs.
    wanted = ["site", "deploy.develop.bootstrap", point] if point in ("site", "deploy.starting") else [point]
    lines = iter(process.stderr.readline, "")
    for module in wanted:
        assert any(re.match(rf"import time:.*\| *{re.escape(module)}\n", line) for line in lines), module
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    printed = [line for line in err.splitlines() if not line.startswith("import time:")]
    assert (exit_code_in_a_shell(process.returncode), out, printed) == (130, "", [])


def test_interrupt_exits_130_without_a_traceback_when_the_task_waits(silent_port: socket.socket) -> None:
    process = start_status(silent_port.getsockname()[1])
    connection, _ = silent_port.accept()
    with connection:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (exit_code_in_a_shell(process.returncode), out, err) == (130, "", "")


def test_ignored_interrupt_stays_ignored(silent_port: socket.socket) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited, as with nohup
    try:
        process = start_status(silent_port.getsockname()[1])
    finally:
        signal.signal(signal.SIGINT, before)
    connection, _ = silent_port.accept()
    process.send_signal(signal.SIGINT)
    silent_port.close()
    connection.close()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "does not respond" in err


def push_without(package: str, folder: Path, *words: str, half: bool) -> subprocess.CompletedProcess[str]:
    """Run a command in an environment without one package. With `half`, the package's folder exists and is empty."""
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if entry.name != package:
            (folder / entry.name).symlink_to(entry)
    if half:
        (folder / package).mkdir()
    command = [sys.executable, "-S", "-m", "deploy.cli", *words]  # -S: use only the folders in PYTHONPATH
    environ = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("package", "task", "half"),
    [
        ("invoke", "--list", False),
        ("invoke", "--list", True),
        ("rich", "status", False),
        ("pydantic", "status", True),
        ("redis", "dead.list", False),
        ("pytest", "test", False),
    ],
)
def test_missing_package_is_named_in_one_line(package: str, task: str, tmp_path: Path, *, half: bool) -> None:
    done = push_without(package, tmp_path, task, half=half)
    line = f'The package "{package}" is missing or incomplete in .venv. Delete .venv and run the command again.\n'
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)


def test_missing_program_is_named_in_one_line() -> None:
    program = Path(sys.executable).parent / "no-such-program"
    code = "from deploy import starting; starting.report_missing_packages(); import subprocess, sys; "
    code += "subprocess.run([sys.argv[1]])"
    done = subprocess.run([sys.executable, "-c", code, program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert 'The package "no-such-program" is missing' in done.stderr


def test_error_of_our_own_keeps_its_traceback() -> None:
    code = "from deploy import starting; starting.report_missing_packages(); import deploy.no_such_module"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.startswith("Traceback")
