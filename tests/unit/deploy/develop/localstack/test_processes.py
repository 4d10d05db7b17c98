import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from deploy.develop.localstack.processes import LocalProcess, ProcessFailed

ROOT = Path(__file__).parents[5]


def python(program: str, tmp_path: Path) -> LocalProcess:
    return LocalProcess(
        "program", [sys.executable, "-u", "-c", program], log=tmp_path / "log", env=os.environ, cwd=tmp_path
    )


def test_output_of_all_runs_is_in_the_log(tmp_path: Path) -> None:
    process = python("import sys; print('out'); print('err', file=sys.stderr)", tmp_path)
    for _ in range(2):
        process.start()
        assert process.wait(timeout_s=10) == 0
    assert sorted(process.log.read_text().split()) == ["err", "err", "out", "out"]


def test_process_that_ends_before_it_is_ready_is_reported_with_its_log(tmp_path: Path) -> None:
    process = python("print('no such luck'); raise SystemExit(3)", tmp_path)
    process.start()
    with pytest.raises(ProcessFailed, match=r"(?s)exit code 3.*no such luck.*whole log: .*log"):
        process.wait_until(lambda: False, timeout_s=10)


def test_process_that_is_not_ready_is_reported_at_the_timeout(tmp_path: Path) -> None:
    process = python("import time; time.sleep(60)", tmp_path)
    process.start()
    with pytest.raises(ProcessFailed, match=r"not ready within 0 s"):
        process.wait_until(lambda: False, timeout_s=0.2)
    process.stop()
    assert process.exit_code == -signal.SIGTERM


def test_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    process = python("import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf'); time.sleep(60)", tmp_path)
    process.start()
    process.wait_until(lambda: "deaf" in process.log.read_text(), timeout_s=10)
    process.stop(grace_s=0.3)
    assert process.exit_code == -signal.SIGKILL


def test_kill_includes_the_children_of_the_process(tmp_path: Path) -> None:
    process = python("import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid); time.sleep(60)", tmp_path)
    process.start()
    process.wait_until(lambda: process.log.read_text().endswith("\n"), timeout_s=10)
    grandchild = psutil.Process(int(process.log.read_text()))
    process.kill()
    assert wait_gone([grandchild])


def test_process_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    process = python("import time; time.sleep(60)", tmp_path)
    thread = threading.Thread(target=process.start)
    thread.start()
    thread.join()
    time.sleep(0.3)  # the kernel would have sent the signal at the end of the parent thread
    assert process.is_alive
    process.kill()


@pytest.mark.parametrize("then", [[], ["--then", "sleep", "61"]], ids=["command", "first-of-two"])
def test_process_does_not_outlive_a_killed_parent(tmp_path: Path, then: list[str]) -> None:
    program = (
        "import os, time; from pathlib import Path; from deploy.develop.localstack.processes import LocalProcess\n"
        f"p = LocalProcess('x', {['sleep', '60', *then]!r}, log=Path('log'), env=os.environ, cwd=Path())\n"
        "p.start(); print(p.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    until = time.monotonic() + 10
    while not sleepers(child) and time.monotonic() < until:
        time.sleep(0.02)
    family = [child, *child.children(recursive=True)]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert wait_gone(family)


def sleepers(process: psutil.Process) -> list[psutil.Process]:
    return [p for p in (process, *process.children(recursive=True)) if p.name() == "sleep"]


def wait_gone(family: list[psutil.Process]) -> bool:
    until = time.monotonic() + 5
    while any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True
