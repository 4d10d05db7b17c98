"""Wait for a condition of a system under load: poll often, with a time limit."""

import time
from collections.abc import Callable

from deploy.develop.localstack.processes import LocalProcess
from deploy.errors import OperatorError

_LOOK_S = 0.002
_STALL_S = 60.0


def wait_until(is_so: Callable[[], bool], process: LocalProcess) -> float:
    """Return the time (time.perf_counter) at which the condition was met.

    Raises OperatorError with the log's tail when the process has ended or after a minute.
    """
    limit_s = time.perf_counter() + _STALL_S
    while not is_so():
        if not process.is_alive or time.perf_counter() > limit_s:
            raise OperatorError(f"{process.name} makes no progress\n{process.log_tail()}")
        time.sleep(_LOOK_S)
    return time.perf_counter()
