from redis.asyncio import Redis

from deploy.develop.localstack.redis import LocalRedis
from services.backbone.audit import MOST_AUDITED, AuditEntry, AuditList


async def test_newest_entries_are_kept_and_come_first(clean_redis: LocalRedis) -> None:
    async with Redis.from_url(clean_redis.url, decode_responses=True) as redis:
        audit = AuditList(redis, "audit")
        await redis.lpush("audit", *["{}"] * MOST_AUDITED)
        await audit.add("one", "retry", count=3)
        await audit.add("two", "pause", subject="job")
        assert await redis.llen("audit") == MOST_AUDITED
        found = await audit.entries(2)
    assert [(entry.by, entry.what, entry.count, entry.subject) for entry in found] == [
        ("two", "pause", 1, "job"),
        ("one", "retry", 3, ""),
    ]


async def test_entry_of_an_earlier_version_is_read(clean_redis: LocalRedis) -> None:
    async with Redis.from_url(clean_redis.url, decode_responses=True) as redis:
        await redis.lpush("audit", '{"at_ms":1,"by":"one","what":"delete","count":2}')
        assert await AuditList(redis, "audit").entries() == [AuditEntry(1, "one", "delete", 2)]
