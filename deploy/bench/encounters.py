"""The rates of the matcher and of the notifier of one process: pairs written, and encounters accepted by a stub."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry

from deploy.bench.accepting import accepting_server
from deploy.bench.scenes import SCENES
from deploy.develop.localstack.ports import free_port
from services.backbone.clients import NotificationClient
from services.storage.core.matching import MatchSide
from services.storage.core.objects import ObjectFields, create_object
from services.storage.metrics import Metrics
from services.storage.settings import MatcherSettings
from services.storage.store import Database, ObjectStore
from services.storage.worker import Matcher, Notifier

_OFFERS: Final = 20
_POLL_S: Final = 0.02
_LIMIT_S: Final = 600
_AT_ONCE: Final = {"MATCH_GRACE_S": "0.01", "MATCH_POLL_S": "0.05"}


class EncounterRates(NamedTuple):
    """The results."""

    pairs: int
    """The number of pairs that the offers made."""
    written_rate: float
    """Pairs written a second, from the first find of an offer to the last cleared mark."""
    reported_rate: float
    """Encounters a second that the stub accepted and that are noted as reported."""


async def measure_encounters(database: Database, log: Path) -> EncounterRates:
    """Match 20 offers of the dense city with the searches of the database, then report their encounters.

    The parts run one after the other, so that each rate is that of one part.
    """
    scene = next(scene for scene in SCENES if scene.name == "dense")
    await _insert(database, scene.offers(_OFFERS))
    port = free_port()
    stub = accepting_server(port, log)
    stub.start()
    try:
        async with NotificationClient(f"http://127.0.0.1:{port}") as client:
            settings, metrics = MatcherSettings.from_env(_AT_ONCE), Metrics(CollectorRegistry())
            matcher = Matcher(database, settings, metrics)
            matching_s = await _run(matcher, database["offers"], "due_at")
            notifier = Notifier(database, client, settings, metrics)
            reporting_s = await _run(notifier, database["pairs"], "owed_at")
    finally:
        stub.stop()
    pairs = await database["pairs"].count_documents({})
    return EncounterRates(pairs, pairs / matching_s, pairs / reporting_s)


async def _insert(database: Database, subjects: Sequence[MatchSide]) -> None:
    now_ms = time.time_ns() // 1_000_000 - 1_000
    offers = []
    for subject in subjects:
        fields = ObjectFields(
            owner=subject.owner, location=subject.location, radius_m=subject.radius_m, keywords=subject.keys
        )
        offers.append(create_object("offer", subject.id, fields, now_ms=now_ms, random_unit=lambda: 0.5))
    await ObjectStore(database).insert_many("offer", offers)


async def _run(worker: Matcher | Notifier, collection: Any, mark: str) -> float:
    """Run a worker until no document has the mark. Return the seconds. Raises TimeoutError."""
    begun = time.perf_counter()
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(_LIMIT_S):
        while await collection.find_one({mark: {"$exists": True}}):  # noqa: ASYNC110 - the state is in the database
            await asyncio.sleep(_POLL_S)
    seconds = time.perf_counter() - begun
    worker.stopping = True
    await running
    return seconds
