"""bench.profile: a flame graph of one service under the load of its bench, and the functions that use its CPU time."""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import psutil
from rich.table import Table

from deploy.bench import report
from deploy.errors import OperatorError
from deploy.paths import ROOT

BENCHES = ("tracker", "kafkastore", "consumers", "kafidx")
"""The services that have a bench."""

_PROFILES = ROOT / ".cache" / "profiles"
_FIND_S = 180.0  # a first run downloads the broker; then the topic is filled
_WARM_S = 1.5
_LONGEST_S = 30.0  # longer samples show nothing new, and a bench may take 300 s
_SAMPLES_PER_S = 250
_SHOWN = 15
_LINE = re.compile(r":\d+\)$")
_IDLE = frozenset(["_worker (concurrent/futures/thread.py)"])
"""An idle thread of a pool, which py-spy reports as busy."""


class Profile(NamedTuple):
    """The functions of a service by their share of its busy time."""

    own: Counter[str]
    """Function -> samples in which it ran."""
    total: Counter[str]
    """Function -> samples in which it or a function that it called ran."""
    samples: int


def profile(service: str, *, seconds: float, log: Path | None = None) -> int:
    """Run the bench of a service, sample its process, and print the table. Returns the exit code."""
    if service not in BENCHES:
        raise OperatorError(f"bench.profile {service}: unknown service. Use one of {', '.join(BENCHES)}.")
    output = report.console(json_output=False)
    _PROFILES.mkdir(parents=True, exist_ok=True)
    svg = _PROFILES / f"{service}.svg"
    if log and service == "tracker":
        raise OperatorError("bench.profile tracker takes no --log: a tracker does not parse what it stores")
    lines = ["--log", str(log)] if log else []
    words = [f"bench.{service}", "--rounds", "1", "--seconds", str(max(10.0, 8 * seconds)), *lines]
    bench = subprocess.Popen(
        [sys.executable, "-m", "deploy.cli", *words],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        pid = _busy_process(bench, service)
        time.sleep(_WARM_S)
        found = read_stacks(_sample(pid, "raw", seconds))
        svg.write_text(_sample(pid, "flamegraph", seconds))
    finally:
        bench.terminate()
        bench.communicate()
    output.print(_table(service, found))
    output.print(f"flame graph: {svg.relative_to(ROOT)}")
    return 0


def parse_seconds(text: str) -> float:
    """Parse the length of a sample. Raises OperatorError."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1.0 <= seconds <= _LONGEST_S:
        raise OperatorError(f'--seconds: invalid number "{text}". Use 1 to {_LONGEST_S:g}.')
    return seconds


def read_stacks(text: str) -> Profile:
    """Parse py-spy's `raw` output: a stack on each line, outermost function first, then the number of samples."""
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for line in text.splitlines():
        stack, _, number = line.rpartition(" ")
        frames = [_LINE.sub(")", frame) for frame in stack.split(";")]
        samples = int(number)
        if frames[-1] in _IDLE:
            continue
        own[frames[-1]] += samples
        for frame in set(frames):
            total[frame] += samples
    if not own:
        raise OperatorError("no samples: the service was idle")
    return Profile(own, total, own.total())


def _busy_process(bench: subprocess.Popen[bytes], service: str) -> int:
    """Return the process of the service when it is under load."""
    limit_s = time.monotonic() + _FIND_S
    seen: dict[int, float] = {}
    while time.monotonic() < limit_s:
        if bench.poll() is not None:
            output_ = bench.stderr.read().decode() if bench.stderr else ""
            raise OperatorError(f"the bench ended before its service was busy:\n{output_.strip()}")
        for process in _services(bench.pid, service):
            times = process.cpu_times()
            used_s = times.user + times.system
            if used_s - seen.get(process.pid, used_s) > 0.2:  # noqa: PLR2004 - seconds within half a second
                return process.pid
            seen[process.pid] = used_s
        time.sleep(0.5)
    raise OperatorError(f"{service} was not busy within {_FIND_S:.0f} s")


def _services(parent: int, service: str) -> list[psutil.Process]:
    try:
        children = psutil.Process(parent).children(recursive=True)
        return [each for each in children if f"services.{service}" in each.cmdline()]
    except psutil.NoSuchProcess:
        return []


def _sample(pid: int, form: str, seconds: float) -> str:
    out = _PROFILES / f"{pid}.{form}"
    spy = Path(sys.executable).parent / "py-spy"
    words = ["record", "--pid", str(pid), "--duration", str(max(1, round(seconds))), "--rate", str(_SAMPLES_PER_S)]
    done = subprocess.run(
        [spy, *words, "--format", form, "--output", str(out)], capture_output=True, text=True, check=False
    )
    if done.returncode or not out.exists():
        hint = " (it needs root, or kernel.yama.ptrace_scope=0)" if os.getuid() else ""
        raise OperatorError(f"py-spy can't read the process{hint}: {done.stderr.strip()}")
    text = out.read_text()
    out.unlink()
    return text


def _table(service: str, found: Profile) -> Table:
    table = Table(title=f"{service}: CPU time by function", title_justify="left", box=None)
    table.add_column("itself %", justify="right")
    table.add_column("with calls %", justify="right")
    table.add_column("function")
    for frame, samples in found.own.most_common(_SHOWN):
        shares = (f"{100 * each / found.samples:.1f}" for each in (samples, found.total[frame]))
        table.add_row(*shares, frame)
    return table
