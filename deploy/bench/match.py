"""bench.match: the time to the first 500 matches of an offer, in three scenes, beside two simpler ways in the same run.

The simpler ways are what one would write first: a find with the subject's own radius on an index of keywords and
locations, and a Redis GEOSEARCH for each keyword. All three apply the rule to what they find. The first two must find
one set; Redis rounds locations to 0.6 m, so its set can differ at the edges.
"""

import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import redis.asyncio
import uvloop
from rich.console import Console
from rich.table import Table

from deploy.bench.encounters import EncounterRates, measure_encounters
from deploy.bench.filling import OWN_RADIUS_INDEX, fill
from deploy.bench.report import console
from deploy.bench.results import quantile
from deploy.bench.scenes import SCENES, Scene
from deploy.develop.localstack.mongo import MongoServer
from deploy.develop.localstack.redis import LocalRedis
from deploy.errors import OperatorError
from services.storage.core.documents import SIDE_PROJECTION, to_side
from services.storage.core.matching import Match, MatchSide, decide
from services.storage.core.radii import QUERY_MARGIN_M
from services.storage.core.sphere import EARTH_RADIUS_M, GeoPoint
from services.storage.store import CandidateFinder, Database, connect

OURS: Final = "radius classes"
OWN_RADIUS: Final = "own radius"
REDIS: Final = "Redis GEOSEARCH"

_NOW_MS: Final = 1_700_000_000_000
_FIRST: Final = 500
_MOST_CANDIDATES: Final = 2.5
"""The most candidates a match over all queries of a scene."""
_MOST_OVER_BOUND: Final = 50
_REDIS_TIMEOUT_S: Final = 60
"""A GEOSEARCH of a scene can take a second, and longer on a busy machine."""
_SLOW_QUERIES: Final = 20
"""The most queries of a simpler way in a scene, since one can take a second."""

Slices = AsyncGenerator[list[MatchSide], None]
Way = Callable[[MatchSide], Slices]


@dataclass
class Found:
    """The results of one way in one scene."""

    first_ms: list[float] = field(default_factory=list)
    """For each query, the time to the first 500 matches, or to all if there are fewer."""
    seconds: float = 0.0
    """The time of all queries, each to its last match."""
    candidates: int = 0
    matches: int = 0
    most_over_bound: int = 0
    """The most candidates of a query beyond 5 for each match."""
    checksum: int = 0
    """Equal for equal sets of matches."""


def bench_match(*, size: str, queries: str, cache_gb: str, json_output: bool) -> int:
    """Measure the finds of offers among `size` searches.

    Returns 1 if the ways find different matches, or if radius classes need too many candidates.
    """
    try:
        number, subjects, cache_size = int(size), int(queries), float(cache_gb)
    except ValueError:
        raise OperatorError(f"--size {size} --queries {queries} --cache {cache_gb}: use numbers") from None
    if not (1_000 <= number <= 10_000_000 and 1 <= subjects <= 10_000 and 0.25 <= cache_size <= 64):  # noqa: PLR2004
        raise OperatorError("use --size from 1000 to 10000000, --queries from 1 to 10000, --cache from 0.25 to 64")
    output = console(json_output=json_output)
    memory = Path("/dev/shm")  # noqa: S108 - a disk would be measured otherwise; the data is removed at the end
    has_room = memory.is_dir() and shutil.disk_usage(memory).free > 2**30 + 2_000 * number
    data = Path(tempfile.mkdtemp(prefix="push-match-", dir=memory if has_room else None))
    mongo = MongoServer("mongod", data=data / "mongo", log=data / "mongo.log", say=output.print, cache_gb=cache_size)
    cache = LocalRedis(data=data / "redis", log=data / "redis.log")
    try:
        mongo.start()
        cache.start()
        mongo.wait_ready()
        cache.wait_ready()
        found, rates = uvloop.run(_measure(mongo.url, cache.url, number, subjects, output))
    finally:
        cache.process.stop()
        mongo.process.stop()
        shutil.rmtree(data)
    return _report(found, rates, number, output, json_output=json_output)


async def _measure(
    mongo_url: str, redis_url: str, size: int, queries: int, output: Console
) -> tuple[dict[str, dict[str, Found]], EncounterRates]:
    found: dict[str, dict[str, Found]] = {}
    rates = EncounterRates(0, 0.0, 0.0)
    async with (
        connect(mongo_url) as client,
        contextlib.aclosing(redis.asyncio.from_url(redis_url, socket_timeout=_REDIS_TIMEOUT_S)) as cache,
    ):
        for scene in SCENES:
            database = client[f"bench_{scene.name}"]
            begun = time.monotonic()
            await fill(database, mongo_url, redis_url, scene.name, size)
            output.print(f"{scene.title}: {size:,} searches written in {time.monotonic() - begun:.0f} s")
            found[scene.name] = await _measure_scene(database, cache, scene, queries)
            if scene.name == "dense":
                with tempfile.TemporaryDirectory(prefix="push-match-") as folder:
                    rates = await measure_encounters(database, Path(folder) / "stub.log")
            await client.drop_database(database.name)
            await cache.flushall()
    return found, rates


async def _measure_scene(database: Database, cache: Any, scene: Scene, queries: int) -> dict[str, Found]:
    finder = CandidateFinder(database)

    async def ours(subject: MatchSide) -> Slices:
        async with contextlib.aclosing(finder.find("offer", subject, _NOW_MS)) as slices:
            async for each in slices:
                yield each.sides

    ways: dict[str, Way] = {
        OURS: ours,
        OWN_RADIUS: lambda subject: _own_radius(database, subject),
        REDIS: lambda subject: _geosearch(cache, subject),
    }
    subjects = scene.offers(queries + 2)
    for way in ways.values():  # the first queries read the index into the cache
        await _run(way, subjects[:2])
    found = {name: await _run(way, subjects[2 : 2 + min(queries, _SLOW_QUERIES)]) for name, way in ways.items()}
    compared = {name: each.checksum for name, each in found.items()}
    # The simpler ways had only the first subjects; the sets were compared for these.
    found[OURS] = await _run(ours, subjects[2:])
    for name, checksum in compared.items():
        found[name].checksum = checksum
    return found


async def _run(way: Way, subjects: Iterable[MatchSide]) -> Found:
    found = Found()
    for subject in subjects:
        begun = time.perf_counter()
        first_s = None
        matches = candidates = 0
        async with contextlib.aclosing(way(subject)) as slices:
            async for sides in slices:
                candidates += len(sides)
                accepted = [side for side in sides if isinstance(decide(subject, side, _NOW_MS), Match)]
                matches += len(accepted)
                if first_s is None and matches >= _FIRST:
                    first_s = time.perf_counter() - begun
                found.checksum += sum(int(side.id, 16) + 1 for side in accepted)
        seconds = time.perf_counter() - begun
        found.first_ms.append(1000 * (seconds if first_s is None else first_s))
        found.seconds += seconds
        found.matches += matches
        found.candidates += candidates
        found.most_over_bound = max(found.most_over_bound, candidates - 5 * matches)
    return found


async def _own_radius(database: Database, subject: MatchSide) -> Slices:
    angle = (subject.radius_m + QUERY_MARGIN_M) / EARTH_RADIUS_M
    wanted = {
        "keys": {"$in": list(subject.keys)},
        "location": {"$geoWithin": {"$centerSphere": [list(subject.location), angle]}},
        "isActive": True,
        "owner": {"$ne": subject.owner},
    }
    cursor = database["searches"].find(wanted, SIDE_PROJECTION, batch_size=_FIRST, hint=OWN_RADIUS_INDEX)
    async with cursor:
        while documents := await cursor.to_list(_FIRST):
            yield [to_side(document) for document in documents]


async def _geosearch(cache: Any, subject: MatchSide) -> Slices:
    seen: set[str] = set()
    for key in subject.keys:
        # Redis rounds locations to 0.6 m and has an earth of 6,372,797 m: the margin excludes no match.
        reply = await cache.geosearch(
            f"geo:{key}",
            longitude=subject.location.lng,
            latitude=subject.location.lat,
            radius=subject.radius_m * 1.002 + 1.0,
            withcoord=True,
        )
        sides = []
        for member, (lng, lat) in reply:
            name, _, radius = member.decode().partition(":")
            if name not in seen:
                seen.add(name)
                sides.append(MatchSide(name, "", GeoPoint(lng, lat), float(radius), (key,)))
        yield sides


def _report(
    found: dict[str, dict[str, Found]], rates: EncounterRates, size: int, output: Console, *, json_output: bool
) -> int:
    table = Table(title=f"offers among {size:,} searches", title_justify="left", box=None)
    table.add_column("scene, way", no_wrap=True)
    for column in ("queries", "p50 ms", "p95 ms", "p99 ms", "candidates a match", "over 5 a match", "matches/s"):
        table.add_column(column, justify="right")
    differs = exceeds = False
    for scene in SCENES:
        for name, each in found[scene.name].items():
            ordered = sorted(each.first_ms)
            table.add_row(
                f"{scene.title}, {name}",
                str(len(ordered)),
                *(f"{quantile(ordered, part) or 0:,.1f}" for part in (0.5, 0.95, 0.99)),
                f"{each.candidates / max(1, each.matches):,.2f}",
                f"{each.most_over_bound:,}",
                f"{each.matches / each.seconds:,.0f}",
            )
        ours = found[scene.name][OURS]
        exceeds |= ours.candidates > _MOST_CANDIDATES * ours.matches or ours.most_over_bound > _MOST_OVER_BOUND
        differs |= ours.checksum != found[scene.name][OWN_RADIUS].checksum
    output.print(table)
    output.print(
        f"one dense city, {rates.pairs:,} pairs of 20 offers: {rates.written_rate:,.0f} pairs written a second, "
        f"{rates.reported_rate:,.0f} encounters reported a second"
    )
    if differs:
        output.print("the ways found different matches", style="bold red")
    if exceeds:
        text = f"over {_MOST_CANDIDATES} candidates a match, or a query has over 5 a match + {_MOST_OVER_BOUND}"
        output.print(f"radius classes: {text}", style="bold red")
    if json_output:
        scenes = {name: {way: asdict(each) for way, each in ways.items()} for name, ways in found.items()}
        sys.stdout.write(json.dumps({"scenes": scenes, "encounters": rates._asdict()}) + "\n")
    return int(differs or exceeds)
