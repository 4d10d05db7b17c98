"""ScheduleStore: the state and the history of the periodic jobs of a service, in Redis."""

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from services.backbone import names
from services.backbone.audit import AuditList, encode_entry
from services.backbone.clock import clock_ms
from services.backbone.schedule import scripts
from services.backbone.schedule.plan import JobState

ScheduleStoreError = RedisError
"""Raised by every method when Redis does not respond in time or responds with an error."""

RunResult = Literal["running", "done", "failed", "lost", "missed"]
RESULTS: Final = ("done", "failed", "lost", "missed")
"""The ends of a run. lost: no end within its time limit; missed: nobody began it in time."""
MOST_RUNS: Final = 100
"""The runs in the history of a job."""
REQUEST_WINDOW_S: Final = 10.0
"""A request to run a job within this time after one of the same kind has no effect: a second click, or a second
operator."""
_LOCK_MARGIN_S: Final = 5.0
"""Added to the time limit: Celery kills a task some time after its limit."""
_KEEP_TAKEN_S: Final = 172_800
"""Longer than a run may be late (ScheduleSettings)."""
_MOST_NOTE_CHARS: Final = 500


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A run in the history of a job, or a row of missed times."""

    planned_ms: int
    """The planned time, or the time of the request. It identifies the run."""
    result: RunResult
    by: str = ""
    """The operator who requested the run. Empty: it was planned."""
    begun_ms: int = 0
    ended_ms: int = 0
    note: str = ""
    """What the run did, or why it failed."""
    count: int = 1
    """The number of missed times."""
    until_ms: int = 0
    """The last of the missed times."""


class BegunRun(msgspec.Struct, frozen=True):
    """A run that this process may do. `token` proves it."""

    job: str
    token: str
    record: RunRecord
    order: str = ""
    """What the operator ordered with the request that began it."""


class ScheduleStore:
    """The jobs of one service. `redis` must decode responses.

    `limit_s` is the time limit of a run.
    """

    def __init__(self, redis: Redis, service: str, *, limit_s: float, clock: Callable[[], int] = clock_ms) -> None:
        self._redis = redis
        self.service = service
        self._lock_ms = round(1000 * (limit_s + _LOCK_MARGIN_S))
        self.audit = AuditList(redis, names.schedule_audit_key(service))
        self.clock = clock
        self._begin = redis.register_script(scripts.BEGIN)
        self._miss = redis.register_script(scripts.MISS)
        self._end = redis.register_script(scripts.END)
        self._lose = redis.register_script(scripts.LOSE)
        self._request = redis.register_script(scripts.REQUEST)
        self._pause = redis.register_script(scripts.PAUSE)
        self._resume = redis.register_script(scripts.RESUME)

    async def aclose(self) -> None:
        """Close the connections to Redis."""
        await self._redis.aclose()

    async def ping(self) -> None:
        """Raise unless Redis responds."""
        await self._redis.ping()

    async def state(self, job: str) -> JobState:
        """Return the state of a job."""
        return (await self.states([job]))[job]

    async def states(self, jobs: Sequence[str], *, most_checks: int | None = None) -> dict[str, JobState]:
        """Return the states of jobs by name, in one round trip.

        With `most_checks`, only that many of the newest checks are kept in the queue: each looks at all that is due.
        """
        async with self._redis.pipeline(transaction=True) as pipeline:
            for job in jobs:
                pipeline.hgetall(names.job_state_key(self.service, job))
                pipeline.exists(names.job_running_key(self.service, job))
            if most_checks is not None:
                pipeline.ltrim(names.schedule_queue(self.service), 0, most_checks - 1)
            found = await pipeline.execute()
        return {job: _state(found[2 * index], bool(found[2 * index + 1])) for index, job in enumerate(jobs)}

    async def runs(self, job: str) -> list[RunRecord]:
        """Return the last runs of a job, the newest first. A run whose worker was lost may still be `running`."""
        found: Any = await self._redis.hvals(names.job_runs_key(self.service, job))
        records = [msgspec.json.decode(each, type=RunRecord) for each in found]
        return sorted(records, key=lambda record: -record.planned_ms)

    async def last_run(self, job: str) -> RunRecord | None:
        """Return the newest run of a job, None before the first."""
        key = names.job_runs_key(self.service, job)
        planned: Any = await self._redis.hkeys(key)
        content: Any = await self._redis.hget(key, max(planned, key=int)) if planned else None
        return None if content is None else msgspec.json.decode(content, type=RunRecord)

    async def begin_planning(self, job: str) -> None:
        """Make a new job known: times before now are not missed."""
        now, key = str(self.clock()), names.job_state_key(self.service, job)
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hsetnx(key, "mark", now)
            pipeline.hsetnx(key, "since", now)
            await pipeline.execute()

    async def begin(
        self, job: str, planned_ms: int, *, by: str = "", is_requested: bool = False, order: str = ""
    ) -> BegunRun | None:
        """Take a run by SET NX and begin it. A requested run ends its request; a planned one leaves it waiting.

        Return None if another process took it, if the job runs, or if it was paused meanwhile.
        """
        token = uuid.uuid4().hex
        record = RunRecord(planned_ms=planned_ms, result="running", by=by, begun_ms=self.clock())
        keys = [*self._keys(job), names.job_taken_key(self.service, job, planned_ms)]
        args = (token, planned_ms, _json(record), self._lock_ms, _KEEP_TAKEN_S, MOST_RUNS, int(is_requested))
        return BegunRun(job, token, record, order) if await self._begin(keys=keys, args=args) else None

    async def end(self, run: BegunRun, result: Literal["done", "failed"], note: str) -> None:
        """Record the end of a run. It has no effect on a run that was recorded as lost."""
        now_ms = self.clock()
        record = msgspec.structs.replace(run.record, result=result, ended_ms=now_ms, note=note[:_MOST_NOTE_CHARS])
        args = (run.token, record.planned_ms, _json(record), result, now_ms)
        await self._end(keys=self._keys(run.job), args=args)

    async def record_missed(self, job: str, planned: Iterable[int]) -> int:
        """Record that nobody began the runs of these times, ascending. Return how many of them were not taken."""
        times = tuple(planned)
        taken = [names.job_taken_key(self.service, job, planned_ms) for planned_ms in times]
        return int(await self._miss(keys=[*self._keys(job)[:2], *taken], args=(_KEEP_TAKEN_S, MOST_RUNS, *times)))

    async def record_lost(self, job: str, planned_ms: int) -> bool:
        """Record that a run has no end after its time limit. Return whether it was so."""
        found = await self._redis.hget(names.job_runs_key(self.service, job), str(planned_ms))
        begun = msgspec.json.decode(found, type=RunRecord) if found else RunRecord(planned_ms=planned_ms, result="lost")
        note = "no end within the time limit: its worker was killed, or could not report the end"
        record = msgspec.structs.replace(begun, result="lost", note=note)
        return bool(await self._lose(keys=self._keys(job), args=(planned_ms, _json(record))))

    async def request(self, job: str, *, by: str, order: str = "", what: str = "run now") -> bool:
        """Request a run now, also of a paused job. The next check begins it.

        The run gets `order`, if its job can follow one, and no other run does. `what` is its kind, and stands in
        the audit list. Return False without an effect if a request waits, or if the last one is of this kind and
        younger than REQUEST_WINDOW_S.
        """
        args = (self.clock(), by, round(1000 * REQUEST_WINDOW_S), order, what)
        return await self._change(self._request, job, encode_entry(by, what, subject=job), *args)

    async def pause(self, job: str, *, by: str, reason: str = "") -> bool:
        """Pause a job. A run that has begun continues. Return whether the job was not paused."""
        entry = encode_entry(by, "pause", subject=job)
        return await self._change(self._pause, job, entry, self.clock(), reason[:_MOST_NOTE_CHARS])

    async def resume(self, job: str, *, by: str) -> bool:
        """Resume a job at its next planned time. Return whether it was paused."""
        return await self._change(self._resume, job, encode_entry(by, "resume", subject=job), self.clock())

    async def _change(self, script: AsyncScript, job: str, *args: str | int) -> bool:
        """Run a script of an operator's command, which also writes the audit entry. Return whether it had an effect."""
        return bool(await script(keys=[names.job_state_key(self.service, job), self.audit.key], args=args))

    def _keys(self, job: str) -> tuple[str, str, str]:
        return (
            names.job_state_key(self.service, job),
            names.job_runs_key(self.service, job),
            names.job_running_key(self.service, job),
        )


def _state(found: Mapping[str, str], is_running: bool) -> JobState:  # noqa: FBT001 - as Redis returns it
    def number(field: str) -> int | None:
        return int(found[field]) if field in found else None

    return JobState(
        mark_ms=number("mark"),
        since_ms=number("since") or 0,
        paused_ms=number("paused"),
        paused_reason=found.get("paused_reason", ""),
        requested_ms=number("requested"),
        requested_by=found.get("requested_by", ""),
        order=found.get("order", ""),
        current_ms=number("current"),
        is_running=is_running,
        succeeded_ms=number("succeeded"),
        counts={result: number(result) or 0 for result in RESULTS},
    )


def _json(record: RunRecord) -> str:
    return msgspec.json.encode(record).decode()
