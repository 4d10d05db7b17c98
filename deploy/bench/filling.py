"""Fill MongoDB and Redis with the searches of a scene, by several processes."""

import asyncio
import multiprocessing
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Final

import redis
from pymongo import ASCENDING, GEOSPHERE, IndexModel, MongoClient

from deploy.bench.scenes import CHUNK, SCENES
from services.storage.store import Database, create_indexes

OWN_RADIUS_INDEX: Final = "own_radius"

_PROCESSES: Final = 2
_SHARES: Final = 8
"""The number of chunks that a process takes at once is a part of its work, so that all processes end together."""


async def fill(database: Database, mongo_url: str, redis_url: str, scene: str, size: int) -> None:
    """Write the searches of a scene, and then their indexes: MongoDB sorts the entries of an index faster at once."""
    chunks = range(0, size, CHUNK)
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(_PROCESSES, mp_context=multiprocessing.get_context("spawn")) as processes:
        shares = [chunks[share :: _PROCESSES * _SHARES] for share in range(_PROCESSES * _SHARES)]
        writes = (
            loop.run_in_executor(processes, _write, mongo_url, database.name, redis_url, scene, size, share)
            for share in shares
        )
        await asyncio.gather(*writes)
    await create_indexes(database)
    own = IndexModel([("keys", ASCENDING), ("location", GEOSPHERE)], name=OWN_RADIUS_INDEX)
    await database["searches"].create_indexes([own])


def _write(  # noqa: PLR0913, PLR0917 - the arguments of a process
    mongo_url: str, database: str, redis_url: str, scene_name: str, size: int, chunks: range
) -> None:
    scene = next(scene for scene in SCENES if scene.name == scene_name)
    client: MongoClient[dict[str, Any]] = MongoClient(mongo_url)
    with client, redis.Redis.from_url(redis_url) as cache:
        for first in chunks:
            documents = list(scene.chunk(first, size))
            client[database]["searches"].insert_many(documents, ordered=False)
            by_key: dict[str, list[Any]] = defaultdict(list)
            for each in documents:
                for key in each["keys"]:
                    by_key[key] += (*each["location"]["coordinates"], f"{each['_id']}:{each['radiusMeters']}")
            pipe = cache.pipeline(transaction=False)
            for key, members in by_key.items():
                pipe.geoadd(f"geo:{key}", members)
            pipe.execute()
