"""The cores of a bench and their use: one core for the measured process, another for everything else."""

import os
import shutil
from collections.abc import Sequence
from typing import NamedTuple

import psutil

from deploy.errors import OperatorError


class Cores(NamedTuple):
    """The division of this machine's cores."""

    measured: int
    around: int
    """For the load, Redis and Kafka."""

    @property
    def within(self) -> tuple[str, ...]:
        """The command prefix that runs a command on the measured core."""
        return ("taskset", "-c", str(self.measured))


def divide() -> Cores:
    """Reserve a core for the measured process. This process, and processes that it starts from now on, use another one.

    Raises OperatorError on a machine with one core, where load and server would compete.
    """
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:  # noqa: PLR2004 - one for each side
        raise OperatorError("a bench needs two cores: one for the measured process, one for the load and the servers")
    cores = Cores(available[0], available[1])
    os.sched_setaffinity(0, {cores.around})
    return cores


def program(name: str, package: str) -> str:
    """Return the path of a program. Raises OperatorError, which contains its Debian package."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise OperatorError(f"{name} is not installed; on Debian and Ubuntu: apt-get install {package}")
    return found


class Usage:
    """CPU time and memory of processes and their children, from now on."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._processes = [each for pid in pids for each in _family(pid)]
        self._begin_s = self._cpu_s()

    def cpu_s(self) -> float:
        """Return the seconds of CPU time, user and system, since this object was created."""
        return self._cpu_s() - self._begin_s

    def rss_mb(self) -> float:
        """Return the resident memory of all processes together."""
        return sum(each.memory_info().rss for each in self._processes) / 1e6

    def _cpu_s(self) -> float:
        return sum(sum(each.cpu_times()[:2]) for each in self._processes)


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]
