"""A simple consumer: one event at a time, one awaited round trip to Redis for each, auto-commit.

`python -m deploy.bench.references.first_consumer REDIS_URL BROKERS`. A kill makes it count events twice.
"""

import asyncio
import sys
import uuid
from urllib.parse import parse_qs, unquote

from aiokafka import AIOKafkaConsumer
from redis.asyncio import Redis

from services.backbone import names

COUNTED = "reference:counted"


async def main(redis_url: str, brokers: str) -> None:
    """Count the types of events, from the beginning of the topic."""
    group = f"first-consumer-{uuid.uuid4()}"
    consumer = AIOKafkaConsumer(
        names.EVENTS_TOPIC, bootstrap_servers=brokers, group_id=group, auto_offset_reset="earliest"
    )
    await consumer.start()
    async with Redis.from_url(redis_url) as redis:
        async for record in consumer:
            event_type, _, params = record.value.decode().split(" ")
            action = parse_qs(params).get("action")
            label = f"{unquote(event_type)}[{action[0]}]" if action else unquote(event_type)
            async with redis.pipeline(transaction=False) as trip:
                trip.zincrby("reference:counts", 1, label)
                trip.incr(COUNTED)  # for the bench, in the same round trip
                await trip.execute()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
