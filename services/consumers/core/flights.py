"""Which action is sent to the workers, and when. Pure: the time comes in as an argument.

A consumer sends an action, then reads its report in Redis until the action is finished. It sends an action again

- after a failure, with a growing pause,
- when the worker that started it has died,
- when no report came within the time limit of a task and 15 s, and the queue is short: Celery can lose a task that its
  broker has. In a long queue the task probably waits, and a copy would make the queue longer.

A duplicate in the queue is harmless: a worker starts an action only if it is neither running nor finished.
"""

from collections import deque
from collections.abc import Collection, Iterable
from typing import Final, Literal, NamedTuple

from services.backbone.backoff import Backoff
from services.consumers.core.actions import Action

RESEND_MARGIN_S: Final = 15.0
"""Added to the time limit of a task: after this time a task without a report is sent again."""

RETRY_PARTITION: Final = 0
"""The owner of this partition sends the actions that operators retry, so that only one member does."""

ReportKind = Literal["started", "done", "dead", "failed", "over_time", "away", "lost"]
"""The last thing that is known of an action:

- started: a worker runs it.
- done, dead: it is finished.
- failed: the attempt raised an error. over_time: it exceeded the time limit. It is sent again after a pause.
- away: what it depends on can't be reached. This is no attempt (store/scripts.py, UNDONE).
- lost: the worker that started it has died.
"""


class ActionReport(NamedTuple):
    """The state of an action in Redis."""

    kind: ReportKind
    number: int
    """Grows with each report of the action. A lost action has the number of its start."""
    attempts: int = 0
    """How often the action failed."""


class Send(NamedTuple):
    """An action to send."""

    action: Action
    is_probe: bool = False
    """Whether it is sent while its dependency is away, to find out whether the dependency responds again."""


class Finished(NamedTuple):
    """An action that is finished, and the events that it finishes."""

    action: Action
    is_dead: bool
    offsets: list[tuple[int, int]]
    """The partition and the offset of each event. Empty for an action that an operator retries."""
    taken_s: float
    """When the consumer took the first of these events."""


class _Flight:
    def __init__(self, action: Action, now_s: float) -> None:
        self.action = action
        self.offsets: list[tuple[int, int]] = []
        self.taken_s = now_s
        self.due_s = now_s
        self.is_sent = False
        """Whether it was sent and has no report since."""
        self.seen: tuple[ReportKind, int] | None = None


class Flights:
    """The unfinished actions of one consumer. At most `most` are sent; the others wait in memory."""

    def __init__(
        self, *, most: int, time_limit_s: float, backoff_s: float = 1.0, longest_backoff_s: float = 60.0
    ) -> None:
        self._most = most
        self._resend_s = time_limit_s + RESEND_MARGIN_S
        self._backoff_s = (backoff_s, longest_backoff_s)
        self._flights: dict[str, _Flight] = {}
        self._waiting: deque[_Flight] = deque()
        self._by_id: dict[str, _Flight] = {}
        self._probes = Backoff(first_s=0.5, longest_s=5.0)
        self._next_probe_s = 0.0

    def add(self, action: Action, offsets: Iterable[tuple[int, int]], now_s: float) -> None:
        """Take an action. Another event with the id of an unfinished action is finished together with it."""
        flight = self._by_id.get(action.id)
        if flight is None:
            flight = self._by_id[action.id] = _Flight(action, now_s)
            self._waiting.append(flight)
        flight.offsets.extend(offsets)

    def admit(self) -> list[str]:
        """Move waiting actions into the flight while there is room. Return the ids of all actions in flight."""
        while self._waiting and len(self._flights) < self._most:
            flight = self._waiting.popleft()
            self._flights[flight.action.id] = flight
        return list(self._flights)

    def observe(self, id_: str, report: ActionReport | None, now_s: float) -> Finished | None:
        """Take notice of the report of an action in flight. Return it if it is finished.

        None means that Redis has no report: no worker has started the action, or Redis has lost its data.
        """
        flight = self._flights[id_]
        if report is None:
            return None
        if report.kind in ("done", "dead"):
            del self._flights[id_], self._by_id[id_]
            return Finished(flight.action, report.kind == "dead", flight.offsets, flight.taken_s)
        seen, flight.seen = flight.seen, (report.kind, report.number)
        if seen == flight.seen:
            return None
        flight.is_sent = False
        if report.kind == "started":
            flight.due_s = now_s + self._resend_s
        elif report.kind in ("failed", "over_time"):
            flight.due_s = now_s + self._pause_s(report.attempts)
        else:
            flight.due_s = now_s
        return None

    def due(self, now_s: float, *, is_away: bool, queued: int = 0) -> list[Send]:
        """Return the actions to send now, and note that they are sent. `queued` is the length of the queue.

        While the dependency is away this is at most one, after growing pauses.
        """
        is_short = queued < self._most
        found = [each for each in self._flights.values() if each.due_s <= now_s and (is_short or not each.is_sent)]
        if not is_away:
            self._probes.reset()
            self._next_probe_s = 0.0
        elif now_s < self._next_probe_s:
            return []
        else:
            found = found[:1]
            self._next_probe_s = now_s + self._probes.next_s()
            for flight in found:  # the next probe is another action: this one may be what its dependency fails at
                self._flights[flight.action.id] = self._flights.pop(flight.action.id)
        for flight in found:
            flight.due_s = now_s + self._resend_s
            flight.is_sent = True
        return [Send(flight.action, is_away) for flight in found]

    def unsend(self, sends: Iterable[Send], now_s: float) -> None:
        """Note that actions could not be sent: they are due at once."""
        for send in sends:
            flight = self._by_id[send.action.id]
            flight.due_s, flight.is_sent = now_s, False

    def drop(self, partitions: Collection[int]) -> None:
        """Drop the events of these partitions, and actions without other events.

        The next owner of a partition takes them again. Actions that are sent already run, once.
        """
        for id_, flight in list(self._by_id.items()):
            kept = [each for each in flight.offsets if each[0] not in partitions]
            if not kept and (flight.offsets or RETRY_PARTITION in partitions):
                del self._by_id[id_]
                self._flights.pop(id_, None)
            flight.offsets = kept
        self._waiting = deque(flight for flight in self._waiting if flight.action.id in self._by_id)

    @property
    def waiting(self) -> int:
        """The number of actions that wait for room."""
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """The number of actions that are sent or about to be sent."""
        return len(self._flights)

    @property
    def retried(self) -> int:
        """The number of actions that operators retry."""
        return sum(not flight.offsets for flight in self._by_id.values())

    def oldest_s(self, now_s: float) -> float:
        """Return the age of the oldest unfinished action in seconds, 0 without one."""
        return max((now_s - flight.taken_s for flight in self._by_id.values()), default=0.0)

    def __contains__(self, id_: str) -> bool:
        return id_ in self._by_id

    def _pause_s(self, attempts: int) -> float:
        first_s, longest_s = self._backoff_s
        backoff = Backoff(first_s=first_s, longest_s=longest_s)
        backoff.failures = max(0, attempts - 1)
        return backoff.next_s()
