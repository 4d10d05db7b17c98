"""FailureLog: logs the first failure of a store and its recovery, and counts frequent failures instead of logging."""

import asyncio
import logging
from typing import Any, Final

from structlog.stdlib import BoundLogger

_INTERVAL_S: Final = 60.0
_MOST_CAUSES: Final = 16  # a bound, because a cause could contain a text that is always different


class FailureLog:
    """Logs the first failure of each cause, and the recovery. Then it logs the number of failures once a minute.

    A Redis at its memory limit may accept every second push. Two lines for each push would fill the disk.
    """

    def __init__(self, log: BoundLogger, *, works_again: str, interval_s: float = _INTERVAL_S) -> None:
        """`works_again` is the log event for the end of a failure."""
        self._log = log
        self._works_again = works_again
        self._interval_s = interval_s
        self._current: str | None = None
        self._known: set[tuple[str, str]] = set()
        """The kinds and causes logged since the last quiet interval, in which the store worked."""
        self._timer: asyncio.TimerHandle | None = None
        self._counted = 0
        self._last: tuple[int, str, dict[str, Any]] = (logging.WARNING, "", {})
        self._end_is_due = False

    @property
    def current(self) -> str | None:
        """The kind of the current failure; None while the store works."""
        return self._current

    def begin(self, kind: str, event: str, *, cause: str = "", level: int = logging.WARNING, **fields: Any) -> None:
        """Log or count a failure. Ignore it while an earlier failure of the same kind and cause lasts.

        A failure of one kind may change its cause: a Redis out of memory may become a replica. Each is logged.
        """
        lasts = kind == self._current
        self._current = kind
        is_known = (kind, cause) in self._known
        if lasts and is_known:
            return
        if is_known or len(self._known) >= _MOST_CAUSES:
            self._counted += 1
            # Drop the traceback: its frames hold the events of the push.
            self._last = (level, event, {name: value for name, value in fields.items() if name != "exc_info"})
            return
        self._known.add((kind, cause))
        self._log.log(level, event, **fields)
        self._end_is_due = True
        if self._timer is None:
            self._start_timer()

    def end(self) -> None:
        """Log that the store works again, if its failure was logged."""
        if self._current is None:
            return
        self._current = None
        if self._end_is_due:
            self._end_is_due = False
            self._log.info(self._works_again)

    def close(self) -> None:
        """Log the count and stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._counted:
            self._log_count()

    def _start_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval_s, self._report)

    def _report(self) -> None:
        self._timer = None
        if self._counted:
            self._log_count()
            self._start_timer()
        elif self._current is not None:
            self._start_timer()
        else:
            self._known.clear()

    def _log_count(self) -> None:
        level, event, fields = self._last
        lasts = self._current is not None
        self._log.log(level, event, **fields, times=self._counted, within_s=self._interval_s, lasts=lasts)
        self._counted = 0
        self._end_is_due = lasts


def without_frames(error: Exception) -> Exception:
    """Remove the tracebacks from an error that is kept, because their frames hold the events of the push."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error
