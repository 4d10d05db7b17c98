"""The time that a request waits for the database, so that the rest is known: the time of storage itself."""

from contextvars import ContextVar

from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent


class DatabaseTime:
    """The time of the database commands of one request."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = 0.0


_current: ContextVar[DatabaseTime | None] = ContextVar("database_time", default=None)


def measure_database_time() -> DatabaseTime:
    """Return the time of the commands that this task and its children run from now on."""
    measured = DatabaseTime()
    _current.set(measured)
    return measured


class CommandTimes(CommandListener):
    """Adds the time of each command, from its sending to its reply, to the request that runs it."""

    def started(self, event: CommandStartedEvent) -> None:
        pass

    def succeeded(self, event: CommandSucceededEvent) -> None:
        self._add(event.duration_micros)

    def failed(self, event: CommandFailedEvent) -> None:
        self._add(event.duration_micros)

    def _add(self, duration_us: int) -> None:
        measured = _current.get()
        if measured is not None:
            measured.seconds += duration_us / 1e6
