"""A simple enricher: objects for each lookup, urlencode for each line, a send for each event.

`python -m deploy.bench.references.first_enricher REDIS_URL BROKERS DATABASE`. A kill loses its entries in flight.
"""

import asyncio
import sys
from typing import Any
from urllib.parse import urlencode

import geoip2.database
import user_agents
from aiokafka import AIOKafkaProducer
from geoip2.errors import AddressNotFoundError
from redis.asyncio import Redis

from services.backbone import names
from services.backbone.events import decode_raw, type_of_path

_TAKEN_AT_ONCE = 500


async def main(redis_url: str, brokers: str, database: str) -> None:
    """Drain the queue, and count the sent events in the ledger."""
    producer = AIOKafkaProducer(bootstrap_servers=brokers, acks="all")
    await producer.start()
    with geoip2.database.Reader(database) as places:
        async with Redis.from_url(redis_url) as redis:
            while True:
                taken: Any = await redis.lpop(names.RAW_EVENTS_LIST, _TAKEN_AT_ONCE)
                if not taken:
                    await asyncio.sleep(0.01)
                    continue
                sent = [await producer.send(names.EVENTS_TOPIC, enrich(entry, places)) for entry in taken]
                await asyncio.gather(*sent)
                await redis.hincrby(names.LEDGER, "produced", len(taken))


def enrich(entry: bytes, places: geoip2.database.Reader) -> bytes:
    """Return the value of a record."""
    raw = decode_raw(entry)
    try:
        place = places.city(raw.address)
        country, city = place.country.iso_code or "XX", place.city.name or "XX"
    except (AddressNotFoundError, ValueError):
        country = city = "XX"
    agent = user_agents.parse(raw.user_agent.decode("utf-8", "replace"))
    meta = {
        "id": raw.id,
        "ts": raw.received_at_ms,
        "host": raw.host.decode(),
        "country": country,
        "city": city,
        "device": "phone" if agent.is_mobile else "bot" if agent.is_bot else "desktop",
        "platform": agent.os.family,
        "browser": agent.browser.family,
        "ref": raw.referrer.decode("utf-8", "replace"),
    }
    return f"{type_of_path(raw.path)} {urlencode(meta)} {raw.query.decode('ascii', 'replace') or '-'}".encode()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
