"""Where the processes of a bench run, and what they use: one core for what is measured, another for all around it."""

import os
import shutil
from collections.abc import Sequence
from typing import NamedTuple

import psutil

from deploy.errors import OperatorError


class Cores(NamedTuple):
    """The cores of this machine, divided."""

    measured: int
    around: int
    """For load, Redis, Kafka."""

    @property
    def within(self) -> tuple[str, ...]:
        """What to put before a command so that it runs on the measured core."""
        return ("taskset", "-c", str(self.measured))


def divide() -> Cores:
    """Give the measured process a core of its own; this process, and what it starts from now on, gets another.

    Raises OperatorError where there is one core only: figures would say how well load and server share it.
    """
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:  # noqa: PLR2004 - one for each side
        raise OperatorError(
            "a bench needs two cores: one for what is measured, one for the load and the servers around"
        )
    cores = Cores(available[0], available[1])
    os.sched_setaffinity(0, {cores.around})
    return cores


def program(name: str, package: str) -> str:
    """Return the path of a program. Raises OperatorError that says which Debian package has it."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise OperatorError(f"{name} is not installed; on Debian and Ubuntu: apt-get install {package}")
    return found


class Usage:
    """CPU time and memory of processes, with their children, from now on."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._processes = [each for pid in pids for each in _family(pid)]
        self._begin_s = self._cpu_s()

    def cpu_s(self) -> float:
        """Return the seconds of CPU, user and system, used since this object was made."""
        return self._cpu_s() - self._begin_s

    def rss_mb(self) -> float:
        """Return the resident memory, all processes together."""
        return sum(each.memory_info().rss for each in self._processes) / 1e6

    def _cpu_s(self) -> float:
        return sum(sum(each.cpu_times()[:2]) for each in self._processes)


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]
