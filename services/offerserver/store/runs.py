"""RunStore: what is known of the runs of each importer, in Redis."""

import base64
import zlib
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, TypeVar

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.backbone import names
from services.offerserver.core.drafts import Parsed
from services.offerserver.core.exchanges import Validators
from services.offerserver.core.grades import RunGrade
from services.offerserver.core.pictures import PictureMemory
from services.offerserver.core.reports import RunReport
from services.offerserver.core.runs import RunMemory
from services.offerserver.store.leases import LeaseLost, RunLease

RunStoreError = RedisError
"""Raised by every method when Redis does not respond in time or responds with an error."""
MOST_RUNS: Final = 30
_KEEP_SUSPECT_S: Final = 7 * 86_400
_KEEP_DRY_RUN_S: Final = 3_600
_Value = TypeVar("_Value")

_FINISH: Final = """
-- KEYS lock, memory, history, totals, suspect. ARGV token, report, runs to keep, memory as JSON, totals as JSON.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if redis.call('LINDEX', KEYS[3], 0) == ARGV[2] then return 1 end
for name, value in pairs(cjson.decode(ARGV[4])) do redis.call('HSET', KEYS[2], name, value) end
redis.call('LPUSH', KEYS[3], ARGV[2])
redis.call('LTRIM', KEYS[3], 0, tonumber(ARGV[3]) - 1)
for name, value in pairs(cjson.decode(ARGV[5])) do redis.call('HINCRBY', KEYS[4], name, value) end
redis.call('DEL', KEYS[5])
return 1
"""
"""Record the end of a run once, if it still holds its lease. What an operator may accept is dropped: it is outdated."""


class RunOrder(msgspec.Struct, frozen=True):
    """What an operator ordered with a request, instead of the usual work."""

    mode: Literal["dry run", "accept"]
    by: str
    digest: str = ""
    """What is accepted."""

    def encode(self) -> str:
        """Return the text for the schedule."""
        return _json(self)

    @classmethod
    def decode(cls, text: str) -> "RunOrder":
        """Return the order of a text from `encode`. Raises msgspec.DecodeError."""
        return msgspec.json.decode(text, type=cls)


class ImporterState(NamedTuple):
    """What is remembered of an importer."""

    memory: RunMemory
    validators: Mapping[str, Validators]
    """By URL: those of the documents of the last trusted run."""
    trusted_ms: int | None
    """When the last trusted run ended."""
    since_ms: int | None
    """When the first run began."""
    offers_digest: str
    """The digest of the offers in storage after the last trusted run."""
    partial_in_a_row: int
    parsed_ms: int | None = None
    """When the last trusted run ended whose documents were parsed."""
    pictures: PictureMemory = PictureMemory()

    @property
    def alive_ms(self) -> int | None:
        """The time from which the age of the offers counts."""
        return self.since_ms if self.trusted_ms is None else self.trusted_ms


class RunEnd(NamedTuple):
    """What a trusted run that parsed a feed leaves for the next one."""

    validators: Mapping[str, Validators]
    absent: frozenset[str]
    offers_digest: str
    is_measure: bool = False
    """Whether the number of its items alone is the measure of later runs."""


class SuspectRun(msgspec.Struct, frozen=True):
    """The content of a run that an operator may accept."""

    digest: str
    parsed: Parsed
    grade: RunGrade
    at_ms: int
    """The time that the run compared with: the end of an offer must not pass between run and acceptance."""


class RunStore:
    """The runs of all importers. `redis` must decode responses."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._finish = redis.register_script(_FINISH)

    async def state(self, importer: str) -> ImporterState:
        """Return what is remembered of an importer."""
        found: Any = await self._redis.hgetall(names.offers_memory_key(importer))

        def number(name: str) -> int | None:
            return int(found[name]) if name in found else None

        return ImporterState(
            RunMemory(
                trusted_counts=tuple(msgspec.json.decode(found.get("counts", "[]"), type=list[int])),
                absent=frozenset(_unpacked(found["absent"], list[str])) if "absent" in found else frozenset(),
            ),
            msgspec.json.decode(found.get("validators", "{}"), type=dict[str, Validators]),
            number("trusted_ms"),
            number("since_ms"),
            found.get("offers_digest", ""),
            number("partial") or 0,
            number("parsed_ms"),
            _unpacked(found["pictures"], PictureMemory) if "pictures" in found else PictureMemory(),
        )

    async def begin(self, importer: str, now_ms: int) -> None:
        """Remember when the first run began: the age of an importer counts from it, also if no run ends."""
        await self._redis.hsetnx(names.offers_memory_key(importer), "since_ms", str(now_ms))

    async def finish(
        self,
        lease: RunLease,
        report: RunReport,
        state: ImporterState,
        end: RunEnd | None = None,
        *,
        pictures: PictureMemory | None = None,
    ) -> None:
        """Record the end of a run. `end` is what a trusted run leaves. Without it, the former one stays.

        So does what is remembered of pictures without `pictures`.

        Raises LeaseLost, and changes nothing then.
        """
        memory: dict[str, Any] = {"partial": state.partial_in_a_row + 1 if report.grade == "partial" else 0}
        if report.grade == "trusted":
            memory["trusted_ms"] = report.ended_ms
        if end is not None:
            memory["parsed_ms"] = report.ended_ms
            former = () if end.is_measure else state.memory.trusted_counts
            memory["counts"] = _json([report.counts.items, *former][:MOST_RUNS])
            memory["validators"] = _json(end.validators)
            memory["absent"] = _packed(sorted(end.absent))
            memory["offers_digest"] = end.offers_digest
        if pictures is not None:
            memory["pictures"] = _packed(pictures)
        keys = [
            names.offers_lock_key(lease.importer),
            names.offers_memory_key(lease.importer),
            names.offers_history_key(lease.importer),
            names.offers_totals_key(lease.importer),
            names.offers_suspect_key(lease.importer),
        ]
        # As texts: Lua would write a large number as 1.79e+12.
        texts = {name: str(value) for name, value in memory.items()}
        args = (lease.token, _json(report), MOST_RUNS, _json(texts), _json(_totals(report)))
        if not await self._finish(keys=keys, args=args):
            raise LeaseLost(f"run {lease.number} of {lease.importer} has lost its lease")

    async def count_lost_lease(self, importer: str) -> None:
        """Count a run that lost its lease."""
        await self._redis.hincrby(names.offers_totals_key(importer), "lease_lost", 1)

    async def history(self, importer: str, most: int = MOST_RUNS) -> list[RunReport]:
        """Return the last runs, the newest first."""
        found: Any = await self._redis.lrange(names.offers_history_key(importer), 0, most - 1)
        return [msgspec.json.decode(each, type=RunReport) for each in found]

    async def totals(self, importer: str) -> dict[str, int]:
        """Return the totals of all runs by name: `grade:trusted`, `items:new`, `pictures:uploaded`, `bytes`, ...."""
        found: Any = await self._redis.hgetall(names.offers_totals_key(importer))
        return {name: int(value) for name, value in found.items()}

    async def keep_dry_run(self, importer: str, report: RunReport) -> None:
        """Keep the report of a dry run for an hour."""
        await self._redis.set(names.offers_dry_run_key(importer), _json(report), ex=_KEEP_DRY_RUN_S)

    async def dry_run(self, importer: str) -> RunReport | None:
        """Return the report of the last dry run."""
        found: Any = await self._redis.get(names.offers_dry_run_key(importer))
        return None if found is None else msgspec.json.decode(found, type=RunReport)

    async def keep_suspect(self, importer: str, suspect: SuspectRun) -> None:
        """Keep what an operator may accept, for seven days."""
        await self._redis.set(names.offers_suspect_key(importer), _packed(suspect), ex=_KEEP_SUSPECT_S)

    async def suspect(self, importer: str) -> SuspectRun | None:
        """Return what an operator may accept."""
        found: Any = await self._redis.get(names.offers_suspect_key(importer))
        return None if found is None else _unpacked(found, SuspectRun)


def _totals(report: RunReport) -> dict[str, int]:
    counts = msgspec.structs.asdict(report.counts)
    written = {name: counts[name] for name in ("new", "match", "content", "removed", "rejected", "refused")}
    return {
        f"grade:{report.grade}": 1,
        **{f"items:{name}": value for name, value in written.items() if value},
        **{f"pictures:{name}": value for name, value in report.pictures.results.items()},
        "bytes": report.bytes,
        "retries": report.retries,
    }


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _packed(value: object) -> str:
    """Return a large value as a text. The client decodes responses, so it can't be bytes."""
    return base64.b85encode(zlib.compress(msgspec.json.encode(value))).decode()


def _unpacked(text: str, kind: type[_Value]) -> _Value:
    return msgspec.json.decode(zlib.decompress(base64.b85decode(text)), type=kind)
